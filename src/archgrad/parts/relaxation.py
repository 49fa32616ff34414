"""Relaxations: alpha -> mixing weights of the candidates, both (edges, operations) a group."""

from __future__ import annotations

from archgrad.parts.state import State
from archgrad.supernet import Alpha, Mixing


def softmax(alpha: Alpha, state: State | None = None) -> Mixing:
    """Softmax over the operations of each edge; rows sum to 1 (arXiv:1806.09055, equation 2)."""
    return {name: logits.softmax(dim=-1) for name, logits in alpha.items()}

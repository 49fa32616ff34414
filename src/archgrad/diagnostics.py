"""Measurements of a search's health, the same for every method and space."""

from __future__ import annotations

from archgrad.architecture import Cell
from archgrad.supernet import Mixing

SKIP = "skip_connect"


def entropy(mixing: Mixing) -> float:
    """Mean entropy of the mixing weights over all edges, in nats: ln(operations) when uniform."""
    rows = [-(weights * weights.clamp_min(1e-30).log()).sum(dim=-1) for weights in mixing.values()]
    return float(sum(row.sum() for row in rows) / sum(row.numel() for row in rows))


def skip_share(cells: tuple[Cell, ...]) -> float:
    """Share of skip connections among the edges of the derived cells, in [0, 1]."""
    operations = [operation for cell in cells for operation in cell.operations]
    return operations.count(SKIP) / len(operations)

"""What a language model is trained on: segments of text, and a state carried between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from archgrad.task import Task


@dataclass(eq=False)
class Memory:
    """What a stream of text remembers from one segment to the next: a state (B, H), or None."""

    state: Tensor | None = None


class Segment(NamedTuple):
    """Tokens (T, B) int64 and the next ones, ``target`` (T, B); the state (B, H) at the start.

    ``share``: T / bptt, the part of the learning rate that a step on it takes.
    """

    tokens: Tensor
    target: Tensor
    state: Tensor | None
    memory: Memory
    share: float


LANGUAGE: Task = Task(metric=None)

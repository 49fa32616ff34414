"""What a search found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from archgrad.architecture import Architecture
from archgrad.budget import CostReport
from archgrad.config import SearchConfig
from archgrad.methods import Method
from archgrad.spaces import SearchSpace


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    ``alpha``: the architecture parameters it was derived from, group name -> (edges, operations);
    ``metrics``: one entry an epoch, as in metrics.jsonl; ``path``: the run folder, if there is one;
    ``stopped``: what the stopping rule or the guard ended it for, or None; ``cost``: whether the
    architecture meets the limit of cost, if there is one.
    """

    architecture: Architecture
    space: SearchSpace
    method: Method
    config: SearchConfig
    alpha: dict[str, Tensor]
    metrics: list[dict[str, Any]]
    path: Path | None = None
    stopped: str | None = None
    cost: CostReport | None = None

    def derive(self, channels: int | None = None, cells: int | None = None) -> nn.Module:
        """The found network, plain, with fresh weights, at the search's size or another."""
        return self.space.sized(channels, cells).derive(self.architecture)

"""Stages: a search in several parts, each with fewer candidates, a deeper or a wider supernet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Edge, Group

__all__ = ["Stage"]

Candidates = dict[str, tuple[tuple[str, ...], ...]]  # group name -> the candidates of each edge


@dataclass(frozen=True)
class Stage:
    """One part of a search.

    `share`: of the search's epochs; `candidates`: how many each edge keeps when the stage
    begins, the strongest of the stage before (None: all); `more_cells`: beside the space's own;
    `edges`: parts of its edges, inside those of the method; `inherit`: the weights and alpha of
    what is kept go on, and the learning rate with them; otherwise all begins anew.

    Raises `ArchgradError` for numbers out of range, and for `inherit` beside `more_cells`.

    >>> import archgrad
    >>> from archgrad.parts.stage import Stage
    >>> stages = (Stage(0.5), Stage(0.5, candidates=3, inherit=True))
    >>> archgrad.Method(stages=stages).filled()
    {'stages': 'Stage(share=0.5), Stage(share=0.5, candidates=3, inherit=True)'}
    """

    share: float
    candidates: int | None = None
    more_cells: int = 0
    edges: tuple[Edge, ...] = ()
    inherit: bool = False

    def __post_init__(self) -> None:
        few = self.candidates is not None and self.candidates < 1
        if not 0 < self.share <= 1 or few or self.more_cells < 0:
            raise ArchgradError(
                f"stage: share {self.share} must be above 0 and at most 1, candidates "
                f"{self.candidates} at least 1, more_cells {self.more_cells} at least 0"
            )
        if self.inherit and self.more_cells:
            raise ArchgradError(
                "stage: a deeper network has its reductions at other places, so weights cannot be "
                "inherited by place; leave out inherit or more_cells"
            )


def boundaries(stages: Sequence[Stage], epochs: int) -> list[int]:
    """The first epoch of each stage, and the number of epochs at the end."""
    total = sum(stage.share for stage in stages)
    ends, done = [0], 0.0
    for stage in stages:
        done += stage.share
        ends.append(round(epochs * done / total))
    if len(set(ends)) < len(ends):
        raise ArchgradError(
            f"a search in {len(stages)} stages needs at least an epoch for each; found {epochs} "
            "epochs: use more"
        )
    return ends


def shrink(
    groups: Sequence[Group], strength: Mapping[str, Sequence[Sequence[float]]], keep: int
) -> Candidates:
    """The `keep` strongest candidates of each edge, in their own order.

    Where `none` alone would be left, the strongest other candidate takes its place.
    """
    found = {}
    for group in groups:
        rows = []
        pairs = zip(group.candidates, strength[group.name], strict=True)
        for row, (names, weights) in enumerate(pairs):
            derivable = group.derivable(row)
            order = sorted(range(len(names)), key=lambda i: (-weights[i], i))
            kept = order[: max(keep, group.picks)]
            if not any(i in derivable for i in kept):
                kept = [next(i for i in order if i in derivable), *kept[1:]]
            rows.append(tuple(names[i] for i in sorted(kept)))
        found[group.name] = tuple(rows)
    return found

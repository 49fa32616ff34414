"""The search spaces by name: each a recipe that builds a supernet and every derived network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from archgrad.architecture import Architecture
from archgrad.errors import unknown
from archgrad.networks.choice import Edge, Group
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.spaces.mbconv import MBConv
from archgrad.spaces.nas_bench_201 import NasBench201
from archgrad.spaces.robust import s1, s2, s3, s4

__all__ = [
    "SPACES",
    "DartsCNN",
    "DartsRNN",
    "MBConv",
    "NasBench201",
    "SearchSpace",
    "options",
    "space",
]


class SearchSpace(Protocol):
    """What the loop, the baselines and retraining ask of a space; a value that can be hashed.

    `classes` and `input_shape` are None where they are not known: of a user's own model.
    """

    def __hash__(self) -> int: ...

    @property
    def name(self) -> str:
        """As architectures name it."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """What is decided together, in the order of the network: a cell of an architecture each."""

    @property
    def classes(self) -> int | None:
        """Classes of the images; of text the size of the vocabulary."""

    @property
    def cells(self) -> int:
        """How many cells, or layers of a stage, the network has."""

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """(channels, height, width) of an image, as many axes as the data have; () of text."""

    def supernet(self, edges: Sequence[Edge] = ()) -> nn.Module:
        """The network with a choice at every place, built with these edge parts."""

    def derive(self, architecture: Architecture, auxiliary: bool = False) -> Any:
        """The plain network of an architecture; `auxiliary`: with the head of that name."""

    def validate(self, architecture: Architecture) -> None:
        """Raise `ArchgradError` for an architecture that is not of this space."""

    def sized(self, channels: int | None = None, cells: int | None = None) -> SearchSpace:
        """The same space with another width or depth, as for retraining."""

    def restricted(self, candidates: Mapping[str, Sequence[Iterable[str]]]) -> SearchSpace:
        """With these candidates alone: group name -> their names, row by row."""

    def without(self, operations: Collection[str]) -> SearchSpace:
        """With no edge that offers one of these operations."""

    def random_architecture(self, generator: torch.Generator) -> Architecture:
        """A random architecture of the space."""


SPACES: dict[str, Callable[..., SearchSpace]] = {
    "darts-cnn": DartsCNN,
    "s1": s1,
    "s2": s2,
    "s3": s3,
    "s4": s4,
    "nas-bench-201": NasBench201,
    "mbconv": MBConv,
    "darts-rnn": DartsRNN,
}
"""Name -> what makes the space; its arguments are the options of `space`."""


def options(name: str) -> list[str]:
    """The names of the options of the space called `name`; `ArchgradError` for an unknown one.

    >>> import archgrad
    >>> archgrad.spaces.options("nas-bench-201")[:2]
    ['channels', 'cells']
    """
    if name not in SPACES:
        raise unknown("space", name, SPACES)
    return list(inspect.signature(SPACES[name]).parameters)


def space(name: str, **values: Any) -> SearchSpace:
    """The space called `name` with the given options, `values` by name.

    `archgrad spaces` prints the names, `archgrad.spaces.options` gives the options of one. Raises
    `ArchgradError` for an unknown name or option, and for a size that does not fit.

    >>> import archgrad
    >>> space = archgrad.space("darts-cnn", channels=16, cells=8, image_size=(32, 32))
    >>> space.derive(archgrad.published("DARTS_V2")).training
    True
    """
    known = options(name)
    for option in values:
        if option not in known:
            raise unknown(f"option of space {name}", option, known)
    return SPACES[name](**values)

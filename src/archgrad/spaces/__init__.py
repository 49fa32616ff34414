"""The search spaces by name: each a recipe that builds a supernet and every derived network."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import nn

from archgrad.architecture import Architecture
from archgrad.choice import Group
from archgrad.errors import unknown
from archgrad.network import Network
from archgrad.spaces.darts_cnn import DartsCNN


class SearchSpace(Protocol):
    """What the loop, the baselines and retraining ask of a space."""

    @property
    def name(self) -> str: ...
    @property
    def groups(self) -> tuple[Group, ...]: ...
    @property
    def classes(self) -> int: ...
    @property
    def input_shape(self) -> tuple[int, int, int]: ...
    def supernet(self) -> nn.Module: ...
    def derive(self, architecture: Architecture, auxiliary: bool = False) -> Network: ...
    def validate(self, architecture: Architecture) -> None: ...
    def sized(self, channels: int | None = None, cells: int | None = None) -> SearchSpace: ...
    def random_architecture(self, generator: torch.Generator) -> Architecture: ...


SPACES: dict[str, type[DartsCNN]] = {"darts-cnn": DartsCNN}


def space(name: str, **options: Any) -> SearchSpace:
    """The space called ``name``; options are the fields of its class."""
    if name not in SPACES:
        raise unknown("space", name, SPACES)
    known = [field.name for field in fields(SPACES[name])]
    for option in options:
        if option not in known:
            raise unknown(f"option of space {name}", option, known)
    return SPACES[name](**options)

"""A space at the size of its retraining, and with another stem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from archgrad import spaces
from archgrad.config import TrainConfig
from archgrad.errors import ArchgradError
from archgrad.spaces import SearchSpace
from archgrad.spaces.darts_cnn import DartsCNN


def retrained(space: SearchSpace, config: TrainConfig) -> SearchSpace:
    """The space at the size of a retraining, with its stem, if it names one."""
    sized = space.sized(config.channels, config.cells)
    if config.stem is not None and isinstance(sized, DartsCNN):
        return replace(sized, imagenet=config.stem == "imagenet")
    if config.stem == "imagenet":
        raise _no_stem(space.name)
    return sized


def stem_option(name: str, stem: str | None) -> dict[str, Any]:
    """The option of the space called ``name`` that gives it this stem; none for the usual one."""
    if stem != "imagenet":
        return {}
    if "imagenet" not in spaces.options(name):
        raise _no_stem(name)
    return {"imagenet": True}


def _no_stem(space: str) -> ArchgradError:
    return ArchgradError(
        f"space {space} has no stem imagenet; leave out stem, or take darts-cnn or s1 to s4"
    )

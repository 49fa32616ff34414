"""A space at the size of its retraining, with the options that it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from archgrad import spaces
from archgrad.data import Data
from archgrad.errors import ArchgradError
from archgrad.networks.recurrent import Regularization
from archgrad.settings.config import SearchConfig
from archgrad.settings.train_config import OF_IMAGES, OF_TEXT, TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.darts_rnn import DartsRNN


def retrained(space: SearchSpace, config: TrainConfig) -> SearchSpace:
    """The space at the size of a retraining, with its stem, if it names one."""
    if isinstance(space, DartsRNN):
        return replace(space, **training_options(space.name, config))
    refuse_options(config, OF_TEXT, space.name)
    sized = space.sized(config.channels, config.cells)
    if config.stem is not None and isinstance(sized, DartsCNN):
        return replace(sized, imagenet=config.stem == "imagenet")
    if config.stem == "imagenet":
        raise _no_stem(space.name)
    return sized


def training_options(name: str, config: TrainConfig) -> dict[str, Any]:
    """The options of the space called `name` that give it the size of a retraining."""
    if not of_text(name):
        refuse_options(config, OF_TEXT, name)
        sizes = {"channels": config.channels, "cells": config.cells}
        return {**sizes, **stem_option(name, config.stem)}
    refuse_options(config, OF_IMAGES, name)
    return {"hidden": config.hidden, "regularization": Regularization.of(config)}


def refuse_options(config: SearchConfig | TrainConfig, names: Iterable[str], space: str) -> None:
    """Refuse options that a space does not have, unless they are at their default or off."""
    for name in names:
        value, default = getattr(config, name), type(config).model_fields[name].default
        if value != default and value not in (0, "off"):
            raise ArchgradError(f"space {space} has no option {name}, found {value}; leave it out")


def of_text(name: str) -> bool:
    """Whether the space called `name` is one of language models."""
    return "regularization" in spaces.options(name)


def check_kind(name: str, data: Data) -> None:
    """Refuse text for a space of images, and images for one of language models."""
    takes, found = ("text", "images") if of_text(name) else ("images", "text")
    if of_text(name) != data.of_text:
        other = "darts-cnn" if of_text(name) else "darts-rnn"
        raise ArchgradError(
            f"space {name} takes {takes}, and the data set {data.name} holds {found}; use a space "
            f"such as {other}, or other data"
        )


def stem_option(name: str, stem: str | None) -> dict[str, Any]:
    """The option of the space called `name` that gives it this stem; none for the usual one."""
    if stem != "imagenet":
        return {}
    if "imagenet" not in spaces.options(name):
        raise _no_stem(name)
    return {"imagenet": True}


def _no_stem(space: str) -> ArchgradError:
    return ArchgradError(
        f"space {space} has no stem imagenet; leave out stem, or take darts-cnn or s1 to s4"
    )

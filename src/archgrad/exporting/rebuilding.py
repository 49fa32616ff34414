"""The sizes of a network of the library's spaces, and the network that they make again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Self, TypeVar

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from archgrad.architecture import Architecture
from archgrad.errors import explain
from archgrad.networks.network import Classifier
from archgrad.networks.operations import CANDIDATES
from archgrad.networks.recurrent import LanguageModel, Regularization
from archgrad.spaces.cells import CellSpace
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.darts_rnn import NAME as RECURRENT
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.spaces.mbconv import NAME as CHAIN
from archgrad.spaces.mbconv import MBConv
from archgrad.spaces.nas_bench_201 import NasBench201

OFF = Regularization(**dict.fromkeys((f.name for f in fields(Regularization)), 0.0))
Weights = Mapping[str, Tensor]
Found = TypeVar("Found", bound=nn.Module)
Size = Annotated[int, Field(ge=0, lt=2**31)]
DEEP = 100  # cells or nodes that a network may have, or as many as its weights have tensors


@dataclass(frozen=True)
class Sizes:
    """What, beside its architecture, makes a network of the library's spaces.

    `form`: "darts-cnn" (s1 to s4 too), "nas-bench-201" or "mbconv"; `cells`: of the network, in
    the last two of a stage; `image_size`: (height, width) in pixels, or of another number of
    dimensions.
    """

    form: str
    channels: Size
    cells: Size
    in_channels: Size
    classes: Size
    image_size: tuple[Size, ...]
    imagenet: bool = False

    @classmethod
    def of(cls, weights: Weights, image_size: tuple[int, ...]) -> Self | None:
        """The sizes of a network with these weights; None if it is not of the library's spaces."""
        if "classifier.weight" not in weights or "cells" not in {n.split(".")[0] for n in weights}:
            return None
        classes = len(weights["classifier.weight"])
        if "stem.0.weight" in weights:
            channels, in_channels = weights["stem.0.weight"].shape[:2]
            blocks = re.findall(r"cells\.(\d+)\.shortcut\.1\.weight", " ".join(weights))
            cells = min(map(int, blocks), default=0)
            return cls("nas-bench-201", channels, cells, in_channels, classes, image_size)
        if "stem0.0.weight" not in weights:
            return None
        width, in_channels = weights["stem0.0.weight"].shape[:2]
        imagenet = "stem1.1.weight" in weights
        channels = len(weights["stem1.1.weight"]) if imagenet else width // 3
        cells = 1 + max(map(int, re.findall(r"cells\.(\d+)\.", " ".join(weights))), default=-1)
        return cls("darts-cnn", channels, cells, in_channels, classes, image_size, imagenet)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image."""
        return (self.in_channels, *self.image_size)

    def space(self, name: str) -> CellSpace:
        """A space called `name` that builds every architecture of this form."""
        common = {
            "name": name,
            "channels": self.channels,
            "cells": self.cells,
            "in_channels": self.in_channels,
            "image_size": self.image_size,
            "classes": self.classes,
        }
        if self.form == CHAIN:
            return MBConv(**common)  # type: ignore[arg-type]
        if self.form == "nas-bench-201":
            return NasBench201(**common)  # type: ignore[arg-type]
        common |= {"imagenet": self.imagenet, "dims": len(self.image_size)}
        return DartsCNN(operations=tuple(CANDIDATES), **common)  # type: ignore[arg-type]

    def network(self, architecture: Architecture, weights: Weights) -> Classifier:
        """The network with these weights, in eval mode; the auxiliary head is left out."""
        kept = {n: t for n, t in weights.items() if not n.startswith("auxiliary.")}
        _check(self, self.cells, kept)
        return _filled(self.space(architecture.space).derive, architecture, kept)


@dataclass(frozen=True)
class TextSizes:
    """What, beside its architecture, makes a language model of the space darts-rnn.

    `hidden`: units of the embedding and of every state; `nodes`: intermediate nodes of the
    cell; `classes`: words of the vocabulary.
    """

    form: str
    hidden: Size
    nodes: Size
    classes: Size

    @classmethod
    def of(cls, weights: Weights) -> Self | None:
        """The sizes of a language model with these weights; None if they are none of it."""
        if "embedding" not in weights or "cell.first" not in weights:
            return None
        classes, hidden = weights["embedding"].shape
        nodes = sum(name.startswith("cell.weights.") for name in weights)
        return cls(RECURRENT, hidden, nodes, classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a token."""
        return ()

    def space(self, name: str) -> DartsRNN:
        """A space called `name` that builds every architecture of this form, without dropout."""
        return DartsRNN(self.hidden, self.nodes, self.classes, regularization=OFF, name=name)

    def network(self, architecture: Architecture, weights: Weights) -> LanguageModel:
        """The model with these weights, in eval mode, without dropout in training mode too."""
        _check(self, self.nodes, weights)
        return _filled(self.space(architecture.space).derive, architecture, weights)


def _check(sizes: Sizes | TextSizes, depth: int, weights: Weights) -> None:
    """Raises ValueError for sizes out of a file that are none, or take long to build."""
    try:
        TypeAdapter[Any](type(sizes)).validate_json(json.dumps(asdict(sizes)), strict=True)
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    if depth > max(DEEP, len(weights)):
        raise ValueError(f"found {depth} cells or nodes for weights of {len(weights)} tensors")


def _filled(
    derive: Callable[[Architecture], Found], architecture: Architecture, weights: Weights
) -> Found:
    """The network in eval mode; ValueError, before memory is taken, where its weights are others.

    On the meta device a network of any size takes none.
    """
    with torch.device("meta"):
        expected = {n: tuple(t.shape) for n, t in derive(architecture).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{name} of shape {found.get(name)}, expected {expected.get(name)} (None: no such)"
            )
    network = derive(architecture)
    network.load_state_dict({name: tensor.detach().cpu() for name, tensor in weights.items()})
    return network.eval()

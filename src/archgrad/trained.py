"""A trained network with all that is known of it: its sizes, and how it came to be."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PureWindowsPath
from statistics import fmean
from typing import Annotated, Any, Self, TypeVar

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from archgrad import measure, recipes, untrusted
from archgrad.architecture import Architecture, published, published_names, resolve
from archgrad.baselines.searching import EVALUATIONS
from archgrad.config import OWN, RunConfig
from archgrad.data.textdata import is_text
from archgrad.errors import ArchgradError, explain
from archgrad.folder import Run, fitting, read_lines
from archgrad.network import Classifier, Network
from archgrad.operations import CANDIDATES
from archgrad.prepared import came_from_python
from archgrad.recurrent import LanguageModel, Regularization
from archgrad.retraining import METRICS, RESULT, WEIGHTS, Score, load_data
from archgrad.spaces.cells import CellSpace
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.darts_rnn import NAME as RECURRENT
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.spaces.mbconv import NAME as CHAIN
from archgrad.spaces.mbconv import Chain, MBConv
from archgrad.spaces.nas_bench_201 import NasBench201, Stages
from archgrad.statistics import spread
from archgrad.units import LIMITS
from archgrad.wording import sizes

MODEL = "model.json"
EQUAL = 5  # stages of a chain with as many layers each; the last has a single one
OFF = Regularization(**dict.fromkeys((f.name for f in fields(Regularization)), 0.0))
Weights = Mapping[str, Tensor]
Found = TypeVar("Found", bound=nn.Module)
Size = Annotated[int, Field(ge=0, lt=2**31)]
DEEP = 100  # cells or nodes that a network may have, or as many as its weights have tensors


@dataclass(frozen=True)
class Sizes:
    """What, beside its architecture, makes a network of the library's spaces.

    ``form``: "darts-cnn" (s1 to s4 too), "nas-bench-201" or "mbconv"; ``cells``: of the network, in
    the last two of a stage; ``image_size``: (height, width) in pixels, or of another number of
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
        """A space called ``name`` that builds every architecture of this form."""
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

    ``hidden``: units of the embedding and of every state; ``nodes``: intermediate nodes of the
    cell; ``classes``: words of the vocabulary.
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
        """A space called ``name`` that builds every architecture of this form, without dropout."""
        return DartsRNN(self.hidden, self.nodes, self.classes, regularization=OFF, name=name)

    def network(self, architecture: Architecture, weights: Weights) -> LanguageModel:
        """The model with these weights, in eval mode, without dropout in training mode too."""
        _check(self, self.nodes, weights)
        return _filled(self.space(architecture.space).derive, architecture, weights)


@dataclass(frozen=True)
class Trained:
    """One trained network of an architecture; ``scores`` of all its seeds, ``score`` its own.

    ``network`` is in eval mode on the CPU; ``sizes`` is None where the space is not one of the
    library's. ``config``: the options of the run folder, ``search``: one entry of metrics an epoch
    of the search, or an evaluation of a baseline, where there was one. ``vocabulary``: of a
    language model the words by their numbers, where they are known.
    """

    architecture: Architecture
    network: nn.Module
    sizes: Sizes | TextSizes | None
    score: Score
    scores: Sequence[Score]
    config: RunConfig | None = None
    search: Sequence[Mapping[str, Any]] = ()
    vocabulary: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The published name of the architecture, or "found"."""
        names = (name for name in published_names() if published(name) == self.architecture)
        return next(names, "found")

    def story(self) -> dict[str, str]:
        """How it was found, trained and tested: label -> text; what is not known is left out."""
        sections = [self._data(), self._search(), self._training()]
        return {label: text for section in sections for label, text in section.items()}

    def _data(self) -> dict[str, str]:
        found = {}
        if self.config is not None and self.config.data.data != OWN:
            name, subset = self.config.data.data, self.config.data.subset
            found["data"] = _source(name) + (
                f", {subset:,} training {'tokens' if is_text(name) else 'images'}" if subset else ""
            )
        if self.score.get("normalization"):
            mean, std = (
                ", ".join(f"{value:.6g}" for value in self.score["normalization"][key])
                for key in ("mean", "std")
            )
            found["images"] = f"scaled to [0, 1], minus mean ({mean}), divided by std ({std})"
        return found

    def _search(self) -> dict[str, str]:
        found = {"space": self.architecture.space}
        if self.name != "found":
            found["architecture"] = f"{self.name}, as published"
        search = self.config.search if self.config else None
        if search is not None:
            options = ", ".join(f"{k}={v}" for k, v in search.method_options.items())
            found["method"] = search.method + (f" ({options})" if options else "")
            seconds = sum(line["seconds"] for line in self.search)
            found["search"] = (
                f"seed {search.seed}, {self._length()} in {seconds:,.0f} s, "
                f"{', '.join(sizes(search))}"
            )
            for option in LIMITS:
                if (limit := getattr(search, option)) is not None:
                    found["limit"] = f"{option} {limit}"
        if self.score.get("transferred_from"):
            found["searched on"] = f"{_source(self.score['transferred_from'])}, not these data"
        return found

    def _length(self) -> str:
        count = len(self.search)
        if count and "evaluation" in self.search[0]:
            return f"{count} evaluation" + "s" * (count != 1)
        return _epochs(count)

    def _training(self) -> dict[str, str]:
        score, options = self.score, self.score["begun_with"]["options"]
        judge, values = measure.of(score), measure.values(self.scores)
        test = judge.whole(fmean(values))
        if math.isfinite(deviation := spread(values)):
            test += f" ± {judge.shown(deviation)} (mean and standard deviation of {len(values)} "
            test += f"seeds); with these weights {judge.whole(score[judge.name])}"
        cost = f"{score['parameters']:,} parameters, {score['multiply_adds']:,} multiply-adds"
        if self.sizes is not None:
            shape = "x".join(map(str, self.sizes.shape))
            cost += f" for an image of {shape}" if shape else " for a token"
        recipe = ""
        if options.get("recipe"):
            changes = ", ".join(f"{k}={v}" for k, v in recipes.changed(options).items())
            recipe = f"recipe {options['recipe']}{f' with {changes}' if changes else ''}, "
        return {
            "training": f"from scratch, {recipe}{_epochs(options['epochs'])}, seed {score['seed']}",
            "cost": cost,
            judge.name: f"{test}, on {judge.tested(score):,} test {judge.over}",
        }


def of_training(
    architecture: Architecture,
    network: nn.Module,
    score: Score,
    scores: Sequence[Score],
    vocabulary: tuple[str, ...] | None = None,
) -> Trained:
    """A network that was retrained just now, with its score and those of all seeds."""
    sizes: Sizes | TextSizes | None = None
    if isinstance(network, LanguageModel):
        sizes = TextSizes.of(network.state_dict())
    elif isinstance(network, Chain):
        sizes = _of_chain(network, architecture, tuple(score["input_shape"]))
    elif isinstance(network, Network | Stages):
        sizes = Sizes.of(network.state_dict(), tuple(score["input_shape"][1:]))
    if sizes is not None:
        plain: nn.Module = sizes.network(architecture, network.state_dict())
    else:
        plain = copy.deepcopy(network).cpu().eval()
    return Trained(architecture, plain, sizes, score, scores, vocabulary=vocabulary)


def of_folder(path: str | Path, seed: int | None = None) -> Trained:
    """The network of a main job or of a retraining; ``seed``: of the retraining (None: first)."""
    run = Run.open(path)
    found = run.path / ("train/found" if run.config.random_cells else "found")
    done = sorted(int(p.parent.name[5:]) for p in found.glob(f"seed-*/{RESULT}"))
    if not done:
        remedy = f"retrain with archgrad train {run.path}, and give the folder that this writes"
        if run.config.random_cells:
            remedy = f"finish it with archgrad run --resume {run.path}"
        elif run.config.search is not None and run.config.search.space == OWN:
            remedy = (
                "export the module that you trained from Python: archgrad.export(module, format, "
                "out, example=...)"
            )
        raise ArchgradError(f"folder {run.path} holds no trained network; {remedy}")
    seed = done[0] if seed is None else seed
    if seed not in done:
        raise ArchgradError(f"found no retraining with seed {seed} in {found}; it holds {done}")
    architecture, place = resolve(run.path), found / f"seed-{seed}"
    with fitting(found):
        scores: list[Score] = [
            untrusted.mapping_of_json(found / f"seed-{s}" / RESULT) for s in done
        ]
        weights = _weights(place / WEIGHTS)
        score = scores[done.index(seed)]
        shape = _shape(score, run)
        sizes = TextSizes.of(weights) or Sizes.of(weights, shape[1:])
        sizes = sizes or _sizes(run, architecture, shape, weights)
        network = sizes.network(architecture, weights)
    lines = (read_lines(run.path / name) for name in (METRICS, EVALUATIONS))
    search = next((found for found in lines if found), []) if run.config.search else []
    words = _vocabulary(run, score) if isinstance(sizes, TextSizes) else None
    return Trained(architecture, network, sizes, score, scores, run.config, search, words)


def _vocabulary(run: Run, score: Score) -> tuple[str, ...] | None:
    """The words of the data of a run; None where these are not here, or are others by now."""
    try:
        data, _ = load_data(run.config.data)
    except ArchgradError:
        return None
    return data.classes if data.fingerprint() == score["begun_with"].get("data") else None


def _of_chain(network: Chain, architecture: Architecture, shape: tuple[int, ...]) -> Sizes | None:
    """The sizes of a chain, where it is one that they tell whole; None: of other strides or so."""
    channels, cells = len(network.state_dict()["stem.0.weight"]), len(network.layers) // EQUAL
    classes = network.classifier.out_features
    try:
        sizes = Sizes(CHAIN, channels, cells, shape[0], classes, shape[1:])
        made = sizes.space(architecture.space).derive(architecture)
    except ArchgradError:
        return None
    return sizes if repr(made) == repr(network) else None


def _sizes(run: Run, architecture: Architecture, shape: tuple[int, ...], weights: Weights) -> Sizes:
    """The sizes of a network that its weights alone do not tell, by the options of its training."""
    train = run.config.train
    if train is None or architecture.space != CHAIN:
        raise ArchgradError(
            f"the network of {run.path} is not of a space of the library, and its code is not in "
            "the folder; export from Python: archgrad.export(archgrad.train(...), ...)"
        )
    classes = len(weights["classifier.weight"])
    return Sizes(CHAIN, train.channels, train.cells, shape[0], classes, shape[1:])


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArchgradError(
            f"weights {path} cannot be read ({error}); remove {path.with_name(RESULT)} to repeat "
            "that retraining with --resume"
        ) from None


def _shape(score: Score, run: Run) -> tuple[int, ...]:
    """(channels, height, width) of the images; results of older versions do not hold it."""
    if "input_shape" in score:
        return tuple(score["input_shape"])
    if run.config.data.data == OWN:
        raise came_from_python("data")
    return load_data(run.config.data)[0].shape


def rebuilt(folder: str | Path) -> Classifier | LanguageModel:
    """The network of an export in the format safetensors, from its model.json and weights."""
    with fitting(Path(folder)):
        description = untrusted.mapping_of_json(Path(folder) / MODEL)
        architecture = Architecture.from_json(json.dumps(description["architecture"]), MODEL)
        sizes, weights = description["sizes"], load_file(Path(folder) / WEIGHTS)
        if sizes["form"] == RECURRENT:
            return TextSizes(**sizes).network(architecture, weights)
        sizes = {**sizes, "image_size": tuple(sizes["image_size"])}
        return Sizes(**sizes).network(architecture, weights)


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


def _source(data: str) -> str:
    """A data set without the place where it lies."""
    kind, _, place = data.partition(":")
    return f"{kind}:{PureWindowsPath(place).name}" if place else kind


def _epochs(count: int) -> str:
    return f"{count} epoch" + "s" * (count != 1)

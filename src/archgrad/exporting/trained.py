"""Trained networks with all that is known of them, and what a retraining returns."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from statistics import fmean
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from archgrad import measure, untrusted
from archgrad.architecture import Architecture, published, published_names, resolve
from archgrad.data.textdata import is_text
from archgrad.errors import ArchgradError
from archgrad.exporting.rebuilding import Sizes, TextSizes, Weights
from archgrad.measure import ACCURACY, Measure
from archgrad.networks.network import Classifier, Network
from archgrad.networks.recurrent import LanguageModel
from archgrad.preparing.prepared import came_from_python
from archgrad.progress.wording import sizes
from archgrad.retraining.scratch import Score, load_data
from archgrad.retraining.training import WEIGHTS
from archgrad.settings import recipes
from archgrad.settings.config import OWN, RunConfig
from archgrad.settings.units import LIMITS
from archgrad.spaces.darts_rnn import NAME as RECURRENT
from archgrad.spaces.mbconv import NAME as CHAIN
from archgrad.spaces.mbconv import Chain
from archgrad.spaces.nas_bench_201 import Stages
from archgrad.statistics import spread
from archgrad.storage.files import EVALUATIONS, METRICS, RESULT, read_lines
from archgrad.storage.folder import Run, fitting

MODEL = "model.json"
EQUAL = 5  # stages of a chain with as many layers each; the last has a single one


@dataclass(frozen=True)
class Trained:
    """One trained network of an architecture; `scores` of all its seeds, `score` its own.

    `network` is in eval mode on the CPU; `sizes` is None where the space is not one of the
    library's. `config`: the options of the run folder, `search`: one entry of metrics an epoch
    of the search, or an evaluation of a baseline, where there was one. `vocabulary`: of a
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


@dataclass(frozen=True)
class TrainResult:
    """Retrainings of one architecture: `scores` one a seed, `networks` the trained modules.

    A score is a dict with "seed", the test measure, losses, costs and what the retraining began
    with, as in result.json of a run folder. `vocabulary`: the words that a language model was
    trained on, in order; else None. `archgrad.train` makes it.
    """

    architecture: Architecture
    scores: list[Score]
    networks: list[Classifier]
    vocabulary: tuple[str, ...] | None = None

    @property
    def measure(self) -> Measure:
        """What the networks are judged by: accuracy in [0, 1], or perplexity of text."""
        return measure.of(self.scores[0])

    @property
    def values(self) -> list[float]:
        """The `measure` of each seed, on the test part."""
        return measure.values(self.scores)

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed, in [0, 1]; `ArchgradError` of text, which has none."""
        if self.measure is not ACCURACY:
            raise ArchgradError(
                f"found scores of {self.measure.name}, expected accuracies; take .values"
            )
        return self.values

    @property
    def mean(self) -> float:
        """Mean of `values` over the seeds."""
        return fmean(self.values)

    @property
    def spread(self) -> float:
        """Sample standard deviation of `values`; nan for a single seed."""
        return spread(self.values)

    def trained(self, seed: int | None = None) -> Trained:
        """The network of this seed (None: of the first) with all that is known of it.

        Raises `ArchgradError` for a seed that was not trained.
        """
        seeds = [score["seed"] for score in self.scores]
        if seed is not None and seed not in seeds:
            raise ArchgradError(f"found no retraining with seed {seed}; there are {seeds}")
        index = 0 if seed is None else seeds.index(seed)
        network, score = self.networks[index], self.scores[index]
        return of_training(self.architecture, network, score, self.scores, self.vocabulary)

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import of_retraining

        return of_retraining(self)


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
        found = Sizes.of(network.state_dict(), tuple(score["input_shape"][1:]))
        operations = {name for cell in architecture.cells for name in cell.operations}
        if found is not None and operations <= {*found.space(architecture.space).known}:
            sizes = found  # else with operations of the user's own
    if sizes is not None:
        plain: nn.Module = sizes.network(architecture, network.state_dict())
    else:
        plain = copy.deepcopy(network).cpu().eval()
        for tensor in (*plain.parameters(), *plain.buffers()):
            tensor.data = tensor.data.contiguous()  # training is channels last, exports are not
    return Trained(architecture, plain, sizes, score, scores, vocabulary=vocabulary)


def of_folder(path: str | Path, seed: int | None = None) -> Trained:
    """The network of a main job or of a retraining; `seed`: of the retraining (None: first)."""
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


def _source(data: str) -> str:
    """A data set without the place where it lies."""
    kind, _, place = data.partition(":")
    return f"{kind}:{PureWindowsPath(place).name}" if place else kind


def _epochs(count: int) -> str:
    return f"{count} epoch" + "s" * (count != 1)

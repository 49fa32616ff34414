"""The verbs in Python, the same as on the command line: run, search, train, export, ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from archgrad import config as configuration
from archgrad import deriving, measure
from archgrad.architecture import Architecture, resolve
from archgrad.arguments import TRAIN, beginning, resumed, sections_of, sections_with_training
from archgrad.baselines import BASELINES
from archgrad.budget import Limit, kept
from archgrad.callbacks import Callback, Callbacks
from archgrad.config import OWN
from archgrad.distributed import from_first, world
from archgrad.errors import ArchgradError
from archgrad.exporting import Exported, export_to, own_subject, subject_of
from archgrad.folder import Run, free_folder
from archgrad.measure import ACCURACY, Measure
from archgrad.methods import Method
from archgrad.network import Classifier
from archgrad.planning import Plan
from archgrad.prepared import (
    came_from_python,
    fits,
    prepare,
    prepare_data,
    retraining_space,
    search_method,
    section,
)
from archgrad.reporting.ending import leave_report
from archgrad.result import SearchResult
from archgrad.retraining import Score, check, retrain, retrainings
from archgrad.sizing import retrained
from archgrad.spaces import SearchSpace
from archgrad.spaces.own import OwnModel
from archgrad.statistics import spread
from archgrad.task import Task
from archgrad.trained import Trained, of_folder, of_training
from archgrad.transfer import transferred_from
from archgrad.trees import describe

if TYPE_CHECKING:
    from archgrad.experiment import Report


def search(
    space: str | SearchSpace | nn.Module | None = None,
    data: Any = None,
    *,
    method: str | Method | None = None,
    train: Any = None,
    valid: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    metric: Callable[[Any, Any], Any] | None = None,
    forward: Callable[[Callable[..., Any], Any], tuple[Any, Any]] | None = None,
    classes: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> SearchResult:
    """Search an architecture on training images; test images are never looked at.

    `space`: a name (default "darts-cnn") or a space for the shape of the data; `data`: a name
    as on the command line (default "digits"), arrays (x, y) or (x, y, x_test, y_test), a Dataset,
    a DataLoader (with a DataLoader as `valid`), or an `archgrad.data.Data`; `method`: a name
    (default "darts") or an `archgrad.Method`; `out`: a new run folder (None: nothing is
    written); `resume`: a run folder to continue, with every option as it was; `callbacks`: hear
    of it as it goes, each an `archgrad.Callback` (docs/callbacks.md); `options`: any field of
    `archgrad.config.SearchConfig` or `archgrad.config.DataConfig`, as `epochs=5`, or `dims=1`
    for signals (N, channels, length), `dims=3` for volumes.

    Or `space` is an own model with `archgrad.Choice` modules, which is copied and trained along.
    `train` and `valid`: each a tuple of arrays, a Dataset or a loader of batches; without
    `valid` arrays and a Dataset are cut in two. `loss(output, target)`: a scalar tensor;
    `metric(output, target)`: a number, higher is better; without both, cross-entropy and
    accuracy. `forward(model, batch)`: output and target of a batch that is not (input, target).
    `result.derive()` is the model with what was chosen in place of its choices.

    Raises `ArchgradError` for wrong input and `Diverged` when a loss is not finite.
    """
    own = {"method": method, "valid": valid, "classes": classes}
    task, heard = Task.of(loss, metric, forward), Callbacks(callbacks)
    ready, sections = beginning(space, data, options, own, train, task)
    first = world().first
    folder: Run | None = None
    if resume is not None:
        folder = resumed(resume, options, out)
        prepared = ready(folder.config)
    else:
        prepared = ready(configuration.build(sections))
        folder = None if out is None or not first else Run.create(out, prepared.config)
    result = prepared.search(folder if first else None, heard)
    if result.path is not None:
        leave_report(result.path)
    return result


def build(factory: Callable[[], nn.Module], architecture: Architecture) -> nn.Module:
    """The model that `factory` makes, with what the architecture chose in place of its choices.

    Plain PyTorch with the weights the factory gave it; those of `result.derive()` fit into it:
    `build(factory, architecture).load_state_dict(...)`.
    """
    model = factory if isinstance(factory, nn.Module) else factory()
    if model is factory or not isinstance(model, nn.Module):
        raise ArchgradError(
            f"build: found {describe(model)}; expected a function that makes the model with its "
            "choices, such as its class"
        )
    made: nn.Module = OwnModel(model).derive(architecture)
    return made


def plan(
    space: str | SearchSpace | nn.Module | None = None,
    data: Any = None,
    *,
    method: str | Method | None = None,
    train: Any = None,
    valid: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    metric: Callable[[Any, Any], Any] | None = None,
    forward: Callable[[Callable[..., Any], Any], tuple[Any, Any]] | None = None,
    classes: int | None = None,
    **options: Any,
) -> Plan:
    """What a search with these arguments will need of memory and time here, and what would fit.

    Arguments and errors as for `search`. A few steps are made to measure them, nothing is written,
    and torch's random state stays as it is; how it is estimated: `archgrad.planning`.
    """
    own = {"method": method, "valid": valid, "classes": classes}
    task = Task.of(loss, metric, forward)
    ready, sections = beginning(space, data, options, own, train, task)
    return ready(configuration.build(sections)).plan()


def run(
    data: Any = None,
    *,
    space: str | SearchSpace | None = None,
    method: str | Method | None = None,
    valid: Any = None,
    test: Any = None,
    classes: int | None = None,
    random_cells: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Report:
    """The main job: search, retrain, test, and compare with random cells; see `experiment`.

    Arguments as for `search`; `test`: the test part of data from Python; `random_cells`: how
    many to compare with (default 3); `out`: the run folder (default: a new one under runs/),
    where report.html shows it all; `callbacks`: hear of the search, not of the retrainings;
    options of the retraining have the prefix `train_`, as `train_epochs=20`.
    """
    from archgrad.experiment import main_job, prepare_main_job

    own = {"space": space, "data": data, "method": method, "valid": valid, "test": test}
    heard, first = Callbacks(callbacks), world().first
    folder: Run | None
    if resume is not None:
        extra = options if random_cells is None else {**options, "random_cells": random_cells}
        folder = resumed(resume, extra, out)
        job = prepare_main_job(folder.config, **own, classes=classes)
    else:
        sections = sections_with_training(options, data, space, method)
        config = configuration.build(sections, random_cells=random_cells or 3)
        job = prepare_main_job(config, **own, classes=classes)
        made = job.search.config
        folder = Run.create(out or free_folder(config), made) if first else None
    report = main_job(folder if first else None, job, heard)
    if folder is not None and first:
        leave_report(folder.path)
    return report


def derive(
    folder: str | Path,
    epoch: int | None = None,
    *,
    rule: str | None = None,
    tuning_epochs: int = 5,
    data: Any = None,
) -> Architecture:
    """The architecture of a search's last epoch, or of the given one (counted from 1).

    `rule`: "strongest", "skip_limit" or "threshold" in place of the method's own, or
    "perturbation": from the trained supernet itself (arXiv:2108.04392), with `tuning_epochs`
    epochs of training between decisions; it takes the last epoch and needs the data of the search
    (`data` where they came from Python).

    Of an own model or space the architecture is read from the folder, without it; a method that
    came from Python is not in the folder, and such a run is refused.
    """
    run = Run.open(folder)
    if section(run.config).method in BASELINES:
        if (epoch, rule) != (None, None):
            raise ArchgradError(
                f"{section(run.config).method} has no alpha of any epoch to derive from; its lines "
                "are in evaluations.jsonl: leave out epoch and rule for the best of them"
            )
        return resolve(run.path)
    if rule == deriving.PERTURBATION:
        if section(run.config).space == OWN:
            raise ArchgradError(
                f"rule {rule} judges the supernet, and the space of this run came from Python and "
                "is not in its folder; search by the method darts_pt, or use another rule"
            )
        if epoch is not None:
            raise ArchgradError(
                f"rule {rule} judges the supernet, whose weights are kept of the last epoch alone; "
                "leave out the epoch"
            )
        if Limit.of(section(run.config)) is not None:
            raise ArchgradError(
                f"rule {rule} judges the supernet and knows no limit of cost, and this search has "
                "one; use another rule"
            )
        return deriving.derive_by_perturbation(run, prepare(run.config, data=data), tuning_epochs)
    config = section(run.config)
    method = deriving.with_rule(search_method(config), rule)
    if method.selection is not None and rule is None and epoch is None:
        return resolve(run.path)  # what the selection found at the end of the search
    return deriving.derive(run, kept(run, config, method), epoch)


@dataclass(frozen=True)
class TrainResult:
    """Retrainings of one architecture: `scores` one a seed, `networks` the trained modules.

    `vocabulary`: the words that a language model was trained on, in order; else None.
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
        """That of each seed, on the test part."""
        return measure.values(self.scores)

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed, in [0, 1]; of text there is none."""
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
        """The network of this seed (None: of the first) with all that is known of it."""
        seeds = [score["seed"] for score in self.scores]
        if seed is not None and seed not in seeds:
            raise ArchgradError(f"found no retraining with seed {seed}; there are {seeds}")
        index = 0 if seed is None else seeds.index(seed)
        network, score = self.networks[index], self.scores[index]
        return of_training(self.architecture, network, score, self.scores, self.vocabulary)

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import of_retraining

        return of_retraining(self)


def train(
    what: str | Path | Architecture | SearchResult,
    data: Any = None,
    *,
    test: Any = None,
    classes: int | None = None,
    transfer: bool = False,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> TrainResult:
    """Retrain an architecture from scratch, once a seed, and test each final network once.

    `what`: a search result, an architecture, a published name such as "DARTS_V2", a JSON file
    or a run folder; `data`: as for `search`, with a test part (default: the data of the run
    folder, else "digits"); `transfer`: the data may have other classes than those of the search,
    which are refused without it; each score notes the search's data as "transferred_from";
    `callbacks`: hear of every retraining; `options`: any field of
    `archgrad.config.TrainConfig` or `archgrad.config.DataConfig`, as `epochs=20, seeds=1`, or
    `recipe="darts-cifar10"`: the options of a paper (`archgrad.recipes`), which others override.
    Retrainings run one after the other.
    """
    architecture = retrainable(what)
    sections = sections_of(options, TRAIN, data)
    if data is None:
        sections["data"] = {**from_first(lambda: data_of(what)), **sections["data"]}
    elif isinstance(what, SearchResult):  # else signals would be taken for images of one channel
        sections["data"].setdefault("dims", getattr(what.space, "dims", 2) or 2)  # of text 0
    config = configuration.build(sections, space=architecture.space)
    assert config.train is not None
    loaded, augmentation = prepare_data(config.data, data, test=test, classes=classes)
    origin = transferred_from(what, loaded, transfer)
    space = retraining_space(config.train, loaded, architecture.space)
    if isinstance(what, SearchResult) and fits(what.space, loaded):
        space = retrained(what.space, config.train)
    check(space, architecture, config.train, loaded, augmentation)
    jobs = retrainings("found", architecture, space, config.train, transferred_from=origin)
    heard = Callbacks(callbacks)
    done = [retrain(j, loaded, augmentation=augmentation, callback=heard) for j in jobs]
    vocabulary = loaded.classes if loaded.of_text else None
    scores, networks = [score for score, _ in done], [network for _, network in done]
    return TrainResult(architecture, scores, networks, vocabulary)


def retrainable(what: str | Path | Architecture | SearchResult) -> Architecture:
    """The architecture of `what`, refused where it is of an own model."""
    architecture = what.architecture if isinstance(what, SearchResult) else resolve(what)
    if architecture.space == OWN:
        raise ArchgradError(
            "an architecture of an own model is not retrained here; train result.derive(), or "
            "archgrad.build(factory, architecture), with your own code"
        )
    return architecture


def export(
    what: str | Path | TrainResult | nn.Module,
    format: str = "source",
    out: str | Path | None = None,
    *,
    seed: int | None = None,
    example: Any = None,
) -> Exported:
    """Write a trained network to files that need no archgrad; each export is checked at once.

    `what`: the folder of a main job or of a retraining, a `TrainResult`, or any module, which is
    exported with inputs like `example`: a tensor, a tuple of inputs (tensors, or structures of
    them), or a dict of inputs by name, the batch first in every tensor; `format`:
    "source" (one readable Python file and its weights; not for a module), "onnx", "torch"
    (torch.export) or "safetensors" (weights beside a JSON file); `out`: the folder to write to
    (default: the run folder, where an earlier export is replaced); `seed`: of the retraining
    (default: the first). Batches of any size can be given to the export.

    Raises `ArchgradError` where the outputs differ from the network's own by more than 1e-6 (onnx:
    1e-4) of max(1, largest output), booleans and integers at all, and keeps nothing.
    """
    if isinstance(what, nn.Module):
        subject = own_subject(what, example)
    elif isinstance(what, TrainResult):
        subject = subject_of(what.trained(seed))
    elif isinstance(what, str | Path):
        subject = subject_of(of_folder(what, seed))
        if out is None:
            return export_to(subject, format, Path(what), replace=True)
    else:
        raise ArchgradError(
            f"found a {type(what).__name__}, expected a run folder, what archgrad.train returned, "
            "or a module"
        )
    if out is None:
        raise ArchgradError("found no folder to write to; give one as out=")
    return export_to(subject, format, Path(out))


def data_of(what: str | Path | Architecture | SearchResult) -> dict[str, Any]:
    """The data options of the search that `what` is the result of; none for a bare cell."""
    if isinstance(what, SearchResult):
        if what.path is None:
            raise ArchgradError("this search has no run folder; say on which data to train")
        what = what.path
    if isinstance(what, Architecture):
        return {}
    folder = Path(what) if Path(what).is_dir() else Path(what).parent
    if folder == Path() or not (folder / "config.yaml").is_file():
        return {}
    config = Run.open(folder).config.data
    if config.data == OWN:
        raise came_from_python("data")
    return {"data": config.data, **config.model_dump(exclude_defaults=True)}

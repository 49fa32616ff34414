"""The verbs in Python, the same as on the command line: run, search, train, export, ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from archgrad.architecture import Architecture, resolve
from archgrad.baselines import BASELINES
from archgrad.errors import ArchgradError
from archgrad.exporting.formats import Exported, export_to
from archgrad.exporting.subjects import own_subject, subject_of
from archgrad.exporting.trained import TrainResult, of_folder
from archgrad.parts.method import Method
from archgrad.preparing.prepared import (
    fits,
    prepare,
    prepare_data,
    retraining_space,
    search_method,
    section,
)
from archgrad.reporting.ending import leave_report
from archgrad.resources.budget import Limit, kept
from archgrad.resources.planning import Plan
from archgrad.retraining.scratch import check, retrain, retrainings
from archgrad.retraining.sizing import retrained
from archgrad.retraining.transfer import transferred_from
from archgrad.searching.callbacks import Callback, Callbacks
from archgrad.searching.result import SearchResult
from archgrad.settings import config as configuration
from archgrad.settings.config import OWN
from archgrad.spaces import SPACES, SearchSpace
from archgrad.spaces.own import OwnModel
from archgrad.storage.folder import Run, free_folder
from archgrad.system.distributed import from_first, world
from archgrad.task import Task
from archgrad.tensors.trees import describe
from archgrad.verbs import deriving
from archgrad.verbs.arguments import (
    TRAIN,
    beginning,
    data_of,
    resumed,
    retrainable,
    sections_of,
    sections_with_training,
)

if TYPE_CHECKING:
    from archgrad.verbs.experiment import Report


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

    - `space`: a name (default "darts-cnn"), a space for the shape of the data, or an own model with
      `archgrad.Choice` modules, which is copied and trained along.
    - `data`: a name as on the command line (default "digits"), arrays (x, y) or (x, y, x_test,
      y_test) with x (N, C, H, W) or (N, H, W, C), a Dataset, a DataLoader (with a DataLoader as
      `valid`), or an `archgrad.data.Data`.
    - `method`: a name (default "darts"), an `archgrad.Method`, or the name of a baseline.
    - `train`: of an own model, in place of `data`: a tuple of arrays, a Dataset or a loader of
      batches; `valid`: what alpha learns from, of the same kind; without it arrays and a Dataset
      are cut in two.
    - `loss(output, target)`, `metric(output, target)`: of an own model: a scalar tensor, and a
      number, higher is better; without both, cross-entropy and accuracy.
    - `forward(model, batch)`: of an own model: output and target of a batch that is not (input,
      target).
    - `classes`: how many there are, where the training labels do not tell.
    - `out`: a new run folder (None: nothing is written); `resume`: one to continue, with every
      option as it was.
    - `callbacks`: hear of it as it goes, each an `archgrad.Callback` (docs/callbacks.md).
    - `options`: any field of `archgrad.settings.config.SearchConfig` or
      `archgrad.settings.data_config.DataConfig`, as `epochs=5`, or `dims=1` for signals (N,
      channels, length), `dims=3` for volumes.

    Returns an `archgrad.SearchResult`; of an own model `result.derive()` is the model with what was
    chosen in place of its choices. Raises `ArchgradError` for wrong input, before anything is
    written, and `Diverged` when a loss is not finite.

    >>> import archgrad
    >>> size = {"space": "nas-bench-201", "channels": 2, "cells": 1}
    >>> small = {"subset": 40, "batch_size": 10, "epochs": 1, "guard": "off"}
    >>> result = archgrad.search(data="digits", **size, **small)
    >>> [cell.name for cell in result.architecture.cells], result.alpha["cell"].shape
    (['cell'], torch.Size([6, 5]))

    The same of an own model:

    >>> import torch
    >>> x, y = torch.randn(16, 4), torch.arange(16) % 2
    >>> block = {"linear": torch.nn.Linear(4, 4), "skip": torch.nn.Identity()}
    >>> model = torch.nn.Sequential(archgrad.Choice(block, "block"), torch.nn.Linear(4, 2))
    >>> result = archgrad.search(model, train=(x, y), epochs=1, batch_size=4, guard="off")
    >>> result.derive()(x).shape
    torch.Size([16, 2])
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

    `factory`: a function that makes the model with its choices, such as its class; `architecture`:
    of that model. Plain PyTorch with the weights the factory gave it; those of `result.derive()`
    fit into it: `build(factory, architecture).load_state_dict(...)`. Raises `ArchgradError` for a
    factory that is a model or makes none, and for an architecture of another model.

    >>> import archgrad
    >>> from torch import nn
    >>> def factory():
    ...     block = {"linear": nn.Linear(4, 4), "skip": nn.Identity()}
    ...     return nn.Sequential(archgrad.Choice(block, "block"), nn.Linear(4, 2))
    >>> nodes = ((("skip", 0),),)
    >>> cell = archgrad.Cell(name="block", inputs=1, nodes=nodes, output=(1,))
    >>> archgrad.build(factory, archgrad.Architecture(space="own", cells=(cell,)))
    Sequential(
      (0): Identity()
      (1): Linear(in_features=4, out_features=2, bias=True)
    )
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
    and torch's random state stays as it is; how it is estimated: `archgrad.resources.planning`.

    >>> import archgrad
    >>> size = {"space": "nas-bench-201", "channels": 2, "cells": 1}
    >>> small = {"subset": 40, "batch_size": 10, "epochs": 3, "guard": "off"}
    >>> needed = archgrad.plan(data="digits", **size, **small)
    >>> needed.epochs, needed.steps, needed.memory_mb > 0
    (3, 2, True)
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
    """The main job: search, retrain, test, and compare with random cells.

    - `data`, `space`, `method`, `valid`, `classes`: as for `search`.
    - `test`: the test part of data from Python, of the same kind as `data`.
    - `random_cells`: how many to compare with, at least 2 (default 3).
    - `out`: the run folder (default: a new one under runs/), where report.html shows it all;
      `resume`: one to continue.
    - `callbacks`: hear of the search, not of the retrainings.
    - `options`: as for `search`; those of the retraining have the prefix `train_`, as
      `train_epochs=20`.

    Returns an `archgrad.verbs.experiment.Report`: the search, the scores of every network by label
    and seed, and what is to be said of the found cell beside the random ones. Raises
    `ArchgradError` for wrong input, before a folder is made, and `Diverged` when a loss is not
    finite.
    """
    from archgrad.verbs.experiment import main_job, prepare_main_job

    own = {"space": space, "data": data, "method": method, "valid": valid, "test": test}
    heard, first = Callbacks(callbacks), world().first
    folder: Run | None
    if resume is not None:
        extra = options if random_cells is None else {**options, "random_cells": random_cells}
        folder = resumed(resume, extra, out)
        job = prepare_main_job(folder.config, **own, classes=classes)
    else:
        sections = sections_with_training(options, data, space, method)
        cells = 3 if random_cells is None else random_cells
        config = configuration.build(sections, random_cells=cells)
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

    - `folder`: the run folder of the search; `epoch`: None for the last.
    - `rule`: "strongest", "skip_limit" or "threshold" in place of the method's own, or
      "perturbation": from the trained supernet itself (arXiv:2108.04392); it takes the last epoch
      and needs the data of the search.
    - `tuning_epochs`: epochs of training between two decisions of the rule "perturbation".
    - `data`: those of the search, for the rule "perturbation", where they came from Python.

    Of an own model or space the architecture is read from the folder, without it; a method that
    came from Python is not in the folder, and such a run is refused. Raises `ArchgradError` for
    that, for an epoch that is not there, and for a rule that the search does not allow.

    >>> import archgrad
    >>> size = {"space": "nas-bench-201", "channels": 2, "cells": 1, "subset": 40, "batch_size": 10}
    >>> result = archgrad.search(data="digits", epochs=2, guard="off", out="runs/first", **size)
    >>> archgrad.derive("runs/first") == result.architecture
    True
    >>> archgrad.derive("runs/first", epoch=1).space
    'nas-bench-201'
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

    - `what`: a search result, an architecture, a published name such as "DARTS_V2", a JSON file or
      a run folder.
    - `data`: as for `search`, with a test part (default: the data of the run folder, else
      "digits").
    - `test`: the test part of data from Python, of the same kind as `data`; `classes`: as for
      `search`.
    - `transfer`: the data may have other classes than those of the search, which are refused
      without it; each score notes the search's data as "transferred_from".
    - `callbacks`: hear of every retraining.
    - `options`: any field of `archgrad.settings.train_config.TrainConfig` or
      `archgrad.settings.data_config.DataConfig`, as `epochs=20, seeds=1`, or
      `recipe="darts-cifar10"`: the options of a paper (`archgrad.settings.recipes`), which others
      override.

    Retrainings run one after the other. Raises `ArchgradError` for wrong input, for data without a
    test part and for an architecture of an own model, and `Diverged` when a loss is not finite.

    >>> import archgrad
    >>> small = {"subset": 40, "batch_size": 20, "epochs": 1, "channels": 2, "cells": 3}
    >>> trained = archgrad.train("DARTS_V2", "digits", seeds=2, **small)
    >>> len(trained.networks), all(0 <= accuracy <= 1 for accuracy in trained.accuracies)
    (2, True)
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
    searched = what.space if isinstance(what, SearchResult) and fits(what.space, loaded) else None
    if searched is None or architecture.space in SPACES:  # which refuses what does not go with it
        space = retraining_space(config.train, loaded, architecture.space)
    if searched is not None:
        space = retrained(searched, config.train)
    check(space, architecture, config.train, loaded, augmentation)
    jobs = retrainings("found", architecture, space, config.train, transferred_from=origin)
    heard = Callbacks(callbacks)
    done = [retrain(j, loaded, augmentation=augmentation, callback=heard) for j in jobs]
    vocabulary = loaded.classes if loaded.of_text else None
    scores, networks = [score for score, _ in done], [network for _, network in done]
    return TrainResult(architecture, scores, networks, vocabulary)


def export(
    what: str | Path | TrainResult | nn.Module,
    format: str = "source",
    out: str | Path | None = None,
    *,
    seed: int | None = None,
    example: Any = None,
) -> Exported:
    """Write a trained network to files that need no archgrad; each export is checked at once.

    - `what`: the folder of a main job or of a retraining, an `archgrad.TrainResult`, or any module,
      which is exported with inputs like `example`.
    - `format`: "source" (one readable Python file and its weights; not for a module), "onnx",
      "torch" (torch.export) or "safetensors" (weights beside a JSON file).
    - `out`: the folder to write to (default: the run folder, where an earlier export is replaced).
    - `seed`: of the retraining (default: the first).
    - `example`: of a module: a tensor, a tuple of inputs (tensors, or structures of them), or a
      dict of inputs by name, the batch first in every tensor.

    Batches of any size can be given to the export. Raises `ArchgradError` where the outputs differ
    from the network's own by more than 1e-6 (onnx: 1e-4) of max(1, largest output), booleans and
    integers at all, and keeps nothing; and where the package that a format needs is not installed.

    >>> import archgrad, torch
    >>> network = torch.nn.Linear(4, 2)
    >>> made = archgrad.export(network, "safetensors", "exported", example=torch.randn(3, 4))
    >>> [file.name for file in made.files], made.difference
    (['weights.safetensors', 'model.json'], 0.0)
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

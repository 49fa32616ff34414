"""The verbs `search` and `plan`: a search, and what it will need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from archgrad.parts.method import Method
from archgrad.reporting.ending import leave_report
from archgrad.resources.planning import Plan
from archgrad.searching.callbacks import Callback, Callbacks
from archgrad.searching.result import SearchResult
from archgrad.settings import config as configuration
from archgrad.spaces import SearchSpace
from archgrad.storage.folder import Run
from archgrad.system.distributed import world
from archgrad.task import Task
from archgrad.verbs.arguments import (
    beginning,
    resumed,
)

if TYPE_CHECKING:
    pass


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
      `archgrad.settings.data_config.DataConfig`, as `epochs=5`, or `dims=1` for signals
      (N, channels, length), `dims=3` for volumes.

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

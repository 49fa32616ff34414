"""The verb `run`: the main job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archgrad.parts.method import Method
from archgrad.reporting.ending import leave_report
from archgrad.searching.callbacks import Callback, Callbacks
from archgrad.settings import config as configuration
from archgrad.spaces import SearchSpace
from archgrad.storage.folder import Run, free_folder
from archgrad.system.distributed import world
from archgrad.verbs.arguments import (
    resumed,
    sections_with_training,
)

if TYPE_CHECKING:
    from archgrad.verbs.experiment import Report


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

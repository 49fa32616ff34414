"""The command `archgrad train`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from archgrad import measure
from archgrad.errors import ArchgradError
from archgrad.progress.options import Given, with_options
from archgrad.progress.terminal import (
    AsJson,
    Config,
    Out,
    Quiet,
    Resume,
    Tensorboard,
    Watch,
    print_result,
    refuse_options,
    reported,
    table,
)
from archgrad.settings import config as configuration
from archgrad.settings.config import RunConfig
from archgrad.settings.data_config import DataConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.system.interruption import continue_with

if TYPE_CHECKING:
    from archgrad.architecture import Architecture
    from archgrad.data import Augmentation, Data
    from archgrad.spaces import SearchSpace
    from archgrad.storage.folder import Run

Prepared: TypeAlias = "tuple[RunConfig, Architecture, SearchSpace]"


@with_options({"data": (DataConfig, ""), "train": (TrainConfig, "")})
def train_command(
    given: Given,
    what: Annotated[
        str | None,
        typer.Argument(help="a search's folder, a .json file or a published name (DARTS_V2)"),
    ] = None,
    out: Out = None,
    resume: Resume = None,
    config: Config = None,
    piece_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="stop at the end of an epoch where another would not end within this time of this "
            "call; continue with --resume [none]",
        ),
    ] = None,
    transfer: Annotated[
        bool, typer.Option("--transfer", help="the data may have other classes than the search")
    ] = False,
    watch: Watch = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    tensorboard: Tensorboard = False,
) -> None:
    """Retrain an architecture from scratch, and test it.

    --recipe takes the options of a paper.
    """
    import time

    from archgrad.cli import answers
    from archgrad.progress.session import session
    from archgrad.reporting.ending import leave_drawing
    from archgrad.retraining.processes import epochs_done, retrain_all
    from archgrad.retraining.scratch import Paused, retrainings
    from archgrad.storage.folder import Run, free_folder
    from archgrad.system.distributed import joined

    deadline = math.inf if piece_seconds is None else time.monotonic() + piece_seconds
    if (what is None) == (resume is None):
        raise ArchgradError(
            "give either what to retrain (a folder, a .json file or a published name such as "
            "DARTS_V2) or --resume FOLDER"
        )
    with joined() as world:
        if resume is not None:
            refuse_options(resume, given, out=out, config=config, transfer=transfer or None)
            continue_with("train", (folder := Run.open(resume)).path)
            made, architecture, space = _resumed(folder)
        else:
            assert what is not None
            made, architecture, space = _begun(what, given, config, transfer)
            if world.first:
                place = out or free_folder(made, f"train-{Path(str(what)).stem}")
                folder = Run.create(place, made, {"architecture.json": architecture.to_json()})
                continue_with("train", folder.path)
        assert made.train is not None
        path = folder.path if world.first else None
        jobs = retrainings("found", architecture, space, made.train, path, made.transferred_from)
        if not world.first:
            with suppress(Paused):
                list(retrain_all(jobs, made.data, deadline=deadline))
            return
        total = sum(job.config.epochs for job in jobs)
        seen = {"quiet": quiet, "watch": watch, "tensorboard": tensorboard}
        with session(folder, **seen) as (display, _), folder.working():
            leave_drawing(architecture, folder.path)
            try:
                scores = list(retrain_all(jobs, made.data, None, display.retraining, deadline))
            except Paused:
                scores = []
    done = epochs_done(jobs)
    scores.sort(key=lambda score: score["seed"])
    value = answers.train(folder.path, done, total, scores)
    if not scores:
        words = (
            f"paused after {done} of {total} epochs; continue with: archgrad train --resume "
            f"{folder.path} --piece-seconds {piece_seconds:g}"
        )
        print_result({**value, "report": None}, words, as_json)
        return
    cost = f"{scores[0]['parameters']:,} parameters, {scores[0]['multiply_adds']:,} multiply-adds"
    told = [f"{cost}; everything is in {folder.path}"]
    value, line = reported(folder.path, value)
    print_result(value, table(_rows(scores)), as_json)
    if not as_json:
        print_result({}, "\n".join([*told, *line]), False)


def _resumed(folder: Run) -> Prepared:
    """What a folder goes on with."""
    from archgrad.architecture import Architecture
    from archgrad.retraining.scratch import load_data

    made, architecture = folder.config, Architecture.load(folder.path / "architecture.json")
    return made, architecture, _checked(made, architecture, *load_data(made.data))


def _begun(what: str, given: Given, config: Path | None, transfer: bool) -> Prepared:
    from archgrad.retraining.scratch import load_data
    from archgrad.retraining.transfer import transferred_from
    from archgrad.verbs.arguments import data_of, retrainable

    architecture = retrainable(what)
    if config is None and "data" not in given["data"]:
        given = {**given, "data": {**data_of(what), **given["data"]}}
    base = configuration.load(config) if config else None
    made = configuration.build(given, base, space=architecture.space)
    data, augmentation = load_data(made.data)
    origin = transferred_from(what, data, transfer)
    space = _checked(made, architecture, data, augmentation)
    return made.model_copy(update={"transferred_from": origin}), architecture, space


def _checked(
    made: RunConfig, architecture: Architecture, data: Data, augmentation: Augmentation
) -> SearchSpace:
    """The space at the size of the retraining."""
    from archgrad.preparing.prepared import retraining_space
    from archgrad.retraining.scratch import check

    if made.train is None:
        raise ArchgradError("this folder holds no retraining; give one that train wrote")
    space = retraining_space(made.train, data, architecture.space)
    check(space, architecture, made.train, data, augmentation)
    return space


def _rows(scores: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Of retrainings, header first."""
    judge = measure.of(scores[0])
    rows = [["seed", f"test {judge.title}", "test loss", "training loss", "seconds"]]
    for s in scores:
        shown, loss = judge.shown(s[judge.name]), f"{s['loss']:.4f}"
        rows.append([str(s["seed"]), shown, loss, f"{s['train_loss']:.4f}", f"{s['seconds']}"])
    return rows

"""The command line: parse, call, print. torch is imported by the commands that need it."""

from __future__ import annotations

import inspect
import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from archgrad import config as configuration
from archgrad.config import DataConfig, RunConfig, SearchConfig, TrainConfig
from archgrad.errors import ArchgradError
from archgrad.options import Given, with_options

if TYPE_CHECKING:
    from archgrad.run import Run

app = typer.Typer(
    name="archgrad",
    help="Gradient-based neural architecture search for PyTorch. Begin with: archgrad run. "
    "Defaults stand in brackets; where a data set has its own, it is named there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its markup would swallow the brackets of the defaults
)
Out = Annotated[Path | None, typer.Option(help="new folder for the results [runs/...]")]
Resume = Annotated[
    Path | None, typer.Option(help="continue the run in this folder, with its options")
]
Config = Annotated[
    Path | None, typer.Option(help="take the options from this config.yaml; others override it")
]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; wrong input ends with one line and status 2."""
    try:
        app(args=arguments)
    except ArchgradError as error:
        typer.echo(f"archgrad: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        typer.echo(f"archgrad: {error.strerror or error}:{where}", err=True)
        sys.exit(2)


@app.command("run")
@with_options(
    {"data": (DataConfig, ""), "search": (SearchConfig, ""), "train": (TrainConfig, "train-")}
)
def run_command(
    given: Given,
    out: Out = None,
    resume: Resume = None,
    config: Config = None,
    random_cells: Annotated[
        int | None, typer.Option(min=2, help="random cells to compare with [3]")
    ] = None,
) -> None:
    """Search, retrain from scratch, test, and compare with random cells: the main job."""
    from archgrad.display import Display
    from archgrad.experiment import check_main_job, main_job, rows, verdict
    from archgrad.run import write

    extra = {} if random_cells is None else {"random_cells": random_cells}

    def build(base: RunConfig | None) -> RunConfig:
        cells = random_cells or (base.random_cells if base else None) or 3
        return configuration.build(given, base, random_cells=cells)

    folder = _folder(given, out, resume, config, build, check_main_job, extra)
    with Display(folder) as display, _interruptible("run", folder):
        report = main_job(folder, display, display.searched, display.retrained)
    plain = Console(file=io.StringIO(), width=120, highlight=False)
    for console in (Console(file=sys.stdout, highlight=False), plain):
        console.print(_table(rows(report)))
        for sentence in verdict(report):
            console.print(sentence, soft_wrap=True)
    write(folder.path / "summary.txt", plain.file.getvalue())  # type: ignore[attr-defined]
    typer.echo(f"everything is in {folder.path}")


@app.command("search")
@with_options({"data": (DataConfig, ""), "search": (SearchConfig, "")})
def search_command(
    given: Given, out: Out = None, resume: Resume = None, config: Config = None
) -> None:
    """Search an architecture and draw its cells."""
    from archgrad.api import prepare
    from archgrad.display import Display
    from archgrad.report.cells import save_drawing

    folder = _folder(
        given, out, resume, config, lambda base: configuration.build(given, base), prepare
    )
    with Display(folder) as display, _interruptible("search", folder):
        result = prepare(folder.config).search(folder, display)
    save_drawing(result.architecture, folder.path)
    typer.echo(str(result.architecture))
    typer.echo(f"everything is in {folder.path}")
    typer.echo(f"next: archgrad train {folder.path}")


@app.command("derive")
def derive_command(
    run: Annotated[Path, typer.Argument(help="folder of a search")],
    epoch: Annotated[
        int | None, typer.Option(min=1, help="derive from the alpha of this epoch [the last]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="write the architecture to this new JSON file [print it]")
    ] = None,
) -> None:
    """Derive the architecture of any epoch of a search."""
    from archgrad.api import search_method, search_space
    from archgrad.bilevel import derive
    from archgrad.retraining import load_data
    from archgrad.run import Run, write

    folder = Run.open(run)
    if folder.config.search is None:
        raise ArchgradError(f"folder {run} holds no search; give the folder of archgrad search")
    if out is not None and out.exists():
        raise ArchgradError(f"file {out} already exists; choose another --out")
    data, _ = load_data(folder.config.data)
    space = search_space(folder.config.search, data)
    architecture = derive(folder, space, search_method(folder.config.search), epoch)
    if out is None:
        typer.echo(architecture.to_json(), nl=False)
    else:
        write(out, architecture.to_json())
        typer.echo(str(architecture))


@app.command("train")
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
) -> None:
    """Retrain an architecture from scratch and test it."""
    from archgrad.api import data_of, retraining_space, retrainings
    from archgrad.architecture import Architecture, resolve
    from archgrad.display import Display
    from archgrad.report.cells import save_drawing
    from archgrad.retraining import Retraining, check, load_data, retrain_all
    from archgrad.run import write

    if (what is None) == (resume is None):
        raise ArchgradError(
            "give either what to retrain (a folder, a .json file or a published name such as "
            "DARTS_V2) or --resume FOLDER"
        )
    if what is not None and config is None and "data" not in given["data"]:
        given = {**given, "data": {**data_of(what), **given["data"]}}
    architecture = resolve(what) if what is not None else None

    def build(base: RunConfig | None) -> RunConfig:
        return configuration.build(given, base)

    def jobs_of(made: RunConfig, path: Path | None = None) -> list[Retraining]:
        if made.train is None:
            raise ArchgradError("this folder holds no retraining; give one that train wrote")
        cell = architecture or Architecture.load(str(path) + "/architecture.json")
        data, augmentation = load_data(made.data)
        space = retraining_space(made.train, data, cell.space)
        check(space, cell, made.train, data, augmentation)
        return retrainings("found", cell, space, made.train, path)

    name = f"train-{Path(what).stem}" if what else None
    folder = _folder(given, out, resume, config, build, jobs_of, name=name)
    if architecture is not None:
        write(folder.path / "architecture.json", architecture.to_json())
        save_drawing(architecture, folder.path)
    jobs = jobs_of(folder.config, folder.path)
    scores = []
    with Display(folder) as display, _interruptible("train", folder):
        for score in retrain_all(jobs, folder.config.data):
            scores.append(score)
            display.retrained(len(scores), len(jobs))
    scores.sort(key=lambda score: score["seed"])
    table = [["seed", "test accuracy, %", "test loss", "training loss", "seconds"]]
    for s in scores:
        table.append(
            [
                str(s["seed"]),
                f"{100 * s['accuracy']:.2f}",
                f"{s['loss']:.4f}",
                f"{s['train_loss']:.4f}",
                f"{s['seconds']:.1f}",
            ]
        )
    Console(file=sys.stdout).print(_table(table))
    typer.echo(
        f"{scores[0]['parameters']:,} parameters, {scores[0]['multiply_adds']:,} multiply-adds; "
        f"everything is in {folder.path}"
    )


@app.command("methods")
def methods_command() -> None:
    """List the methods: which part each puts in each slot, and its paper."""
    from archgrad.methods import RECIPES

    table = [["method", *RECIPES["darts"]().slots()]]
    table += [[name, *recipe().slots().values()] for name, recipe in RECIPES.items()]
    Console(file=sys.stdout).print(_table(table))
    typer.echo()
    for name, recipe in RECIPES.items():
        knobs = inspect.signature(recipe).parameters.values()
        options = ", ".join(f"{knob.name}={knob.default}" for knob in knobs)
        typer.echo(f"{name}: {(recipe.__doc__ or '').strip().splitlines()[0]}")
        typer.echo(f"  options: {options}")


@app.command("spaces")
def spaces_command() -> None:
    """List the search spaces."""
    from archgrad.spaces import SPACES

    table = [["space", "what"]]
    for name, space in SPACES.items():
        module = sys.modules[space.__module__]
        table.append([name, (module.__doc__ or "").strip().split("\n")[0]])
    Console(file=sys.stdout).print(_table(table))


@app.command("data")
def data_command() -> None:
    """List the data sets and the forms in which they are read."""
    from archgrad.data import DATASETS

    rows = [["data", "what"], *([name, what] for name, what in DATASETS.items())]
    Console(file=sys.stdout).print(_table(rows))


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False,
) -> None:
    if version:
        from archgrad import __version__

        typer.echo(f"archgrad {__version__}")
        raise typer.Exit


def _folder(
    given: Given,
    out: Path | None,
    resume: Path | None,
    config: Path | None,
    build: Callable[[RunConfig | None], RunConfig],
    check: Callable[[RunConfig], object],
    extra: dict[str, Any] | None = None,
    name: str | None = None,
) -> Run:
    """The run folder of a command: resumed, or new once its options have passed ``check``."""
    from archgrad.run import Run

    if resume is not None:
        changed = [f for section in given.values() for f in section] + list(extra or {})
        changed += ["out"] if out else []
        changed += ["config"] if config else []
        if changed:
            raise ArchgradError(
                f"a resumed run keeps its options; leave out {', '.join(changed)}, or begin a new "
                f"run from its options with --config {resume / 'config.yaml'}"
            )
        return Run.open(resume)
    made = build(configuration.load(config) if config else None)
    check(made)
    return Run.create(out or _free_folder(made, name), made)


def _free_folder(config: RunConfig, name: str | None) -> Path:
    """The first folder runs/NAME-N that does not exist."""
    data = re.split(r"[:/\\]", config.data.data)[0]
    stem = name or f"{data}-{config.search.method if config.search else 'train'}"
    return next(p for i in range(10**6) if not (p := Path("runs") / f"{stem}-{i}").exists())


@contextmanager
def _interruptible(command: str, folder: Run) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(
            f"archgrad: interrupted; continue with: archgrad {command} --resume {folder.path}",
            err=True,
        )
        raise typer.Exit(130) from None


def _table(rows: list[list[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column, no_wrap=column not in ("paper", "what"))
    for row in rows[1:]:
        table.add_row(*row)
    return table

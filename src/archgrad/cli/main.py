"""The command line: parse, call, print. torch is imported by the commands that need it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from archgrad.cli.compare import compare_command
from archgrad.cli.convert import convert_command
from archgrad.cli.listing import data_command, methods_command, recipes_command, spaces_command
from archgrad.cli.report import report_command
from archgrad.cli.sweep import sweep_command
from archgrad.cli.train import train_command
from archgrad.errors import ArchgradError, out_of_memory, reason, stored, unwritable
from archgrad.progress.options import Given, Grouped, with_options
from archgrad.progress.terminal import (
    AsJson,
    Config,
    Out,
    Quiet,
    Resume,
    Tensorboard,
    Watch,
    console,
    print_result,
    refuse_options,
    reported,
    tell,
)
from archgrad.settings import config as configuration
from archgrad.settings.config import SearchConfig
from archgrad.settings.data_config import DataConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.system import interruption
from archgrad.system.interruption import continue_with
from archgrad.system.launch import refuse_others

app = typer.Typer(
    name="archgrad",
    help="Gradient-based neural architecture search for PyTorch. Begin with: archgrad run. "
    "Defaults stand in brackets; where a data set has its own, it is named there.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its markup would swallow the brackets of the defaults
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; wrong input ends with one line and status 2."""
    interruption.begin()
    try:
        refuse_others(sys.argv[1:] if arguments is None else arguments)
        app(args=arguments)
    except ArchgradError as error:
        tell(f"archgrad: {error}")
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        tell(
            f"archgrad: out of memory ({reason(error)}); try fewer channels or cells, a smaller "
            "batch or smaller images"
        )
        sys.exit(2)
    except OSError as error:
        told, again = stored(error), interruption.again()
        if unwritable(error) and again is not None:
            told += f"; what was finished is kept, so then go on with: {again}"
        tell(f"archgrad: {told}")
        sys.exit(2)


@app.command("run", cls=Grouped)
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
    watch: Watch = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    tensorboard: Tensorboard = False,
) -> None:
    """Search, retrain, test, and compare with random cells.

    The main job: every network is trained from scratch, and the test part is read once, at the end.
    """
    from archgrad.cli import answers
    from archgrad.progress.session import session
    from archgrad.storage.folder import Run, free_folder
    from archgrad.system.distributed import joined
    from archgrad.verbs.experiment import main_job, prepare_main_job, summary

    with joined() as world:
        if resume is not None:
            refuse_options(resume, given, out=out, config=config, random_cells=random_cells)
            continue_with("run", (folder := Run.open(resume)).path)
            job = prepare_main_job(folder.config)
        else:
            base = configuration.load(config) if config else None
            cells = random_cells or (base.random_cells if base else None) or 3
            job = prepare_main_job(configuration.build(given, base, random_cells=cells))
        if not world.first:
            main_job(None, job)
            return
        if resume is None:
            made = job.search.config
            continue_with("run", (folder := Run.create(out or free_folder(made), made)).path)
        seen = {"quiet": quiet, "watch": watch, "tensorboard": tensorboard}
        with session(folder, **seen) as (display, callback):
            report = main_job(folder, job, callback, display.searched, display.retraining)
    told = [summary(report), f"everything is in {folder.path}"]
    value, line = reported(folder.path, answers.main_job(report, folder.path))
    print_result(value, "\n".join([*told, *line]), as_json)


@app.command("plan", cls=Grouped)
@with_options({"data": (DataConfig, ""), "search": (SearchConfig, "")})
def plan_command(
    given: Given,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Measure a few steps: memory and time that a search needs.

    And where it needs more memory than there is, what would fit.
    """
    from archgrad.preparing.prepared import prepare
    from archgrad.resources.planning import summary
    from archgrad.system.allocation import keep_freed_memory

    base = configuration.load(config) if config else None
    prepared = prepare(configuration.build(given, base))
    keep_freed_memory()  # as the search will
    found = prepared.plan()
    print_result(found, summary(found), as_json)


@app.command("measure-latency", cls=Grouped)
@with_options({"data": (DataConfig, ""), "search": (SearchConfig, "")})
def measure_latency_command(
    given: Given,
    out: Annotated[Path, typer.Option(help="write the table to this new JSON file")],
    batch: Annotated[int, typer.Option(min=1, help="images a call")] = 1,
    config: Config = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Time every candidate of a space here, for --max-latency.

    At every place, on this device.
    Options as those of the search: space, channels, cells, data, device and threads say what is
    timed, the others nothing. With the config of a main job: at the size of its retraining.
    """
    import json

    from archgrad.costing.latency import measure_latency, summary
    from archgrad.preparing.prepared import timed_space
    from archgrad.resources.budget import range_of
    from archgrad.storage.files import write

    if out.exists():
        raise ArchgradError(f"file {out} already exists; choose another --out")
    made = configuration.build(given, configuration.load(config) if config else None)
    space, search = timed_space(made)
    told = console(sys.stderr, quiet)
    say = lambda text: told.print(text, soft_wrap=True, markup=False)  # noqa: E731
    table = measure_latency(
        space, device=search.device, batch=batch, threads=search.threads, tell=say
    )
    write(out, table.to_json())
    least, usual = range_of(table, space)
    limits = f"networks   {least:.4g} ms the cheapest, {usual:.4g} ms a random one, as predicted"
    limit = f"{(least + usual) / 2:.4g}ms"
    after = f"next: archgrad search ... --max-latency {limit} --latency-table {out}"
    value = {"path": out, **json.loads(table.to_json())}
    print_result(value, f"{summary(table)}\n{limits}\n{after}", as_json)


@app.command("search", cls=Grouped)
@with_options({"data": (DataConfig, ""), "search": (SearchConfig, "")})
def search_command(
    given: Given,
    out: Out = None,
    resume: Resume = None,
    config: Config = None,
    watch: Watch = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    tensorboard: Tensorboard = False,
) -> None:
    """Search an architecture and draw its cells.

    On several devices: torchrun --nproc-per-node N -m archgrad search ... divides every batch.
    """
    from archgrad.cli import answers
    from archgrad.preparing.prepared import prepare
    from archgrad.progress.session import session
    from archgrad.reporting.ending import leave_drawing
    from archgrad.resources.spending import shown
    from archgrad.storage.folder import Run, free_folder
    from archgrad.system.distributed import joined

    with joined() as world:
        if resume is not None:
            refuse_options(resume, given, out=out, config=config)
            continue_with("search", (folder := Run.open(resume)).path)
            prepared = prepare(folder.config)
        else:
            base = configuration.load(config) if config else None
            prepared = prepare(configuration.build(given, base))
        if not world.first:
            prepared.search()
            return
        if resume is None:
            folder = Run.create(out or free_folder(prepared.config), prepared.config)
            continue_with("search", folder.path)
        seen = {"quiet": quiet, "watch": watch, "tensorboard": tensorboard}
        with session(folder, **seen) as (_, callback):
            result = prepared.search(folder, callback)
    leave_drawing(result.architecture, folder.path, result.strength)
    told = [str(result.architecture)]
    told += [] if result.cost is None else [str(result.cost)]
    told += [shown(result.config, result.spent), f"everything is in {folder.path}"]
    value, line = reported(folder.path, answers.search(result, folder.path))
    told += [*line, f"next: archgrad train {shlex.quote(str(folder.path))}"]
    print_result(value, "\n".join(told), as_json)


@app.command("derive", cls=Grouped)
def derive_command(
    run: Annotated[Path, typer.Argument(help="folder of a search")],
    epoch: Annotated[
        int | None, typer.Option(min=1, help="derive from the alpha of this epoch [the last]")
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="strongest, skip_limit, threshold, or perturbation (tunes the supernet; "
            "arXiv:2108.04392) [the method's own]"
        ),
    ] = None,
    tuning_epochs: Annotated[
        int, typer.Option(min=0, help="of training between decisions, for rule perturbation")
    ] = 5,
    out: Annotated[
        Path | None, typer.Option(help="write the architecture to this new JSON file [print it]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Derive the architecture of any epoch of a search.

    By the rule of its method, or by another.
    """
    from archgrad.cli import answers
    from archgrad.storage.files import write
    from archgrad.verbs.derive import derive

    if out is not None and out.exists():
        raise ArchgradError(f"file {out} already exists; choose another --out")
    architecture = derive(run, epoch, rule=rule, tuning_epochs=tuning_epochs)
    if out is not None:
        write(out, architecture.to_json())
    told = architecture.to_json() if out is None else str(architecture)
    print_result(answers.derive(architecture, run, epoch, out), told, as_json)


app.command("train", cls=Grouped)(train_command)
app.command("compare", cls=Grouped)(compare_command)
app.command("sweep", cls=Grouped)(sweep_command)
app.command("report", cls=Grouped)(report_command)


@app.command("export", cls=Grouped)
def export_command(
    run: Annotated[Path, typer.Argument(help="folder of a main job or of a retraining")],
    format: Annotated[
        str, typer.Option(help="source (one Python file), onnx, torch or safetensors")
    ] = "source",
    seed: Annotated[int | None, typer.Option(help="of the retraining [the first]")] = None,
    out: Annotated[Path | None, typer.Option(help="folder to write to [RUN]")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained network to files that need no archgrad.

    They are loaded and compared with the network before the command ends.
    """
    from archgrad.verbs.export import export

    exported = export(run, format, out, seed=seed)
    print_result(exported, str(exported), as_json)


app.command("convert", cls=Grouped)(convert_command)
app.command("methods", cls=Grouped)(methods_command)
app.command("spaces", cls=Grouped)(spaces_command)
app.command("data", cls=Grouped)(data_command)
app.command("recipes", cls=Grouped)(recipes_command)


START = """\
archgrad {version}: gradient-based neural architecture search for PyTorch

  archgrad run                             search a cell on handwritten digits, retrain and test it
  archgrad run --data npz:FILE             the same on your images; archgrad data lists all forms
  archgrad.search(model, train=loader)     in Python: decide the choices in a model of your own

Each run leaves a folder with a page, report.html. For a first look in seconds: --epochs 1
--train-epochs 1. All commands: archgrad --help; options of one: archgrad run --help.
The documentation is in docs/ of the source, and begins with README.md.
"""


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False,
) -> None:
    from archgrad import __version__

    if version:
        typer.echo(f"archgrad {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(START.format(version=__version__), nl=False)

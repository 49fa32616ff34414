"""The command `archgrad sweep`."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from archgrad.progress.options import Given, with_options
from archgrad.progress.terminal import (
    AsJson,
    Config,
    Out,
    Quiet,
    Resume,
    console,
    print_result,
    tell,
)
from archgrad.settings import config as configuration
from archgrad.settings.config import SearchConfig
from archgrad.settings.data_config import DataConfig
from archgrad.settings.pool_config import SweepPool, checked
from archgrad.system.interruption import continue_with


@with_options({"data": (DataConfig, ""), "search": (SearchConfig, ""), "pool": (SweepPool, "")})
def sweep_command(
    given: Given,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="an option that varies and its values, as seed=0,1,2 or method_options.order=1,2; "
            "repeatable: every combination is a trial"
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="this many combinations alone, drawn with seed [none: all]"),
    ] = None,
    out: Out = None,
    resume: Resume = None,
    config: Config = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make many searches whose options vary, and sort them.

    By validation; the test part is not read. Each is a run folder under OUT/trials, for report,
    derive and train.
    Status 1 where searches failed: all others are done, and the table is written.
    """
    from archgrad.sweeping.engine import begun, opened, refuse_changes
    from archgrad.sweeping.grid import parsed
    from archgrad.sweeping.watching import Watching

    pool = checked(given.pop("pool"), SweepPool)
    if resume is not None:
        changed = [field for section in given.values() for field in section]
        others = {"vary": vary, "trials": trials, "out": out, "config": config}
        refuse_changes([*changed, *(name for name, value in others.items() if value)])
        sweep = opened(resume, pool=pool)
    else:
        base = configuration.load(config) if config else None
        sweep = begun(given, parsed(vary or []), trials=trials, out=out, pool=pool, base=base)
    continue_with("sweep", sweep.folder, page=False)
    watching = Watching(sweep, console(sys.stderr, quiet))
    results = sweep.run(watching.ended)
    value = {"path": sweep.folder, **results.as_value()}
    place = shlex.quote(str(sweep.folder))
    told = [str(results), *results.notes(sweep.methods), f"everything is in {sweep.folder}"]
    told.append(f"next: archgrad report {place}/trials/*")
    print_result(value, "\n".join(told), as_json)
    if results.failed:
        tell(
            f"{results.failed} of {len(results.rows)} searches failed; try them again with: "
            f"archgrad sweep --resume {place}"
        )
        raise typer.Exit(1)

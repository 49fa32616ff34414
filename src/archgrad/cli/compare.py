"""The command `archgrad compare`."""

from __future__ import annotations

import typer

from archgrad.progress.options import Given, with_options
from archgrad.progress.terminal import (
    AsJson,
    Out,
    Quiet,
    Resume,
    Watch,
    followed,
    print_result,
    reported,
    tell,
)
from archgrad.settings.compare_config import UNUSED, CompareConfig, RetrainingConfig
from archgrad.settings.config import SearchConfig
from archgrad.settings.data_config import DataConfig
from archgrad.settings.pool_config import PoolConfig, checked
from archgrad.system.interruption import continue_with


@with_options(
    {
        "compare": (CompareConfig, ""),
        "data": (DataConfig, ""),
        "search": (SearchConfig, ""),
        "train": (RetrainingConfig, "train-"),
        "pool": (PoolConfig, ""),
    },
    without=UNUSED,
)
def compare_command(
    given: Given,
    out: Out = None,
    resume: Resume = None,
    watch: Watch = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare methods and baselines under equal budgets.

    Several searches each, and one test at the end. Every search gets the same budget (default: what
    first-order DARTS with these options takes); its architecture is retrained briefly, judged on
    images that no search saw, retrained fully, and tested once everything else is done. Several
    data sets: --data digits,npz:FILE, with a budget. Status 1 where searches failed: all others are
    done, and results and tables written.
    """
    from archgrad.cli import answers
    from archgrad.comparing.engine import opened
    from archgrad.comparing.watching import Watching
    from archgrad.findings.writing import report
    from archgrad.verbs.compare import begun, refuse_changes

    pool = checked(given.pop("pool"), PoolConfig)
    if resume is not None:
        changed = [field for section in given.values() for field in section]
        refuse_changes([*changed, *([] if out is None else ["out"])])
        comparison = opened(resume, pool=pool)
    else:
        comparison = begun(given, out, pool=pool)
    continue_with("compare", comparison.folder)
    with (
        followed(comparison.folder, watch),
        Watching(comparison, quiet) as watching,
    ):
        results = comparison.run(watching.ended, watching.look)
    told = f"{report(results)}everything is in {comparison.folder}"
    value, line = reported(comparison.folder, answers.comparison(results, comparison.folder))
    print_result(value, "\n".join([told, *line]), as_json)
    if (failed := sum(entry.status == "failed" for entry in results.entries)) > 0:
        tell(
            f"{failed} of {len(results.entries)} searches failed; try them again with: archgrad "
            f"compare --resume {comparison.folder}"
        )
        raise typer.Exit(1)

"""The command `archgrad compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from archgrad.compare_config import UNUSED, CompareConfig, RetrainingConfig
from archgrad.config import DataConfig, SearchConfig
from archgrad.options import Given, with_options
from archgrad.reporting.ending import leave_report
from archgrad.terminal import Out, Resume, Watch, followed, interruptible, tell

if TYPE_CHECKING:
    from archgrad.comparing.jobs import Job


@with_options(
    {
        "compare": (CompareConfig, ""),
        "data": (DataConfig, ""),
        "search": (SearchConfig, ""),
        "train": (RetrainingConfig, "train-"),
    },
    without=UNUSED,
)
def compare_command(
    given: Given, out: Out = None, resume: Resume = None, watch: Watch = False
) -> None:
    """Compare methods and baselines: equal budgets, several searches each, one test at the end.

    Every search gets the same budget (default: what first-order DARTS with these options takes);
    its architecture is retrained briefly, judged on images that no search saw, retrained fully, and
    tested once everything else is done. Several data sets: --data digits,npz:FILE, with a budget.
    """
    from archgrad.comparing.engine import opened
    from archgrad.comparing.verb import begun, refuse_changes
    from archgrad.comparing.writing import report

    if resume is not None:
        changed = [field for section in given.values() for field in section]
        refuse_changes([*changed, *([] if out is None else ["out"])])
        comparison = opened(resume)
    else:
        comparison = begun(given, out)
    total = len(comparison.jobs)
    typer.echo(f"compare  {total} searches, each with its retrainings", err=True)
    with followed(comparison.folder, watch), interruptible("compare", comparison.folder):
        results = comparison.run(_tell)
    leave_report(comparison.folder, tell)
    typer.echo(report(results), nl=False)
    typer.echo(f"everything is in {comparison.folder}")
    if (failed := sum(entry.status == "failed" for entry in results.entries)) > 0:
        typer.echo(
            f"{failed} of {total} searches failed; try them again with: archgrad compare --resume "
            f"{comparison.folder}"
        )


def _tell(job: Job, done: int, total: int) -> None:
    failed = "" if job.done else ", failed"
    typer.echo(f"compare  {done}/{total}  {job.name}{failed}", err=True)

"""A comparison from its options to its results: jobs side by side, then one test of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

from archgrad.baselines import BASELINES
from archgrad.baselines.beginning import EVALUATIONS
from archgrad.compare_config import CompareConfig, ComparisonConfig
from archgrad.comparing.final import final_test
from archgrad.comparing.jobs import Finished, Job, conditions, worked
from archgrad.comparing.parts import Own, Parts, parts, with_test
from archgrad.comparing.results import Budget, Results, Settings
from archgrad.comparing.writing import files
from archgrad.config import RunConfig, SearchConfig
from archgrad.errors import ArchgradError, explain
from archgrad.folder import environment, write
from archgrad.prepared import checked, search_space, section
from archgrad.processes import parallel_jobs, side_by_side
from archgrad.retraining import check
from archgrad.sizing import retrained
from archgrad.spaces import SearchSpace
from archgrad.spending import amount, of_first_order

CONFIG, RESULTS = "comparison.yaml", "results.json"
Progress = Callable[[Job, int, int], None]


@dataclass(frozen=True)
class Comparison:
    """A comparison that has passed every check, in its folder."""

    config: ComparisonConfig
    folder: Path
    own: Own | None = None

    @property
    def jobs(self) -> list[Job]:
        """Every method with every seed on every data set."""
        compared = self.config.compare
        found = []
        for run in self.config.runs:
            search, train = section(run), run.train
            assert train is not None
            short = compared.short_epochs or max(1, train.epochs // 6)
            for seed in range(search.seed, search.seed + compared.seeds):
                of_seed = run.model_copy(
                    update={"search": search.model_copy(update={"seed": seed})}
                )
                name = "".join(c if c.isalnum() else "-" for c in run.data.data)
                place = self.folder / "searches" / name / search.method / f"seed-{seed}"
                found.append(
                    Job(of_seed, place, compared.selection_fraction, short, self.config.table)
                )
        return found

    def run(self, progress: Progress = lambda job, done, total: None) -> Results:
        """Do what is left to do, test what is done, and write results and tables."""
        jobs = self.jobs
        left = [job for job in jobs if not job.done]
        for job in self._worked(left):
            progress(job, sum(job.done for job in jobs), len(jobs))
        final_test(jobs, self.own)
        results = self.results()
        write(self.folder / RESULTS, results.to_json())
        for name, text in files(results).items():
            write(self.folder / name, text)
        return results

    def _worked(self, left: Sequence[Job]) -> Iterator[Job]:
        """The jobs as they end, side by side where the data can be loaded by other processes."""
        if (workers := self._workers(left)) == 1:
            yield from (worked(job, self.own) for job in left)
        else:
            calls = [(job, None) for job in left]
            yield from (future.result() for future in side_by_side(worked, calls, workers))

    def _workers(self, left: Sequence[Job]) -> int:
        if self.own is not None or not left:
            return 1
        wanted = self.config.compare.parallel or parallel_jobs(
            left[0].train.model_copy(update={"jobs": 0})
        )
        return min(wanted, len(left))

    def results(self) -> Results:
        """What is in the folder by now."""
        compared, jobs = self.config.compare, self.jobs
        first = section(self.config.runs[0])
        entries = []
        for _, group in groupby(jobs, key=lambda job: job.config.data):
            some = list(group)
            given = parts(some[0].config.data, self.own, compared.selection_fraction)
            equal = conditions(some[0], given)
            ended = (job for job in some if job.ended)
            entries += [Finished(job, given).entry(equal) for job in ended]
        return Results(
            settings=Settings(
                space=first.space,
                methods=compared.names,
                data=tuple(dict.fromkeys(run.data.data for run in self.config.runs)),
                seeds=tuple(range(first.seed, first.seed + compared.seeds)),
                guard=first.guard,
                table=None if self.config.table is None else Path(self.config.table).name,
                validation_apart=self.config.table is None,
                tuning=compared.tuning,
                options=self.config.model_dump(mode="json"),
            ),
            budget=_budget(self.config.runs),
            environment=(environment(first.device),),
            entries=tuple(entries),
        )


def prepare(
    compare: CompareConfig,
    bases: Sequence[RunConfig],
    folder: Path,
    own: Own | None = None,
) -> Comparison:
    """Refuse, before anything is written, what a job or the test would refuse later.

    ``bases``: one configuration a data set; the method of each is replaced by those compared.
    Every search gets the same budget: the one that is asked for, or what first-order DARTS with
    these options takes.
    """
    runs = []
    for base in bases:
        given = parts(base.data, own, compare.selection_fraction)
        with_test(base.data, own)
        search, train = section(base), base.train
        assert train is not None
        space = search_space(search, given.search)
        same = _same_budget(compare, search, space, given)
        for method in compare.names:
            mine = search.model_copy(update={**same, "method": method, "method_options": {}})
            if method not in BASELINES:
                mine = mine.model_copy(update={"child_epochs": None})
            config = base.model_copy(update={"search": mine})
            ready = checked(config, given.search, given.augmentation, space, None)
            runs.append(ready.config)
        if search.table is None:
            drawn = space.random_architecture(torch.Generator().manual_seed(0))
            check(retrained(space, train), drawn, train, given.short, given.augmentation)
    whole = ComparisonConfig(compare=compare, runs=tuple(runs), table=section(bases[0]).table)
    return Comparison(whole, folder, own)


def _same_budget(
    compare: CompareConfig, search: SearchConfig, space: SearchSpace, given: Parts
) -> dict[str, Any]:
    """What gives every search the same budget.

    Baselines alone ask the table. Beside methods that train a supernet they train as well, and the
    table gives the final accuracies alone.
    """
    if search.table is not None and set(compare.names) <= BASELINES.keys():
        return {"evaluations": search.evaluations or EVALUATIONS}
    alone = {"table": None, "evaluations": None}
    if search.budget is None and search.budget_seconds is None:
        found = of_first_order(space, given.search, search, given.augmentation)
        return {**alone, "budget": str(found)}
    return alone


def create(comparison: Comparison) -> None:
    """Make the folder; one that holds something is refused."""
    folder = comparison.folder
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ArchgradError(
            f"output folder {folder} already exists and is not empty; choose another --out, or "
            f"continue the comparison in it with --resume {folder}"
        )
    text = yaml.safe_dump(comparison.config.model_dump(mode="json"), sort_keys=False)
    write(folder / CONFIG, text)


def opened(folder: Path, own: Own | None = None) -> Comparison:
    """The comparison in a folder."""
    path = folder / CONFIG
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Comparison(ComparisonConfig.model_validate(values), folder, own)
    except FileNotFoundError:
        raise ArchgradError(
            f"folder {folder} holds no comparison (no {CONFIG}); give the folder that archgrad "
            "compare wrote"
        ) from None
    except ValidationError as error:
        raise ArchgradError(f"{path}: {explain(error)}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ArchgradError(f"{path} cannot be read: {reason}; restore it") from None


def _budget(runs: Sequence[RunConfig]) -> Budget:
    first = section(runs[0])
    if first.evaluations is not None:
        return Budget(amount=float(first.evaluations), unit="evaluations")
    spent = amount(first)
    return Budget(amount=None if spent is None else float(spent), seconds=first.budget_seconds)

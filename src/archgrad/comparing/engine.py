"""A comparison from its options to its results: jobs side by side, then one test of all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

from archgrad import untrusted
from archgrad.baselines import BASELINES
from archgrad.baselines.beginning import TABLE_EVALUATIONS
from archgrad.comparing.final import final_test
from archgrad.comparing.jobs import Finished, Job, worked
from archgrad.comparing.parts import Own, Parts, parts, with_test
from archgrad.data import Data
from archgrad.errors import ArchgradError, explain, unknown
from archgrad.findings.results import Budget, Results, Settings
from archgrad.findings.writing import files
from archgrad.methods import RECIPES, Method
from archgrad.preparing.prepared import checked, search_space, section
from archgrad.resources.spending import amount, of_first_order
from archgrad.retraining.processes import Epochs
from archgrad.retraining.scratch import check
from archgrad.retraining.sizing import retrained
from archgrad.settings.compare_config import CompareConfig, ComparisonConfig
from archgrad.settings.config import OWN, RunConfig, SearchConfig, validated
from archgrad.settings.pool_config import PoolConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.storage import failures
from archgrad.storage.files import COMPARISON, RESULTS, write
from archgrad.storage.folder import environments, held, refuse_used
from archgrad.workers import HERE, Place, made, place

Progress = Callable[[Job, int, int], None]


@dataclass(frozen=True)
class Comparison:
    """A comparison that has passed every check, in its folder."""

    config: ComparisonConfig
    folder: Path
    own: Own | None = None
    pool: PoolConfig = PoolConfig()
    method: Method | None = None  # the one that is called own

    @property
    def jobs(self) -> list[Job]:
        """Every method with every seed on every data set."""
        compared, found = self.config.compare, []
        for number, (data, group) in enumerate(groupby(self.config.runs, lambda run: run.data)):
            name = re.sub(r"\W+", "-", Path(data.data).stem)[-40:]  # may be that of another
            for run in group:
                search, train = section(run), run.train
                assert train is not None
                place = self.folder / "searches" / f"{number}-{name}" / search.method
                short = compared.short(train.epochs)
                for seed in range(search.seed, search.seed + compared.seeds):
                    of_seed = search.model_copy(update={"seed": seed})
                    config = run.model_copy(update={"search": of_seed})
                    values = compared.selection_fraction, short, self.config.table
                    found.append(Job(config, place / f"seed-{seed}", *values))
        return found

    def run(
        self,
        progress: Progress = lambda job, done, total: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Results:
        """Do what is left to do, test what is done, and write results and tables.

        `progress` hears of each search that has ended, `meanwhile` is called now and then.
        Data that cannot be loaded, or are others than before, are an error, not a failure of every
        search.
        """
        jobs = self.jobs
        with held(self.folder, jobs[0].search.device):
            for job, given in self._with_parts():
                job.refuse_other(given)
            left = [job for job in jobs if not job.done]
            for number, job in enumerate(self._worked(left, meanwhile), len(jobs) - len(left) + 1):
                progress(job, number, len(jobs))
            final_test(jobs, self.own)
            results = self.results()
            write(self.folder / RESULTS, results.to_json())
            for name, text in files(results).items():
                write(self.folder / name, text)
        return results

    def _with_parts(self) -> Iterator[tuple[Job, Parts]]:
        """Every job with its data."""
        for data, group in groupby(self.jobs, key=lambda job: job.config.data):
            given = parts(data, self.own, self.config.compare.selection_fraction)
            yield from ((job, given) for job in group)

    def _worked(self, left: Sequence[Job], meanwhile: Callable[[], None]) -> Iterator[Job]:
        """The jobs as they end, side by side where the data can be loaded by other processes."""
        at_a_time, crew = self.place.at_a_time, self.place.crew
        if crew is None:
            hears = Epochs(meanwhile)
            yield from (worked(job, self.own, hears, self.method) for job in left)
            return
        calls, retries = [(job, None) for job in left], self.pool.retries
        found = made(crew(), worked, calls, at_a_time, retries=retries, meanwhile=meanwhile)
        for number, future in found:
            if error := future.exception():
                failures.keep(left[number].folder, error)
            yield left[number]

    @cached_property
    def place(self) -> Place:
        """Where the searches run that are left to do."""
        left = [job for job in self.jobs if not job.done]
        if self.own is not None or self.method is not None or not left:
            return HERE
        search, train = left[0].search, left[0].train
        return place(
            self.pool,
            len(left),
            parallel=self.config.compare.parallel,
            threads=max(search.threads, train.threads),
            device=search.device,
        )

    def results(self) -> Results:
        """What is in the folder by now."""
        compared, jobs = self.config.compare, self.jobs
        first = section(self.config.runs[0])
        finished = [Finished(job, given) for job, given in self._with_parts()]
        entries = [one.entry() for one in finished if one.job.ended]
        return Results(
            measure=finished[0].measure.name,
            settings=Settings(
                space=first.space,
                methods=compared.names,
                data=tuple(dict.fromkeys(job.data for job in jobs)),
                seeds=tuple(range(first.seed, first.seed + compared.seeds)),
                guard=first.guard,
                table=None if self.config.table is None else Path(self.config.table).name,
                validation_apart=self.config.table is None,
                tuning=compared.tuning,
                options=self.config.model_dump(mode="json"),
            ),
            budget=_budget(self.config.runs),
            environment=_environments([self.folder, *(job.folder for job in jobs)]),
            entries=tuple(entries),
        )


def prepare(
    compare: CompareConfig,
    bases: Sequence[RunConfig],
    own: Own | None = None,
    method: Method | None = None,
) -> ComparisonConfig:
    """Refuse, before anything is written, what a job or the test would refuse later.

    `bases`: one configuration a data set; the method of each is replaced by those compared.
    Every search gets the same budget: the one that is asked for, or what first-order DARTS with
    these options takes. `method`: the one that is called own.
    """
    _check(compare, bases, method)
    runs = []
    for base in bases:
        given = parts(base.data, own, compare.selection_fraction)
        search, train = section(base), base.train
        assert train is not None
        space = search_space(search, given.search)
        if search.table is None:
            _check_retraining(compare, train, space, given, with_test(base.data, own))
        same = _same_budget(compare, search, space, given)
        for name in compare.names:
            mine = search.model_copy(update={**same, "method": name, "method_options": {}})
            if name not in BASELINES:
                mine = mine.model_copy(update={"child_epochs": None})
            config = base.model_copy(update={"search": mine})
            value = method if name == OWN else None
            runs.append(checked(config, given.search, given.augmentation, space, value).config)
    table = section(bases[0]).table
    return ComparisonConfig(compare=compare, runs=tuple(runs), table=table, own=_slots(method))


def _check(compare: CompareConfig, bases: Sequence[RunConfig], own: Method | None) -> None:
    """What can be told without loading anything."""
    first, train = section(bases[0]), bases[0].train
    assert train is not None
    known = [*RECIPES, *BASELINES, *([] if own is None else [OWN])]
    for method in compare.names:
        if method not in known:
            raise unknown("method", method, known)
    names = [base.data.data for base in bases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ArchgradError(f"data {twice[0]} is there twice; expected each data set once")
    if len(bases) > 1 and first.table is not None:
        raise ArchgradError(
            f"table {first.table} stands for one data set, found {', '.join(names)}; give one"
        )
    if len(bases) > 1 and first.budget is None and first.budget_seconds is None:
        raise ArchgradError(
            f"found {len(bases)} data sets and no budget; first-order DARTS takes another amount "
            "on each, so say with budget what every search may spend"
        )
    last = (first.seed + compare.seeds) * train.seeds
    if last > 2**32:
        raise ArchgradError(
            f"seed {first.seed} with {compare.seeds} searches of {train.seeds} retrainings needs "
            f"seeds up to {last}, expected less than {2**32}; give a smaller seed"
        )


def _check_retraining(
    compare: CompareConfig, train: TrainConfig, space: SearchSpace, given: Parts, whole: Data
) -> None:
    """The full one and the short one, which is checked anew: a schedule may not fit its epochs.

    `whole`: with the test part, of which nothing but the length of a text is looked at.
    """
    drawn = space.random_architecture(torch.Generator().manual_seed(0))
    values = {**train.model_dump(), "epochs": compare.short(train.epochs)}
    short = validated({"train": values}, "short retraining").train
    for each, data in ((train, whole), (short, given.short)):
        assert each is not None
        check(retrained(space, each), drawn, each, data, given.augmentation)


def _same_budget(
    compare: CompareConfig, search: SearchConfig, space: SearchSpace, given: Parts
) -> dict[str, Any]:
    """The options that give every search the same budget.

    Baselines alone ask the table. Beside methods that train a supernet they train as well, and the
    table gives the final accuracies alone.
    """
    if search.table is not None and set(compare.names) <= BASELINES.keys():
        return {"evaluations": search.evaluations or TABLE_EVALUATIONS}
    if search.table is not None and search.evaluations is not None:
        others = ", ".join(name for name in compare.names if name not in BASELINES)
        raise ArchgradError(
            f"found evaluations {search.evaluations} with {others}; a supernet is trained and "
            "looks nothing up, so the budget of all is in multiply-adds: leave evaluations out"
        )
    alone = {"table": None}
    if search.budget is None and search.budget_seconds is None:
        found = of_first_order(space, given.search, search, given.augmentation)
        return {**alone, "budget": str(found)}
    return alone


def create(comparison: Comparison) -> None:
    """Make the folder; one that holds something is refused."""
    folder = comparison.folder
    refuse_used(folder, "comparison")
    text = yaml.safe_dump(comparison.config.model_dump(mode="json"), sort_keys=False)
    write(folder / COMPARISON, text)


def opened(
    folder: Path,
    own: Own | None = None,
    pool: PoolConfig = PoolConfig(),  # noqa: B008
    method: Method | None = None,
) -> Comparison:
    """The comparison in a folder; `method`: the one that is called own, given again."""
    path = folder / COMPARISON
    try:
        values = untrusted.from_yaml(untrusted.text(path, untrusted.LIMIT_YAML))
    except FileNotFoundError:
        raise ArchgradError(
            f"folder {folder} holds no comparison (no {COMPARISON}); give the folder that archgrad "
            "compare wrote"
        ) from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ArchgradError(f"{path} cannot be read: {reason}; restore it") from None
    try:
        config = ComparisonConfig.model_validate(values)
    except ValidationError as error:
        raise ArchgradError(f"{path}: {explain(error)}") from None
    if config.own != _slots(method):
        raise ArchgradError(
            f"{path} was begun with other methods; give those of its beginning again: "
            f"archgrad.compare({'' if config.own is None else 'methods=[...], '}resume=...)"
        )
    return Comparison(config, folder, own, pool, method)


def _slots(method: Method | None) -> dict[str, str] | None:
    """What a method is recognized by, in another process as well."""
    if method is None:
        return None
    return {slot: re.sub(r" at 0x[0-9a-f]+", "", part) for slot, part in method.slots().items()}


def _environments(folders: Sequence[Path]) -> tuple[dict[str, Any], ...]:
    """Each different one of the processes that worked in these folders."""
    found = [one for folder in folders for one in environments(folder)]
    several = {"started", "process"}
    keys = [str([value for name, value in one.items() if name not in several]) for one in found]
    return tuple(dict(zip(reversed(keys), reversed(found))).values())[::-1]


def _budget(runs: Sequence[RunConfig]) -> Budget:
    first = section(runs[0])
    if first.evaluations is not None:
        return Budget(amount=float(first.evaluations), unit="evaluations")
    spent = amount(first)
    return Budget(amount=None if spent is None else float(spent), seconds=first.budget_seconds)

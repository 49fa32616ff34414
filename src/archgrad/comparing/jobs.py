"""One search of a comparison with its retrainings: all that comes before the test."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from archgrad import untrusted
from archgrad.architecture import Architecture
from archgrad.baselines import BASELINES
from archgrad.benchmarks import TableObjective, nas_bench_201
from archgrad.comparing.parts import Own, Parts, parts
from archgrad.costing.cost import cost
from archgrad.data import Data
from archgrad.findings.results import Costs, Entry, Phase, Point
from archgrad.measure import Measure
from archgrad.parts.method import Method
from archgrad.preparing.prepared import checked, search_space, section
from archgrad.retraining.scratch import retrain, retrainings
from archgrad.retraining.sizing import retrained
from archgrad.retraining.training import Retraining
from archgrad.searching.callbacks import Callback
from archgrad.settings.config import OWN, RunConfig, SearchConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.storage import failures
from archgrad.storage.files import (
    EVALUATIONS,
    FAILED,
    METRICS,
    RESULT,
    SELECTION,
    TEST,
    read_lines,
    write,
)
from archgrad.storage.folder import Run, fitting, refuse_other

JOB = "job.json"


@lru_cache(maxsize=1)
def objective(table: str) -> TableObjective:
    """What the table says, read from disk once a process."""
    return TableObjective(nas_bench_201(table))


@dataclass(frozen=True)
class Job:
    """A method with a seed on a data set, in a folder of its own.

    `config`: complete, as the search takes it; `selection`: the part of the training images
    that no search sees; `short`: epochs of the short retraining; `table`: of the benchmark that
    stands for both retrainings.
    """

    config: RunConfig
    folder: Path
    selection: float
    short: int
    table: str | None = None

    @property
    def search(self) -> SearchConfig:
        """The section of the search."""
        return section(self.config)

    @property
    def train(self) -> TrainConfig:
        """The section of the retraining."""
        assert self.config.train is not None
        return self.config.train

    @property
    def data(self) -> str:
        """The data set; where nothing is trained, the table that stands for it."""
        table = self.search.table
        return self.config.data.data if table is None else Path(table).name

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.search.method} on {self.data}, seed {self.search.seed}"

    @property
    def kind(self) -> str:
        """What tells how long it takes: searches of one kind differ in their seed alone."""
        return f"{self.search.method} on {self.data}"

    @property
    def architecture(self) -> Architecture:
        """What the search found."""
        return Architecture.load(self.folder / "architecture.json")

    def space(self, given: Parts) -> SearchSpace:
        """The space at the size of the retraining."""
        return retrained(search_space(self.search, given.search), self.train)

    def retrainings(self, given: Parts) -> tuple[Retraining, list[Retraining]]:
        """The short one, which selects, and the full ones, which are tested."""
        space, found = self.space(given), self.architecture
        seed = self.search.seed * self.train.seeds
        config = self.train.model_copy(update={"seed": seed})
        brief = config.model_copy(update={"epochs": self.short, "seeds": 1})
        (short,) = retrainings("short", found, space, brief, self.folder)
        return short, retrainings("full", found, space, config, self.folder)

    @property
    def done(self) -> bool:
        """Whether nothing but the test is left to do."""
        if not (self.folder / "architecture.json").is_file():
            return False
        trained = list((self.folder / "full").glob(f"seed-*/{RESULT}"))
        return self.table is not None or len(trained) == self.train.seeds

    @property
    def ended(self) -> bool:
        """Whether it was tested, or failed."""
        return (self.folder / FAILED).is_file() or (self.folder / TEST).is_file()

    def begin(self, given: Parts) -> Run:
        """The folder, new or begun before."""
        write(self.folder / JOB, json.dumps(self._now(given), indent=2) + "\n")
        write(self.folder / "config.yaml", self.config.to_yaml())
        return Run(self.folder, self.config)

    def refuse_other(self, given: Parts) -> None:
        """Refuse to go on with what was begun with other options or data."""
        if begun_with := self.begun_with:
            refuse_other(begun_with, self._now(given), self.folder)

    @property
    def begun_with(self) -> dict[str, Any]:
        """Options and conditions of the process that began it; empty where it did not begin."""
        path = self.folder / JOB
        with fitting(self.folder):
            return untrusted.mapping_of_json(path) if path.is_file() else {}

    def _now(self, given: Parts) -> dict[str, Any]:
        """`conditions`: fingerprints of what has to be equal for all searches on a data set."""
        of_machine = {"seed", "seeds", "device", "threads", "jobs"}
        full = self.train.model_dump(mode="json", exclude=of_machine)
        conditions = {
            "data": given.full.fingerprint(),
            "full": _digest(full),
            "short": _digest({**full, "epochs": self.short}),
            "selection": f"{self.selection:g}",
        }
        return {"options": self.config.model_dump(mode="json"), "conditions": conditions}


def worked(
    job: Job,
    own: Own | None = None,
    callback: Callback | None = None,
    method: Method | None = None,
) -> Job:
    """Search, derive, retrain briefly and fully; goes on where it was interrupted.

    `callback` hears of the search, and of the epochs of the retrainings; `method`: the one that
    is called own.

    An error is kept in the folder, as one line: the others go on. Returns the job.
    """
    with failures.kept(job.folder):
        given = parts(job.config.data, own, job.selection)
        run = job.begin(given)
        with run.working():
            if not (run.path / "architecture.json").is_file():
                space = search_space(job.search, given.search)
                mine = method if job.search.method == OWN else None
                wanted = checked(job.config, given.search, given.augmentation, space, mine)
                wanted.search(run, callback)
            if job.table is None:
                _retrain(job, given, callback)
    return job


def _retrain(job: Job, given: Parts, callback: Callback | None) -> None:
    short, full = job.retrainings(given)
    pairs = [(short, given.short, True), *((one, given.full, False) for one in full)]
    for one, data, tested in pairs:
        assert one.folder is not None
        if not (one.folder / RESULT).is_file():
            retrain(one, data, augmentation=given.augmentation, callback=callback, tested=tested)


class Finished:
    """What a job left in its folder, read back."""

    def __init__(self, job: Job, given: Parts) -> None:
        self.job, self.given = job, given

    @property
    def measure(self) -> Measure:
        """What its values are."""
        return self.given.full.task.measure

    def entry(self) -> Entry:
        """Done, with its test value, or failed, with what it cost until then."""
        with fitting(self.job.folder):
            return self._entry()

    def _entry(self) -> Entry:
        job, folder = self.job, self.job.folder
        common: dict[str, Any] = {
            "method": job.search.method,
            "data": job.data,
            "seed": job.search.seed,
            "conditions": job.begun_with.get("conditions", {}),
        }
        if (error := failures.of(folder)) is not None:
            return Entry(status="failed", error=error, costs=self._costs(), **common)
        found, test = job.architecture, untrusted.mapping_of_json(folder / TEST)
        size = cost(job.space(self.given), found)
        return Entry(
            status="done",
            architecture=found,
            costs=self._costs(test),
            search_value=search_value(self._lines, job.search.method, found, self.measure),
            short_value=self._short_value(found),
            test_value=math.fsum(test["values"]) / len(test["values"]),
            curve=self._curve(),
            test_reads=1,
            **vars(size),
            **common,
        )

    @cached_property
    def _lines(self) -> Sequence[dict[str, Any]]:
        """Of the search: an epoch each, or an evaluation."""
        name = EVALUATIONS if self.job.search.method in BASELINES else METRICS
        return read_lines(self.job.folder / name)

    def _searched(self) -> Phase:
        if not self._lines:
            return Phase()
        seconds = math.fsum(line["seconds"] for line in self._lines)
        found = Phase(spent=float(self._lines[-1]["spent"]), seconds=seconds)
        selection = self.job.folder / SELECTION
        if not selection.is_file():
            return found
        return found + Phase(**untrusted.mapping_of_json(selection))

    def _costs(self, test: Mapping[str, Any] | None = None) -> Costs:
        searched = Costs(search=self._searched())
        if self.job.table is not None or not (self.job.folder / "architecture.json").is_file():
            return searched
        short, full = self.job.retrainings(self.given)
        tested = Phase()
        if test is not None:
            tested = self._phase(test["examples"] * len(full), test["seconds"])
        return Costs(
            search=searched.search,
            short=self._retrained([short], self.given.short),
            full=self._retrained(full, self.given.full),
            test=tested,
        )

    def _retrained(self, jobs: Sequence[Retraining], data: Data) -> Phase:
        """Of whole epochs: three passes of each example for a training pass, one to judge."""
        folders = [job.folder for job in jobs if job.folder is not None]
        epochs = [line for folder in folders for line in read_lines(folder / METRICS)]
        judged = sum((folder / RESULT).is_file() for folder in folders)
        each = 3 * len(data.train) + len(data.valid or ())
        passes = each * len(epochs) + judged * len(data.test or ())
        return self._phase(passes, math.fsum(line["seconds"] for line in epochs))

    def _phase(self, passes: int, seconds: float) -> Phase:
        each = cost(self.job.space(self.given), self.job.architecture).multiply_adds
        return Phase(spent=float(passes * each), seconds=seconds)

    def _short_value(self, found: Architecture) -> float | None:
        if self.job.table is not None:
            return objective(self.job.table)(found)
        short, _ = self.job.retrainings(self.given)
        assert short.folder is not None
        return float(untrusted.mapping_of_json(short.folder / RESULT)[self.measure.name])

    def _curve(self) -> tuple[Point, ...]:
        points, seconds = [], 0.0
        for line in self._lines:
            seconds += line["seconds"]
            if (value := _seen(line, self.job.search.method, self.measure)) is not None:
                points.append(Point(spent=float(line["spent"]), seconds=seconds, value=value))
        return tuple(points)


def search_value(
    lines: Sequence[Mapping[str, Any]], method: str, found: Architecture, measure: Measure
) -> float | None:
    """What a search saw of its architecture: in its last line, of a baseline in its own one."""
    if method not in BASELINES:
        return _seen(lines[-1], method, measure)
    cell = found.model_dump(mode="json")
    mine = [one for one in lines if one["architecture"] == cell and not one["failed"]]
    best = max(mine, key=lambda line: (line["share"], line["score"]))
    return _seen(best, method, measure)


def _seen(line: Mapping[str, Any], method: str, measure: Measure) -> float | None:
    """What validation said in a line of the search; None where it said nothing finite."""
    if line.get("failed"):
        return None
    if method in BASELINES:
        found = line.get(measure.name, line["score"])  # the score of images is their accuracy
    else:
        found = line.get(f"valid_{measure.name}")
    return None if found is None or not math.isfinite(found) else float(found)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]

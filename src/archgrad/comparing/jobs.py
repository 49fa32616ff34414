"""One search of a comparison with its retrainings: all that comes before the test."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from archgrad.architecture import Architecture
from archgrad.baselines import BASELINES
from archgrad.baselines.searching import EVALUATIONS
from archgrad.benchmarks import TableObjective, nas_bench_201
from archgrad.comparing.parts import Own, Parts, parts
from archgrad.comparing.results import Costs, Entry, Phase, Point
from archgrad.config import RunConfig, SearchConfig, TrainConfig
from archgrad.cost import cost
from archgrad.errors import ArchgradError
from archgrad.folder import Run, read_lines, write
from archgrad.prepared import checked, search_space, section
from archgrad.records import METRICS, SELECTION
from archgrad.retraining import RESULT, Retraining, retrain, retrainings
from archgrad.sizing import retrained
from archgrad.spaces import SearchSpace

FAILED, TEST = "failed.json", "test.json"


@dataclass(frozen=True)
class Job:
    """A method with a seed on a data set, in a folder of its own.

    ``config``: complete, as the search takes it; ``selection``: the part of the training images
    that no search sees; ``short``: epochs of the short retraining; ``table``: of the benchmark that
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
    def name(self) -> str:
        """For messages."""
        return f"{self.search.method} on {self.config.data.data}, seed {self.search.seed}"

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


def worked(job: Job, own: Own | None = None) -> Job:
    """Search, derive, retrain shortly and fully; goes on where it was interrupted.

    An error is kept in the folder, as one line: the others go on. Returns the job.
    """
    (job.folder / FAILED).unlink(missing_ok=True)
    try:
        given = parts(job.config.data, own, job.selection)
        if (job.folder / "config.yaml").is_file():
            run = Run.open(job.folder)
        else:
            run = Run.create(job.folder, job.config)
        with run.working():
            if not (run.path / "architecture.json").is_file():
                space = search_space(job.search, given.search)
                wanted = checked(run.config, given.search, given.augmentation, space, None)
                wanted.search(run)
            if job.table is None:
                _retrain(job, given)
    except Exception as error:  # whatever it is, the other searches are not lost
        reason = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ArchgradError):
            reason = f"{type(error).__name__}: {reason}"
        write(job.folder / FAILED, json.dumps({"error": reason}) + "\n")
    return job


def _retrain(job: Job, given: Parts) -> None:
    short, full = job.retrainings(given)
    pairs = [(short, given.short, True), *((one, given.full, False) for one in full)]
    for one, data, tested in pairs:
        assert one.folder is not None
        if not (one.folder / RESULT).is_file():
            retrain(one, data, augmentation=given.augmentation, tested=tested)


class Finished:
    """What a job left in its folder, read back."""

    def __init__(self, job: Job, given: Parts) -> None:
        self.job, self.given = job, given

    def entry(self, conditions: dict[str, str]) -> Entry:
        """Done, with its test accuracy, or failed, with what it cost until then."""
        job, folder = self.job, self.job.folder
        common: dict[str, Any] = {
            "method": job.search.method,
            "data": job.config.data.data,
            "seed": job.search.seed,
            "conditions": conditions,
        }
        failed = folder / FAILED
        if failed.is_file():
            error = json.loads(failed.read_text(encoding="utf-8"))["error"]
            lines = Costs(search=self._searched())
            return Entry(status="failed", error=error, costs=lines, **common)
        found, test = job.architecture, json.loads((folder / TEST).read_text(encoding="utf-8"))
        size = cost(job.space(self.given), found)
        return Entry(
            status="done",
            architecture=found,
            costs=self._costs(size.multiply_adds, test),
            search_accuracy=self._search_accuracy(),
            short_accuracy=self._short_accuracy(found),
            test_accuracy=math.fsum(test["accuracies"]) / len(test["accuracies"]),
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
        return found + Phase(**json.loads(selection.read_text(encoding="utf-8")))

    def _costs(self, multiply_adds: int, test: dict[str, Any]) -> Costs:
        if self.job.table is not None:
            return Costs(search=self._searched())
        short, full = self.job.retrainings(self.given)
        passes = len(self.given.short.train) * 3
        judged = len(self.given.short.test or ())
        whole = len(self.given.full.train) * 3 * self.job.train.epochs
        return Costs(
            search=self._searched(),
            short=Phase(
                spent=float((passes * self.job.short + judged) * multiply_adds),
                seconds=_seconds([short]),
            ),
            full=Phase(spent=float(whole * len(full) * multiply_adds), seconds=_seconds(full)),
            test=Phase(
                spent=float(test["images"] * len(full) * multiply_adds), seconds=test["seconds"]
            ),
        )

    def _search_accuracy(self) -> float | None:
        if self.job.search.method not in BASELINES:
            found = self._lines[-1].get("valid_accuracy")
            return None if found is None else float(found)
        found = self.job.architecture.model_dump(mode="json")
        lines = [line for line in self._lines if line["architecture"] == found]
        return float(max(line["score"] for line in lines if not line["failed"]))

    def _short_accuracy(self, found: Architecture) -> float | None:
        if self.job.table is not None:
            return TableObjective(nas_bench_201(self.job.table))(found)
        short, _ = self.job.retrainings(self.given)
        assert short.folder is not None
        return float(json.loads((short.folder / RESULT).read_text(encoding="utf-8"))["accuracy"])

    def _curve(self) -> tuple[Point, ...]:
        key = "score" if self.job.search.method in BASELINES else "valid_accuracy"
        points, seconds = [], 0.0
        for line in self._lines:
            seconds += line["seconds"]
            if line.get(key) is not None and not line.get("failed"):
                spent = float(line["spent"])
                points.append(Point(spent=spent, seconds=seconds, accuracy=line[key]))
        return tuple(points)


def _seconds(jobs: Sequence[Retraining]) -> float:
    found = [json.loads((j.folder / RESULT).read_text(encoding="utf-8")) for j in jobs if j.folder]
    return math.fsum(score["seconds"] for score in found)


def conditions(job: Job, given: Parts) -> dict[str, str]:
    """Fingerprints of what has to be equal for all searches on a data set."""
    of_machine = {"seed", "seeds", "device", "threads", "jobs"}
    full = job.train.model_dump(mode="json", exclude=of_machine)
    return {
        "data": given.full.fingerprint(),
        "full": _digest(full),
        "short": _digest({**full, "epochs": job.short}),
        "selection": f"{job.selection:g}",
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]

"""A comparison from end to end: who sees which images, budgets, interruptions, failures, files."""

from __future__ import annotations

import csv
import json
import pkgutil
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import archgrad
from archgrad.comparing import engine, final, jobs
from archgrad.data import Data
from archgrad.errors import ArchgradError
from archgrad.findings.results import Results
from archgrad.searching.loaders import Loaders
from archgrad.storage.folder import held
from small import OPTIONS, Watched, data, rows, timeless, watched

METHODS = ("darts", "random")


class Seen(NamedTuple):
    folder: Path
    results: Results
    test: Watched
    searched: list[Data]  # what every search, and every probe of one, was given
    retrained: list[tuple[str, Data]]


def compare(given: Data, folder: Path, **options: Any) -> Results:
    return archgrad.compare(METHODS, given, out=folder, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A comparison that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "comparison"
    given, test = watched(folder, len(METHODS))
    searched: list[Data] = []
    retrained: list[tuple[str, Data]] = []
    of, retrain = Loaders.of.__func__, jobs.retrain  # type: ignore[attr-defined]

    def spied(cls: type[Loaders], data: Data, *arguments: Any) -> Loaders:
        searched.append(data)
        made: Loaders = of(cls, data, *arguments)
        return made

    def noted(job: Any, data: Data, **options: Any) -> Any:
        retrained.append((job.label, data))
        return retrain(job, data, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loaders, "of", classmethod(spied))
        patch.setattr(jobs, "retrain", noted)
        results = compare(given, folder)
    return Seen(folder, results, test, searched, retrained)


def test_test_images_are_read_once_when_all_else_is_done(whole: Seen) -> None:
    """Before that `Watched` raises at any touch; `watched` says what is to be on disk."""
    assert all(entry.status == "done" for entry in whole.results.entries)
    assert (whole.test.passes, whole.test.images) == (1, 30)
    assert [entry.test_reads for entry in whole.results.entries] == [1, 1]
    assert all(round(30 * (entry.test_value or 0), 9) % 1 == 0 for entry in whole.results.entries)


def test_a_test_part_that_is_touched_early_is_noticed(tmp_path: Path) -> None:
    given, _ = watched(tmp_path, 1)
    assert given.test is not None
    for touch in (len, lambda part: part.labels, lambda part: part.batches(2, normalization=None)):
        with pytest.raises(AssertionError, match="before the end"):
            touch(given.test)


def test_no_search_is_given_test_images_or_those_that_select(whole: Seen) -> None:
    given = data()
    ((_, short), *_) = (pair for pair in whole.retrained if pair[0] == "short")
    assert short.test is not None
    selecting = rows(short.test)
    assert len(whole.searched) > len(METHODS)
    assert all(part.test is None and part.valid is None for part in whole.searched)
    assert {len(rows(part.train)) for part in whole.searched} == {36}
    assert len(selecting) == 12
    for part in whole.searched:
        assert not rows(part.train) & selecting
        assert rows(part.train) | selecting == rows(given.train)


def test_retrainings_are_given_training_images_alone(whole: Seen) -> None:
    given = data()
    assert given.test is not None
    assert [label for label, _ in whole.retrained] == ["short", "full"] * len(METHODS)
    for label, part in whole.retrained:
        if label == "full":
            assert part.test is None
            assert rows(part.train) == rows(given.train)
        else:
            assert part.test is not None
            assert not rows(part.train) & rows(part.test)
            assert not rows(part.test) & rows(given.test)


def test_the_kept_full_retraining_says_nothing_of_a_test(whole: Seen) -> None:
    """It has no accuracy: nobody can have chosen by it."""
    scores = [json.loads(p.read_bytes()) for p in whole.folder.glob("**/full/seed-*/result.json")]
    assert len(scores) == 2
    assert not any({"accuracy", "loss", "test_images"} & score.keys() for score in scores)


def test_every_search_stays_within_the_same_budget(whole: Seen) -> None:
    """Which is that of darts: it gets its epochs, no more and no fewer."""
    amount = whole.results.budget.amount
    assert amount is not None
    for entry in whole.results.entries:
        assert 0.5 * amount < entry.costs.search.spent <= amount
    (darts,) = whole.results.of("darts", "own")
    assert len(darts.curve) == OPTIONS["epochs"]


def test_costs_of_the_retrainings_are_counted(whole: Seen) -> None:
    for entry in whole.results.entries:
        each = entry.multiply_adds
        assert each is not None
        assert entry.costs.short.spent == (3 * 36 * 2 + 12) * each
        assert entry.costs.full.spent == 3 * 48 * 2 * each
        assert entry.costs.test.spent == 30 * each


def test_all_files_are_there(whole: Seen) -> None:
    assert Results.load(whole.folder / "results.json") == whole.results
    for name in ("table.md", "table.tex", "report.txt"):
        assert "darts" in (whole.folder / name).read_text(encoding="utf-8")
    for name in ("table.csv", "anytime.csv", "correlations.csv"):
        with (whole.folder / name).open(encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) >= 2
    assert not list(whole.folder.rglob("*.part"))


def test_processes_that_differ_in_nothing_but_their_number_are_one(whole: Seen) -> None:
    (here,) = whole.results.environment
    assert here["archgrad"] == archgrad.__version__


POINTS: list[tuple[str, Callable[..., bool]]] = [
    ("archgrad.comparing.jobs.Job.begin", lambda *_: True),
    ("archgrad.searching.records.Records.save", lambda _, search: search.done == 1),
    ("archgrad.searching.records.Records.save", lambda _, search: search.done == 2),
    ("archgrad.comparing.jobs.Job.begin", lambda *_: True),
    ("archgrad.retraining.scratch.Training._save", lambda work, *_: work.job.label == "short"),
    ("archgrad.retraining.scratch.Training._save", lambda work, *_: work.job.label == "full"),
    ("archgrad.baselines.searching.append", lambda _, line: line["evaluation"] == 1),
    ("archgrad.comparing.final._keep", lambda *_: False),  # the test part interrupts its first pass
    ("archgrad.comparing.final._keep", lambda *_: True),
    ("archgrad.comparing.engine.files", lambda *_: True),
]


def _interrupted(call: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        if when(*arguments):
            raise KeyboardInterrupt
        return result

    return wrapped


def test_interrupted_in_every_phase_it_ends_the_same(
    whole: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "comparison"
    given, test = watched(folder, len(METHODS))
    test.interrupted = True
    for number, (place, when) in enumerate(POINTS):
        with monkeypatch.context() as patch:
            patch.setattr(place, _interrupted(pkgutil.resolve_name(place), when))
            with pytest.raises(KeyboardInterrupt):
                if number:
                    archgrad.compare(resume=folder, data=given)
                else:
                    compare(given, folder)
    results = archgrad.compare(resume=folder, data=given)
    assert test.passes == 3  # interrupted; of both; of the one whose result was not kept
    assert timeless(results) == timeless(whole.results)
    assert timeless(Results.load(folder / "results.json")) == timeless(whole.results)


def _without_full(whole: Seen, folder: Path) -> Path:
    """A copy of the comparison in which no full retraining is done."""
    copy = Path(shutil.copytree(whole.folder, folder))
    for path in copy.glob("searches/*/*/*"):
        shutil.rmtree(path / "full")
        (path / "test.json").unlink()
    return copy


def test_one_failure_loses_no_other_search_and_is_tried_again(
    whole: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _without_full(whole, tmp_path / "comparison")
    given, test = watched(folder, len(METHODS))
    test.ready = lambda: True  # what failed is not on disk
    retrain = jobs.retrain

    def failing(job: Any, data: Data, **options: Any) -> Any:
        assert job.label == "full", "the short ones are done"
        if "darts" in job.folder.parts:
            raise RuntimeError("lost\nits way")
        return retrain(job, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "retrain", failing)
        results = archgrad.compare(resume=folder, data=given)
    (lost,), (other,) = results.of("darts", "own", "failed"), results.of("random", "own")
    assert lost.error == "RuntimeError: lost its way"
    assert lost.costs.search.spent > 0
    assert lost.costs.short.spent > lost.costs.full.spent == lost.costs.test.spent == 0
    assert other.test_value == whole.results.of("random", "own")[0].test_value
    told = "Failed: darts on own, seed 0: RuntimeError: lost its way."
    assert told in (folder / "report.txt").read_text(encoding="utf-8")
    again = archgrad.compare(resume=folder, data=given)
    assert timeless(again) == timeless(whole.results)
    assert test.passes == 2  # each search was tested in the pass at the end of what was done


def test_searches_that_diverge_are_marked(tmp_path: Path) -> None:
    rates = {"learning_rate": 1e30, "final_learning_rate": 1e30}
    results = compare(data(), tmp_path / "c", **rates)
    assert [entry.status for entry in results.entries] == ["failed", "failed"]
    assert "infinite or not a number" in results.entries[0].error
    assert "architectures failed" in results.entries[1].error
    assert not list(tmp_path.rglob("test.json"))


@pytest.mark.parametrize("what", ["data", "options"])
def test_other_data_or_options_are_refused_before_anything_is_done(
    what: str, whole: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, given = _without_full(whole, tmp_path / "comparison"), data()
    if what == "data":
        given = replace(given, train=given.train.subset(list(range(47, -1, -1))))
    else:
        path = folder / "comparison.yaml"
        text = path.read_text(encoding="utf-8")
        assert "child_epochs: 1\n" in text
        path.write_text(text.replace("child_epochs: 1\n", "child_epochs: 2\n"), encoding="utf-8")
    monkeypatch.setattr(engine, "worked", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ArchgradError, match="was begun with other (conditions|options) than now"):
        archgrad.compare(resume=folder, data=given)


def test_a_folder_is_held_by_one_process(whole: Seen) -> None:
    with held(whole.folder, "cpu"), pytest.raises(ArchgradError, match="another process is work"):
        archgrad.compare(resume=whole.folder, data=data())


def test_what_is_done_is_not_done_again(whole: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((engine, "worked"), (final, "_test")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("done twice"))
    assert timeless(archgrad.compare(resume=whole.folder, data=data())) == timeless(whole.results)

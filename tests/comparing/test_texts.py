"""A comparison of language models: who reads which part of the text, and what is said of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F

import archgrad
from archgrad.comparing import jobs
from archgrad.comparing.engine import opened
from archgrad.comparing.parts import parts
from archgrad.data import Data, TextSource, grammar, text_data
from archgrad.errors import ArchgradError
from archgrad.findings.results import Results
from archgrad.searching.loaders import Loaders
from archgrad.settings.data_config import DataConfig
from small import timeless

METHODS = ("darts", "gdas", "random")
TOKENS = {"train": 400, "valid": 90, "test": 121}
OPTIONS: dict[str, Any] = {
    "hidden": 4, "nodes": 3, "epochs": 2, "child_epochs": 1, "batch_size": 10, "bptt": 5,
    "learning_rate": 1.0, "guard": "off", "kernel": "torch", "device": "cpu", "parallel": 1,
    "seeds": 2, "selection_fraction": 0.25, "short_epochs": 1, "train_hidden": 4,
    "train_epochs": 2, "train_batch_size": 10, "train_valid_batch_size": 3,
    "train_test_batch_size": 2, "train_bptt": 5, "train_device": "cpu",
}  # fmt: skip


def text() -> Data:
    words = {part: grammar.text(part).replace("\n", " <eos> ").split() for part in TOKENS}
    return text_data(*(words[part][:count] for part, count in TOKENS.items()))


class Seen(NamedTuple):
    folder: Path
    results: Results
    searched: list[Data]
    retrained: list[tuple[str, Data]]


def compare(folder: Path, given: Data | None = None, **options: Any) -> Results:
    data = text() if given is None else given
    return archgrad.compare(METHODS, data, out=folder, space="darts-rnn", **OPTIONS | options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("whole") / "comparison"
    searched: list[Data] = []
    retrained: list[tuple[str, Data]] = []
    of, retrain = Loaders.of.__func__, jobs.retrain  # type: ignore[attr-defined]

    def spied(cls: type[Loaders], data: Data, *arguments: Any) -> Any:
        searched.append(data)
        return of(cls, data, *arguments)

    def noted(job: Any, data: Data, **options: Any) -> Any:
        retrained.append((job.label, data))
        return retrain(job, data, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loaders, "of", classmethod(spied))
        patch.setattr(jobs, "retrain", noted)
        return Seen(folder, compare(folder), searched, retrained)


def read(source: Any) -> list[int]:
    assert isinstance(source, TextSource)
    found: list[int] = source.tokens.tolist()
    return found


def test_every_part_is_given_to_those_who_may_read_it(whole: Seen) -> None:
    """The end of the training text selects; no search and no retraining reads the test part."""
    given = text()
    train, valid = read(given.train), read(given.valid)
    assert len(whole.searched) > 6
    for data in whole.searched:
        assert (read(data.train), read(data.valid), data.test) == (train[:300], valid, None)
    assert [label for label, _ in whole.retrained] == 6 * ["short", "full"]
    for label, data in whole.retrained:
        assert read(data.valid) == valid and data.classes == given.classes
        if label == "short":
            assert (read(data.train), read(data.test)) == (train[:300], train[300:])
        else:
            assert (read(data.train), data.test) == (train, None)


def test_each_network_reads_the_test_text_once_and_remembers_what_it_read(whole: Seen) -> None:
    """As two streams side by side, each from its start: what it carries is its own state alone."""
    given = text()
    assert isinstance(given.test, TextSource)
    streams = given.test.tokens[:120].view(2, 60).t()
    comparison = opened(whole.folder)
    given_parts = parts(DataConfig(data="own"), (given, given.augmentation), 0.25)
    for job, entry in zip(comparison.jobs, whole.results.entries, strict=True):
        (retraining,) = job.retrainings(given_parts)[1]
        with torch.no_grad():
            logits, _ = retraining.network()(streams[:-1])
        loss = float(F.cross_entropy(logits.flatten(0, 1), streams[1:].flatten()))
        assert entry.test_value == pytest.approx(math.exp(loss), rel=1e-5)
        test = json.loads((job.folder / "test.json").read_bytes())
        assert (test["examples"], test["values"]) == (118, [entry.test_value])
        assert entry.test_reads == 1


def test_the_values_are_perplexities(whole: Seen) -> None:
    found = whole.results
    assert found.measure == "perplexity" and [e.status for e in found.entries] == 6 * ["done"]
    vocabulary = len(text().classes)
    for entry in found.entries:
        assert all(1 < value < 2 * vocabulary for value in entry.values)
        folder = whole.folder / "searches" / "0-own" / entry.method / f"seed-{entry.seed}"
        (short,) = folder.glob("short/seed-*/result.json")
        assert entry.short_value == json.loads(short.read_bytes())["perplexity"]
        if entry.method == "random":
            lines = (folder / "evaluations.jsonl").read_text().splitlines()
            said = [json.loads(line)["perplexity"] for line in lines]
            assert entry.search_value == min(said)
        else:
            lines = (folder / "metrics.jsonl").read_text().splitlines()
            said = [json.loads(line)["valid_perplexity"] for line in lines]
            assert entry.search_value == said[-1] and len(said) == OPTIONS["epochs"]
        assert [point.value for point in entry.curve] == said
    assert "test perplexity" in (whole.folder / "report.txt").read_text(encoding="utf-8")
    assert Results.load(whole.folder / "results.json") == found


def test_every_search_stays_within_the_same_budget(whole: Seen) -> None:
    amount = whole.results.budget.amount
    assert amount is not None
    for entry in whole.results.entries:
        assert 0.5 * amount < entry.costs.search.spent <= amount


def test_retrainings_pay_for_the_validation_of_every_epoch(whole: Seen) -> None:
    for entry in whole.results.entries:
        each = entry.multiply_adds or 0
        assert entry.costs.short.spent == (3 * 300 + 90 + 100) * each
        assert entry.costs.full.spent == 2 * (3 * 400 + 90) * each
        assert entry.costs.test.spent == 118 * each


def test_what_is_done_is_not_done_again(whole: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archgrad.comparing.engine.worked", lambda *_: pytest.fail("done twice"))
    monkeypatch.setattr("archgrad.comparing.final._test", lambda *_: pytest.fail("tested twice"))
    again = archgrad.compare(resume=whole.folder, data=text())
    assert timeless(again) == timeless(whole.results)


def test_texts_that_cannot_serve_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    given = text()
    for data, options, message in (
        (given, {"train_test_batch_size": 41}, "test: found 121 tokens for a batch size of 41"),
        (given, {"selection_fraction": 0.0075}, "train: found 3 tokens for a batch size of 2"),
        (given, {"selection_fraction": 0.001}, "a part of 0.001 of 400 tokens leaves 400 and 0"),
        (replace(given, test=None), {}, "has no test part, and a comparison tests at its end"),
    ):
        with pytest.raises(ArchgradError, match=message):
            compare(tmp_path / "c", data, **options)
    assert not list(tmp_path.iterdir())

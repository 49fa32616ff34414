"""What callbacks hear of a search, and that they change nothing of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad.architecture import Architecture
from archgrad.baselines import BASELINES
from archgrad.baselines.searching import baseline_search
from archgrad.baselines.value import Proposal
from archgrad.errors import ArchgradError
from archgrad.methods import Recovery, method
from archgrad.parts.stopping import Verdict
from archgrad.searching.bilevel import bilevel_search
from archgrad.searching.callbacks import Beginning, Callback, Callbacks, EpochEnd
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.spaces import space
from archgrad.storage.files import read_lines
from archgrad.storage.folder import Run
from small import data as digits

TINY: dict[str, Any] = {
    "channels": 2, "cells": 3, "nodes": 1, "batch_size": 8, "epochs": 3, "guard": "off",
    "watch_fraction": 0,
}  # fmt: skip
RETRAINED: dict[str, Any] = {
    "train_channels": 2, "train_cells": 3, "train_epochs": 1, "train_batch_size": 12,
    "train_seeds": 1, "random_cells": 2, "train_auxiliary_weight": 0.0, "train_cutout": 0,
}  # fmt: skip
LIVELY: dict[str, Any] = {"method_options": {"alpha_learning_rate": 0.1}}  # cells change


class Killed(BaseException):
    pass


class Heard(Callback):
    """Keeps all that it is told; ends the search after an epoch, if asked to."""

    def __init__(self, kill: int | None = None) -> None:
        self.kill = kill
        self.calls: list[tuple[str, Any]] = []

    def of(self, name: str) -> list[Any]:
        return [what for called, what in self.calls if called == name]

    def begin(self, beginning: Beginning) -> None:
        self.calls.append(("begin", beginning))

    def step(self, done: int, steps: int) -> None:
        self.calls.append(("step", (done, steps)))

    def epoch_end(self, event: EpochEnd) -> None:
        alpha, strength = (copies(values) for values in (event.alpha, event.strength))
        self.calls.append(("epoch_end", replace(event, alpha=alpha, strength=strength)))
        if event.epoch == self.kill:
            raise Killed

    def architecture_changed(self, event: EpochEnd) -> None:
        self.calls.append(("architecture_changed", event))

    def evaluated(self, line: Mapping[str, Any], share: float) -> None:
        self.calls.append(("evaluated", line))

    def went_back(self, epoch: int) -> None:
        self.calls.append(("went_back", epoch))

    def warning(self, text: str) -> None:
        self.calls.append(("warning", text))

    def end(self) -> None:
        self.calls.append(("end", None))


def copies(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in values.items()}


def net() -> nn.Module:
    torch.manual_seed(0)
    candidates = {
        "linear": nn.Linear(64, 2),
        "double": nn.Sequential(nn.Linear(64, 4), nn.Linear(4, 2)),
    }
    return nn.Sequential(nn.Flatten(), archgrad.Choice(candidates, "head"))


# --- epochs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["darts", "p_darts", "fair_darts"])
def test_an_epoch_tells_what_the_folder_holds(name: str, tmp_path: Path) -> None:
    heard, run = Heard(), tmp_path / "run"
    options = {"method_options": {"more_cells": 1}} if name == "p_darts" else {}
    found = archgrad.search(
        "darts-cnn", digits(), method=name, out=run, callbacks=[heard], **TINY, **options
    )
    events, lines = heard.of("epoch_end"), read_lines(run / "alphas.jsonl")
    assert [event.epoch for event in events] == [line["epoch"] for line in lines] == [1, 2, 3]
    assert [dict(e.metrics) for e in events] == read_lines(run / "metrics.jsonl") == found.metrics
    for event, line in zip(events, lines, strict=True):
        assert event.epochs == 3
        assert {name: value.tolist() for name, value in event.alpha.items()} == line["alpha"]
        assert event.architecture == archgrad.derive(run, epoch=event.epoch)
        assert event.architecture.model_dump(mode="json")["cells"] == line["cells"]
        for group, value in event.strength.items():
            alpha = event.alpha[group]
            expected = alpha.sigmoid() if name == "fair_darts" else alpha.softmax(-1)
            torch.testing.assert_close(value, expected)
            torch.testing.assert_close(
                torch.tensor(line["strength"][group]), value, rtol=1e-5, atol=1e-9
            )
    assert events[-1].architecture == found.architecture


def test_a_search_begins_steps_and_ends() -> None:
    heard = Heard()
    archgrad.search("s2", digits(), callbacks=[heard], **{**TINY, "epochs": 1})
    (beginning,) = heard.of("begin")
    assert (beginning.name, beginning.config.epochs, tuple(beginning.lines)) == ("search", 1, ())
    assert heard.of("step") == [(1, 3), (2, 3), (3, 3)]
    assert heard.calls[0][0] == "begin" and heard.calls[-1][0] == "end"
    assert sum(called == "end" for called, _ in heard.calls) == 1


def test_an_interrupted_search_has_an_end() -> None:
    heard = Heard(kill=1)
    with pytest.raises(Killed):
        archgrad.search("s2", digits(), callbacks=[heard], **TINY)
    assert heard.calls[-1] == ("end", None)


# --- changes --------------------------------------------------------------------------------------


def check_changes(heard: Heard, before: Architecture | None) -> list[int]:
    """The epochs that are told to change the cells are those that do."""
    changes = []
    for event in heard.of("epoch_end"):
        assert event.before == before
        if event.architecture != before:
            changes.append(event.epoch)
        before = event.architecture
    assert [event.epoch for event in heard.of("architecture_changed")] == changes
    return changes


def test_a_change_is_told_where_cells_differ_also_after_a_resume(tmp_path: Path) -> None:
    lively, whole, second = {**TINY, **LIVELY, "epochs": 5}, Heard(), Heard()
    archgrad.search("darts-cnn", digits(), callbacks=[whole], **lively)
    changes = check_changes(whole, None)
    done = next(epoch for epoch in (2, 3, 4) if epoch + 1 not in changes)
    assert set(changes) & set(range(done + 1, 6)) and len(changes) > 1  # else this shows little
    first = Heard(kill=done)
    with pytest.raises(Killed):
        archgrad.search("darts-cnn", digits(), out=tmp_path, callbacks=[first], **lively)
    archgrad.search(data=digits(), resume=tmp_path, callbacks=[second])
    assert [line["epoch"] for line in second.of("begin")[0].lines] == [*range(1, done + 1)]
    events = [*first.of("epoch_end"), *second.of("epoch_end")]
    assert [(e.before, e.architecture) for e in events] == [
        (e.before, e.architecture) for e in whole.of("epoch_end")
    ]
    known = first.of("epoch_end")[-1].architecture
    assert check_changes(second, known) == [epoch for epoch in changes if epoch > done]


def test_after_going_back_the_epoch_before_is_the_one_gone_back_to() -> None:
    verdicts = [Verdict("enough", 1)]

    def rule(history: Any) -> Verdict | None:
        return verdicts.pop() if verdicts and len(history) == 3 else None

    lively = method("darts", alpha_learning_rate=2.0)
    chosen = replace(lively, stopping=rule, recovery=Recovery(10.0, 1.0))
    shape = {"channels": 2, "cells": 3, "nodes": 2, "in_channels": 1, "image_size": (8, 8)}
    config, heard = SearchConfig(**{**TINY, "nodes": 2}), Heard()
    data = digits()
    built = space("darts-cnn", **shape, classes=len(data.classes))
    bilevel_search(built, data, chosen, config, callback=heard)
    events = heard.of("epoch_end")
    assert [event.epoch for event in events] == [1, 2, 3, 2, 3]
    assert events[3].before == events[0].architecture != events[2].architecture
    assert events[4].before == events[3].architecture
    told = [event.epoch for event in heard.of("architecture_changed")]
    assert told == [event.epoch for event in events if event.architecture != event.before]
    assert told[0] == 1 and events[0].before is None
    order = [called for called, _ in heard.calls if called not in ("step", "architecture_changed")]
    assert order[3:7] == ["epoch_end", "went_back", "warning", "epoch_end"]
    assert heard.of("went_back") == [1]


# --- baselines ------------------------------------------------------------------------------------


class Scores:
    """Gives these scores, one after the other, for an apple each."""

    unit = "apples"

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def price(self, proposal: Proposal) -> int:
        return 1

    def score(self, proposal: Proposal, number: int) -> float:
        return self.scores[number]


def baseline(callback: Callback | None, run: Run | None = None, budget: int = 5) -> Any:
    config = SearchConfig(space="nas-bench-201", method="random")
    return baseline_search(
        space("nas-bench-201"), BASELINES["random"](), Scores(-math.inf, 1, 3, 3, 2, 4), budget,
        config, callback=callback, run=run,
    )  # fmt: skip


def test_a_baseline_tells_every_score_and_each_new_best(tmp_path: Path) -> None:
    heard, config = Heard(), RunConfig(search=SearchConfig())
    found = baseline(heard, run := Run.create(tmp_path / "run", config))
    assert heard.of("evaluated") == found.metrics == read_lines(run.path / "evaluations.jsonl")
    changes = heard.of("architecture_changed")
    assert [event.epoch for event in changes] == [2, 3]  # the first failed; an equal one is no news
    assert [event.metrics for event in changes] == found.metrics[1:3]
    assert changes[0].before is None and changes[1].before == changes[0].architecture
    assert changes[1].architecture == found.architecture and changes[1].epochs is None
    assert not heard.of("epoch_end") and not changes[0].alpha
    more = Heard()
    better = baseline(more, run, budget=6)
    assert list(more.of("begin")[0].lines) == found.metrics and len(more.of("evaluated")) == 1
    (change,) = more.of("architecture_changed")
    assert (change.before, change.architecture) == (found.architecture, better.architecture)


# --- nothing changes, nothing fails ---------------------------------------------------------------


class Failing(Callback):
    def __init__(self) -> None:
        self.calls = 0

    def epoch_end(self, event: EpochEnd) -> None:
        self.calls += 1
        raise OSError("no connection")


SAID = r"callback Failing failed and .* \(OSError: no connection; .*test_callbacks\.py, line \d+\)"


def test_callbacks_change_no_result() -> None:
    plain = archgrad.search("darts-cnn", digits(), **TINY)
    heard = archgrad.search("darts-cnn", digits(), callbacks=[Heard()], **TINY)
    assert heard.architecture == plain.architecture
    assert all(torch.equal(heard.alpha[name], plain.alpha[name]) for name in plain.alpha)
    timeless = [
        [{k: v for k, v in line.items() if k not in ("seconds", "memory_mb")} for line in metrics]
        for metrics in (plain.metrics, heard.metrics)
    ]
    assert timeless[0] == timeless[1]


def test_one_that_fails_is_left_out_and_the_others_go_on() -> None:
    failing, heard = Failing(), Heard()
    with pytest.warns(UserWarning, match=SAID) as said:
        found = archgrad.search("s2", digits(), callbacks=[failing, heard], **TINY)
    assert len(said) == 1 and failing.calls == 1
    assert len(heard.of("epoch_end")) == len(found.metrics) == 3


@pytest.mark.parametrize("own", [True, False])
def test_search_hears(own: bool) -> None:
    heard, (x, y) = Heard(), (digits().train.x, digits().train.labels)  # type: ignore[union-attr]
    space = (net(),) if own else ("s2",)
    data = {"train": (x, y)} if own else {"data": digits()}
    sizes = {"epochs": 2, "guard": "off", "batch_size": 8} if own else {**TINY, "epochs": 2}
    with pytest.warns(UserWarning, match=SAID):
        archgrad.search(*space, **data, callbacks=[Failing(), heard], **sizes)
    groups = {"head"} if own else {"normal", "reduce"}
    assert [set(event.alpha) for event in heard.of("epoch_end")] == [groups] * 2


def test_run_hears_its_search_and_train_its_retrainings(tmp_path: Path) -> None:
    heard = Heard()
    sizes = {**TINY, "epochs": 1}
    with pytest.warns(UserWarning, match=SAID):
        archgrad.run(
            digits(), space="s2", out=tmp_path / "run", callbacks=[Failing(), heard],
            **sizes, **RETRAINED,
        )  # fmt: skip
    assert [event.epoch for event in heard.of("epoch_end")] == [1]
    trained = Heard()
    options = {key.removeprefix("train_"): value for key, value in RETRAINED.items()}
    options = {**options, "epochs": 2, "seeds": 2}
    del options["random_cells"]
    with pytest.warns(UserWarning, match=SAID):
        result = archgrad.train(
            heard.of("epoch_end")[0].architecture, digits(), callbacks=[Failing(), trained],
            **options,
        )  # fmt: skip
    assert [begun.name for begun in trained.of("begin")] == ["found/seed-0", "found/seed-1"]
    assert [event.epoch for event in trained.of("epoch_end")] == [1, 2, 1, 2]
    assert all(event.architecture == result.architecture for event in trained.of("epoch_end"))
    assert not trained.of("architecture_changed") and len(trained.of("end")) == 2


@pytest.mark.parametrize(
    ("given", "found"),
    [([Heard], "the class Heard"), (Heard(), "a Heard"), ([print], "a builtin_fun")],
)
def test_what_is_no_list_of_callbacks_is_refused_before_any_work(given: Any, found: str) -> None:
    with pytest.raises(ArchgradError, match=f"callbacks: found {found}.*; expected a list of"):
        archgrad.search("s2", digits(), callbacks=given, **TINY)


def test_an_interruption_passes() -> None:
    class Interrupting(Callback):
        def step(self, done: int, steps: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Callbacks([Interrupting()]).step(1, 2)

"""Progress in the terminal: with and without one, quiet, and the cells in short."""

from __future__ import annotations

import io
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import archgrad
from archgrad.architecture import Architecture, Cell, published
from archgrad.progress import display as displays
from archgrad.progress import terminal
from archgrad.progress.compact import changed, compact, short
from archgrad.progress.display import Display
from archgrad.searching.bilevel import BilevelSearch
from archgrad.searching.callbacks import Beginning, Callback, EpochEnd, announce
from archgrad.searching.timeleft import Kind, Outlook
from archgrad.settings.config import OWN, RunConfig, SearchConfig
from archgrad.spaces import SPACES, space
from archgrad.storage.folder import Run

METRICS = {
    "train_loss": 2.0, "valid_accuracy": 0.5, "skip_share": 0.0, "entropy": 1.0,
}  # fmt: skip


def architecture(*operations: str, name: str = "normal") -> Architecture:
    """A node an operation, from input 0."""
    nodes = tuple(((operation, 0),) for operation in operations)
    output = tuple(range(1, 1 + len(nodes)))
    return Architecture(space="s2", cells=(Cell(name=name, inputs=1, nodes=nodes, output=output),))


FIRST, SECOND = (architecture("skip_connect", o) for o in ("sep_conv_3x3", "skip_connect"))


class Clock:
    """Fake seconds."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def searched(folder: Path, quiet: bool = False) -> None:
    """Three epochs of ten steps of 1 s, evaluated in 10 s; the last changes the cell."""
    clock = Clock()
    config = RunConfig(search=SearchConfig(epochs=4, kernel="torch", device="cpu"))
    with Display(Run.create(folder, config), quiet, clock) as display:
        outlook = Outlook((0, 4), warm_up=0.25)
        display.begin(Beginning("search", config.search or SearchConfig(), outlook=outlook))
        before = None
        for epoch, cells in enumerate((FIRST, FIRST, SECOND), start=1):
            for step in range(10):
                clock.at += 1
                display.step(step + 1, 10)
            clock.at += 10
            announce(EpochEnd({**METRICS, "epoch": epoch}, 4, cells, before), display)
            before = cells
        display.progress.refresh()  # nothing, where there is no terminal
        display.warning("epoch 3: [b]something[/b]")


def test_without_a_terminal_there_are_plain_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(tmp_path / "run")
    out, err = capsys.readouterr()
    assert out == ""
    note = "train 2.000  valid 50.0 %  skips 0 %  entropy 1.000"
    assert err.splitlines()[1:] == [
        f"search   1/4  {note}  time left not yet known (alpha rests until epoch 2)",
        "cells    normal  skip<-0 | sep3<-0",
        f"search   2/4  {note}  0:40 left",
        f"search   3/4  {note}  0:20 left",
        "cells    normal  skip<-0 | *skip<-0",
        "note     epoch 3: [b]something[/b]",
    ]


def test_time_and_line_are_of_the_epoch_that_a_search_goes_on_after(
    tmp_path: Path, screen: io.StringIO
) -> None:
    """Neither of the lines that a killed one left, nor of those that it went back behind."""
    config, clock = RunConfig(search=SearchConfig(epochs=9, kernel="torch", device="cpu")), Clock()
    run = Run.create(tmp_path / "run", config)
    (run.path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    with Display(run, now=clock) as display:
        (task,) = (t for t in display.progress.tasks if t.description == "search ")
        line = {**METRICS, "epoch": 1}
        search = config.search or SearchConfig()
        display.begin(Beginning("search", search, [line], Outlook((0, 9))))
        display.step(1, 4)
        assert task.completed == 1.25
        display.epoch_end(EpochEnd({**METRICS, "epoch": 8}, 9, FIRST))
        display.went_back(3)
        display.step(2, 4)
        assert task.completed == 3.5
        assert display.time is not None and display.time.epoch == 3


def test_after_the_last_epoch_a_selection_is_still_to_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for selection, left in ((True, "  time left not yet known (a selection follows)"), (False, "")):
        config = RunConfig(search=SearchConfig(epochs=1, kernel="torch", device="cpu"))
        with Display(Run.create(tmp_path / f"{selection}", config)) as display:
            outlook = Outlook((0, 1), selection=selection)
            display.begin(Beginning("search", config.search or SearchConfig(), outlook=outlook))
            display.step(1, 1)
            display.epoch_end(EpochEnd({**METRICS, "epoch": 1}, 1, FIRST))
        assert capsys.readouterr().err.splitlines()[-1].endswith(f"entropy 1.000{left}")


def test_quiet_tells_warnings_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searched(tmp_path / "run", quiet=True)
    assert capsys.readouterr() == ("", "note     epoch 3: [b]something[/b]\n")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 60 columns gets."""
    found = io.StringIO()

    def screened(made: type[Console], **options: Any) -> Console:
        return made(**{"force_terminal": True, **options, "file": found}, width=60)

    monkeypatch.setattr(terminal, "Terminal", partial(screened, terminal.Terminal))
    for name in ("NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return found


def test_in_a_terminal_the_cells_are_below_the_line(tmp_path: Path, screen: io.StringIO) -> None:
    searched(tmp_path / "run")
    shown = screen.getvalue()
    assert "\x1b[" in shown
    assert "normal  skip<-0 | \x1b[1m*skip<-0\x1b[0m" in shown
    assert "cells    " not in shown
    assert "note     epoch 3: [b]something[/b]" in shown


def test_a_note_is_wrapped_between_words(tmp_path: Path, screen: io.StringIO) -> None:
    words = " ".join(f"word{number}" for number in range(40))
    with Display(Run.create(tmp_path / "run", RunConfig(search=SearchConfig(kernel="torch")))) as d:
        d.warning(words)
    plain = re.sub(r"\x1b\[[\d?]*\w", "", screen.getvalue())
    lines = [line.rstrip() for line in plain.splitlines() if "word" in line]
    assert len(lines) > 1 and max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines).split()) == f"note {words}"


def test_all_of_a_long_cell_is_shown_in_a_narrow_terminal(screen: io.StringIO) -> None:
    lines = displays.Lines(terminal.console(sys.stderr))
    lines.below = compact(published("DARTS_V2"))
    lines.console.print(lines.get_renderable())
    shown = screen.getvalue().splitlines()
    assert " ".join(" ".join(shown).split()) == " ".join(" ".join(lines.below).split())
    assert max(len(line.rstrip()) for line in shown) <= 60


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_shows_how_far_it_is_and_how_long_it_takes(
    width: int, screen: io.StringIO
) -> None:
    lines = displays.Lines(terminal.console(sys.stderr))
    lines.console.width = width
    said = {"left": "at least 1:20:03 left (alpha rests until epoch 16)", "step": "step 13/312"}
    note = "train 2.000  valid 50.0 %  skips 0 %  entropy 1.000  [b]"
    lines.add_task("search ", total=600, completed=123, note=note, **said)
    lines.console.print(lines.get_renderable())
    shown = " ".join(re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue()).split())
    assert shown.startswith("search ") and "123/600" in shown
    assert " ".join([*said.values(), *note.split()]) in shown


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_control_sequences_where_they_are_not_wanted(
    name: str, value: str, tmp_path: Path, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    searched(tmp_path / "run")
    terminal.print_result({}, terminal.table([["header"], ["row"]]), as_json=False)
    shown = screen.getvalue()
    assert "\x1b" not in shown
    assert "search   3/4" in shown
    assert "row" in shown


def test_retrainings_are_told_with_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    config = RunConfig(search=SearchConfig(epochs=4, kernel="torch", device="cpu"))
    with Display(Run.create(tmp_path / "run", config), now=clock) as display:
        for done in ((0, 0), (1, 1), (2, 2), (2, 2), (3, 3), (4, 4), (4, 4)):
            clock.at += 20
            display.retraining(done, (4, 4), 1)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "retrain  0/8 epochs  time left not yet known",
        "retrain  2/8 epochs  time left not yet known",
        "retrain  4/8 epochs  1:20 left",
        "retrain  6/8 epochs  0:40 left",
        "retrain  8/8 epochs",
    ]


def test_the_live_line_says_what_goes_on(tmp_path: Path, screen: io.StringIO) -> None:
    config = RunConfig(search=SearchConfig(epochs=4, kernel="torch", device="cpu"))
    with Display(Run.create(tmp_path / "run", config)) as display:
        display.step(9, 10)
        assert display.progress.tasks[0].fields["step"] == "step 9/10"
        display.step(10, 10)
        assert display.progress.tasks[0].fields["step"] == "evaluating"
        for networks in (1, 6):
            display.retraining((1,) * networks, (4,) * networks, 1)
            display.progress.refresh()
    assert "epochs of 1 network " in (shown := screen.getvalue())
    assert "epochs of 6 networks" in shown


class Heard(Callback):
    """The outlook of a search, and the kinds of the steps that were made."""

    def __init__(self) -> None:
        self.outlooks: list[Outlook] = []
        self.kinds: list[Kind] = []
        self.epoch = 0

    def begin(self, beginning: Beginning) -> None:
        assert beginning.outlook is not None
        self.outlooks.append(beginning.outlook)

    def step(self, done: int, steps: int) -> None:
        self.kinds.append(self.outlooks[0].kind(self.epoch, done - 1, steps))

    def epoch_end(self, event: EpochEnd) -> None:
        self.epoch = event.epoch


@pytest.mark.parametrize("name", ["proxyless", "p_darts"])
def test_a_search_goes_as_its_outlook_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where alpha moves, which stage it is, and which diagnostics are due after which epoch."""
    moved, heard = [], Heard()
    original = BilevelSearch.alpha_step

    def alpha_step(search: BilevelSearch, *given: Any) -> Any:
        moved.append((search.stage, len(heard.kinds)))
        return original(search, *given)

    monkeypatch.setattr(BilevelSearch, "alpha_step", alpha_step)
    found = archgrad.search(
        "s2", "digits", method=name, channels=2, cells=3, nodes=1, epochs=4,
        batch_size=10, subset=40, kernel="torch", device="cpu", callbacks=[heard],
    )  # fmt: skip
    (outlook,) = heard.outlooks
    expected = [(k.stage, number) for number, k in enumerate(heard.kinds) if k.alpha]
    assert moved == expected
    assert 0 < len(expected) < len(heard.kinds)
    for line, due in zip(found.metrics, outlook.due, strict=True):
        assert {key for key in line if key in set().union(*outlook.due)} == due
    assert len(set(outlook.due)) > 1


# --- cells in short -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_short_names_of_a_space_differ(name: str) -> None:
    candidates = {o for g in space(name).groups for row in g.candidates for o in row}
    found = {short(candidate) for candidate in candidates}
    assert len(found) == len(candidates)
    assert max(map(len, found)) <= 9


def test_what_changed_has_a_star() -> None:
    assert compact(FIRST) == ["normal  skip<-0 | sep3<-0"]
    assert compact(FIRST, FIRST) == compact(FIRST)
    assert compact(FIRST, SECOND) == ["normal  skip<-0 | *sep3<-0"]
    longer = architecture("skip_connect", "sep_conv_3x3", "none")
    assert compact(longer, FIRST) == ["normal  skip<-0 | sep3<-0 | *none<-0"]


def test_cells_that_did_not_change_are_no_lines() -> None:
    reduce = architecture("none", name="reduce").cells
    both, other = (a.model_copy(update={"cells": a.cells + reduce}) for a in (FIRST, SECOND))
    assert changed(both, None) == compact(both)
    assert changed(both, other) == ["normal  skip<-0 | *sep3<-0"]
    assert changed(both, both) == []


def test_an_own_model_has_no_sources_and_many_choices_are_one_line() -> None:
    def model(*operations: str) -> Architecture:
        cells = [
            Cell(name=f"layer{i}", inputs=1, nodes=(((operation, 0),),), output=(1,))
            for i, operation in enumerate(operations)
        ]
        return Architecture(space=OWN, cells=tuple(cells))

    assert compact(model("wide", "conv_3x3")) == ["layer0  wide", "layer1  conv3"]
    many = model("a", "a", "b", "a", "b", "a")
    assert compact(many) == ["6 choices: 4 a, 2 b"]
    assert compact(many, model(*"aabbba")) == ["6 choices: 4 a, 2 b; 1 changed"]
    assert changed(many, model(*"aabbba")) == compact(many, model(*"aabbba"))


@pytest.mark.parametrize("metric", [None, "error"])
def test_python_shows_progress_where_it_is_asked_for(
    metric: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Searches of any metric, then a retraining; nothing before and nothing after."""
    epochs: dict[str, Any] = {"epochs": 2, "threads": 1, "device": "cpu"}
    if metric is None:
        sizes: dict[str, Any] = {"channels": 2, "cells": 3, "batch_size": 20, "subset": 40}
        found = archgrad.search(
            "s2",
            "digits",
            nodes=1,
            kernel="torch",
            callbacks=[archgrad.Display()],
            **sizes,
            **epochs,
        )
        archgrad.train(found, "digits", seeds=1, callbacks=[archgrad.Display()], **sizes, **epochs)
        lines = capsys.readouterr().err.splitlines()
        assert [line.split("  ")[0] for line in lines if line.startswith("found/seed-0")] == [
            "found/seed-0 1/2", "found/seed-0 2/2",
        ]  # fmt: skip
    else:

        def error(output: Tensor, target: Tensor) -> Tensor:
            return -(output - target).abs().mean()

        model = nn.Sequential(archgrad.Choice({"a": nn.Linear(2, 1), "b": nn.Linear(2, 1)}))
        data = torch.ones(8, 2), torch.ones(8, 1)
        archgrad.search(
            model, train=data, loss=nn.functional.mse_loss, metric=error, batch_size=4,
            callbacks=[archgrad.Display()], **epochs,
        )  # fmt: skip
        lines = capsys.readouterr().err.splitlines()
    shown = [line for line in lines if line.startswith("search")]
    assert [line.split()[1] for line in shown] == ["1/2", "2/2"]
    assert all(" train " in line and " valid " in line for line in shown)

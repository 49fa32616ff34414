"""HTML of notebooks: well-formed, complete, harmless whatever the names are."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import archgrad
from archgrad.architecture import Architecture, Cell, published
from archgrad.errors import ArchgradError
from archgrad.exporting.trained import TrainResult
from archgrad.findings.results import Budget, Entry, Results, Settings
from archgrad.networks.choice import Choice
from archgrad.networks.choices import InputChoice, Repeat, Width
from archgrad.reporting.drawing import svg
from archgrad.reporting.layout import PAPER, layouts
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.searching.result import SearchResult
from main_jobs import report

EVIL = '"><script>alert(1)</script>'
CELL = published("DARTS_V2")


class Net(nn.Module):
    """Every kind of choice, one of them inside another, and a name that is code."""

    def __init__(self) -> None:
        super().__init__()
        inner = Choice({"relu": nn.ReLU(), "linear": nn.Linear(6, 6)}, name="inner")
        deep = nn.Sequential(nn.Linear(4, 6), inner)
        self.first = Choice({EVIL: nn.Linear(4, 6), "deep": deep}, name="first_one")
        self.depth = Repeat(lambda: nn.Linear(6, 6), [0, 1, 2])
        self.width = Width([nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)], [3, 8])
        self.merge = InputChoice(3, picks=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        deep = self.depth(first)
        found: torch.Tensor = self.head(self.merge([first, deep, self.width(deep)]))
        return found


class Kept(Callback):
    def __init__(self) -> None:
        self.events: list[EpochEnd] = []

    def epoch_end(self, event: EpochEnd) -> None:
        self.events.append(event)


KEPT = Kept()


@pytest.fixture(scope="module")
def result() -> SearchResult:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 4, generator=generator)
    y = torch.randint(0, 3, (24,), generator=generator)
    options: dict[str, Any] = {"epochs": 2, "batch_size": 6, "device": "cpu", "guard": "off"}
    found = archgrad.search(Net(), train=(x, y), callbacks=[KEPT], **options)
    found.metrics[1]["warnings"] = [f"bad {EVIL}"]
    return found


def shown(html: str) -> str:
    """Its words, once it is well-formed and loads and runs nothing."""
    tree = ET.fromstring(html)
    assert not {"script", "style", "link", "img", "iframe"} & {
        element.tag for element in tree.iter()
    }
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", re.sub(r">[^<]*<", "><", html))
    assert EVIL not in html
    (start,) = [tree.get("style")]
    assert start is not None and "background:#fff" in start and "color:#222" in start
    for picture in tree.iter("svg"):
        assert "display:block" in (picture.get("style") or ""), "below its title"
        assert picture.get("role") == "img" and len(picture.get("aria-label") or "") > 10
    return " ".join(tree.itertext())


def operations(architecture: Architecture) -> set[str]:
    return {name for cell in architecture.cells for name in cell.operations}


def test_architectures_and_cells_show_every_operation() -> None:
    for name in ("DARTS_V2", "PC_DARTS", "DARTS_RNN_V2"):
        architecture = published(name)
        words = shown(architecture._repr_html_())
        assert operations(architecture) <= set(words.split())
        assert len(architecture._repr_html_()) < 20_000
        for cell in architecture.cells:
            assert set(cell.operations) <= set(shown(cell._repr_html_()).split())
    alternative = ET.fromstring(CELL._repr_html_()).find("svg").get("aria-label")  # type: ignore[union-attr]
    assert alternative is not None and all(str(cell) in alternative for cell in CELL.cells)


def test_a_search_says_how_it_went(result: SearchResult) -> None:
    words = shown(result._repr_html_())
    last = result.metrics[-1]
    assert "Search of an own model by darts" in words and "2 epochs" in words
    assert f"{last['valid_loss']:.4g}" in words and f"{100 * last['valid_accuracy']:.2f} %" in words
    assert f"Epoch 2: bad {EVIL}" in words and "as wide as its edge" in words
    assert {cell.name for cell in result.architecture.cells} <= set(words.split())
    assert "Architecture of an own model" in shown(result.architecture._repr_html_())
    stopped = replace(result, stopped="it fell", undecided="hardly moved", replay=())
    assert str(stopped) == f"{result.architecture}\nit fell\nhardly moved"
    assert len(repr(result)) < 1000, "no tensors, metrics and modules"
    words = shown(stopped._repr_html_())
    assert "2 epochs: it fell" in words and "hardly moved." in words and "as wide" not in words
    baseline = replace(
        result,
        metrics=[
            {"evaluation": i, "share": share, "score": score}
            for i, share, score in ((1, 0.5, 0.9), (2, 1.0, 0.5), (3, 1.0, 0.25))
        ],
    )
    assert "3 evaluations" in shown(baseline._repr_html_())
    assert re.search(r"best score\s*0\.5\b", shown(baseline._repr_html_()))


def test_an_epoch_of_a_callback(result: SearchResult) -> None:
    first, second = KEPT.events
    assert "Epoch 1 of 2" in shown(first._repr_html_())
    assert "Epoch 2 of 2" in shown(second._repr_html_())
    assert "Other cells" not in shown(first._repr_html_())
    assert "Other cells" in shown(replace(second, before=CELL)._repr_html_())
    evaluated = EpochEnd({"evaluation": 7, "score": 0.5}, None, CELL)
    assert "Evaluation 7" in shown(evaluated._repr_html_())


def test_the_main_job_shows_its_table_and_what_may_be_claimed(result: SearchResult) -> None:
    words = shown(report(result)._repr_html_())
    assert {"found", "random-1", "random-2"} <= set(words.split())
    assert "85.00 ± 7.07" in words and "This is about this one cell" in words


def test_retrainings_show_every_seed() -> None:
    scores: Any = [{"seed": 3, "accuracy": 0.5}, {"seed": 4, "accuracy": 0.75}]
    words = shown(TrainResult(CELL, scores, [])._repr_html_())
    assert "50.00 %" in words and "75.00 %" in words and "62.50 % ± 17.68" in words
    assert "±" not in shown(TrainResult(CELL, scores[:1], [])._repr_html_())


def test_a_comparison_shows_its_table_and_its_notes() -> None:
    entry = Entry(method="darts", data=EVIL, seed=0, status="failed", error="it broke")
    settings = Settings(space="s2", methods=("darts", "random"), data=(EVIL,), seeds=(0,))
    results = Results(settings=settings, budget=Budget(amount=8.0), entries=(entry,))
    words = shown(results._repr_html_())
    assert EVIL in words and "0 of 1 (1 failed)" in words and "it broke" in words


@pytest.mark.parametrize("make", [Architecture._repr_html_, svg], ids=["html", "svg"])
def test_names_are_text(make: Callable[[Architecture], str]) -> None:
    nodes = (((EVIL, 0), ("a_b\x00", 0)),)
    for inputs in (1, 2):  # a choice, a cell
        cell = Cell(name=f"{EVIL}_x", inputs=inputs, nodes=nodes, output=(inputs,))
        made = make(Architecture(space=EVIL, cells=(cell,)))
        assert EVIL not in made
        words = {
            "".join(e.itertext()) for e in ET.fromstring(made).iter() if e.tag.endswith("text")
        }
        assert {EVIL, "a_b\ufffd", f"{EVIL}_x"} <= words


def test_choices_are_a_list_in_columns() -> None:
    def chain(count: int) -> Architecture:
        nodes = ((("sep_conv_3x3", 0), ("skip_connect", 0)),)
        cells = (Cell(name=f"c_{i}", inputs=1, nodes=nodes, output=(1,)) for i in range(count))
        return Architecture(space="chain", cells=tuple(cells))

    (few,), (many,) = layouts(chain(3)), layouts(chain(20))
    assert [box.parts for box in few.nodes] == [(f"c_{i}", "") for i in range(3)]
    assert len({box.x for box in few.nodes}) == 1 and len({box.x for box in many.nodes}) == 4
    assert len(many.edges) == 40 and many.height < 400 and many.width < 1000
    for edge in many.edges:
        (box,) = [
            b for b in many.nodes
            if b.x + b.width == edge.points[0][0] and b.y < edge.points[0][1] < b.y + b.height
        ]  # fmt: skip
        assert edge.head[1][0] < box.x + box.width + 200
    (narrow,) = layouts(chain(20), spacing=PAPER._replace(picture=250))
    assert len({box.x for box in narrow.nodes}) == 1 and narrow.height > many.height
    assert {edge.text for edge in narrow.edges} == {"sep 3×3", "skip"}


def test_strength_is_the_width_of_a_line() -> None:
    plain, wide = layouts(CELL), layouts(CELL, {("normal", "sep_conv_3x3", 0, 2): 2.0,
                                                ("normal", "sep_conv_3x3", 1, 2): 1.0})  # fmt: skip
    assert {edge.width for edge in plain[0].edges} == {1.0, 2.0}
    widths = sorted(edge.width for edge in wide[0].edges)
    assert widths[-1] == 4.5 and 2.25 in widths
    assert wide[1] == plain[1]  # nothing is known of the other cell
    assert 'stroke-width="4.5"' in svg(CELL, {("normal", "sep_conv_3x3", 0, 2): 2.0})
    recurrent = published("DARTS_RNN_V2")
    (name, source), *_ = recurrent.cells[0].nodes[1]
    (picture,) = layouts(recurrent, {("recurrent", name, source, 2): 1.0})
    assert [edge.operation for edge in picture.edges if edge.width == 4.5] == [name]
    assert layouts(CELL, {("normal", "sep_conv_3x3", 0, 2): 0.0}) == plain


def test_a_summary_counts_what_there_is_to_choose() -> None:
    made = archgrad.summary(Net())
    by_name = {decision.name: decision for decision in made.decisions}
    assert made.architectures == 2 * 2 * 3 * 2 * 3
    assert made.fixed == 6 * 3 + 3
    assert by_name["first_one"].candidates == (EVIL, "deep")
    assert by_name["first_one"].parameters == (30, 30)  # without the choice inside it
    assert by_name["inner"].parameters == (0, 42) and by_name["inner"].places == (
        "first.candidates.1.1",
    )
    assert by_name["depth"].parameters == (0, 42, 84) and by_name["depth"].kind == "Repeat"
    assert by_name["width"].parameters == (6 * 3 + 3 + 3 * 6 + 6, 6 * 8 + 8 + 8 * 6 + 6)
    assert by_name["merge"].picks == 2 and by_name["merge"].parameters == (0, 0, 0)
    words = shown(made._repr_html_())
    for part in ("first_one", "72 architectures", "21 parameters", "width", "InputChoice"):
        assert part in words and part in str(made)
    assert "chosen" not in words


def test_choices_of_one_name_are_one_decision() -> None:
    model = nn.Sequential(
        *(Choice({"a": nn.Linear(2, 2), "b": nn.ReLU()}, "both") for _ in range(2))
    )
    (decision,) = archgrad.summary(model).decisions
    assert decision.places == ("0", "1") and decision.parameters == (12, 0)
    assert archgrad.summary(model).architectures == 2


def test_a_summary_says_what_was_chosen(result: SearchResult) -> None:
    for made in (archgrad.summary(result), archgrad.summary(Net(), result.architecture)):
        chosen = {d.name: d.chosen for d in made.decisions}
        assert chosen == {cell.name: cell.operations for cell in result.architecture.cells}
        assert ", ".join(chosen["merge"] or ()) in shown(made._repr_html_())
    with pytest.raises(ArchgradError, match="architecture is of space darts-cnn"):
        archgrad.summary(Net(), CELL)
    with pytest.raises(ArchgradError, match="has no choices"):
        archgrad.summary(result.derive())
    with pytest.raises(ArchgradError, match=r"summary: found .*expected a model with"):
        archgrad.summary(3)  # type: ignore[arg-type]


def test_a_choice_shows_its_candidates() -> None:
    words = shown(Net().first._repr_html_())
    assert "Choice first_one of 2 candidates" in words and EVIL in words and "72" in words
    assert "keeps 2" in shown(Net().merge._repr_html_())

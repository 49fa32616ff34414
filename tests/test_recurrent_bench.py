"""benchmarks/recurrent.py and ptb.py: the textbook takes the library's steps; tables tell it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import ptb
import recurrent
import textbook_rnn
from archgrad import methods
from archgrad.data import text_data
from archgrad.language import LANGUAGE, Memory, Segment
from archgrad.networks.recurrent import Regularization
from recurrent import BOOKS, CELL, SEARCH, Size, derived_gap, search_gap, segments, space
from steps import library
from textbook_rnn import Book

TINY = Size(3, 3, (), vocabulary=7, bptt=3, nodes=3)
EVERY = Regularization(0.3, 0.3, 0.3, 0.3, 0.3, activation=0.5, slowness=0.7)


@pytest.mark.parametrize("form", BOOKS.values())
def test_losses_and_gradients_of_a_search_are_those_of_the_library(form: str) -> None:
    assert search_gap(form, TINY, EVERY) < 1e-11


def test_loss_and_gradients_of_a_derived_cell_are_those_of_the_library() -> None:
    assert derived_gap(TINY._replace(nodes=8), EVERY) < 1e-11


def test_the_gap_sees_another_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(textbook_rnn.FORMS, "edges", textbook_rnn.Stacked)
    monkeypatch.setattr(textbook_rnn, "normalized", lambda state: state)
    assert search_gap("edges", TINY) > 1e-3


@pytest.mark.parametrize("second_order", [False, True])
def test_the_textbook_takes_the_steps_of_the_library(second_order: bool) -> None:
    none = Regularization(0, 0, 0, 0, 0, slowness=0.5)  # the two draw from other seeds
    kind = {"estimator": "finite_difference"} if second_order else {}
    words = [str(i % 7) for i in range(60)]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        ours = library(
            space(TINY, none), methods.method("darts_2nd" if second_order else "darts", **kind),
            torch.device("cpu"), data=text_data(words, words), momentum=0.0,
            second_order_clip=SEARCH["clip"], **SEARCH,
        )  # fmt: skip
        book = Book("stacked", TINY.vocabulary, TINY.hidden, TINY.nodes, none, **SEARCH)
    finally:
        torch.set_default_dtype(before)
    book.network.load_state_dict(ours.network.state_dict())
    ((alpha,), (its,)) = ours.tables.values(), book.alpha.values()
    its.data.copy_(alpha)
    start = alpha.detach().clone()
    train, valid = segments(TINY, torch.device("cpu"), torch.float64)
    for _ in range(2):
        ours.both(train, valid)
        (book.second_order if second_order else book.first_order)(train, valid)
        book.weight_step(train)
    moved = float((alpha - start).detach().abs().max())
    assert moved > 4e-4
    torch.testing.assert_close(its, alpha, rtol=0, atol=1e-5 * moved)
    for one, other in zip(ours.network.parameters(), book.network.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-8)


def test_a_benchmark_says_what_was_measured_of_every_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "recurrent-quick-cpu.json", tmp_path / "page.md"
    recurrent.main(["--quick", "--order", "second", "--out", str(out)])
    content = json.loads(out.read_text())
    said = capsys.readouterr().out
    assert "search, second order | library" in said and CELL not in said
    assert [len(turns) for turns in content["parts"].values()] == [2, 2]
    assert set(content["parts"]["search"][0]) == {recurrent.OURS, *BOOKS, "decoder"}
    page.write_text("<!-- begin: benchmarks/recurrent.py --report, cpu -->\nold\n<!-- end -->\n")
    recurrent.main(["--report", "--results", str(tmp_path), "--page", str(page)])
    assert "| retraining | library |" in page.read_text() and "old" not in page.read_text()


def test_rows_compare_within_a_turn() -> None:
    turns = [{"a": [2.0, 4.0], "b": [1.0]}, {"a": [8.0], "b": [2.0]}]
    assert recurrent.ratios(turns, "a", "b") == [3.0, 4.0]


@pytest.mark.parametrize(("hidden", "vocabulary"), [(4, 59), (64, 6022), (850, 10_000)])
def test_the_lstm_has_as_many_parameters_as_can_be(hidden: int, vocabulary: int) -> None:
    with torch.device("meta"):
        wanted = sum(
            p.numel() for p in ptb.DartsRNN(hidden, classes=vocabulary).supernet().parameters()
        )
        size = ptb.lstm_hidden(wanted, vocabulary)
        counts = [
            sum(p.numel() for p in ptb.LSTMModel(vocabulary, h, EVERY).parameters())
            for h in (size - 1, size, size + 1)
        ]
    gaps = [abs(count - wanted) for count in counts]
    assert gaps[1] == min(gaps)


def test_the_lstm_carries_its_state_and_is_regularized_in_training_alone() -> None:
    model = ptb.LSTMModel(7, 4, EVERY).eval()
    tokens = torch.arange(12).view(6, 2) % 7
    whole = model(tokens)[0]
    memory = Memory()
    first = LANGUAGE.forward(model, Segment(tokens[:4], tokens[:4], None, memory))[0][0]
    assert [part.shape for part in memory.state] == [(1, 2, 4)] * 2
    rest = Segment(tokens[4:], tokens[4:], memory.state, memory)
    second, penalty = LANGUAGE.forward(model, rest)[0]
    torch.testing.assert_close(torch.cat([first, second]), whole)
    assert penalty == 0
    model.train()
    assert model(tokens, penalized=True)[2] > 0
    assert not torch.equal(model(tokens)[0], model(tokens)[0])

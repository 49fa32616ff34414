"""Findings in histories made by hand, one kind at a time, and in published ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from archgrad.architecture import published, published_names
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.searching.diagnostics import entropy, parameter_free_share, skip_share
from archgrad.searching.guard import Finding, Guard
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.darts_rnn import DartsRNN

GUARD = Guard(epochs=10)


def history(**columns: list[Any]) -> list[dict[str, Any]]:
    """Metrics of epochs 1, 2, ...; None where a key was not measured."""
    epochs = max(len(values) for values in columns.values())
    lines: list[dict[str, Any]] = [{"epoch": epoch} for epoch in range(1, epochs + 1)]
    for key, values in columns.items():
        for line, value in zip(lines, values, strict=True):
            if value is not None:
                line[key] = value
    return lines


def only(lines: list[dict[str, Any]], guard: Guard = GUARD) -> Finding:
    (finding,) = guard(lines)
    return finding


def test_a_healthy_search_has_no_findings() -> None:
    lines = history(
        valid_accuracy=[0.3, 0.6, 0.8, 0.9],
        watch_accuracy=[0.3, 0.6, 0.79, 0.88],
        discrete_accuracy=[0.1, 0.2, 0.4, 0.5],
        classes=[10] * 4,
        entropy=[2.07, 2.0, 1.8, 1.5],
        operations=[8] * 4,
        skip_share=[0.1, 0.2, 0.4, 0.3],
        parameter_free_share=[0.4, 0.5, 0.6, 0.6],
        eigenvalue=[0.2, None, 0.25, 0.3],
        parameters_percentile=[0.5, 0.4, 0.7, 0.96],
        multiply_adds_percentile=[0.5, 0.4, 0.7, 0.03],
        layer_alignment=[0.9, None, None, 0.1],
    )
    for done in range(5):
        assert Guard(epochs=4)(lines[:done]) == []
        assert Guard(epochs=4).last_healthy(lines[:done]) == done


def test_nothing_measured_nothing_found() -> None:
    assert GUARD([]) == GUARD([{"epoch": 1}]) == GUARD([{"epoch": 9, "valid_accuracy": None}]) == []
    assert GUARD.last_healthy([]) == 0


# --- skips and parameter-free operations ---------------------------------------------------------


def test_skips_take_over() -> None:
    lines = history(skip_share=[0.2, 0.9, 0.4, 0.6, 0.6, 0.7])
    assert [len(GUARD(lines[:done])) for done in range(7)] == [0, 0, 0, 0, 0, 1, 1]
    finding = only(lines)
    assert (finding.kind, finding.healthy, finding.collapse) == ("skip_share", 3, True)
    assert finding.sentence == (
        "skip connections take over: they are 70% of the operations of the derived cells, above "
        "57% since epoch 4; such cells tend to do badly when trained from scratch"
    )
    assert GUARD.last_healthy(lines) == 3
    assert GUARD.last_healthy(lines[:4]) == 4


def test_parameter_free_operations_take_over() -> None:
    finding = only(history(parameter_free_share=[None, 0.8, None, 0.9]))
    assert (finding.kind, finding.healthy) == ("parameter_free_share", 0)
    assert "parameter-free operations take over: they are 90%" in finding.sentence


def test_a_cell_that_recovers_is_healthy() -> None:
    lines = history(skip_share=[0.2, 0.9, 0.9, 0.2])
    assert GUARD(lines) == []
    assert GUARD.last_healthy(lines) == 4


def test_text_is_judged_by_neither_accuracy_nor_what_has_parameters() -> None:
    """Perplexities that would be alarming as accuracies, on cells of activations alone."""
    space = DartsRNN(hidden=2, nodes=2, classes=5)
    lines = history(
        valid_perplexity=[5.0, 4.0, 3.0, 2.0],
        watch_perplexity=[5.0, 6.0, 7.0, 8.0],
        discrete_perplexity=[5.0, 6.0, 7.0, 8.0],
        classes=[5] * 4,
    )
    for line in lines:
        cells = published("DARTS_RNN_V1").cells
        line["skip_share"] = skip_share(cells)
        line["parameter_free_share"] = parameter_free_share(cells)
    assert lines[-1]["parameter_free_share"] == 0
    assert Guard.of(4, space.groups)(lines) == []
    decided = [line | {"entropy": 0.01, "operations": 5} for line in lines[:2]]
    assert only(decided, Guard.of(4, space.groups)).kind == "decided early"


@pytest.mark.parametrize("name", published_names())
def test_published_cells_are_healthy(name: str) -> None:
    cells = published(name).cells
    shares = {"skip_share": skip_share(cells), "parameter_free_share": parameter_free_share(cells)}
    assert GUARD([{"epoch": epoch, **shares} for epoch in (1, 2, 3)]) == []


def test_the_limits_are_halfway_from_random_cells() -> None:
    assert Guard.of(10, DartsCNN().groups) == GUARD
    s2, s4 = ("skip_connect", "sep_conv_3x3"), ("noise", "sep_conv_3x3")
    groups = [Group("a", 2, ((0, 2), (1, 2)), (s2, ("none", *s4)), 2)]
    guard = Guard.of(7, groups)
    assert (guard.epochs, guard.skips, guard.parameter_free) == (7, 0.625, 0.75)


# --- the eigenvalue ------------------------------------------------------------------------------


def test_an_eigenvalue_that_grew_on_a_short_search() -> None:
    """Start, middle and end."""
    lines = history(eigenvalue=[0.2, None, 0.1, None, 0.41])
    assert GUARD(lines[:4]) == []
    finding = only(lines)
    assert (finding.kind, finding.healthy, finding.collapse) == ("eigenvalue", 3, True)
    assert "grew from 0.1 to 0.41, more than 4 times" in finding.sentence
    assert only(history(eigenvalue=[0.1, 0.5, 0.6])).healthy == 1
    assert GUARD(history(eigenvalue=[0.1, 0.5, 0.3])) == []
    assert GUARD(history(eigenvalue=[-0.1, 0.0, 0.3, 1.1])) == []


def test_before_ten_readings_any_great_growth_counts() -> None:
    values = [0.2, 0.1, *[0.2] * 6, 0.5, 0.5]
    assert len(GUARD(history(eigenvalue=values[:9]))) == 1
    assert GUARD(history(eigenvalue=values)) == []


def test_from_ten_readings_on_the_rule_decides() -> None:
    """The published log that the rule stops in epoch 22 (here 23) and sends back to 10 (11)."""
    values = [0.179, 0.148, 0.170, 0.146, 0.121, 0.249, 0.231, 0.360, 0.225, 0.386, 0.208, 0.430]
    lines = [{"epoch": 1 + 2 * i, "eigenvalue": value} for i, value in enumerate(values)]
    guard = Guard(epochs=50)
    assert all(guard(lines[:done]) == [] for done in range(12))
    finding = only(lines, guard)
    assert finding.healthy == guard.last_healthy(lines) == 11
    assert "a ratio above 1.3; discretization may lose" in finding.sentence


# --- accuracies -----------------------------------------------------------------------------------


def test_a_supernet_that_does_not_survive_discretization() -> None:
    lines = history(
        classes=[10] * 7,
        valid_accuracy=[0.5, 0.6, 0.7, 0.8, 0.8, 0.9, 0.9],
        discrete_accuracy=[0.1, 0.1, 0.1, 0.1, 0.1, 0.6, 0.15],
    )
    assert [len(GUARD(lines[:done])) for done in (5, 6, 7)] == [0, 0, 1]
    finding = only(lines)
    assert (finding.kind, finding.healthy, finding.collapse) == ("discretization", 6, False)
    assert "right on 90.0% of the images, with the derived operations alone on 15.0%" in (
        finding.sentence
    )
    assert GUARD.last_healthy(lines) == 7


def test_who_has_learned_nothing_has_nothing_to_lose() -> None:
    last = {"epoch": 10, "classes": 2, "discrete_accuracy": 0.5}
    assert GUARD([{**last, "valid_accuracy": 0.55}]) == []
    assert only([{**last, "valid_accuracy": 0.75}]).healthy == 0


def test_alphas_that_fit_their_own_half() -> None:
    lines = history(
        valid_accuracy=[0.5, 0.6, 0.7, 0.8, 0.9, 0.9],
        watch_accuracy=[0.5, 0.6, 0.6, 0.76, 0.8, None],
    )
    assert GUARD(lines[:4]) == []
    finding = only(lines)
    assert (finding.kind, finding.healthy) == ("overfit", 4)
    assert "accuracy there is 8.0 points above" in finding.sentence
    for images, findings in [(99, 0), (101, 1)]:  # 2 sqrt(0.8 0.2 / 100) = 0.08
        assert len(GUARD([{**line, "watch_images": images} for line in lines])) == findings


# --- entropy -------------------------------------------------------------------------------------


def test_weights_that_are_one_hot_too_early() -> None:
    lines = history(entropy=[2.0, 1.0, 0.1, 0.1, 0.1, 0.1], operations=[8] * 6)
    finding = only(lines[:4])
    assert (finding.kind, finding.healthy) == ("decided early", 2)
    assert "nearly one-hot in epoch 4 of 10" in finding.sentence
    assert GUARD(lines[:2]) == GUARD(lines) == []


def test_weights_that_never_moved() -> None:
    lines = history(entropy=[2.079] * 10, operations=[8] * 10)
    assert GUARD(lines[:9]) == []
    finding = only(lines)
    assert (finding.kind, finding.healthy) == ("undecided", 0)
    assert "near a tie at the end, with 100.0% of the largest possible entropy" in finding.sentence
    lines[-1] = {"epoch": 10, "entropy": 1.9, "operations": 8}
    assert GUARD(lines) == []


def test_a_single_operation_is_no_choice() -> None:
    assert GUARD(history(entropy=[0.0] * 10, operations=[1] * 10)) == []


def test_what_one_percent_of_entropy_means() -> None:
    """The reason given for the threshold: eight operations, alphas with a deviation of 0.2."""
    alpha = 0.2 * torch.randn(20_000, 8, generator=torch.Generator().manual_seed(0))
    mixing = alpha.softmax(dim=-1)
    assert entropy({"a": mixing}) / math.log(8) == pytest.approx(0.99, abs=0.002)
    assert float(mixing.max(dim=-1).values.mean()) == pytest.approx(0.165, abs=0.005)


# --- costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.01, "the derived cells are light: fewer parameters than 99.0% of random cells"),
        (0.98, "the derived cells are heavy: more parameters than 98.0% of random cells"),
    ],
)
def test_extreme_costs(value: float, said: str) -> None:
    lines = history(parameters_percentile=[0.5, value, 0.6, value])
    guard = Guard(epochs=4)
    assert [len(guard(lines[:done])) for done in range(5)] == [0, 0, 0, 0, 1]
    finding = only(lines, guard)
    assert (finding.kind, finding.healthy, finding.collapse) == ("parameters", 3, False)
    assert said in finding.sentence
    assert "multiply-adds" in only(history(multiply_adds_percentile=[value]), Guard(1)).sentence


# --- when to speak --------------------------------------------------------------------------------


def test_each_kind_is_told_once_when_it_begins() -> None:
    lines = history(
        skip_share=[0.2, 0.6, 0.7, 0.8, 0.9],
        eigenvalue=[0.1, 0.1, 0.1, 0.5, 0.6],
    )
    told = [[finding.kind for finding in GUARD.begun(lines[:done])] for done in range(6)]
    assert told == [[], [], [], ["skip_share"], ["eigenvalue"], []]
    assert [finding.kind for finding in GUARD(lines)] == ["skip_share", "eigenvalue"]


def test_the_last_healthy_epoch_is_before_all_that_ails() -> None:
    lines = history(skip_share=[0.2, 0.3, 0.7, 0.8], eigenvalue=[0.1, 0.5, 0.5, 0.5])
    assert [finding.healthy for finding in GUARD(lines)] == [2, 1]
    assert GUARD.last_healthy(lines) == 1


def test_a_search_without_epochs_is_refused() -> None:
    with pytest.raises(ArchgradError, match="has 0 epochs"):
        Guard(epochs=0)

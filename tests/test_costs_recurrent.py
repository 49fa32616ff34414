"""Recurrent cells all cost the same: limits, tables and recomputed cells are refused for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import archgrad
from archgrad.costing.cost import cost
from archgrad.errors import ArchgradError
from archgrad.methods import Method
from archgrad.resources.budget import Budget
from archgrad.searching.leg import check
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.darts_rnn import DartsRNN

SPACE = DartsRNN(hidden=4, nodes=3, classes=6)
REFUSED = r"found a limit or a table of costs of space darts-rnn, expected none: .*; leave it out"


def test_all_cells_cost_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    found = {cost(SPACE, SPACE.random_architecture(generator)) for _ in range(8)}
    assert len(found) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: archgrad.cost_table(SPACE, "parameters"),
        lambda: archgrad.cost_table(SPACE, "multiply_adds"),
        lambda: archgrad.measure_latency(SPACE),
        lambda: archgrad.measure_latency("darts-rnn", hidden=4, classes=6),
    ],
)
def test_there_is_no_table_of_their_costs(make: Callable[[], object]) -> None:
    with pytest.raises(ArchgradError, match=REFUSED):
        make()


@pytest.mark.parametrize("option", ["max_params", "max_madds", "max_latency"])
def test_a_limit_is_refused_before_any_table_is_made_or_read(option: str, tmp_path: Path) -> None:
    given = {option: "5ms" if option == "max_latency" else "100k"}
    if option == "max_latency":
        given["latency_table"] = str(tmp_path / "none.json")
    search = SearchConfig(space="darts-rnn", **given)  # type: ignore[arg-type]
    with pytest.raises(ArchgradError, match=REFUSED):
        Budget.of(RunConfig(search=search), SPACE, Method())
    assert Budget.of(RunConfig(search=SearchConfig(space="darts-rnn")), SPACE, Method()) is None


def test_no_cells_are_computed_again() -> None:
    recomputed = SearchConfig(recompute="cells", epochs=1)
    with pytest.raises(ArchgradError, match="found recompute cells, expected off: space darts-rnn"):
        check(SPACE, Method(), recomputed)
    check(SPACE, Method(), SearchConfig(epochs=1))
    check(DartsCNN(channels=2, cells=3, nodes=1, image_size=(8, 8)), Method(), recomputed)

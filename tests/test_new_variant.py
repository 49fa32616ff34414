"""The example of a method outside the library: short, and a method like the library's own."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from archgrad.methods import RECIPES
from archgrad.parts.state import State

EXAMPLE = Path(__file__).parent.parent / "examples" / "new_variant.py"


def test_it_is_short_and_says_nothing_that_the_library_says() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    method = runpy.run_path(str(EXAMPLE))["cooling_darts"]()
    assert list(method.filled()) == ["relaxation", "arch_optimizer"]
    assert all(method.relaxation != recipe().relaxation for recipe in RECIPES.values())


def test_its_softmax_cools() -> None:
    relaxation = runpy.run_path(str(EXAMPLE))["CoolingSoftmax"](start=1.0, end=0.25)
    alpha = {"cell": torch.tensor([[0.0, 1.0]], dtype=torch.float64)}
    for progress, temperature in ((0.0, 1.0), (0.5, 0.5), (1.0, 0.25)):
        state = State(problem=None, relaxation=relaxation, progress=progress)  # type: ignore[arg-type]
        (weights,) = relaxation(alpha, state)["cell"]
        expected = 1 / (1 + torch.exp(torch.tensor(-1 / temperature, dtype=torch.float64)))
        assert float(weights[1]) == pytest.approx(float(expected), rel=1e-12)


def test_it_runs_and_prints_a_cell(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == ["normal", "reduce"]
    assert out.count("<-") == 8  # two nodes of two edges in either cell

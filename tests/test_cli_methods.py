"""`archgrad methods`: the table, and one method in full."""

from __future__ import annotations

import inspect

import pytest

from archgrad.cli import main as cli
from archgrad.cli.methods_table import paper
from archgrad.methods import RECIPES


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["methods", *arguments])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_table_has_a_line_a_method_of_at_most_100_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = output(capsys).splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(RECIPES)]] == list(RECIPES)
    assert max(map(len, lines)) <= 100
    assert all(line.endswith(paper(recipe)) for line, recipe in zip(lines[1:], RECIPES.values()))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("darts", "(nothing)"),
        ("darts_2nd", "Exact"),
        ("gdas", "GumbelSoftmax(hard)"),
        ("pc_darts", "EdgeNormalized, PartialChannels, warm_up"),
        ("fair_darts", "without none, initial, Sigmoid, ZeroOne, Threshold"),
        ("p_darts", "warm_up, 3 Stages, SkipLimit"),
        ("proxyless", "Gates, TwoPaths, keep_other_probabilities, warm_up, interval"),
    ],
)
def test_the_table_says_what_is_beside_plain_darts(
    name: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [line for line in output(capsys).splitlines() if line.startswith(f"{name} ")]
    assert line.split("  ", 1)[1].strip().startswith(f"{what}  ")


def test_papers_are_those_of_the_docstrings() -> None:
    found = {name: paper(recipe) for name, recipe in RECIPES.items()}
    assert found["drnas"] == "arXiv:2006.10355"
    assert found["oles"] == "NeurIPS 2023"
    assert found["aer"] == "Neural Networks 2023"
    assert all(found.values())


@pytest.mark.parametrize("name", RECIPES)
def test_one_method_in_full(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, name)
    told = (inspect.getdoc(RECIPES[name]) or "?").splitlines()
    assert all(line in text for line in told if "\\" not in line)  # formulas are told in signs
    for knob in inspect.signature(RECIPES[name]).parameters.values():
        assert f"--method-option {knob.name}={knob.default}\n" in text
    for slot, part in RECIPES[name]().filled().items():
        assert f"  {slot}: {part}\n" in text


def test_an_unknown_method_comes_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["methods", "dart"])
    assert ended.value.code == 2
    assert 'method "dart" is not known; did you mean "darts"?' in capsys.readouterr().err


def test_formulas_are_told_in_signs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "gradient of L_{val}(w'(α), α), w' one virtual" in output(capsys, "darts_2nd")
    assert "Σ_{k=0}^{K} (I - ξ ∇^2_{w,w} L_{train})^k" in output(capsys, "idarts")
    for name in RECIPES:
        assert "\\" not in (text := output(capsys, name)) and "math:" not in text

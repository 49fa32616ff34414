"""Values of a comparison: what is refused, and JSON that reads back to the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.errors import ArchgradError
from archgrad.findings.results import Budget, Costs, Entry, Phase, Point, Results, Settings
from comparisons import CELL, done, failed, results

AMOUNT = st.floats(0, 1e18)
ACCURACY = st.floats(0, 1)
PHASE = st.builds(Phase, spent=AMOUNT, seconds=AMOUNT)
CURVE = st.lists(st.tuples(AMOUNT, AMOUNT, ACCURACY), max_size=4).map(
    lambda points: tuple(
        Point(spent=spent, seconds=seconds, value=value)
        for spent, seconds, (_, _, value) in zip(
            sorted(p[0] for p in points), sorted(p[1] for p in points), points
        )
    )
)


@given(
    curve=CURVE,
    costs=st.builds(Costs, search=PHASE, short=PHASE, full=PHASE, test=PHASE),
    accuracies=st.tuples(ACCURACY, st.none() | ACCURACY, st.none() | ACCURACY),
    reason=st.text(min_size=1).filter(lambda t: t.strip() and "\n" not in t),
    options=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()),
)
def test_json_reads_back_to_an_equal_value(
    curve: tuple[Point, ...],
    costs: Costs,
    accuracies: tuple[float, float | None, float | None],
    reason: str,
    options: dict[str, Any],
) -> None:
    test, short, search = accuracies
    found = Results(
        settings=Settings(
            space="darts-cnn", methods=("darts", "random"), data=("digits",), seeds=(0, 7),
            options=options,
        ),
        budget=Budget(amount=1e9, seconds=2.0),
        environment=({"archgrad": "1.0", "commit": None, "cpu_cores": 2},),
        entries=(
            done("darts", 7, test, short_value=short, search_value=search, curve=curve,
                 costs=costs, conditions={"data": "abc"}, test_reads=1),
            failed("random", 0, reason),
        ),
    )  # fmt: skip
    assert Results.from_json(found.to_json()) == found


def test_an_entry_a_line_and_no_entries() -> None:
    found = results({"darts": [0.9, 0.8], "random": [None, 0.7]})
    assert sum(line.startswith('    {"method"') for line in found.to_json().splitlines()) == 4
    empty = found.model_copy(update={"entries": ()})
    assert Results.from_json(empty.to_json()) == empty


def test_a_file_is_read(tmp_path: Path) -> None:
    found = results({"darts": [0.9]})
    (tmp_path / "results.json").write_text(found.to_json(), encoding="utf-8")
    assert Results.load(tmp_path / "results.json") == found
    with pytest.raises(ArchgradError, match=r"gone.json cannot be read.*archgrad compare"):
        Results.load(tmp_path / "gone.json")


def _change(path: list[Any], value: Any) -> Callable[[str], str]:
    def changed(text: str) -> str:
        fields = json.loads(text)
        place = fields
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return json.dumps(fields)

    return changed


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "results.json: not valid JSON"),
        (lambda text: "", "results.json: not valid JSON"),
        (lambda text: "[]", "results.json: .*expected"),
        (_change(["format"], "archgrad-comparison/9"), "field format: found 'archgrad-comp.*/1'"),
        (_change(["entries", 0, "test_value"], 93.7), "has the accuracy 93.7; expected 0 to 1"),
        (_change(["entries", 0, "test_value"], "0.9"), "test_value: found '0.9', expected"),
        (_change(["entries", 0, "test_value"], None), "seed 0 is done but has no test_value"),
        (_change(["entries", 0, "architecture"], None), "done but has no architecture"),
        (_change(["entries", 0, "error"], "boom"), 'done but has the error "boom"'),
        (_change(["entries", 0, "seed"], 1), "darts on digits, seed 1 is there twice"),
        (_change(["entries", 0, "seed"], 9), r"not among the seeds of the settings, \[0, 1\]"),
        (_change(["entries", 0, "method"], "drnas"), "not among the methods of the settings"),
        (_change(["entries", 0, "data"], "cifar10"), "not among the data of the settings"),
        (_change(["entries", 0, "color"], 1), "field entries.0.color is not known"),
        (_change(["entries", 1, "error"], ""), "failed with error ''; expected its reason"),
        (_change(["entries", 1, "error"], "a\nb"), "expected its reason in one line"),
        (_change(["entries", 1, "test_value"], 0.5), "failed but has a test_value"),
        (_change(["settings", "seeds"], [0, 1, 1]), r"seeds \[0, 1, 1\] holds one twice"),
        (_change(["budget", "amount"], None), "neither amount nor seconds"),
        (_change(["budget", "amount"], 0), "amount: found 0"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused_in_one_line(damage: Callable[[str], str], message: str) -> None:
    text = results({"darts": [0.9, None]}).to_json()
    with pytest.raises(ArchgradError, match=message) as told:
        Results.from_json(damage(text), "results.json")
    assert "\n" not in str(told.value)


def test_a_curve_does_not_go_back() -> None:
    points = [Point(spent=s, seconds=1, value=0.5) for s in (2, 1)]
    with pytest.raises(ValueError, match="goes back"):
        done("darts", 0, 0.9, curve=tuple(points))


def test_what_is_done_failed_and_missing() -> None:
    found = results({"darts": [0.9, None, 0.8], "random": [0.7]}, seeds=3)
    assert [entry.seed for entry in found.of("darts", "digits")] == [0, 2]
    assert [entry.seed for entry in found.of("darts", "digits", "failed")] == [1]
    assert found.missing == [("random", "digits", 1), ("random", "digits", 2)]


def test_costs_add_up() -> None:
    costs = Costs(
        search=Phase(spent=1, seconds=2), short=Phase(spent=10, seconds=20),
        full=Phase(spent=100, seconds=200), test=Phase(spent=1000, seconds=2000),
    )  # fmt: skip
    assert costs.total == Phase(spent=1111, seconds=2222)


def test_an_entry_keeps_its_architecture() -> None:
    entry = Entry(
        method="darts", data="digits", seed=0, status="done", architecture=CELL, test_value=0.5,
        parameters=1, multiply_adds=1,
    )  # fmt: skip
    assert entry.architecture == CELL

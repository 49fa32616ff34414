"""The checklist: each item follows from the values of the comparison, both ways."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.findings.checklist import checklist, lines
from archgrad.findings.results import Budget, Costs, Phase, Results
from comparisons import COSTS, CURVE, HERE, results

WHOLE = results(
    {method: [0.9 + 0.01 * s for s in range(6)] for method in ("darts", "random")},
    validation_apart=True,
    tuning="none: the defaults of the papers",
)


def _found(found: Results, practice: str) -> tuple[bool | None, str]:
    items = [item for item in checklist(found) if item.practice.startswith(practice)]
    assert len(items) == 1
    return items[0].fulfilled, items[0].finding


def _settings(**changes: Any) -> Results:
    return WHOLE.model_copy(update={"settings": WHOLE.settings.model_copy(update=changes)})


def _first(**changes: Any) -> Results:
    first = WHOLE.entries[0].model_copy(update=changes)
    return WHOLE.model_copy(update={"entries": (first, *WHOLE.entries[1:])})


def _all(**changes: Any) -> Results:
    entries = tuple(entry.model_copy(update=changes) for entry in WHOLE.entries)
    return WHOLE.model_copy(update={"entries": entries})


def _search(spent: float, seconds: float) -> Costs:
    return COSTS.model_copy(update={"search": Phase(spent=spent, seconds=seconds)})


def _elsewhere(**changes: Any) -> Results:
    return WHOLE.model_copy(update={"environment": (HERE, {**HERE, **changes})})


def test_what_a_whole_comparison_fulfils() -> None:
    """All but what a comparison of trained networks cannot, and what is the user's to say."""
    items = checklist(WHOLE)
    assert [item.practice for item in items if item.fulfilled is None] == ["ablations (5)"]
    assert [item.practice for item in items if item.fulfilled is False] == [
        "random sampling among the methods (8)",
        "a benchmark with a table or surrogate (10)",
    ]


TIMED = WHOLE.model_copy(update={"budget": Budget(amount=5.0, seconds=9.5)})
CHANGES: list[tuple[str, Results, bool | None, str]] = [
    ("code of", _elsewhere(commit="def"), False, "2 commits took part: abc, def"),
    ("code of", _elsewhere(commit=None), None, "no commit recorded"),
    ("code of", WHOLE.model_copy(update={"environment": ()}), None, "unknown version"),
    ("one search space", _settings(space="s2"), False, "of darts-cnn, where s2 was asked for"),
    ("the same data", _first(conditions={"data": "x"}), False, "data on digits differs"),
    ("the same data", _first(conditions={}), None, "data on digits is not recorded"),
    ("the same retraining", _first(conditions={"short": "s", "full": "x"}), False, "full on dig"),
    ("the same retraining", _first(conditions={"short": "x", "full": "f"}), False, "short on dig"),
    ("the same retraining", _settings(table="nas-bench-201"), True, "looked up in nas-bench-201"),
    ("selected on", _settings(validation_apart=False), False, "searches saw the data"),
    ("selected on", _settings(validation_apart=None), None, "not recorded"),
    ("test data read", _first(test_reads=2), False, "read up to 2 times"),
    ("test data read", _first(test_reads=None), None, "not recorded"),
    ("an equal budget", _first(costs=_search(1.1e9, 10)), False, "1e+09 to 1.1e+09 of 1e+09"),
    ("an equal budget", _first(costs=_search(8.9e8, 10)), False, "8.9e+08 to 1e+09 of 1e+09"),
    ("an equal budget", _first(costs=_search(9.1e8, 10)), True, "9.1e+08 to 1e+09 of 1e+09"),
    ("accuracy over", _first(curve=()), False, "11 of 12 searches have a curve"),
    ("random search", results({"darts": [0.9]}), False, "no method random"),
    ("random search", results({"random": [None]}), False, "random, 0 of 1 searches done"),
    ("random search", _all(curve=CURVE[:1]), False, "saw one architecture each"),
    ("random sampling", _all(curve=CURVE[:1]), True, "saw one architecture each"),
    ("at least 4", results({"random": [0.9] * 3}), False, "3 of 3 done"),
    ("at least 4", results({"random": [0.9] * 4}), True, "4 of 4 done"),
    ("at least 4", results({"random": [0.9] * 4 + [None]}), True, "4 of 5 done"),
    ("a test that can", results({"darts": [0.9] * 6}), False, "nothing to test"),
    ("a test that can", results({"darts": [0.9] * 6, "random": [0.9] * 5}), False, "5 pairs"),
    ("no search is lost", results({"random": [0.9, None]}, seeds=3), False, "1 failed, 1 not run"),
    ("a benchmark", _settings(table="nas-bench-201"), True, "nas-bench-201"),
    ("one setup", _elsewhere(torch="2.10"), False, "torch differs: 2.10, 2.9"),
    ("one setup", _elsewhere(device="a GPU"), False, "device differs: a CPU, a GPU"),
    ("one setup", _elsewhere(device=None), None, "device is not recorded"),
    ("one setup", WHOLE.model_copy(update={"environment": ()}), None, "not recorded"),
    ("the same numbers", TIMED, False, "the budget is in seconds"),
    ("searches are watched", _settings(guard="off"), False, "guard off"),
    ("how hyperparameters", _settings(tuning=""), None, "not known: yours to say"),
    ("cost of all", _first(costs=Costs(search=COSTS.search)), False, "short and full"),
]  # fmt: skip


@pytest.mark.parametrize(("practice", "found", "fulfilled", "finding"), CHANGES)
def test_every_item_follows_from_the_values(
    practice: str, found: Results, fulfilled: bool | None, finding: str
) -> None:
    told = _found(found, practice)
    assert told[0] is fulfilled
    assert finding in told[1]
    assert told[1] != _found(WHOLE, practice)[1]


def test_every_item_but_the_users_own_can_change() -> None:
    changed = {practice for practice, *_ in CHANGES}
    fixed = [i.practice for i in checklist(WHOLE) if not i.practice.startswith(tuple(changed))]
    assert fixed == ["ablations (5)"]


def test_a_failed_search_may_not_have_read_the_test_data() -> None:
    found = results({"random": [0.9, None]})
    assert _found(found, "test data read")[0] is True
    read = found.entries[1].model_copy(update={"test_reads": 1})
    early = found.model_copy(update={"entries": (found.entries[0], read)})
    assert _found(early, "test data read") == (
        False, "read up to 1 times a search, and for 1 failed ones",
    )  # fmt: skip


def test_a_budget_in_seconds_is_judged_by_seconds() -> None:
    assert _found(TIMED, "an equal budget") == (True, "10 to 10 of 9.5 seconds a search")
    short = WHOLE.model_copy(update={"budget": Budget(seconds=20.0)})
    assert _found(short, "an equal budget")[0] is False


def test_a_table_needs_no_times_of_retraining() -> None:
    looked_up = _all(costs=Costs(search=COSTS.search))
    assert _found(looked_up, "cost of all")[0] is False
    settings = looked_up.settings.model_copy(update={"table": "nas-bench-201"})
    assert _found(looked_up.model_copy(update={"settings": settings}), "cost of all")[0] is True


def test_nothing_done_fulfils_nothing_by_accident() -> None:
    nothing = results({"darts": [None], "random": [None]})
    told = {item.practice: item.fulfilled for item in checklist(nothing)}
    assert {practice for practice, fulfilled in told.items() if fulfilled} == {
        "code of training and search is known (1, 2, 3)",
        "one setup: versions and hardware (11, 14)",
        "the same numbers when repeated (11)",
        "searches are watched for collapse",
    }


def test_the_lines() -> None:
    told = lines(checklist(WHOLE))
    assert told[0].startswith("[x] code of training and search is known (1, 2, 3): archgrad at")
    assert "[?] ablations (5): not known: yours to say" in told
    assert any(line.startswith("[ ] random sampling among the methods (8): none") for line in told)
    assert max(map(len, told)) <= 100


@given(st.randoms())
def test_the_order_of_the_entries_changes_nothing(chance: Any) -> None:
    mixed = tuple(chance.sample(WHOLE.entries, len(WHOLE.entries)))
    assert checklist(WHOLE.model_copy(update={"entries": mixed})) == checklist(WHOLE)

"""Made-up comparisons for the tests of `archgrad.comparing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archgrad.architecture import published
from archgrad.findings.results import Budget, Costs, Entry, Phase, Point, Results, Settings

CELL = published("DARTS_V2")
COSTS = Costs(
    search=Phase(spent=1e9, seconds=10.0),
    short=Phase(spent=2e9, seconds=20.0),
    full=Phase(spent=4e9, seconds=40.0),
    test=Phase(spent=1e8, seconds=1.0),
)
CURVE = (
    Point(spent=2.5e8, seconds=2.0, value=0.5),
    Point(spent=1e9, seconds=10.0, value=0.75),
)
HERE: dict[str, Any] = {
    "archgrad": "1.0", "commit": "abc", "torch": "2.9", "python": "3.11", "device": "a CPU",
}  # fmt: skip


def done(method: str, seed: int, test: float, data: str = "digits", **changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "architecture": CELL,
        "test_value": test,
        "parameters": 2_000_000,
        "multiply_adds": 300_000_000,
        "costs": COSTS,
        "curve": CURVE,
        "conditions": {"data": "d", "short": "s", "full": "f"},
        "test_reads": 1,
    }
    fields |= changes
    return Entry(method=method, data=data, seed=seed, status="done", **fields)


def failed(method: str, seed: int, reason: str = "out of memory", data: str = "digits") -> Entry:
    costs = Costs(search=Phase(spent=5e8, seconds=5.0))
    return Entry(method=method, data=data, seed=seed, status="failed", error=reason, costs=costs)


def results(
    tested: Mapping[str, Sequence[float | None]],
    seeds: int | None = None,
    budget: Budget | None = None,
    short: Mapping[str, Sequence[float]] | None = None,
    measure: str = "accuracy",
    curve: tuple[Point, ...] = CURVE,
    **settings: Any,
) -> Results:
    """A comparison on digits: test values by method in order of the seeds, None: failed."""
    entries = []
    for method, values in tested.items():
        for seed, value in enumerate(values):
            extra: dict[str, Any] = {"curve": curve}
            if short is not None:
                extra["short_value"] = short[method][seed]
            made = failed(method, seed) if value is None else done(method, seed, value, **extra)
            entries.append(made)
    number = max(map(len, tested.values())) if seeds is None else seeds
    fields: dict[str, Any] = {
        "space": "darts-cnn", "methods": tuple(tested), "data": ("digits",),
        "seeds": tuple(range(number)),
    }  # fmt: skip
    return Results(
        measure=measure,
        settings=Settings(**(fields | settings)),
        budget=budget or Budget(amount=1e9),
        environment=(HERE,),
        entries=tuple(entries),
    )

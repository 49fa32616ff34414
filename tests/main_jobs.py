"""A main job's report without its hours: scores of a found cell and two random ones."""

from __future__ import annotations

from typing import Any

from archgrad.costing.cost import Cost
from archgrad.searching.result import SearchResult
from archgrad.statistics import compare
from archgrad.verbs.experiment import Report

TESTED = {"found": [0.9, 0.8], "random-1": [0.7, 0.6], "random-2": [0.5, 0.7]}


def report(search: SearchResult) -> Report:
    """Accuracies of two seeds, and 1, 2 and 3 million parameters."""
    scores: Any = {
        label: [
            {"seed": seed, "accuracy": value, "test_images": 10, "seconds": 1.0}
            for seed, value in enumerate(values)
        ]
        for label, values in TESTED.items()
    }
    costs = {label: Cost(1_000_000 * i, 10) for i, label in enumerate(TESTED, start=1)}
    found, *random = TESTED.values()
    return Report(search, scores, costs, compare(found, random), 3.0)

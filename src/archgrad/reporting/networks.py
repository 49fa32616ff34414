"""The retrained networks of a folder: scores, costs and curves, a network with all its seeds."""

from __future__ import annotations

from typing import Any

from archgrad.errors import ArchgradError
from archgrad.measure import MEASURES
from archgrad.reporting.source import Source
from archgrad.reporting.values import Value, architecture, columns, items, number, whole
from archgrad.storage.files import ARCHITECTURE, METRICS, RESULT, TEST

OF_SEARCH = SHORT, FULL = "short", "full"  # retrainings of a comparison's search


def found(source: Source) -> Value | None:
    """The architecture in a folder; None where there is none that can be read."""
    value = source.json(ARCHITECTURE)
    if value is None:
        return None
    try:
        return architecture(value, f"{source.within}{ARCHITECTURE}")
    except ArchgradError as error:
        source.problems.append(f"{error}; not shown: the cells")
        return None


def networks(source: Source, cells: Value | None) -> list[Value]:
    """Of a main job train/<label>, of a retraining found, of a comparison's search short and full.

    `cells`: what the folder found, for those that have no architecture of their own.
    """
    labels = source.folders("train/*") or source.folders("found")
    made = [_network(source.inside(place), place.rpartition("/")[2], cells) for place in labels]
    tested = [number(v) for v in items(source.mapping(TEST).get("values"))]
    for label in source.folders(SHORT) + source.folders(FULL):
        network = _network(source.inside(label), label, cells)
        for index, seed in enumerate(network["seeds"]):
            seed["validation"] = seed["test"]  # a short one is judged on what selects
            seed["test"] = tested[index] if label == FULL and index < len(tested) else None
        made.append(network)
    return [network for network in made if network["seeds"]]


def _network(source: Source, label: str, cells: Value | None) -> Value:
    own = label not in OF_SEARCH and source.has(ARCHITECTURE)
    without = cells if label in (*OF_SEARCH, "found") else None
    seeds = [_seed(source.inside(name), name) for name in source.folders("seed-*")]
    seeds.sort(key=lambda seed: (seed["seed"] is None, seed["seed"] or 0))
    known = next((seed for seed in seeds if seed["parameters"] is not None), {})
    return {
        "label": label,
        "architecture": found(source) if own else without,
        "parameters": known.get("parameters"),
        "multiply_adds": known.get("multiply_adds"),
        "seeds": [{k: v for k, v in s.items() if k not in COSTS} for s in seeds],
    }


COSTS = ("parameters", "multiply_adds")


def _seed(source: Source, name: str) -> Value:
    score: dict[str, Any] = source.mapping(RESULT)
    tested = next((score[key] for key in MEASURES if key in score), None)
    named = name.rpartition("-")[2]
    seed = whole(score.get("seed"))
    return {
        "seed": int(named) if seed is None and named.isdecimal() and len(named) < 12 else seed,
        "test": number(tested),
        "loss": number(score.get("loss")),
        "train_loss": number(score.get("train_loss")),
        "seconds": number(score.get("seconds")),
        "columns": columns(source.lines(METRICS)),
        **{key: whole(score.get(key)) for key in COSTS},
    }

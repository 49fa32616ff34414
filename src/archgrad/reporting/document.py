"""Everything one page shows, as one value that goes into JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archgrad import __version__
from archgrad.architecture import Architecture
from archgrad.reporting.comparisons import is_comparison, read_comparison, searches
from archgrad.reporting.reading import read_run
from archgrad.reporting.replay import EPOCHS, Detail
from archgrad.reporting.values import Value, writable

FORMAT = "archgrad-report/1"
IN_ALL = 1600  # epochs of all replays on a page of several runs, so that it stays below 2 MB
FEW = 4  # runs on a page that shows alpha beside the strength


def document(paths: Sequence[Path], live: bool = False) -> dict[str, Any]:
    """The runs and comparisons of these folders; a comparison's searches are runs as well.

    Never raises for what is in the folders: what is missing or damaged is among the `problems` of
    its run. `live`: the page asks for the document again and again.
    """
    found: list[tuple[Path, str | None]] = []
    comparisons: list[tuple[Path, range]] = []
    for path in paths:
        if not is_comparison(path):
            found.append((path, _name(path, paths)))
            continue
        its = searches(path)
        comparisons.append((path, range(len(found), len(found) + len(its))))
        found += [(search.folder, search.name) for search in its]
    detail = _detail(len(found))
    runs = [read_run(p, f"run-{i}", detail, name) for i, (p, name) in enumerate(found)]
    compared = [
        read_comparison(path, f"comparison-{i}", [f"run-{k}" for k in its])
        for i, (path, its) in enumerate(comparisons)
    ]
    its_own = {k for _, its in comparisons for k in its}
    titles = [one["name"] for one in compared]
    titles += [run["name"] for k, run in enumerate(runs) if k not in its_own]
    made = {
        "format": FORMAT,
        "archgrad": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": ", ".join(titles)[:200],
        "live": live,
        "runs": runs,
        "comparisons": compared,
        "distances": distances(runs),
    }
    return {key: writable(value) for key, value in made.items()}


def _name(path: Path, paths: Sequence[Path]) -> str | None:
    """With the folder around it, where others have the same name."""
    alike = sum(other.name == path.name for other in paths) > 1
    return f"{path.resolve().parent.name}/{path.resolve().name}" if alike else None


def _detail(runs: int) -> Detail:
    if runs < 2:
        return Detail()
    alpha = runs <= FEW
    return Detail(alpha, max(10, min(EPOCHS, IN_ALL // (2 * runs if alpha else runs))))


def distances(runs: Sequence[Value]) -> Value | None:
    """Between the found architectures, `Architecture.distance`; None for those of other spaces."""
    cells = {run["id"]: _architecture(run["found"]) for run in runs if run["found"] is not None}
    if len(cells) < 2:
        return None
    rows = [[_distance(one, other) for other in cells.values()] for one in cells.values()]
    return {"ids": list(cells), "values": rows}


def _architecture(value: Value) -> Architecture:
    return Architecture.from_json(json.dumps(value))


def _distance(one: Architecture, other: Architecture) -> float | None:
    return one.distance(other) if one.space == other.space else None

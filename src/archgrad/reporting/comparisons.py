"""A comparison's folder as a value for the page: its tables, curves, checklist and searches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from archgrad.errors import ArchgradError
from archgrad.findings import tables
from archgrad.findings.checklist import checklist
from archgrad.findings.results import Results
from archgrad.findings.statistics import bands
from archgrad.reporting import facts
from archgrad.reporting.source import Source
from archgrad.reporting.values import Value, items, mapping, text, whole
from archgrad.storage.files import COMPARISON, RESULTS
from archgrad.untrusted import LIMIT_YAML

FORMAT = "archgrad-comparison/1"
SEARCHES = "searches/*/*/seed-*"  # data, method, seed


class Search(NamedTuple):
    """The folder of one of its searches, and what it is called."""

    folder: Path
    name: str


def is_comparison(folder: Path) -> bool:
    """Whether a folder is that of a comparison."""
    return Source(folder, []).has(COMPARISON)


def searches(folder: Path) -> list[Search]:
    """Those in a comparison's folder, by data, method and seed."""
    places = [place.split("/") for place in Source(folder, []).folders(SEARCHES)]
    places.sort(key=lambda place: (place[1:3], _number(place[3]), place[3]))
    several = len({place[1] for place in places}) > 1
    return [
        Search(
            folder.joinpath(*place),
            f"{place[2]} {place[3]}" + (f" on {place[1].partition('-')[2]}" if several else ""),
        )
        for place in places
    ]


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() and len(digits) < 12 else 0


def read_comparison(folder: Path, ident: str, runs: Sequence[str]) -> Value:
    """What the page shows of a comparison. `runs`: the ids of its searches."""
    source = Source(folder, [])
    environment = facts.environments(source)
    written = source.text(COMPARISON, LIMIT_YAML)
    config = source.yaml(COMPARISON, written)
    results = _results(source)
    finished = results is not None and not results.missing
    shown = _shown(results) if results is not None else _nothing()
    return {
        "id": ident,
        "name": folder.name or folder.resolve().name,
        "path": str(folder),
        "state": "finished" if finished else "unfinished",
        "problems": source.problems,
        "facts": _facts(config, results, environment),
        **shown,
        "runs": list(runs),
        "reproduce": facts.reproduce(
            environment, facts.going_on("compare", folder, finished), written
        ),
    }


def _results(source: Source) -> Results | None:
    """The results, None where they cannot be shown; the reason is among the problems."""
    found = source.text(RESULTS)
    if found is None:
        if not source.has(RESULTS):
            source.problems.append(
                f"{RESULTS} is missing: the comparison is not finished; not shown: its tables"
            )
        return None
    try:
        return Results.from_json(found.encode("utf-8", "replace"), RESULTS)
    except (ArchgradError, RecursionError) as error:
        source.problems.append(
            f"{' '.join(str(error).split())[:300]}; expected {FORMAT} as this version writes it; "
            "not shown: tables, curves and checklist"
        )
        return None


def _nothing() -> Value:
    return {key: [] for key in ("tables", "curves", "points", "checklist", "sentences")}


def _shown(results: Results) -> Value:
    header, *body = tables.rows(results)
    first, *ranks = tables.correlation_rows(results)
    correlations = f"Rank correlations of {results.judge.plural}: in search, short retraining, test"
    return {
        "tables": [
            {"title": "Methods", "header": header, "rows": body, "note": ""},
            {"title": correlations, "header": first, "rows": ranks, "note": ""},
        ],
        "curves": [_curve(results, data) for data in results.settings.data],
        "points": [
            {
                "data": entry.data,
                "method": entry.method,
                "seed": entry.seed,
                "spent": entry.costs.search.spent,
                "parameters": entry.parameters,
                "multiply_adds": entry.multiply_adds,
                "test": entry.test_value,
            }
            for entry in results.entries
            if entry.status == "done"
        ],
        "checklist": [
            {"done": item.fulfilled, "text": f"{item.practice}: {item.finding}"}
            for item in checklist(results)
        ],
        "sentences": tables.notes(results),
    }


def _curve(results: Results, data: str) -> Value:
    """The best validation value so far over what was spent: mean and one standard deviation."""
    judge, series = results.judge, []
    for method in results.settings.methods:
        columns = zip(*bands(results, method, data))
        names = ("spent", "mean", "low", "high")
        series.append({"method": method, **dict(zip(names, map(list, columns)))})
    return {
        "data": data,
        "unit": results.budget.unit,
        "title": f"best validation {judge.title} so far",
        "factor": judge.factor,
        "higher": judge.higher,
        "series": series,
    }


def _facts(config: Value, results: Results | None, environment: Sequence[Value]) -> list[list[str]]:
    compare = mapping(config.get("compare"))
    first = mapping(next(iter(items(config.get("runs"))), None))
    started = next(iter(environment), {})
    known = [
        ("methods", (text(compare.get("methods")) or "").replace(",", ", ")),
        ("searches of each", text(whole(compare.get("seeds")))),
        ("space", text(mapping(first.get("search")).get("space"))),
        ("data", text(mapping(first.get("data")).get("data"))),
        ("device", text(started.get("device"))),
        ("started", facts.moment(started.get("started"))),
    ]
    if results is not None:
        budget, asked = results.budget, results.settings
        amount = [] if budget.amount is None else [f"{budget.amount:.4g} {budget.unit}"]
        amount += [] if budget.seconds is None else [f"{budget.seconds:g} seconds"]
        done = sum(entry.status == "done" for entry in results.entries)
        planned = len(asked.methods) * len(asked.data) * len(asked.seeds)
        known[3:4] = [("data", ", ".join(asked.data)), ("budget of a search", ", ".join(amount))]
        known.append(("searches done", f"{done} of {planned}"))
    return [[label, value] for label, value in known if value]

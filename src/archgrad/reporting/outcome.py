"""What came out of a run: the table and the claims of a main job, the seeds of a retraining."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from archgrad.reporting.source import Source
from archgrad.reporting.values import Value, text
from archgrad.storage.files import FAILED, RESULTS, SUMMARY

LIMIT = 2**18  # characters of a summary
COLUMNS = re.compile(r"\S {2,}\S|^ {2,}\S")


def outcome(source: Source, networks: Sequence[Value], measure: Value) -> Value:
    """The table and the sentences of a main job; of a retraining its seeds; why a search failed."""
    sentences = []
    failed = text(source.mapping(FAILED).get("error"))
    if failed is not None:
        sentences.append(f"It failed: {failed}")
    summary = source.text(SUMMARY, LIMIT)
    if summary is not None:
        lines = [line for line in summary.splitlines() if line.strip()]
        rows = list(takewhile(COLUMNS.search, lines))
        return {"table": table(rows), "sentences": sentences + lines[len(rows) :]}
    if source.has(RESULTS):
        source.say(SUMMARY, "is missing beside results.json")
    seeds = [seed for n in networks if n["label"] == "found" for seed in n["seeds"]]
    return {"table": _table_of(seeds, measure), "sentences": sentences}


def table(lines: Sequence[str]) -> list[list[str]] | None:
    """The cells of aligned columns, which two spaces part; None where these are no such lines.

    >>> table(["a      b c  d", "  one  2    3"])
    [['a', 'b c', 'd'], ['one', '2', '3']]
    """
    width = max(map(len, lines), default=0)
    if len(lines) < 2 or width * len(lines) > LIMIT:
        return None
    blank = "".join(
        " " if all(line[i : i + 1] in ("", " ") for line in lines) else "x" for i in range(width)
    )
    starts = [0, *(match.end() for match in re.finditer(r" {2,}(?=x)", blank))]
    spans = list(zip(starts, [*starts[1:], width]))
    return [[line[a:b].strip() for a, b in spans] for line in lines]


def _table_of(seeds: Sequence[Value], measure: Value) -> list[list[str]] | None:
    if not seeds:
        return None
    keys = ("loss", "train_loss", "seconds")
    rows = [["seed", f"test {measure['title']}", "test loss", "training loss", "seconds"]]
    for seed in seeds:
        tested = None if seed["test"] is None else f"{measure['factor'] * seed['test']:.2f}"
        rows.append([str(seed["seed"]), tested or "-", *(text(seed[key]) or "-" for key in keys)])
    return rows

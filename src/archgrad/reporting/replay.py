"""How alpha moved: the groups of a search, their weights of every epoch, the cells they gave."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from archgrad.architecture import RECURRENT
from archgrad.errors import ArchgradError
from archgrad.reporting.packing import pack
from archgrad.reporting.source import Source
from archgrad.reporting.values import Value, architecture, items, mapping, number, text, whole
from archgrad.storage.files import ALPHAS, GROUPS

FORMAT = "archgrad-groups/1"
EPOCHS = 2000  # of a replay
LARGEST = 1e100  # weight, so that differences are finite
MOST = 100_000  # nodes, edges or candidates that a page can hold


class Detail(NamedTuple):
    """How much of a run a page has room for: alpha beside the strength, epochs of the replay."""

    alpha: bool = True
    epochs: int = EPOCHS


WHOLE = Detail()


def groups(source: Source) -> list[Value]:
    """The groups in a search's folder, those left out that make no sense."""
    kept = source.mapping(GROUPS)
    if not kept:
        return []
    if kept.get("format") != FORMAT:
        source.say(GROUPS, f"has the format {kept.get('format')!r:.60}, expected {FORMAT!r}")
        return []
    whole_list = items(kept.get("groups"))
    found = {g["name"]: g for value in whole_list if (g := _group(mapping(value))) is not None}
    if len(found) < len(whole_list) or not found:
        source.say(GROUPS, f"has {len(found)} groups that make sense, of {len(whole_list)}")
    return list(found.values())


def _group(value: Value) -> Value | None:
    name, inputs = text(value.get("name")), whole(value.get("inputs"))
    edges = [[whole(node) for node in items(edge)] for edge in items(value.get("edges"))]
    rows = [[text(name) for name in items(row)] for row in items(value.get("candidates"))]
    output = None if value.get("output") is None else [whole(n) for n in items(value["output"])]
    known = [name, inputs, *(n for edge in edges for n in edge), *(c for row in rows for c in row)]
    if None in known or None in (output or []) or len(known) > MOST:
        return None
    if not 0 < inputs < MOST:  # type: ignore[operator]
        return None
    widths = {len(row) for row in rows}
    if len(edges) != len(rows) or not edges or len(widths) != 1 or widths == {0}:
        return None
    if any(len(e) != 2 or not e[0] < e[1] < MOST for e in edges):  # type: ignore[operator]
        return None
    return {
        "name": name,
        "inputs": inputs,
        "edges": edges,
        "candidates": rows,
        "output": output,
        "recurrent": name == RECURRENT,
    }


def replay(
    source: Source,
    lines: Sequence[Value],
    groups: Sequence[Value],
    space: str | None,
    detail: Detail = WHOLE,
) -> Value | None:
    """What alphas.jsonl holds; None where there is nothing to show."""
    lines = [line for line in lines if whole(line.get("epoch")) is not None]
    if not lines or not groups:
        return None
    architectures, at = _architectures(source, lines, space)
    kept = _thinned(at, detail.epochs)
    if len(kept) < len(lines):
        source.problems.append(
            f"the replay shows {len(kept)} of {len(lines)} epochs, those where the cells change "
            "first: a page has room for no more; the page of one run alone has room for most"
        )
    shown = [lines[i] for i in kept]
    keys = ("alpha", "strength") if detail.alpha else ("strength",)
    packed = {key: {g["name"]: _packed(source, shown, key, g) for g in groups} for key in keys}
    return {
        "epochs": [line["epoch"] for line in shown],
        "alpha": packed.get("alpha") or {g["name"]: None for g in groups},
        "strength": packed["strength"],
        "architectures": architectures,
        "at": [at[i] for i in kept],
    }


def _architectures(
    source: Source, lines: Sequence[Value], space: str | None
) -> tuple[list[Value], list[int]]:
    """The different architectures, and which of them each line has; -1: none."""
    known: dict[str, int] = {}
    found: list[Value] = []
    at = []
    for line in lines:
        cells = line.get("cells")
        key = json.dumps(cells)
        if cells is not None and key not in known:
            try:
                found.append(architecture({"space": space or "unknown", "cells": cells}, ALPHAS))
                known[key] = len(found) - 1
            except ArchgradError as error:
                known[key] = -1
                epoch = line["epoch"]
                source.problems.append(f"{error}; the cells of epoch {epoch} are not shown")
        at.append(known.get(key, -1))
    return found, at


def _thinned(at: Sequence[int], most: int) -> list[int]:
    """At most so many indices: the first, the last, changes, the rest evenly."""
    count = len(at)
    if count <= most:
        return list(range(count))
    changes = [i for i in range(1, count) if at[i] != at[i - 1]]
    wanted = [0, count - 1, *changes]
    if len(wanted) > most:
        wanted = [0, count - 1, *_evenly(changes, most - 2)]
    missing = most - len(set(wanted))
    rest = sorted(set(range(count)) - set(wanted))
    return sorted({*wanted, *_evenly(rest, missing)})


def _evenly(values: Sequence[int], count: int) -> list[int]:
    return [values[i * len(values) // count] for i in range(count)] if count > 0 else []


def _packed(source: Source, lines: Sequence[Value], key: str, group: Value) -> Value | None:
    """(epochs, edges, candidates); a candidate that a stage does not offer has no value there."""
    name, names = group["name"], group["candidates"]
    empty = [[math.nan] * len(row) for row in names]
    table, bad = [], []
    for line in lines:
        rows = _rows(line, key, name, names)
        bad += [line["epoch"]] if rows is None and name in mapping(line.get(key)) else []
        table.append(rows or empty)
    if bad:
        source.problems.append(
            f"{ALPHAS}: {key} of group {name} has another shape than {GROUPS} says in {len(bad)} "
            f"epochs, the first is {bad[0]}; these are not shown"
        )
    return None if all(rows is empty for rows in table) else pack(table)


def _weight(value: Any) -> float:
    found = number(value)
    return math.nan if found is None or abs(found) > LARGEST else found


def _rows(line: Mapping[str, Any], key: str, name: str, names: list[list[str]]) -> Any:
    """Rows of numbers that fit the candidates; None where they do not."""
    rows = mapping(line.get(key)).get(name)
    offered = mapping(line.get("candidates")).get(name, names)
    if not isinstance(rows, list) or not isinstance(offered, list):
        return None
    if not len(rows) == len(offered) == len(names):
        return None
    found = []
    for row, some, every in zip(rows, offered, names):
        if not isinstance(row, list) or not isinstance(some, list) or len(row) != len(some):
            return None
        numbers = [_weight(value) for value in row]
        if some != every:
            by_name = {text(one): n for one, n in zip(some, numbers)}
            numbers = [by_name.get(one, math.nan) for one in every]
        found.append(numbers)
    return found

"""A run folder as a value for the page; whatever is missing or damaged is said, never raised."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from archgrad.measure import MEASURES
from archgrad.report.packing import pack

Value = dict[str, Any]


def read_run(path: Path, ident: str) -> Value:
    """What the page shows of one run."""
    problems: list[str] = []
    config = _yaml(path / "config.yaml", problems)
    search = config.get("search") or {}
    metrics = _lines(path / "metrics.jsonl", problems)
    alphas = _lines(path / "alphas.jsonl", problems)
    groups = _groups(path / "groups.json", problems)
    found = _json(path / "architecture.json", problems)
    return {
        "id": ident,
        "name": path.name,
        "path": str(path),
        "kind": "run" if config.get("random_cells") else "search" if search else "train",
        "state": "finished" if found else "unfinished",
        "problems": problems,
        "facts": [["space", str(search.get("space"))], ["method", str(search.get("method"))]],
        "method": search.get("method"),
        "space": search.get("space"),
        "data": (config.get("data") or {}).get("data"),
        "seed": search.get("seed"),
        "measure": _measure(metrics),
        "groups": groups,
        "epochs": {"planned": search.get("epochs"), "columns": _columns(metrics)},
        "marks": [
            {"epoch": line["epoch"], "kind": "warning", "text": text}
            for line in metrics
            for text in line.get("warnings", [])
        ],
        "replay": _replay(alphas, groups),
        "evaluations": None,
        "found": found,
        "networks": _networks(path, problems),
        "outcome": {"table": None, "sentences": []},
        "reproduce": {
            "environment": _json(path / "environment.json", problems) or [],
            "config": "",
        },
    }


def _measure(lines: Sequence[Mapping[str, Any]]) -> Value:
    name = "perplexity" if any("valid_perplexity" in line for line in lines) else "accuracy"
    measure = MEASURES[name]
    return {key: getattr(measure, key) for key in ("name", "title", "unit", "factor", "higher")}


def _columns(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    keys = {key: None for line in lines for key, value in line.items() if _number(value)}
    return {key: [_value(line.get(key)) for line in lines] for key in keys}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(value: Any) -> float | None:
    return value if _number(value) and math.isfinite(value) else None


def _groups(path: Path, problems: list[str]) -> list[Value]:
    kept = _json(path, problems) or {"groups": []}
    return [
        {
            "name": group["name"],
            "inputs": group["inputs"],
            "edges": group["edges"],
            "candidates": group["candidates"],
            "output": group["output"],
        }
        for group in kept["groups"]
    ]


def _replay(lines: Sequence[Mapping[str, Any]], groups: Sequence[Value]) -> Value | None:
    if not lines or not groups:
        return None
    architectures: list[Value] = []
    at = []
    for line in lines:
        if "cells" not in line:
            at.append(-1)
            continue
        made = {"cells": line["cells"]}
        if made not in architectures:
            architectures.append(made)
        at.append(architectures.index(made))
    return {
        "epochs": [line["epoch"] for line in lines],
        "alpha": {g["name"]: _packed(lines, "alpha", g) for g in groups},
        "strength": {g["name"]: _packed(lines, "strength", g) for g in groups},
        "architectures": architectures,
        "at": at,
    }


def _packed(lines: Sequence[Mapping[str, Any]], key: str, group: Value) -> Value | None:
    """(epochs, edges, candidates); a candidate that a stage does not offer has no value there."""
    name, whole = group["name"], group["candidates"]
    table = []
    for line in lines:
        rows = line.get(key, {}).get(name)
        if rows is None:
            return None
        offered = line.get("candidates", {}).get(name) or whole
        known = [dict(zip(names, row)) for names, row in zip(offered, rows)]
        table.append([[row.get(c, math.nan) for c in names] for row, names in zip(known, whole)])
    return pack(table)


def _networks(path: Path, problems: list[str]) -> list[Value]:
    folders = sorted((path / "train").glob("*/")) or [path / "found"]
    networks = []
    for folder in folders:
        seeds = []
        for place in sorted(folder.glob("seed-*/")):
            score = _json(place / "result.json", problems) or {}
            lines = _lines(place / "metrics.jsonl", problems)
            seeds.append(
                {
                    "seed": score.get("seed"),
                    "test": _value(score.get("accuracy", score.get("perplexity"))),
                    "loss": _value(score.get("loss")),
                    "seconds": _value(score.get("seconds")),
                    "columns": _columns(lines),
                    "parameters": score.get("parameters"),
                    "multiply_adds": score.get("multiply_adds"),
                }
            )
        if seeds:
            networks.append(
                {
                    "label": folder.name,
                    "architecture": _json(folder / "architecture.json", problems),
                    "parameters": seeds[0]["parameters"],
                    "multiply_adds": seeds[0]["multiply_adds"],
                    "seeds": seeds,
                }
            )
    return networks


def _json(path: Path, problems: list[str]) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read: {error}")
        return None


def _yaml(path: Path, problems: list[str]) -> Value:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        problems.append(f"{path.name} cannot be read: {error}")
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _lines(path: Path, problems: list[str]) -> list[Value]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    return [json.loads(line) for line in text.splitlines()]

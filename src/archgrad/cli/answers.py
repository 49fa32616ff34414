"""What the commands print with --json: one value each, whose keys are listed in docs/commands.md.

Numbers are not rounded. What is not a number (NaN, infinity) or not known is null.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archgrad.architecture import Architecture
from archgrad.settings import recipes

Answer = dict[str, Any]


def main_job(report: Any, path: Path) -> Answer:
    """Of `run`: results.json with what was found; `report`: that of the main job."""
    from archgrad.verbs.experiment import as_json

    found = report.search.architecture.model_dump(mode="json")
    return {"path": path, "architecture": found, **as_json(report), "model": report.model}


def search(result: Any, path: Path) -> Answer:
    """Of `search`; `result`: an `archgrad.searching.result.SearchResult`."""
    config, limit = result.config, result.cost
    return {
        "path": path,
        "architecture": result.architecture.model_dump(mode="json"),
        "method": config.method,
        "space": config.space,
        "seed": config.seed,
        "spent": result.spent,
        "stopped": result.stopped,
        "undecided": result.undecided,
        "limit": limit and {**asdict(limit), "met": limit.met},
        "last": result.metrics[-1] if result.metrics else None,
    }


def train(path: Path, done: int, epochs: int, scores: Sequence[Answer]) -> Answer:
    """Of `train`: no scores where it was paused."""
    return {
        "path": path,
        "paused": not scores,
        "epochs_done": done,
        "epochs": epochs,
        "scores": scores,
    }


def derive(architecture: Architecture, run: Path, epoch: int | None, file: Path | None) -> Answer:
    """Of `derive`: `epoch` None is the last."""
    found = architecture.model_dump(mode="json")
    return {"run": run, "epoch": epoch, "file": file, "architecture": found}


def conversion(
    found: Any, architecture: Architecture | None, text: str | None, files: Answer
) -> Answer:
    """Of `convert`; `found`: an `archgrad.conversion.Conversion`; `files`: what was written.

    `architecture` is the chosen one, None where there are only numbers of epochs.
    """
    return {
        "source": found.source,
        **files,
        "architecture": architecture and architecture.model_dump(mode="json"),
        "text": text,
        "found": [
            {
                **{"epoch": one.epoch, "name": one.name, "problem": one.problem or None},
                "architecture": one.architecture and one.architecture.model_dump(mode="json"),
            }
            for one in found.found
        ],
        "metrics": found.metrics,
    }


def comparison(results: Any, path: Path) -> Answer:
    """Of `compare`: its results.json; `results`: an `archgrad.findings.results.Results`."""
    return {"path": path, **json.loads(results.to_json())}


def methods() -> list[Answer]:
    """Of `methods`."""
    from archgrad.baselines import BASELINES
    from archgrad.methods import RECIPES

    return [method(name) for name in (*RECIPES, *BASELINES)]


def method(name: str) -> Answer:
    """Of `methods NAME`: `parts` are the slots that are not plain DARTS, null of a baseline."""
    from archgrad.baselines import BASELINES
    from archgrad.cli.methods_table import paper
    from archgrad.errors import unknown
    from archgrad.methods import RECIPES
    from archgrad.methods.calling import defaults

    if name not in RECIPES and name not in BASELINES:
        raise unknown("method", name, [*RECIPES, *BASELINES])
    recipe = {**RECIPES, **BASELINES}[name]
    return {
        "method": name,
        "kind": "gradient" if name in RECIPES else "baseline",
        "paper": paper(recipe) or None,
        "text": inspect.getdoc(recipe),
        "parts": RECIPES[name]().filled() if name in RECIPES else None,
        "options": defaults(recipe),
    }


def recipe(name: str) -> Answer:
    """Of `recipes NAME`."""
    found = recipes.recipe(name)
    return {"recipe": name, **asdict(found)}

"""Run folders of every kind, made up in milliseconds: nothing is trained, all is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archgrad.settings import config as configuration
from comparisons import results

DARTS = (
    "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect",
    "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip
RECURRENT = ("none", "tanh", "relu", "sigmoid", "identity")
MBCONV = ("mbconv3_3x3", "mbconv6_3x3", "mbconv3_5x5", "mbconv6_5x5", "none")
ENVIRONMENT = {
    "started": "2026-01-01T00:00:00+00:00",
    "process": 1,
    "command": "archgrad search --data digits",
    "archgrad": "0.1.0",
    "commit": None,
    "python": "3.11.7",
    "torch": "2.13.0",
    "device": "a processor",
    "cpu_cores": 2,
    "platform": "Linux",
}
Value = dict[str, Any]


def group(
    name: str, inputs: int = 2, nodes: int = 4, candidates: Sequence[str] = DARTS, keep: int = 2
) -> Value:
    """Of groups.json; a node of the derived cell keeps as many edges as ``keep``."""
    edges = [[s, n] for n in range(inputs, inputs + nodes) for s in range(n)]
    return {
        "name": name,
        "inputs": inputs,
        "edges": edges,
        "candidates": [list(candidates)] * len(edges),
        "edges_per_node": keep,
        "keep_none": False,
        "output": list(range(inputs, inputs + nodes)),
        "picks": 1,
    }


CELLS = (group("normal"), group("reduce"))


def search(
    folder: Path,
    groups: Sequence[Value] = CELLS,
    epochs: int = 6,
    done: int | None = None,
    stages: Sequence[int] = (),
    measure: str = "accuracy",
    seed: int = 0,
    **options: Any,
) -> Path:
    """A search of which so many epochs are ``done`` (None: it is finished).

    ``stages``: how many candidates an edge still has, in stages of equal length.
    """
    config(folder, search={"epochs": epochs, "seed": seed, **options})
    space = options.get("space", "darts-cnn")
    kept = {"format": "archgrad-groups/1", "space": space, "groups": list(groups)}
    write(folder / "groups.json", kept)
    known = list(history(groups, epochs, stages, seed))
    count = epochs if done is None else done
    lines(folder / "alphas.jsonl", known[:count])
    metrics = [measured(i, epochs, groups, measure) for i in range(1, count + 1)]
    lines(folder / "metrics.jsonl", metrics)
    if done is None:
        write(folder / "architecture.json", architecture(known[-1]["cells"], space))
    return folder


def config(folder: Path, data: str = "digits", **sections: Value | None) -> None:
    """config.yaml and environment.json."""
    folder.mkdir(parents=True, exist_ok=True)
    search = dict(sections.get("search") or {})
    own = search.pop("space", None) if search.get("space") == "own" else None
    given = {"data": {"data": data}, **({"search": search} if "search" in sections else {})}
    if "train" in sections:
        given["train"] = dict(sections["train"] or {})
    made = configuration.build(given, random_cells=2 if len(given) == 3 else None)
    text = made.to_yaml()
    if own is not None:
        text = text.replace("space: darts-cnn", "space: own").replace("data: digits", "data: own")
    (folder / "config.yaml").write_text(text)
    write(folder / "environment.json", [ENVIRONMENT])


def history(
    groups: Sequence[Value], epochs: int, stages: Sequence[int] = (), seed: int = 0
) -> Iterator[Value]:
    """Lines of alphas.jsonl: random walks, the first steps of which do not depend on the last."""
    rng = np.random.default_rng(seed)
    alpha = {g["name"]: np.zeros((len(g["edges"]), len(g["candidates"][0]))) for g in groups}
    offered = {g["name"]: [list(range(len(row))) for row in g["candidates"]] for g in groups}
    for epoch in range(1, epochs + 1):
        line: Value = {"epoch": epoch, "alpha": {}, "strength": {}, "cells": []}
        stage = (epoch - 1) * (len(stages) + 1) // epochs
        for g in groups:
            name = g["name"]
            alpha[name] = alpha[name] + rng.normal(0, 0.5, alpha[name].shape)
            if stage and stages[stage - 1] < len(offered[name][0]):
                best = np.argsort(-alpha[name], axis=1, kind="stable")[:, : stages[stage - 1]]
                offered[name] = np.sort(best, axis=1).tolist()
            values = np.take_along_axis(alpha[name], np.array(offered[name]), 1)
            shares = np.exp(values) / np.exp(values).sum(1, keepdims=True)
            names = [[g["candidates"][0][k] for k in row] for row in offered[name]]
            line["alpha"][name] = values.round(6).tolist()
            line["strength"][name] = shares.round(6).tolist()
            line["cells"].append(derived(g, names, shares))
            if stages:
                line.setdefault("candidates", {})[name] = names
        yield line


def derived(g: Value, names: Sequence[Sequence[str]], shares: np.ndarray) -> Value:
    """The strongest edges of every node, each with its strongest operation but none."""
    nodes = []
    for node in range(g["inputs"], g["edges"][-1][1] + 1):
        entering = []
        for (source, into), row, offered in zip(g["edges"], shares, names):
            if into == node:
                choice = max((v, k) for v, k in zip(row, offered) if k != "none" or g["keep_none"])
                entering.append((choice[0], source, choice[1]))
        best = sorted(sorted(entering, reverse=True)[: g["edges_per_node"]], key=lambda e: e[1])
        nodes.append([[name, source] for _, source, name in best])
    return {"name": g["name"], "inputs": g["inputs"], "nodes": nodes, "output": g["output"]}


def architecture(cells: Sequence[Value], space: str = "darts-cnn") -> Value:
    return {"format": "archgrad-architecture/1", "space": space, "cells": list(cells)}


def measured(epoch: int, epochs: int, groups: Sequence[Value], measure: str = "accuracy") -> Value:
    """A line of metrics.jsonl; the guard warns in every third epoch."""
    share = epoch / epochs
    value = {"accuracy": 0.2 + 0.7 * share, "perplexity": 90 - 40 * share}[measure]
    line: Value = {
        "epoch": epoch,
        "learning_rate": 0.0125 * (1 + math.cos(math.pi * share)),
        "train_loss": 2.3 - 1.7 * share,
        "valid_loss": 2.4 - 1.5 * share,
        f"valid_{measure}": value,
        f"discrete_{measure}": 0.6 * value,
        "entropy": 2.08 - 0.5 * share,
        "moved": share,
        "operations": len(groups[0]["candidates"][0]),
        "classes": 10,
        "skip_share": 0.125 + 0.5 * share,
        "parameter_free_share": 0.3,
        "layer_alignment": 0.4,
        "eigenvalue": 0.1 + share,
        "spent": 1_000_000_000 * epoch,
        "seconds": 2.5,
        "memory_mb": 300.0,
    }
    if measure == "accuracy":
        line |= {"train_accuracy": value + 0.05, "watch_accuracy": value - 0.1, "watch_images": 20}
    if epoch % 3 == 0:
        line["warnings"] = ["many skips: the cells are about to collapse"]
        line["warning_kinds"] = ["skip_share"]
    return line


def retraining(folder: Path, label: str, epochs: int = 4, seeds: int = 2) -> list[Value]:
    """What a retraining of a cell leaves; its scores."""
    scores = []
    for seed in range(seeds):
        place = folder / label / f"seed-{seed}"
        share = [i / epochs for i in range(1, epochs + 1)]
        known = [
            {"epoch": i + 1, "learning_rate": 0.025, "train_loss": 2.3 - 2 * s,
             "train_accuracy": 0.1 + 0.8 * s, "seconds": 1.5}
            for i, s in enumerate(share)
        ]  # fmt: skip
        lines(place / "metrics.jsonl", known)
        score = {
            "label": label, "seed": seed, "accuracy": 0.9 + 0.01 * seed, "loss": 0.3,
            "test_images": 359, "train_loss": 0.1, "seconds": 6.0, "parameters": 47450,
            "multiply_adds": 460672,
        }  # fmt: skip
        write(place / "result.json", score)
        scores.append(score)
    return scores


def main_job(folder: Path, epochs: int = 6, train_epochs: int = 4) -> Path:
    """A search, retrainings of its cells and of two random ones, and what came of it."""
    search(folder, epochs=epochs)
    config(folder, search={"epochs": epochs}, train={"epochs": train_epochs})
    scores = {}
    for i, label in enumerate(("found", "random-1", "random-2")):
        cells = next(history(CELLS, 1, seed=i))["cells"]
        write(folder / "train" / label / "architecture.json", architecture(cells))
        scores[label] = retraining(folder / "train", label, train_epochs)
    results = {
        "scores": scores,
        "costs": {label: {"parameters": 47450, "multiply_adds": 460672} for label in scores},
        "found_minus_random": 0.01, "interval_95": [-0.01, 0.03], "distinguishable": False,
        "search_seconds": 15.0, "limit": None,
    }  # fmt: skip
    write(folder / "results.json", results)
    (folder / "summary.txt").write_text("found  90.50\n\nfound - random: 1.00 points.\n")
    return folder


def trained(folder: Path) -> Path:
    """A retraining alone."""
    config(folder, train={"epochs": 4, "seeds": 2})
    write(folder / "architecture.json", architecture(next(history(CELLS, 1))["cells"]))
    retraining(folder, "found")
    return folder


def baseline(folder: Path, evaluations: int = 6) -> Path:
    """A search that scored whole architectures; the third training diverged."""
    config(folder, search={"method": "evolution"})
    best = next(history(CELLS, 1))["cells"]
    known = [
        {"evaluation": i, "architecture": architecture(next(history(CELLS, 1, seed=i))["cells"]),
         "share": 1.0, "score": None if i == 3 else 0.1 * i, "failed": i == 3,
         "spent": 1_000_000 * i, "seconds": 0.1}
        for i in range(1, evaluations + 1)
    ]  # fmt: skip
    lines(folder / "evaluations.jsonl", known)
    write(folder / "architecture.json", architecture(best))
    return folder


def comparison(folder: Path) -> Path:
    """Two methods with two seeds each, and one that failed."""
    folder.mkdir(parents=True)
    made = results({"darts": [0.9, 0.92], "random": [0.88, None]})
    (folder / "results.json").write_text(made.to_json())
    (folder / "comparison.yaml").write_text("compare: {methods: 'darts,random', seeds: 2}\n")
    write(folder / "environment.json", [ENVIRONMENT])
    for seed in (0, 1):
        search(folder / "searches" / "0-digits" / "darts" / f"seed-{seed}", seed=seed)
    return folder


KINDS: Mapping[str, Callable[[Path], Path]] = {
    "search": search,
    "unfinished": lambda folder: search(folder, done=3),
    "stages": lambda folder: search(folder, epochs=9, stages=(5, 3), method="p_darts"),
    "recurrent": lambda folder: search(
        folder,
        [group("recurrent", 1, 8, RECURRENT, keep=1)],
        measure="perplexity",
        space="darts-rnn",
    ),
    "mbconv": lambda folder: search(
        folder, [group(f"layer {i}", 1, 1, MBCONV) for i in range(1, 22)], space="mbconv"
    ),
    "own": lambda folder: search(
        folder, [group("block", 1, 1, ("conv", "pool")), group("width", 1, 1, ("8", "16"))],
        space="own",
    ),
    "baseline": baseline,
    "main job": main_job,
    "retraining": trained,
    "comparison": comparison,
}  # fmt: skip


def large(folder: Path) -> Path:
    """A main job of 600 epochs of search and of retraining."""
    return main_job(folder, epochs=600, train_epochs=600)


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def lines(path: Path, values: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))

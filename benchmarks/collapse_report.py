"""The report of collapse.py: a table for each space, and questions that were fixed beforehand."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from archgrad.architecture import Architecture
from archgrad.benchmarks import Table, nas_bench_201
from archgrad.spaces import space
from archgrad.statistics import spread
from collapse import SPACES, Size, count, methods
from page import fill

ACCURACY = "c10_test"


@dataclass(frozen=True)
class Outcome:
    """What is reported of one search, or of a random cell (without ``lines``)."""

    architecture: Architecture
    lines: Sequence[dict[str, Any]] = ()
    guard: Sequence[tuple[int, str]] = ()
    seconds: float | None = None

    def share(self, kind: str) -> float:
        counts = count(self.architecture)
        return counts[kind] / max(1, counts["operations"])

    @property
    def eigenvalues(self) -> list[float]:
        return [line["eigenvalue"] for line in self.lines if "eigenvalue" in line]


Outcomes = dict[tuple[str, str], dict[int, Outcome]]  # (space, method) -> seed -> outcome


def read(folder: Path) -> Outcomes:
    found: Outcomes = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault((content["space"], content["method"]), {})[content["seed"]] = Outcome(
            Architecture.from_json(json.dumps(content["architecture"])),
            content["epochs"],
            content["guard"],
            content["seconds"],
        )
    return found


def random_cells(name: str, number: int = 20) -> dict[int, Outcome]:
    generator = torch.Generator().manual_seed(0)
    sampler = space(name)
    return {i: Outcome(sampler.random_architecture(generator)) for i in range(number)}


def mean(values: Iterable[float | None], digits: int = 1) -> str:
    """Mean and sample standard deviation, of what there is."""
    given = [value for value in values if value is not None]
    if not given:
        return "-"
    if len(given) == 1:
        return f"{given[0]:.{digits}f}"
    return f"{fmean(given):.{digits}f} ± {spread(given):.{digits}f}"


def table_lines(found: Outcomes, size: Size, table: Table | None) -> Iterable[str]:
    """One table a space, in markdown."""
    for name in SPACES:
        accuracy = name == "nas-bench-201"
        columns = ["method", "seeds", "skips", "of them normal", "noise", "parameter-free",
                   *(["test accuracy in the table, %"] if accuracy else []),
                   "supernet, train and alpha's half, %", "entropy / most",
                   "eigenvalue first -> last", "guard (seeds, epoch)", "time / darts"]  # fmt: skip
        yield from ("", f"### {name}", "", f"| {' | '.join(columns)} |")
        yield "|---" * len(columns) + "|"
        price = [o.seconds for o in found.get((name, "darts"), {}).values() if o.seconds]
        rows = {m: found[name, m] for m in methods(size) if (name, m) in found}
        for row, outcomes in {**rows, "random cells": random_cells(name)}.items():
            them = [outcomes[seed] for seed in sorted(outcomes)]
            counts = [count(o.architecture) for o in them]
            total = mean((c["operations"] for c in counts), 0).removesuffix(" ± 0")
            times = [o.seconds / fmean(price) for o in them if o.seconds and price]
            cells = [
                row,
                str(len(them)),
                f"{mean(c['skips'] for c in counts)} of {total}",
                mean(c["normal_skips"] for c in counts),
                mean(c["noise"] for c in counts),
                mean((100 * o.share("free") for o in them), 0) + " %",
            ]
            if accuracy:
                cells.append(mean(table[o.architecture][ACCURACY] if table else None for o in them))
            ends = [o.eigenvalues for o in them if len(o.eigenvalues) > 1]
            last = [o.lines[-1] for o in them if o.lines]
            right = [mean(100 * x[f"{half}_accuracy"] for x in last) for half in ("train", "valid")]
            cells += [
                " and ".join(right),
                mean((certainty(o) for o in them), 2),
                f"{mean((e[0] for e in ends), 2)} -> {mean((e[-1] for e in ends), 2)}",
                warned(them),
                mean(times, 2),
            ]
            yield f"| {' | '.join(cells)} |"
        if accuracy and table is not None:
            every = table.column(ACCURACY)
            yield ""
            yield f"The whole table: best {max(every):.2f} %, mean {fmean(every):.2f} %."


def certainty(outcome: Outcome) -> float | None:
    """Entropy of the mixing weights at the end, as a part of the largest possible."""
    if not outcome.lines:
        return None
    return float(outcome.lines[-1]["entropy"]) / math.log(outcome.lines[-1]["operations"])


def warned(outcomes: Sequence[Outcome]) -> str:
    """Each kind of finding, in how many searches, and the epochs it first began."""
    first: dict[str, list[int]] = {}
    for outcome in outcomes:
        for kind in dict.fromkeys(kind for _, kind in outcome.guard):
            first.setdefault(kind, []).append(min(e for e, k in outcome.guard if k == kind))
    parts = [
        f"{kind} {len(epochs)} ({', '.join(map(str, epochs))})" for kind, epochs in first.items()
    ]
    return "; ".join(parts) or "-"


def questions(found: Outcomes, table: Table | None) -> Iterable[str]:
    """Which published findings appear: asked seed by seed, answered k of n."""

    def ask(text: str, name: str, test: Callable[[Outcome], bool]) -> str:
        answers = [test(outcome) for outcome in found.get((name, "darts"), {}).values()]
        return f"| {name} | {text} | {verdict(answers)} |"

    def quality(outcome: Outcome) -> float:
        """The less the worse: what collapse takes away, comparable within a space."""
        if outcome.architecture.space == "nas-bench-201" and table is not None:
            return table[outcome.architecture][ACCURACY]
        return -outcome.share("free")

    yield from ("", "| space | question | answer |", "|---|---|---|")
    for name, kind in (("s2", "skips"), ("s4", "noise")):
        yield ask(f"DARTS: more {kind} than half, a random cell's mean", name,
                  lambda o, kind=kind: o.share(kind) > 0.5)  # fmt: skip
        yield ask(f"DARTS: {kind} above three quarters", name,
                  lambda o, kind=kind: o.share(kind) > 0.75)  # fmt: skip
    name = "nas-bench-201"
    yield ask("DARTS: the cell of skips alone", name, lambda o: o.share("skips") == 1)
    yield ask("DARTS: more than 60 % skips", name, lambda o: o.share("skips") > 0.6)
    if table is not None:
        middle = fmean(table.column(ACCURACY))
        yield ask("DARTS: less accurate than the mean of the table", name,
                  lambda o: table[o.architecture][ACCURACY] < middle)  # fmt: skip
    for name in SPACES:
        yield ask("DARTS: last eigenvalue above 1.3 times the first", name, grown)
        yield ask("DARTS: the guard warns of shares or eigenvalue before the end", name, forewarned)
        plain = found.get((name, "darts"), {})
        better = "in the table than" if name == "nas-bench-201" else "(fewer parameter-free) than"
        for (where, other), outcomes in found.items():
            seeds = sorted(set(outcomes) & set(plain))
            if where == name and other != "darts" and seeds:
                gains = [quality(outcomes[s]) - quality(plain[s]) for s in seeds]
                answer = f"{verdict([g > 0 for g in gains])}; equal in {gains.count(0)}"
                yield f"| {name} | {other}: better {better} DARTS of the same seed | {answer} |"


def grown(outcome: Outcome) -> bool:
    """The eigenvalue, by RobustDARTS' ratio (arXiv:1909.09656) from the first reading to the last.

    Readings are few here, so without the means of its stopping rule.
    """
    values = outcome.eigenvalues
    return len(values) > 1 and values[-1] > 1.3 * values[0]


def forewarned(outcome: Outcome) -> bool:
    """The guard spoke of collapse before the last epoch."""
    return any(kind in COLLAPSE and epoch < len(outcome.lines) for epoch, kind in outcome.guard)


COLLAPSE = ("skip_share", "parameter_free_share", "eigenvalue")


def verdict(answers: Sequence[bool]) -> str:
    """In words: yes, no or mixed, with the counts."""
    word = "yes" if answers and all(answers) else "mixed" if any(answers) else "no"
    return f"{word}, {sum(answers)} of {len(answers)} seeds" if answers else "not measured"


def report(size: Size, options: argparse.Namespace) -> str:
    """The tables in markdown; a page that has their marks gets them written between."""
    found = read(options.out)
    path = Path(options.data_root or "") / "nas-bench-201" / "nb201_cifar10.csv.gz"
    table = nas_bench_201(path) if options.data_root and path.is_file() else None
    text = "\n".join([*table_lines(found, size, table), *questions(found, table)])
    fill(options.page, "benchmarks/collapse.py --report", text)
    return text

"""The tables of bench.py: what was asked, what was measured, where the time goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

from bench_cases import CASES, COLD, GROUPS, PROFILED, REST
from page import made

Turns = Sequence[Mapping[str, Mapping[str, Any]]]  # turn by turn, case -> what was found
MISSING = "not measured"


class Row(NamedTuple):
    """A number and what is asked of it: case ``of``, divided by case ``by`` if there is one.

    ``key``: step, in seconds; peak or net, the peak with or without what a process has at first, in
    MB. The number shall be at least or at most ``must``, and better ``aim``, where there are such.
    """

    text: str
    key: str
    of: str
    by: str | None
    sign: Literal["at least", "at most"] = "at most"
    must: float | None = None
    aim: float | None = None

    def reached(self, value: float, limit: float | None) -> bool:
        if limit is None:
            return False
        return value >= limit if self.sign == "at least" else value <= limit


BOOK_1, BOOK_2 = "textbook, first order", "textbook, second order"
FIRST, SECOND, EXACT = "first order", "finite difference", "exact"
TORCH_1, TORCH_2 = "PyTorch kernels, first order", "PyTorch kernels, finite difference"
LEAST: Literal["at least"] = "at least"
MOST: Literal["at most"] = "at most"
RECOMPUTED_1, RECOMPUTED_2 = "first order, recomputed", "exact, recomputed"
MEMORY = (
    Row("memory, first order: library / textbook", "peak", FIRST, BOOK_1, MOST, 0.5, 0.25),
    Row("memory: finite difference / first order", "peak", SECOND, FIRST, MOST, 1.3, 1.1),
    Row("memory: exact / first order", "peak", EXACT, FIRST, MOST, 2, 1.3),
    Row("memory: exact, recomputed / first order", "peak", RECOMPUTED_2, FIRST, MOST, 2, 1.3),
)
RECOMPUTED = (
    Row("recomputed, memory, first order: with / without", "peak", RECOMPUTED_1, FIRST),
    Row("recomputed, memory, exact: with / without", "peak", RECOMPUTED_2, EXACT),
    Row("recomputed, step, first order: with / without", "step", RECOMPUTED_1, FIRST),
    Row("recomputed, step, exact: with / without", "step", RECOMPUTED_2, EXACT),
)
ONE, TWO = "step, first order", "step, second order"
OWN = Row(f"{TWO}: exact / finite difference", "step", EXACT, SECOND, MOST, 1.5, 1.2)
CPU = (
    Row(f"{ONE}: textbook / library", "step", BOOK_1, FIRST, LEAST, 2.5, 6),
    Row(f"{TWO}: textbook / finite difference", "step", BOOK_2, SECOND, LEAST, 2.5, 6),
    OWN,
    *MEMORY,
    Row(f"no compiler, {ONE}: textbook / library", "step", BOOK_1, TORCH_1, LEAST, 1.8),
    Row(f"no compiler, {TWO}: textbook / library", "step", BOOK_2, TORCH_2, LEAST, 1.8),
    Row("no compiler, memory, first order: library / textbook", "peak", TORCH_1, BOOK_1, MOST, 0.5),
    Row(
        "no compiler, memory, second order: library / textbook", "peak", TORCH_2, BOOK_2, MOST, 0.5
    ),
    *RECOMPUTED,
)
CUDA = (
    Row(f"{ONE}: textbook / library", "step", BOOK_1, FIRST, LEAST, 15, 30),
    Row(f"{ONE}, seconds", "step", FIRST, None, MOST, 0.008),
    Row(f"{TWO}: textbook / finite difference", "step", BOOK_2, SECOND, LEAST, 15, 30),
    Row(f"{TWO}, finite difference, seconds", "step", SECOND, None, MOST, 0.025),
    Row(f"{TWO}, exact, seconds", "step", EXACT, None, MOST, 0.025),
    OWN,
    *MEMORY,
    *RECOMPUTED,
)


def number(found: Mapping[str, Any], key: str) -> float:
    """What a case has measured: the median of its steps in seconds, or memory in MB."""
    if key == "step":
        pairs = zip(found["alpha_seconds"], found["weight_seconds"], strict=True)
        return median(a + w for a, w in pairs)
    if key == "net":
        return float(found["peak_mb"] - found["base_mb"])
    return float(found[f"{key}_mb"])


def values(row: Row, turns: Turns) -> list[float]:
    """The row's number in every turn that has its cases."""
    found = []
    for turn in turns:
        cases = [turn.get(name, {"error": ""}) for name in (row.of, row.by) if name is not None]
        if not any("error" in case for case in cases):
            of, *by = (number(case, row.key) for case in cases)
            if all(by):  # a tiny size may take no memory that was not there at first
                found.append(of / by[0] if by else of)
    return found


def cells(row: Row, turns: Turns) -> list[str]:
    """The row of the table: text, median, all values, what is asked, what of it is reached."""
    found = values(row, turns)
    must = "-" if row.must is None else f"{row.sign} {row.must:g}"
    asked = [must, "-" if row.aim is None else f"{row.aim:g}"]
    if not found:
        return [row.text, MISSING, "-", "-", *asked, MISSING]
    value = median(found)
    net = values(row._replace(key="net"), turns) if row.key == "peak" else []
    reached = "aim" if row.reached(value, row.aim) else row.reached(value, row.must)
    said = {"aim": "the aim", True: "yes", False: "no"}[reached] if row.must else "-"
    every = ", ".join(map(plain, found))
    return [row.text, plain(value), every, plain(median(net)) if net else "-", *asked, said]


def plain(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]


def case_cells(name: str, turns: Turns) -> list[str]:
    """Medians over turns of the parts of a step, and of memory."""
    found = [turn[name] for turn in turns if "error" not in turn.get(name, {"error": ""})]
    if not found:
        return [name, *[MISSING] * 5, "-"]
    alpha, weights = (
        median(median(f[f"{part}_seconds"]) for f in found) for part in ("alpha", "weight")
    )
    step, peak, base = (median(number(f, key) for f in found) for key in ("step", "peak", "base"))
    times = [f"{seconds:.3g} s" for seconds in (alpha, weights, step)]
    return [name, *times, f"{peak:.0f} MB", f"{base:.0f} MB", found[-1]["kernels"]]


def table(content: Mapping[str, Any]) -> str:
    """What is asked and what was measured, in markdown."""
    turns: Turns = content["turns"]
    settings = content["settings"]
    rows = CPU if settings["device"] == "cpu" else CUDA
    head = ["", "measured", "in each turn", "net", "asked", "aim", "reached"]
    parts = ["case", "alpha step", "weight step", "step", "peak memory", "at first", "kernels"]
    return "\n".join(
        [
            about(content),
            "",
            *markdown(head, (cells(row, turns) for row in rows)),
            "",
            *markdown(parts, (case_cells(name, turns) for name in CASES)),
            *cold_start(turns),
            *errors(turns),
        ]
    )


def about(content: Mapping[str, Any]) -> str:
    """Size, machine and versions in one paragraph."""
    s, e = content["settings"], content["environment"]
    return (
        f"{s['channels']} channels, {s['cells']} cells, batch {s['batch_size']}, "
        f"3x{s['image_size']}x{s['image_size']}, float32; turns: {len(content['turns'])}, steps in "
        f"each: {s['steps']}; {e['device']}, {e['cpu_cores']} cores of which one is used, load "
        f"{e['load']:.1f} at the start; torch {e['torch']}, Python {e['python']}, "
        f"{made(e)}."
    )


def cold_start(turns: Turns) -> list[str]:
    found = turns[0].get(COLD, {}) if turns else {}
    if not found:
        return []
    said = f"{found['seconds']:.1f} s" if "seconds" in found else MISSING
    return ["", f"Cold start, building the native kernels, once a machine: {said}."]


def errors(turns: Turns) -> list[str]:
    """Why a case was not measured."""
    found = {name: f["error"] for turn in turns for name, f in turn.items() if "error" in f}
    return [
        line for name, error in found.items() for line in ("", f"Not measured, {name}: {error}")
    ]


def profile_table(content: Mapping[str, Any]) -> str:
    """Processor time of one step by groups, in seconds and as a part of the whole."""
    turn = content["turns"][0] if content["turns"] else {}
    rows = []
    for group in [*GROUPS, REST, "all"]:
        row = [group]
        for name in PROFILED:
            found = turn.get(name, {"error": ""})
            if "error" in found:
                row.append(MISSING)
                continue
            whole = sum(found.values())
            seconds = whole if group == "all" else found[group]
            row.append(f"{seconds:.3g} s, {100 * seconds / whole:.0f} %" if seconds else "-")
        rows.append(row)
    return "\n".join([about(content), "", *markdown(["", *PROFILED], rows), *errors([turn])])

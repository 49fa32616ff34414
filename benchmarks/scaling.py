"""Seconds of a search epoch in one process and in several, side by side: torchrun against none.

The same command, by turns with each number of processes; the first epoch of each is left out. Each
process has one thread, and with GPUs one of them.

    python benchmarks/scaling.py                          1 and 2 processes on the CPU
    python benchmarks/scaling.py --processes 1 2 4 8 --device cuda --out DIR -- --data cifar10 ...
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from archgrad.storage.files import METRICS, read_lines
from archgrad.storage.folder import environment
from page import keep

HERE = Path(__file__).parent
OPTIONS = [
    "--data", "digits", "--subset", "200", "--channels", "16", "--cells", "6", "--batch-size", "96"
]  # fmt: skip
METHODS = ("darts", "darts_2nd")


def seconds(processes: int, options: Sequence[str]) -> list[float]:
    """Of each epoch but the first."""
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        subprocess.run(
            [
                sys.executable, *(launch if processes > 1 else ()), "-m", "archgrad", "search",
                *options, "--quiet", "--guard", "off", "--out", str(out),
            ],
            check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return [float(line["seconds"]) for line in read_lines(out / METRICS)[1:]]


def measure(numbers: Sequence[int], rounds: int, options: Sequence[str]) -> dict[str, Any]:
    """Of each method: every round's median seconds by number of processes, and their ratios."""
    found: dict[str, Any] = {}
    for method in METHODS:
        turns: list[dict[int, float]] = []
        for _ in range(rounds):
            turns.append({n: median(seconds(n, [*options, "--method", method])) for n in numbers})
            print(method, turns[-1], flush=True)
        first = numbers[0]
        ratios = {n: [round(turn[first] / turn[n], 3) for turn in turns] for n in numbers[1:]}
        found[method] = {
            "seconds_an_epoch": {n: [round(turn[n], 3) for turn in turns] for n in numbers},
            "times_as_fast": ratios,
            "median": {n: median(values) for n, values in ratios.items()},
        }
    return found


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="the folder of results [kept of a default run]")
    parser.add_argument("options", nargs="*", default=OPTIONS, help="of archgrad search, after --")
    given = parser.parse_args(arguments)
    if min(given.processes) < 1 or len(given.processes) < 2:
        parser.error(
            f"found --processes {given.processes}; expected two numbers or more, such as 1 2"
        )
    if given.rounds < 1 or given.epochs < 2:
        parser.error(
            f"found --rounds {given.rounds} --epochs {given.epochs}; expected 1 and 2 or more, "
            "since the first epoch is left out"
        )
    options = [*given.options, "--epochs", str(given.epochs), "--device", given.device]
    content = {
        "options": [one for one in options if not Path(one).is_absolute()],
        "environment": environment(given.device),
        "methods": measure(given.processes, given.rounds, options),
    }
    out = given.out or (HERE / "results" if not arguments else None)
    if out is not None:
        keep(out / f"scaling-{given.device}.json", content)
    print(json.dumps({name: one["median"] for name, one in content["methods"].items()}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])

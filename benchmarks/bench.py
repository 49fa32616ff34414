"""Time and memory of one search step, the library against the textbook form of DARTS.

A step is an alpha step and a weight step. Cases take turns, each in a fresh process, with one
thread, kept memory (`archgrad.system.allocation.keep_freed_memory`), the same batches and the same
warm-up; ratios are taken within a turn. A case that would not end within --seconds, by what it took
before, is left out of a later turn. Default: the paper's size (16 channels, 8 cells, batch 64,
3x32x32, float32).

    python benchmarks/bench.py                         writes benchmarks/results/bench-cpu.json
    python benchmarks/bench.py --profile               and results/profile-cpu.json: where it goes
    python benchmarks/bench.py --report                writes their tables into docs/performance.md
    python benchmarks/bench.py --device cuda --steps 30 --warmup 5
    python benchmarks/bench.py --quick                 a tiny size; writes only where --out says
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bench_report
from archgrad.storage.folder import environment
from bench_cases import CASES, COLD, PROFILED, run
from page import fill, keep

HERE = Path(__file__).parent
TABLES = {"bench": bench_report.table, "profile": bench_report.profile_table}
SIZE = {"channels": 16, "cells": 8, "batch_size": 64, "image_size": 32}
HOW = {"steps": 1, "warmup": 0, "turns": 2, "seconds": 560}
QUICK = {"channels": 4, "cells": 3, "batch_size": 8, "image_size": 8}


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, value in {**SIZE, **HOW}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="a tiny size")
    parser.add_argument("--profile", action="store_true", help="processor time by groups")
    parser.add_argument("--report", action="store_true", help="tables of what was measured")
    parser.add_argument("--out", type=Path, help="the folder of results")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "performance.md")
    parser.add_argument("--case", choices=[*CASES, COLD], help="one case, in this process")
    given = parser.parse_known_args(arguments)[0]
    parser.set_defaults(
        **(QUICK if given.quick else {"out": HERE / "results"}),
        **({"turns": 1} if given.profile else {}),
    )
    if given.profile and given.device != "cpu":
        parser.error("--profile is of a CPU")
    return parser.parse_args(arguments)


def in_process(case: str, arguments: Sequence[str], environ: dict[str, str]) -> dict[str, Any]:
    """What a case finds in a fresh process; ``error`` where it could not be measured."""
    command = [sys.executable, __file__, *arguments, "--case", case]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
        return {"error": said[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def turns(
    options: argparse.Namespace, arguments: Sequence[str]
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Turn, case and what was found, as it comes; native kernels are built first, once."""
    started, took = time.perf_counter(), dict.fromkeys(CASES, 0.0)
    with tempfile.TemporaryDirectory(prefix="archgrad-bench-") as cache:
        environ = {**os.environ, "XDG_CACHE_HOME": cache}
        if options.device == "cpu":
            yield 0, COLD, in_process(COLD, arguments, environ)
        for turn in range(options.turns):
            for case in PROFILED if options.profile else CASES:
                begun = time.perf_counter()
                if begun - started + took[case] > options.seconds:
                    continue
                found = in_process(case, arguments, environ)
                took[case] = time.perf_counter() - begun
                yield turn, case, found


def measure(options: argparse.Namespace, arguments: Sequence[str]) -> dict[str, Any]:
    """All cases in turns; what is found is written as it comes."""
    content: dict[str, Any] = {
        "settings": {name: getattr(options, name) for name in [*SIZE, *HOW, "device"]},
        "environment": {**environment(options.device), "load": os.getloadavg()[0]},
        "turns": [],
    }
    for turn, case, found in turns(options, arguments):
        print(f"turn {turn + 1}  {case:<36}{short(found)}", flush=True)
        if turn == len(content["turns"]):
            content["turns"].append({})
        content["turns"][turn][case] = found
        if options.out is not None:
            kind = "profile" if options.profile else "bench"
            keep(options.out / f"{kind}-{options.device}.json", content)
    return content


def short(found: dict[str, Any]) -> str:
    if "error" in found:
        return f"not measured: {found['error']}"
    if "peak_mb" not in found:
        return f"{sum(v for v in found.values()):.1f} s"
    step = [a + w for a, w in zip(found["alpha_seconds"], found["weight_seconds"])]
    return f"{min(step):.4g} s a step, {found['peak_mb']:.0f} MB"


def report(options: argparse.Namespace) -> str:
    """The tables of what there is for this device, written into the page as well."""
    texts = []
    for kind, table in TABLES.items():
        path = (options.out or Path()) / f"{kind}-{options.device}.json"
        if path.is_file():
            texts.append(table(json.loads(path.read_text(encoding="utf-8"))))
            fill(options.page, f"benchmarks/bench.py --report, {path.stem}", texts[-1])
    return "\n\n".join(texts) or "not measured"


def main(arguments: Sequence[str]) -> None:
    options = parsed(arguments)
    if options.case:
        print(json.dumps(run(options.case, options)))
    elif options.report:
        print(report(options))
    else:
        table = TABLES["profile" if options.profile else "bench"]
        print(f"\n{table(measure(options, arguments))}")


if __name__ == "__main__":
    main(sys.argv[1:])

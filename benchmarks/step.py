"""Time and memory of one search step (alpha step + weight step), each case in a fresh process.

Default: the paper's size (16 channels, 8 cells, batch 64, 3x32x32, float32), one CPU thread. Cases
take turns, so that a slow moment of the machine hits all of them; ratios are taken within a turn.

    python benchmarks/step.py                        writes benchmarks/results/step-cpu.json
    python benchmarks/step.py --device cuda          CUDA events, median of many steps
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

CASES = {
    "first order": ("darts", {}),
    "second order, finite difference": ("darts_2nd", {"estimator": "finite_difference"}),
    "second order, exact": ("darts_2nd", {"estimator": "exact"}),
}


def measure(case: str, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of the alpha step, the weight step and both, and peak memory in MB."""
    import torch

    from archgrad import methods, spaces
    from archgrad.bilevel import BilevelSearch
    from archgrad.config import SearchConfig
    from archgrad.data import Augmentation, as_data
    from archgrad.loops import Meter, keep_freed_memory, peak_memory_mb

    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    name, method_options = CASES[case]
    size = options.image_size
    images = torch.rand(4 * options.batch_size, 3, size, size)
    labels = torch.arange(len(images)) % 10
    config = SearchConfig(batch_size=options.batch_size)
    space = spaces.space(
        "darts-cnn", channels=options.channels, cells=options.cells, image_size=(size, size)
    )
    device = torch.device(options.device)
    search = BilevelSearch(
        space,
        as_data((images, labels, images, labels)),
        methods.method(name, **method_options),
        config,
        Augmentation(),
        device,
        run=None,
    )
    search.leg.net.model.train()
    meter = Meter(check_every=10**9)
    batches = list(search.loaders.epoch(0))
    times: list[tuple[float, float]] = []

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    for index in range(options.warmup + options.steps):
        state = search.state(*batches[index % len(batches)], progress=0.0)
        started = now()
        search.alpha_step(state, meter)
        middle = now()
        search.weight_step(state, meter)
        times.append((middle - started, now() - middle))
    counted = times[options.warmup :]
    return {
        "alpha_seconds": median(a for a, _ in counted),
        "weight_seconds": median(w for _, w in counted),
        "step_seconds": median(a + w for a, w in counted),
        "memory_mb": peak_memory_mb(device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sizes = {"channels": 16, "cells": 8, "batch-size": 64, "image-size": 32, "steps": 2,
             "warmup": 1, "turns": 2}  # fmt: skip
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", choices=CASES, help="measure one case in this process")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options)))
        return
    arguments = [a for n in sizes for a in (f"--{n}", str(vars(options)[n.replace("-", "_")]))]
    command = [sys.executable, __file__, *arguments, "--device", options.device, "--case"]
    turns: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(options.turns):
        for case in CASES:
            done = subprocess.run([*command, case], check=True, capture_output=True, text=True)
            turns[case].append(json.loads(done.stdout.splitlines()[-1]))
    first = [turn["step_seconds"] for turn in turns["first order"]]
    print(f"{'case':<34}{'alpha step':>11}{'weight step':>12}{'step':>9}{'/ first':>9}{'MB':>8}")
    for case, results in turns.items():
        ratio = median(r["step_seconds"] / f for r, f in zip(results, first))
        cells = [median(r[key] for r in results) for key in results[0]]
        print(f"{case:<34}{cells[0]:>10.3f}s{cells[1]:>11.3f}s{cells[2]:>8.3f}s{ratio:>9.2f}"
              f"{cells[3]:>8.0f}", flush=True)  # fmt: skip
    pairs = zip(*(turns[case] for case in list(CASES)[1:]))
    ratio = median(e["step_seconds"] / f["step_seconds"] for f, e in pairs)
    print(f"exact / finite difference, whole step: {ratio:.2f}")
    from archgrad.folder import environment

    settings = {k: v for k, v in vars(options).items() if k not in ("out", "case")}
    out = options.out or Path(__file__).parent / "results" / f"step-{options.device}.json"
    out.parent.mkdir(exist_ok=True)
    content = {"settings": settings, "environment": environment(), "turns": turns}
    out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""How time and memory of a first-order search step grow, at a small size.

Against the number of candidates: equal ones (`Convolutions`), so that each costs the same; against
cells, nodes, channels, batch size and PC-DARTS's k: the eight candidates of darts-cnn. Memory is
that of tensors: on a CPU what the graph holds at most (unique storages of saved tensors, without
parameters and buffers), on CUDA the most that is allocated beyond what was before.

    python benchmarks/growth.py                        writes benchmarks/results/growth-cpu.json
    python benchmarks/growth.py --report               writes its table into docs/performance.md
    python benchmarks/growth.py --quick                a tiny size; writes only where --out says
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from archgrad import methods
from archgrad.kernels import native
from archgrad.networks.operations import OPERATIONS
from archgrad.spaces import SearchSpace
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.storage.folder import environment
from bench_report import markdown
from page import fill, keep, made
from steps import Steps, batches, library

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Convolutions(DartsCNN):
    """The cells of DARTS with up to eight equal candidates: the separable 3x3 convolution."""

    factories: ClassVar = {f"sep_conv_3x3_{i}": OPERATIONS["sep_conv_3x3"] for i in range(8)}
    operations: tuple[str, ...] = tuple(factories)


@dataclass(frozen=True)
class Point:
    """One search step; ``candidates`` None: those of darts-cnn; ``k`` is PC-DARTS's."""

    method: str = "darts"
    candidates: int | None = None
    cells: int = 3
    nodes: int = 4
    channels: int = 8
    batch: int = 16
    image_size: int = 16
    k: int | None = None

    def space(self) -> SearchSpace:
        sizes: dict[str, Any] = {
            "channels": self.channels,
            "cells": self.cells,
            "nodes": self.nodes,
            "image_size": (self.image_size, self.image_size),
        }
        if self.candidates is None:
            return DartsCNN(**sizes)
        space = Convolutions(**sizes)
        names = space.operations[: self.candidates]
        return space.restricted({g.name: [names] * len(g.edges) for g in space.groups})

    def steps(self, device: torch.device) -> Steps:
        options = {} if self.k is None else {"k": self.k}
        torch.manual_seed(0)
        return library(self.space(), methods.method(self.method, **options), device)


class Curve(NamedTuple):
    """A method, and what changes; ``large`` where a small step is above all bookkeeping."""

    method: str
    against: str
    values: tuple[int, ...]
    large: bool = False

    def points(self, base: Point, large: Point) -> list[Point]:
        at = large if self.large else base
        return [replace(at, method=self.method, **{self.against: v}) for v in self.values]


CANDIDATES = (2, 4, 6, 8)
CURVES = (
    Curve("darts", "candidates", CANDIDATES),
    *(
        Curve(method, "candidates", CANDIDATES, large)
        for method in ("gdas", "proxyless")
        for large in (False, True)
    ),
    Curve("darts", "cells", (3, 6, 9, 12)),
    Curve("darts", "nodes", (1, 2, 3, 4)),
    Curve("darts", "channels", (8, 16, 32)),
    Curve("darts", "batch", (8, 16, 32, 64)),
    *(Curve("pc_darts", "k", (1, 2, 4), large) for large in (False, True)),
)
LARGE = Point(channels=16, batch=64, image_size=32)
QUICK = Point(nodes=1, batch=4, image_size=8)


class Saved:
    """Counts bytes of the tensors that graphs hold, without those that are there anyway."""

    def __init__(self, without: Sequence[Tensor]) -> None:
        self.without = {tensor.untyped_storage().data_ptr() for tensor in without}
        self.holders: Counter[int] = Counter()
        self.bytes = self.peak = 0

    def pack(self, tensor: Tensor) -> Held:
        held, storage = Held(tensor.detach()), tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if place not in self.without:
            if not self.holders[place]:
                self.bytes += size
                self.peak = max(self.peak, self.bytes)
            self.holders[place] += 1
            weakref.finalize(held, self.release, place, size)
        return held

    def release(self, place: int, size: int) -> None:
        self.holders[place] -= 1
        if not self.holders[place]:
            self.bytes -= size


class Held:
    """A tensor in a graph."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def memory(point: Point, device: torch.device = torch.device("cpu")) -> int:  # noqa: B008
    """Bytes that one search step holds at most."""
    steps = point.steps(device)
    train, valid = batches(point.batch, (3, point.image_size, point.image_size), device)
    if device.type == "cuda":
        steps.both(train, valid)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        steps.both(train, valid)
        return torch.cuda.max_memory_allocated(device) - before
    saved = Saved([*steps.network.parameters(), *steps.network.buffers()])
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda held: held.tensor):
        steps.both(train, valid)
    return saved.peak


def seconds(point: Point, device: torch.device, number: int) -> list[float]:
    """Seconds of single search steps, after one that warms up."""
    steps = point.steps(device)
    train, valid = batches(point.batch, (3, point.image_size, point.image_size), device)
    found = []
    for _ in range(1 + number):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        steps.both(train, valid)
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return found[1:]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Memory of every point, and its times in turns."""
    device = torch.device(options.device)
    sizes = (QUICK, QUICK) if options.quick else (Point(), LARGE)
    found = [
        {**curve._asdict(), "seconds": [[] for _ in curve.values]}
        | {"bytes": [memory(point, device) for point in curve.points(*sizes)]}
        for curve in CURVES
    ]
    for _ in range(options.turns):
        for curve, row in zip(CURVES, found, strict=True):
            for point, times in zip(curve.points(*sizes), row["seconds"], strict=True):
                times += seconds(point, device, options.steps)
    return {
        "settings": {
            "steps": options.steps,
            "turns": options.turns,
            "sizes": [*map(asdict, sizes)],
        },
        "environment": environment(options.device),
        "kernels": native.note(device),
        "curves": found,
    }


def table(content: dict[str, Any]) -> str:
    """A line a curve, in markdown; growth is the last value over the first."""
    (base, large), env = content["settings"]["sizes"], content["environment"]
    rows = []
    for row in content["curves"]:
        times, held = [median(times) for times in row["seconds"]], row["bytes"]
        rows.append(
            [
                row["method"] + (", large" if row["large"] else ""),
                f"{row['against']} {', '.join(map(str, row['values']))}",
                ", ".join(f"{1000 * t:.3g}" for t in times),
                ", ".join(f"{b / 1e6:.3g}" for b in held),
                *(f"{v[-1] / v[0]:.2f}" for v in (row["values"], times, held)),
            ]
        )
    head = ["method", "against", "step, ms", "memory, MB", "grown by", "time", "memory"]
    size, more = (
        f"{p['channels']} channels, {p['cells']} cells, {p['nodes']} nodes, batch {p['batch']}, "
        f"3x{p['image_size']}x{p['image_size']}"
        for p in (base, large)
    )
    about = (
        f"Where nothing else is said: {size}; large: {more}; float32; "
        f"{env['device']}, one thread, {content['kernels']}; torch "
        f"{env['torch']}, {made(env)}."
    )
    return "\n".join([about, "", *markdown(head, rows)])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=2, help="in a turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a tiny size")
    parser.add_argument("--report", action="store_true", help="the table of what was measured")
    parser.add_argument("--out", type=Path, help="the folder of results")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "performance.md")
    options = parser.parse_args(arguments)
    out = options.out or (None if options.quick else HERE / "results")
    name = f"growth-{options.device}.json"
    if options.report:
        content = json.loads(((out or Path()) / name).read_text(encoding="utf-8"))
        command = f"benchmarks/growth.py --report, {Path(name).stem}"
        fill(options.page, command, table(content))
    else:
        torch.set_num_threads(1)
        content = measure(options)
        if out is not None:
            keep(out / name, content)
    print(table(content))


if __name__ == "__main__":
    main(sys.argv[1:])

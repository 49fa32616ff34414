"""How fast a first-order search step could be on this CPU, and how fast it is, in one run.

Two floors; a step that does both at once reaches the larger at best, another their sum:

- arithmetic: every multiply-add of the supernet once in a forward pass, once for the gradient of
  its input, in the weight step once more for the weights; at the rate of a large matrix product;
- memory: every tensor that the graph keeps written and read in the forward pass, read in the
  backward pass, and its gradient written and read; at the rate of a copy.

    python benchmarks/floor.py               writes benchmarks/results/floor-cpu.json
    python benchmarks/floor.py --report      writes its table into docs/performance.md
    python benchmarks/floor.py --quick       a tiny size; writes only where --out says
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from archgrad.kernels import native
from archgrad.storage.folder import environment
from archgrad.system.allocation import keep_freed_memory
from bench_report import markdown
from growth import QUICK, Point, memory
from page import fill, keep, made
from steps import batches
from textbook import Textbook

HERE = Path(__file__).parent
PAPER = Point(cells=8, channels=16, batch=64, image_size=32)
PASSES = 2 + 3  # forward and input gradients of the alpha step; and weights' of the weight step
TRIPS = 2 * 5  # of what the graph keeps, in two passes


def seconds(run: Callable[[], Any], number: int) -> float:
    """Median of ``number`` runs after one."""
    found = []
    for _ in range(1 + number):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return median(found[1:])


def multiply_adds(point: Point) -> int:
    """Of one forward pass of a whole batch through the supernet."""
    book = Textbook(point.channels, point.cells, nodes=point.nodes)
    image = torch.zeros(2, 3, point.image_size, point.image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        book.network(image, book.one_file.softmax(book.alpha))
    return counter.get_total_flops() // 2 // 2 * point.batch


def measure(quick: bool) -> dict[str, Any]:
    """Rates of this machine, work of a step, and seconds of a step."""
    point, side, size = (QUICK, 256, 10**6) if quick else (PAPER, 2048, 64 * 10**6)
    left, right, large, other = (
        *(torch.rand(side, side) for _ in range(2)),
        *(torch.rand(size) for _ in range(2)),
    )
    product = seconds(lambda: left @ right, 5)
    copy = seconds(lambda: other.copy_(large), 5)
    held = memory(point)
    steps = point.steps(torch.device("cpu"))
    train, valid = batches(
        point.batch, (3, point.image_size, point.image_size), torch.device("cpu")
    )
    return {
        "size": asdict(point),
        "environment": environment("cpu"),
        "kernels": native.note(torch.device("cpu")),
        "multiply_adds_a_second": side**3 / product,
        "bytes_a_second": 2 * 4 * size / copy,
        "multiply_adds": PASSES * multiply_adds(point),
        "bytes": TRIPS * held,
        "step_seconds": seconds(lambda: steps.both(train, valid), 3),
    }


def table(content: dict[str, Any]) -> str:
    size, env = content["size"], content["environment"]
    step = content["step_seconds"]
    arithmetic = content["multiply_adds"] / content["multiply_adds_a_second"]
    traffic = content["bytes"] / content["bytes_a_second"]
    rows = [
        ["arithmetic", f"{content['multiply_adds'] / 1e9:.3g} G multiply-adds",
         f"{content['multiply_adds_a_second'] / 1e9:.3g} G/s", arithmetic],
        ["memory", f"{content['bytes'] / 1e9:.3g} GB",
         f"{content['bytes_a_second'] / 1e9:.3g} GB/s", traffic],
        ["their sum", "", "", arithmetic + traffic],
        ["measured", "", "", step],
    ]  # fmt: skip
    cells = [[*row[:3], f"{row[3]:.3g} s", f"{step / row[3]:.2f}"] for row in rows]
    about = (
        f"First order, {size['channels']} channels, {size['cells']} cells, batch {size['batch']}, "
        f"3x{size['image_size']}x{size['image_size']}, float32; {env['device']}, one thread, "
        f"{content['kernels']}; torch {env['torch']}, {made(env)}."
    )
    head = ["", "work", "rate", "seconds", "measured / it"]
    return "\n".join([about, "", *markdown(head, cells)])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny size")
    parser.add_argument("--report", action="store_true", help="the table of what was measured")
    parser.add_argument("--out", type=Path, help="the folder of results")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "performance.md")
    options = parser.parse_args(arguments)
    out = options.out or (None if options.quick else HERE / "results")
    if options.report:
        content = json.loads(((out or Path()) / "floor-cpu.json").read_text(encoding="utf-8"))
        fill(options.page, "benchmarks/floor.py --report", table(content))
    else:
        torch.set_num_threads(1)
        keep_freed_memory()
        content = measure(options.quick)
        if out is not None:
            keep(out / "floor-cpu.json", content)
    print(table(content))


if __name__ == "__main__":
    main(sys.argv[1:])

"""What bench.py measures, one case in a process: seconds, memory, and where the time goes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from archgrad import methods, spaces
from archgrad.kernels import native
from archgrad.networks.supernet import Batch
from archgrad.system.allocation import keep_freed_memory
from archgrad.system.loops import peak_memory_mb
from steps import Steps, batches, library, textbook
from textbook import example


class Case(NamedTuple):
    """``order``: first, finite_difference or exact; ``kernel``: native, torch or textbook.

    ``recompute``: activation checkpointing, off or cells.
    """

    order: str
    kernel: str
    recompute: str = "off"


FIRST, SECOND, EXACT = "first", "finite_difference", "exact"
CASES = {
    "textbook, first order": Case(FIRST, "textbook"),
    "first order": Case(FIRST, "native"),
    "textbook, second order": Case(SECOND, "textbook"),
    "finite difference": Case(SECOND, "native"),
    "exact": Case(EXACT, "native"),
    "first order, recomputed": Case(FIRST, "native", "cells"),
    "exact, recomputed": Case(EXACT, "native", "cells"),
    "PyTorch kernels, first order": Case(FIRST, "torch"),
    "PyTorch kernels, finite difference": Case(SECOND, "torch"),
}
PROFILED = ("textbook, first order", "first order", "PyTorch kernels, first order")
COLD = "cold start"

# A group and the names of what belongs to it: an event, with all that happens within.
GROUPS = {
    "branches, forward": ("_Branches",),
    "branches, backward": ("_BranchesBackward", "_Backward"),
    "weighted sum, forward": ("_Sum",),
    "weighted sum, backward": ("_SumBackward", "_Gradients"),
    "convolutions": ("aten::conv2d", "aten::convolution_backward"),
    "normalization": ("aten::batch_norm", "aten::native_batch_norm_backward"),
    "ReLU": ("aten::relu", "aten::threshold_backward"),
    "pooling": (
        *("aten::max_pool2d", "aten::max_pool2d_with_indices_backward"),
        *("aten::avg_pool2d", "aten::avg_pool2d_backward"),
    ),
    "sums and products": ("aten::add", "aten::add_", "aten::mul", "aten::mul_", "aten::sum"),
    "optimizers": ("Optimizer.step",),
}
REST = "rest"


def made(case: Case, options: argparse.Namespace, device: torch.device) -> Steps:
    """The steps of a case."""
    if case.kernel == "textbook":
        return textbook(options.channels, options.cells, case.order != FIRST, device)
    size = (options.image_size, options.image_size)
    space = spaces.space(
        "darts-cnn", channels=options.channels, cells=options.cells, image_size=size
    )
    first = case.order == FIRST
    method = methods.method(
        "darts" if first else "darts_2nd", **({} if first else {"estimator": case.order})
    )
    return library(space, method, device, recompute=case.recompute)


class Warm(NamedTuple):
    """Steps with their batches after the warm-up; ``base_mb``: memory before a whole batch."""

    steps: Steps
    train: Batch
    valid: Batch
    base_mb: float


def warm(case: Case, options: argparse.Namespace, device: torch.device) -> Warm:
    """The warm-up is the same for all cases.

    A whole step on two images does what is done once in a process (imports, optimizer states); a
    weight step on a whole batch takes most of the memory from the system.
    """
    example()  # what the textbook imports is in the memory of all
    torch.manual_seed(0)
    shape = (3, options.image_size, options.image_size)
    train, valid = batches(options.batch_size, shape, device)
    steps = made(case, options, device)
    steps.both(*((x[:2], y[:2]) for x, y in (train, valid)))
    base = peak_memory_mb(device)
    steps.weights(train)
    for _ in range(options.warmup):
        steps.both(train, valid)
    return Warm(steps, train, valid, base)


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every alpha and weight step, and memory in MB: at first, and at most."""
    case, device = CASES[name], torch.device(options.device)
    with native.use(kernel(case, device)):
        steps, train, valid, base = warm(case, options, device)
        alpha, weights = [], []
        for _ in range(options.steps):
            started = now(device)
            steps.alpha(train, valid)
            middle = now(device)
            steps.weights(train)
            alpha.append(middle - started)
            weights.append(now(device) - middle)
        return {
            "alpha_seconds": alpha,
            "weight_seconds": weights,
            "base_mb": base,
            "peak_mb": peak_memory_mb(device),
            "kernels": "PyTorch" if case.kernel == "textbook" else native.note(device),
        }


def kernel(case: Case, device: torch.device) -> native.Kernel:
    """What the library is told to use: native kernels are those of a CPU."""
    if case.kernel == "native":
        return "native" if device.type == "cpu" else "auto"
    return "torch"


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def cold_start() -> dict[str, Any]:
    """Seconds to build and load the native kernels where the cache is empty."""
    started = time.perf_counter()
    built = native.build()
    if built.library is None:
        raise SystemExit(built.note)
    return {"seconds": time.perf_counter() - started}


def profiled(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Processor seconds of one search step by `GROUPS`."""
    case, device = CASES[name], torch.device("cpu")
    with native.use(kernel(case, device)):
        steps, train, valid, _ = warm(case, options, device)
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as found:
            steps.both(train, valid)
    return grouped(found.events())


def grouped(events: Iterable[Any]) -> dict[str, float]:
    """Processor seconds of profiled events by `GROUPS`."""
    seconds = dict.fromkeys([*GROUPS, REST], 0.0)
    for event in events:
        seconds[group(event)] += event.self_cpu_time_total / 1e6
    return seconds


def group(event: Any) -> str:
    """The group of the outermost event around this one, or itself, that has one."""
    found = REST
    while event is not None:
        name = event.name.split("#")[0]
        found = next((group for group, names in GROUPS.items() if name in names), found)
        event = event.cpu_parent
    return found


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The case called ``name``, in this process, which is used for nothing else."""
    keep_freed_memory()
    torch.set_num_threads(1)
    if name == COLD:
        return cold_start()
    return profiled(name, options) if options.profile else measure(name, options)

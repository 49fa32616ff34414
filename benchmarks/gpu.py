"""Images a second of a retraining, and what of a search epoch its data pipeline takes.

    python benchmarks/gpu.py retrain     DARTS_V2, 36 channels, 20 cells, batches of 96
    python benchmarks/gpu.py pipeline    a search at the paper's size, with and without CUDA graphs

On random images. Each case runs once to warm up (to compile, to record) and is then timed. The
cases with torch.compile are left out on a CPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from archgrad import methods, spaces
from archgrad.architecture import published
from archgrad.data import Augmentation, Data, as_data
from archgrad.retraining.training import Retraining, Training
from archgrad.searching.bilevel import BilevelSearch
from archgrad.searching.callbacks import Callback
from archgrad.settings.config import SearchConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.storage.folder import environment
from archgrad.system.loops import peak_memory_mb
from archgrad.tensors.precision import without_tf32

AUGMENTATION = Augmentation(crop_padding=4, flip=True)
AUXILIARY = 29  # pixels a side that the auxiliary head needs


class Loud(Callback):
    """Prints what a search has to say: why a step is not recorded, for one."""

    def warning(self, text: str) -> None:
        print(f"  {text}", flush=True)


def random_images(options: argparse.Namespace) -> Data:
    """Enough for the steps of an epoch: of a retraining, or of one half of a search."""
    count = options.batch_size * options.steps * (1 if options.part == "retrain" else 2)
    images = torch.rand(count, 3, options.image_size, options.image_size)
    labels = torch.arange(count) % 10
    return as_data((images, labels, images[:100], labels[:100]))


def timed(device: torch.device, run: Callable[[], object]) -> float:
    """Seconds until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


# Name -> whether the order is contiguous, as PyTorch's default is, and the options.
TRAININGS: dict[str, tuple[bool, dict[str, str]]] = {
    "eager, contiguous, PyTorch's defaults": (True, {}),
    "eager, float32": (False, {}),
    "eager, bf16": (False, {"precision": "bf16"}),
    "compiled, float32": (False, {"compile": "on"}),
    "compiled, bf16": (False, {"precision": "bf16", "compile": "on"}),
}
SEARCHES = {
    "eager, float32": {},
    "graphs, float32": {"graphs": "on"},
    "graphs, bf16": {"graphs": "on", "precision": "bf16"},
}


def retrain(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Images a second of whole training epochs, by case."""
    data, found = random_images(options), {}
    for name, (contiguous, changes) in TRAININGS.items():
        if device.type == "cuda" or "compile" not in changes:
            found[name] = one_training(options, device, data, contiguous, changes)
            print(f"{name:<40}{found[name]['images_a_second']:>10.1f} images/s", flush=True)
    return found


def one_training(
    options: argparse.Namespace,
    device: torch.device,
    data: Data,
    contiguous: bool,
    changes: dict[str, Any],
) -> dict[str, float]:
    auxiliary = 0.4 if options.image_size >= AUXILIARY else 0.0
    sizes = {"batch_size": options.batch_size, "cutout": options.image_size // 2}
    config = TrainConfig(epochs=10, auxiliary_weight=auxiliary, **sizes, **changes)
    job = Retraining("random", published("DARTS_V2"), space(options), config, 0)
    training = Training(job, data, AUGMENTATION, device)
    if contiguous:
        training.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with nullcontext() if contiguous else without_tf32():
        first, second = (timed(device, lambda e=e: training.epoch(e)) for e in (1, 2))
    return {"images_a_second": len(data.train) / second, "first_epoch_seconds": first}


def pipeline(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Seconds of a step, and the share that its two batches take when nothing else is done."""
    data, found = random_images(options), {}
    for name, changes in SEARCHES.items():
        one = found[name] = one_search(options, device, data, changes)
        print(f"{name:<40}{one['step_seconds']:>10.4f} s/step, data {one['share']:.2%}, "
              f"{one['memory_mb']:.0f} MB", flush=True)  # fmt: skip
    return found


def one_search(
    options: argparse.Namespace, device: torch.device, data: Data, changes: dict[str, Any]
) -> dict[str, float]:
    config = SearchConfig(batch_size=options.batch_size, watch_fraction=0.0, guard="off", **changes)
    method = methods.method(options.method)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with without_tf32():
        search = BilevelSearch(space(options), data, method, config, AUGMENTATION, device, None)
        search.steps(0, 0.025, progress=0.0, callback=Loud())
        batches = timed(device, lambda: list(search.loaders.epoch(1)))
        steps = timed(device, lambda: search.steps(1, 0.025, progress=0.0))
    return {
        "step_seconds": steps / len(search.loaders.train),
        "share": batches / steps,
        "memory_mb": peak_memory_mb(device),
    }


def space(options: argparse.Namespace) -> SearchSpace:
    size = (options.image_size, options.image_size)
    return spaces.space(
        "darts-cnn", channels=options.channels, cells=options.cells, image_size=size
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=["retrain", "pipeline"])
    parser.add_argument("--channels", type=int, help="[36; pipeline: 16]")
    parser.add_argument("--cells", type=int, help="[20; pipeline: 8]")
    parser.add_argument("--batch-size", type=int, help="[96; pipeline: 64]")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--method", default="darts")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    papers = (36, 20, 96) if options.part == "retrain" else (16, 8, 64)
    for name, value in zip(("channels", "cells", "batch_size"), papers):
        if getattr(options, name) is None:
            setattr(options, name, value)
    torch.manual_seed(0)
    device = torch.device(options.device)
    found: Any = (retrain if options.part == "retrain" else pipeline)(options, device)
    if options.out is not None:
        settings = {k: v for k, v in vars(options).items() if k != "out"}
        content = {"settings": settings, "environment": environment(), "cases": found}
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

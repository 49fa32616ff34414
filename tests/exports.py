"""What the tests of exports share: trained networks that were never trained."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from archgrad.architecture import Architecture
from archgrad.exporting.source import source, weights
from archgrad.exporting.trained import Trained, of_training
from archgrad.spaces.cells import CellSpace

FILES = {
    "source": ["model.py", "model.safetensors"],
    "onnx": ["model.onnx"],
    "torch": ["model.pt2"],
    "safetensors": ["weights.safetensors", "model.json"],
}


def scrambled(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with other values in every tensor: those of a fresh one are often alike."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            values = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(values + 0.5 if tensor.dim() == 1 else values - 0.5)
        else:
            tensor.fill_(7)
    return network


def score(space: CellSpace, seed: int = 0, accuracy: float = 0.75) -> dict[str, object]:
    return {
        "begun_with": {"options": {"epochs": 5}},
        "seed": seed,
        "accuracy": accuracy,
        "test_images": 400,
        "parameters": 1234,
        "multiply_adds": 56789,
        "input_shape": list(space.input_shape),
        "normalization": {"mean": [0.25], "std": [0.5]},
    }


def text_score(seed: int = 0, perplexity: float = 55.7) -> dict[str, object]:
    return {
        "begun_with": {"options": {"epochs": 5}},
        "seed": seed,
        "perplexity": perplexity,
        "loss": math.log(perplexity),
        "test_tokens": 82430,
        "parameters": 1234,
        "multiply_adds": 56789,
        "input_shape": [],
        "normalization": None,
    }


def trained(space: CellSpace, architecture: Architecture, *, auxiliary: bool = False) -> Trained:
    network = scrambled(space.derive(architecture, auxiliary=auxiliary))
    return of_training(architecture, network, score(space), [score(space)])


def written(found: Trained, folder: Path) -> ModuleType:
    """The written source, imported as its user would."""
    assert found.sizes is not None
    (folder / "model.py").write_text(source(found, found.sizes), encoding="utf-8")
    tensors = {n: t.clone().contiguous() for n, t in weights(found, found.sizes).items()}
    save_file(tensors, folder / "model.safetensors")
    return imported(folder / "model.py")


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def difference(a: nn.Module, b: nn.Module, x: Tensor) -> float:
    """Between the outputs, relative to the largest of the first or 1; from one random state."""
    outputs = []
    for network in (a, b):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            outputs.append(network(x))
    assert outputs[0].shape == outputs[1].shape
    assert bool(outputs[0].isfinite().all())
    assert float(outputs[0].std()) > 0  # weights that would not matter could be lost
    largest = outputs[0].abs().max().clamp_min(1)
    return float((outputs[0] - outputs[1]).abs().max() / largest)


def well_written(path: Path) -> None:
    """Formatted and without what is never used."""
    options = ["--isolated", "--line-length", "100"]
    for command in (["format", "--check"], ["check", "--select", "E,F,I,UP,B"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options, path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + path.read_text(encoding="utf-8")

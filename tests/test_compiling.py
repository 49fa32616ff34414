"""Training through torch.compile: the trial changes nothing, failing falls back, numbers agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from archgrad.networks.network import Classifier, DropPath
from archgrad.retraining.compiling import compiled
from archgrad.retraining.scratch import load_data, retrain
from archgrad.retraining.training import Training
from archgrad.tensors.precision import Precision, autocast
from helpers import CELL, DATA, job, same

CPU = torch.device("cpu")


def network() -> Classifier:
    torch.manual_seed(0)
    return job().space.derive(CELL).train()


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fails", [False, True])
def test_the_trial_leaves_network_and_random_state_as_they_are(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it fails, so late that the forward pass is done, a warning says why."""

    def stand_in(forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def run(inputs: Tensor) -> Any:
            found = forward(inputs)
            torch.rand(1)
            if fails:
                raise RuntimeError("no compiler\nlong story")
            return found

        return run

    monkeypatch.setattr(torch, "compile", stand_in)
    net, random = network(), torch.get_rng_state()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    if fails:
        with pytest.warns(UserWarning, match="torch.compile failed, .* without it: no compiler$"):
            forward = compiled(net, images(), "float32")
        assert forward == net.forward_with_auxiliary
    else:
        forward = compiled(net, images(), "float32")
        assert forward != net.forward_with_auxiliary
    assert same(dict(net.state_dict()), before)
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_retraining_compiles_its_full_batches_and_repeats_the_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    def stand_in(forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def run(inputs: Tensor) -> Any:
            sizes.append(len(inputs))
            return forward(inputs)

        return run

    monkeypatch.setattr(torch, "compile", stand_in)
    data = load_data(DATA)[0]  # 100 images
    plain, compiled_one = (
        retrain(job(batch_size=40, compile=how), data)[0] for how in ("off", "on")
    )
    for name in ("loss", "train_loss"):
        assert compiled_one[name] == pytest.approx(plain[name], rel=1e-5)
    assert sizes == [40] * 5  # the trial, and two full batches in each of two epochs


def test_drop_path_changes_without_another_compilation() -> None:
    """Its rate is one tensor for the whole network, filled anew every epoch."""
    data, augmentation = load_data(DATA)
    training = Training(job(drop_path=0.4, compile="on"), data, augmentation, CPU)
    rates = []
    for epoch in range(2):
        training.learning.drop_paths(0.4 * epoch)
        found = {id(m.rate) for m in training.network.modules() if isinstance(m, DropPath)}
        assert found == {id(training.learning.drop_path)}
        rates.append(float(training.learning.drop_path))
    assert rates == pytest.approx([0.0, 0.4])


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_drop_path_by_a_tensor_is_drop_path(rate: float) -> None:
    module, x = DropPath().train(), torch.ones(4000, 1, 1, 1)
    module.rate = torch.tensor(rate)
    torch.manual_seed(0)
    found = module(x).flatten()
    assert set(found.tolist()) == ({1.0} if rate == 0 else {0.0, torch.tensor(1 / 0.75).item()})
    assert float(found.mean()) == pytest.approx(1.0, abs=0.05)


def gradient(how: str, precision: Precision, dtype: torch.dtype = torch.float32) -> Tensor:
    """The logits of a network and the gradient of their squares, in one float64 vector."""
    net, inputs = network().to(dtype), images(16).to(dtype)
    forward = net.forward_with_auxiliary if how == "eager" else compiled(net, inputs, precision)
    assert (forward == net.forward_with_auxiliary) == (how == "eager")
    with autocast(precision, CPU):
        logits, _ = forward(inputs)
    logits.to(dtype).square().sum().backward()
    parts = [logits.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]
    return torch.cat([part.flatten().double() for part in parts])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
def test_a_compiled_network_gives_the_same_numbers(precision: Precision) -> None:
    """With inductor, on the CPU; needs a C++ compiler. In bf16 as near to float64 as without it."""
    exact = gradient("eager", "float32", torch.float64)
    eager, fast = (gradient(how, precision) for how in ("eager", "compiled"))
    assert not torch.equal(fast, eager)
    near, far = (float((found - exact).norm() / exact.norm()) for found in (eager, fast))
    assert max(near, far / 2) < (1e-4 if precision == "float32" else 0.5)
    assert precision == "float32" or far < 2 * near


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_retraining_learns_and_compiles_once() -> None:
    """Six rates of drop path and a smaller last batch."""
    from torch._dynamo.utils import counters

    counters.clear()
    options = {"epochs": 6, "drop_path": 0.2, "batch_size": 40, "compile": "on"}
    score, _ = retrain(job(**options), load_data(DATA)[0])  # type: ignore[arg-type]
    assert counters["stats"]["unique_graphs"] == 1
    assert score["train_loss"] < 2.35

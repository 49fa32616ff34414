"""Checks on a CUDA device, run by benchmarks/gpu.sh check (ARCHGRAD_TEST_DEVICE names another)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import archgrad
from archgrad.methods import RECIPES
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Supernet
from archgrad.parts.hypergradient import Exact, FiniteDifference, first_order
from archgrad.parts.relaxation import Dirichlet, Gates, GumbelSoftmax, Relaxation, Softmax
from archgrad.parts.state import SGD, State
from archgrad.preparing.prepared import prepare
from archgrad.retraining.scratch import load_data, retrain
from archgrad.searching.callbacks import Callback
from archgrad.searching.graphs import Graphed, recorder
from archgrad.searching.passes import Passes
from archgrad.settings import config as configuration
from archgrad.settings.config import RunConfig
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.storage.folder import Run
from archgrad.system.loops import placed
from archgrad.tensors.precision import Precision, autocast, lowered, without_tf32
from helpers import DATA, error, job, mixed_operation

pytestmark = pytest.mark.gpu
DEVICE = os.environ.get("ARCHGRAD_TEST_DEVICE", "cuda")


@pytest.mark.parametrize("estimator", [first_order, FiniteDifference(), Exact()])
def test_hypergradients_equal_those_of_the_cpu(estimator) -> None:  # type: ignore[no-untyped-def]
    """float64: differences between the devices are rounding alone."""

    def gradient(device: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        space = DartsCNN(channels=4, cells=3, nodes=3, image_size=(16, 16))
        net = Supernet(space.supernet().double(), space.groups)
        generator = torch.Generator().manual_seed(1)
        batches = [
            (
                torch.randn(8, 3, 16, 16, generator=generator, dtype=torch.float64).to(device),
                torch.randint(10, (8,), generator=generator).to(device),
            )
            for _ in range(2)
        ]
        alpha = {n: a.detach().double().to(device) for n, a in net.alpha.items()}
        net = Supernet(net.model.to(device), space.groups)
        net.alpha = {n: a.requires_grad_() for n, a in alpha.items()}
        state = State(net, Softmax(), *batches, SGD(0.1, 0.9, 0.01))
        return {n: g.cpu() for n, g in estimator(net.alpha, state).gradient.items()}

    here, there = gradient("cpu"), gradient(DEVICE)
    for name in here:
        torch.testing.assert_close(there[name], here[name], rtol=1e-7, atol=1e-10)


def config_of(epochs: int) -> RunConfig:
    search = {"channels": 4, "cells": 3, "epochs": epochs, "batch_size": 16}
    search |= {"device": DEVICE, "guard": "off"}
    return configuration.build({"data": {"subset": 100}, "search": search})


def test_a_search_learns_on_the_device() -> None:
    losses = [line["train_loss"] for line in prepare(config_of(8)).search().metrics]
    assert losses[-1] < losses[0] - 0.3


def test_a_checkpoint_of_the_device_resumes(tmp_path: Path) -> None:
    config = config_of(2)
    whole = prepare(config).search(Run.create(tmp_path / "run", config))
    again = prepare(config).search(Run.open(tmp_path / "run"))
    assert [line["epoch"] for line in again.metrics] == [1, 2]
    assert all(torch.equal(whole.alpha[name], again.alpha[name]) for name in whole.alpha)


@pytest.mark.parametrize("name", RECIPES)
def test_every_method_searches_on_the_device(name: str) -> None:
    """Two epochs with all diagnostics; the derived network runs there."""
    options: dict[str, dict[str, object]] = {
        "p_darts": {"more_cells": 1},
        "darts_pt": {"tuning_epochs": 1},
        "shapley": {"samples": 2},
        "random_ws": {"samples": 4},
    }
    result = archgrad.search(
        "darts-cnn", "digits", method=name, method_options=options.get(name, {}), device=DEVICE,
        subset=64, channels=8, cells=3, nodes=1, batch_size=8, epochs=3,
    )  # fmt: skip
    assert all(torch.isfinite(value).all() for value in result.alpha.values())
    network = result.derive(channels=4).to(DEVICE).eval()
    assert network(torch.zeros(2, 1, 8, 8, device=DEVICE)).isfinite().all()


@pytest.mark.parametrize("relaxation", [GumbelSoftmax(hard=True), Gates(), Dirichlet()])
def test_a_draw_is_the_same_on_every_device(relaxation: Relaxation) -> None:
    alpha = {"g": torch.randn(5, 4, generator=torch.Generator().manual_seed(0))}
    state = State(None, relaxation, seed=3)  # type: ignore[arg-type]
    here = relaxation(alpha, state)
    there = relaxation({"g": alpha["g"].to(DEVICE)}, state)
    torch.testing.assert_close(there["g"].cpu(), here["g"])
    assert there.active == here.active


# --- kernels and precision ----------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
def test_the_mixed_operation_is_that_of_plain_modules(stride: int) -> None:
    """Branches and weighted sum, forward and back; float64, where devices differ by rounding."""
    device = torch.device(DEVICE)
    exact = mixed_operation(torch.device("cpu"), torch.float64, "float32", stride, plain=True)
    for plain in (True, False):
        found = mixed_operation(device, torch.float64, "float32", stride, plain)
        assert error(found, exact) < 1e-10


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_mixed_operation_is_as_exact_as_plain_modules(
    stride: int, precision: Precision
) -> None:
    device = torch.device(DEVICE)
    exact = mixed_operation(device, torch.float64, "float32", stride, plain=True)
    with without_tf32():
        plain, found = (
            error(mixed_operation(device, torch.float32, precision, stride, how), exact)
            for how in (True, False)
        )
    assert found < 2 * plain < (1e-4 if precision == "float32" else 0.3)


def test_float32_is_not_tf32() -> None:
    """10 bits of mantissa would leave errors of 1e-3."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 64, 16, 16, generator=generator)
    w = torch.randn(64, 64, 3, 3, generator=generator)
    exact = torch.nn.functional.conv2d(x.double(), w.double())
    with without_tf32():
        found = torch.nn.functional.conv2d(x.to(DEVICE), w.to(DEVICE)).cpu().double()
    assert float((found - exact).norm() / exact.norm()) < 1e-5


def test_autocast_of_the_device_is_the_one_that_the_kernels_see() -> None:
    with autocast("bf16", torch.device(DEVICE)):
        assert lowered(torch.ones(1, device=DEVICE)) is torch.bfloat16


@pytest.mark.parametrize("method", ["darts", "darts_2nd", "pc_darts"])
def test_a_search_in_bf16_learns_with_all_diagnostics(method: str) -> None:
    search = {"channels": 8, "cells": 3, "nodes": 2, "epochs": 4, "batch_size": 10}
    search |= {"device": DEVICE, "precision": "bf16", "watch_fraction": 0.0, "method": method}
    config = configuration.build({"data": {"subset": 100}, "search": search})
    losses = [line["train_loss"] for line in prepare(config).search().metrics]
    assert losses[-1] < losses[0]


# --- CUDA graphs --------------------------------------------------------------------------------


def steps(
    recorded: bool, estimator: Any, dtype: torch.dtype, precision: Precision
) -> list[dict[str, torch.Tensor]]:
    """What eight steps find, each at another batch, alpha, learning rate and other weights."""
    torch.manual_seed(0)
    device = torch.device(DEVICE)
    space = DartsCNN(channels=4, cells=3, nodes=2, image_size=(8, 8))
    net = Supernet(placed(space.supernet().to(dtype), device), space.groups, precision=precision)
    net.alpha = {n: a.detach().to(dtype).requires_grad_() for n, a in net.alpha.items()}
    passes = Passes(net, estimator, recorder(device) if recorded else None)
    generator, relaxation, found = torch.Generator().manual_seed(1), Softmax(), []
    for number in range(8):
        x = torch.randn(2, 16, 3, 8, 8, generator=generator).to(device, dtype)
        y = torch.randint(10, (2, 16), generator=generator).to(device)
        optimizer = SGD(0.1 / (1 + number), 0.9, 0.01)
        state = State(net, relaxation, (x[0], y[0]), (x[1], y[1]), optimizer, seed=number)
        estimate = passes.estimate(state)
        mixing = Mixing({n: p.detach() for n, p in relaxation(net.alpha, state).items()})
        learned = passes.learn(mixing, state.train)
        parts = {"alpha": estimate.gradient, "weights": learned.gradient}
        found.append({n: torch.cat([g.flatten() for g in p.values()]) for n, p in parts.items()})
        found[-1] |= {"alpha's loss": estimate.loss.clone(), "loss": learned.loss.clone()}
        with torch.no_grad():  # in place, and not by what was found: errors must not add up
            for value in (*net.alpha.values(), *net.weights.values()):
                value.mul_(0.95)
    assert passes.notes == []
    if recorded and device.type == "cuda":
        assert all(g is not None and g.replay is not None for g in (passes.alpha, passes.weights))
    found.append({name: buffer.clone() for name, buffer in net.model.named_buffers()})
    return found


@pytest.mark.parametrize(
    ("dtype", "precision", "near"),
    [(torch.float64, "float32", 1e-7), (torch.float32, "bf16", 0.1)],
    ids=["float64", "bf16"],
)
@pytest.mark.parametrize("estimator", [first_order, Exact(), FiniteDifference()])
def test_recorded_steps_are_the_steps(
    estimator: Any, dtype: torch.dtype, precision: Precision, near: float
) -> None:
    """Up to rounding: kernels need not repeat bit by bit on a GPU."""
    if precision == "bf16" and isinstance(estimator, FiniteDifference):
        pytest.skip("a difference of float32 numbers shows every rounding")
    plain, recorded = (steps(how, estimator, dtype, precision) for how in (False, True))
    for one, other in zip(plain, recorded, strict=True):
        for name, value in one.items():
            if "num_batches" in name:
                assert int(other[name]) == int(value) == 8
            else:
                assert float((other[name] - value).norm()) <= near * float(value.norm()), name


def test_a_search_with_graphs_learns_and_says_what_is_not_recorded() -> None:
    class Told(Callback):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def warning(self, text: str) -> None:
            if not text.startswith("alpha has decided"):  # in so short a search
                self.lines.append(text)

    for method, notes in (("darts", 0), ("darts_2nd", 0), ("snas", 1), ("gdas", 2)):
        told = Told()
        search = {"channels": 4, "cells": 3, "nodes": 1, "epochs": 4, "batch_size": 8}
        search |= {"device": DEVICE, "graphs": "on", "guard": "off", "watch_fraction": 0.0}
        search |= {"method": method, "learning_rate": 0.1}
        config = configuration.build({"data": {"subset": 100}, "search": search})
        losses = [line["train_loss"] for line in prepare(config).search(None, told).metrics]
        assert len(told.lines) == (1 if DEVICE == "cpu" else notes), told.lines
        assert losses[-1] < losses[0]


def test_what_cannot_be_recorded_leaves_the_stream_and_the_search_in_order() -> None:
    """A capture that waits for the device fails; the step is made without it, and later ones."""
    device = torch.device(DEVICE)
    found = recorder(device)
    if found is None:
        pytest.skip("this device records nothing")
    outside = torch.cuda.current_stream(device)

    def waits(inputs: Any) -> torch.Tensor:
        return inputs["x"] * float(inputs["x"].sum())

    graphed = Graphed("waiting", waits, lambda inputs: (waits(inputs), None), found)
    for _ in range(6):
        assert float(graphed({"x": torch.ones(3, device=device)}).sum()) == 9.0
    assert graphed.note is not None and "\n" not in graphed.note
    assert torch.cuda.current_stream(device) == outside


# --- retraining ---------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_retraining_learns_on_the_device(precision: Precision) -> None:
    score, _ = retrain(
        job(epochs=20, channels=4, precision=precision, device=DEVICE), load_data(DATA)[0]
    )
    assert score["accuracy"] > 0.3  # ten classes


@pytest.mark.slow
def test_a_compiled_retraining_learns_on_the_device() -> None:
    """Deselected unless -m "gpu and slow" asks for it: compilation takes minutes."""
    options = {"epochs": 20, "channels": 4, "precision": "bf16", "compile": "on"}
    score, _ = retrain(job(**options, device=DEVICE), load_data(DATA)[0])  # type: ignore[arg-type]
    assert score["accuracy"] > 0.3


def test_batches_of_an_epoch_are_on_the_device_and_those_of_the_cpu() -> None:
    data, augmentation = load_data(DATA)
    options: Any = {"seed": 3, "shuffle": True, "augmentation": augmentation}
    both = (
        data.train.batches(16, **options, normalization=data.normalization, device=device).epoch(2)
        for device in ("cpu", DEVICE)
    )
    for (x, y), (there, labels) in zip(*both, strict=True):
        assert there.device.type == labels.device.type == torch.device(DEVICE).type
        assert torch.equal(y, labels.cpu())
        torch.testing.assert_close(there.cpu(), x)


def test_a_training_epoch_never_waits_for_the_batches() -> None:
    """After the first: PyTorch raises where something waits for the GPU."""
    if torch.device(DEVICE).type != "cuda":
        pytest.skip("nothing waits on a CPU")
    data, augmentation = load_data(DATA)
    batches = data.train.batches(
        16, shuffle=True, augmentation=augmentation, normalization=data.normalization, device=DEVICE
    ).epoch(0)
    next(batches)
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")

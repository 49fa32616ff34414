"""Checks on a CUDA device, run by benchmarks/gpu.sh check (ARCHGRAD_TEST_DEVICE names another)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import archgrad
from archgrad import config as configuration
from archgrad.config import RunConfig
from archgrad.folder import Run
from archgrad.methods import RECIPES
from archgrad.parts.hypergradient import Exact, FiniteDifference, first_order
from archgrad.parts.relaxation import Dirichlet, Gates, GumbelSoftmax, Relaxation, Softmax
from archgrad.parts.state import SGD, State
from archgrad.prepared import prepare
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.supernet import Supernet

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

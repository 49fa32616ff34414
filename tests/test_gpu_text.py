"""Recurrent cells on a CUDA device (benchmarks/gpu.sh check; ARCHGRAD_TEST_DEVICE: another)."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

import archgrad
from archgrad.data import text_data
from archgrad.kernels.recurrence import Node, Plan, recurrence
from archgrad.language import LANGUAGE, Memory, Segment
from archgrad.networks.recurrent import Regularization
from archgrad.networks.supernet import Supernet
from archgrad.parts.hypergradient import Exact, FiniteDifference, first_order
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import SGD, State
from archgrad.spaces.darts_rnn import DartsRNN

pytestmark = pytest.mark.gpu
DEVICE = os.environ.get("ARCHGRAD_TEST_DEVICE", "cuda")
OFF = Regularization(output=0, hidden=0, input=0, embedding=0, slowness=0)


def test_the_recurrence_is_that_of_the_cpu() -> None:
    plan = Plan(tuple(Node(0, i) for i in range(1, 5)), normalized=True)

    def run(device: str) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            made = torch.randn(*shape, generator=generator, dtype=torch.float64)
            return made.to(device).requires_grad_()

        given = [normal(5, 6, 16), normal(6, 8), normal(8, 16)]
        weights, mixing = [normal(8, 16) for _ in range(4)], [normal(i, 4) for i in range(1, 5)]
        mask = (normal(6, 8) > 0).double()
        output = recurrence(plan, *given[:2], mask, given[2], weights, mixing)
        inputs = [*given, *weights, *mixing]
        return [output.cpu(), *(g.cpu() for g in torch.autograd.grad(output.cos().sum(), inputs))]

    for here, there in zip(run("cpu"), run(DEVICE), strict=True):
        torch.testing.assert_close(there, here, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("estimator", [first_order, FiniteDifference(), Exact()])
def test_hypergradients_equal_those_of_the_cpu(estimator) -> None:  # type: ignore[no-untyped-def]
    def gradient(device: str) -> Tensor:
        torch.manual_seed(0)
        space = DartsRNN(hidden=6, nodes=3, classes=11, regularization=OFF)
        net = Supernet(space.supernet().double(), space.groups, task=LANGUAGE)
        alpha = {n: a.detach().double().to(device).requires_grad_() for n, a in net.alpha.items()}
        net = Supernet(net.model.to(device), space.groups, task=LANGUAGE)
        net.alpha = alpha
        words = torch.randint(11, (2, 7, 5), generator=torch.Generator().manual_seed(1)).to(device)
        segments = [Segment(text[:-1], text[1:], None, Memory()) for text in words]
        state = State(net, Softmax(), *segments, SGD(2.0, clip=0.25))
        found: Tensor = estimator(net.alpha, state).gradient["recurrent"]
        return found.cpu()

    torch.testing.assert_close(gradient(DEVICE), gradient("cpu"), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("method", ["darts", "darts_2nd", "gdas", "random_ws"])
def test_a_search_learns_on_the_device(method: str) -> None:
    words = ("the cat sees a dog that the bird hears and the dog sleeps " * 20).split()
    found = archgrad.search(
        "darts-rnn", text_data(words, words[:120]), method=method, device=DEVICE,
        hidden=16, nodes=3, epochs=16, batch_size=8, bptt=8, learning_rate=5.0,
        final_learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip=0.25, second_order_clip=0.25,
        dropout_output=0.0, dropout_input=0.0, dropout_hidden=0.0, dropout_embedding=0.0,
    )  # fmt: skip
    assert found.metrics[-1]["train_loss"] < found.metrics[0]["train_loss"] - 1.0


def test_bf16_learns_on_the_device() -> None:
    words = ("the cat sees a dog that the bird hears and the dog sleeps " * 20).split()
    found = archgrad.search(
        "darts-rnn", text_data(words, words[:120]), device=DEVICE, precision="bf16",
        hidden=16, nodes=3, epochs=16, batch_size=8, bptt=8, learning_rate=5.0,
        final_learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip=0.25,
        dropout_output=0.0, dropout_input=0.0, dropout_hidden=0.0, dropout_embedding=0.0,
    )  # fmt: skip
    assert found.metrics[-1]["train_loss"] < found.metrics[0]["train_loss"] - 1.0

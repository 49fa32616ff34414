"""bfloat16: what runs in it, what stays in float32, and how near the results are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad.errors import ArchgradError
from archgrad.kernels import native
from archgrad.kernels.branches import Branch, Pending, branches
from archgrad.kernels.weighted_sum import Term, weighted_sum
from archgrad.networks.choice import State as CellState
from archgrad.networks.supernet import Supernet
from archgrad.parts.hypergradient import Exact, FiniteDifference, Neumann, first_order
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import SGD, State
from archgrad.parts.weight_gradient import AlignLayers
from archgrad.retraining.scratch import load_data, retrain
from archgrad.searching.result import SearchResult
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.tensors import precision
from archgrad.tensors.precision import autocast, lowered, whole, without_tf32
from helpers import DATA, error, job, mixed_operation

CPU = torch.device("cpu")
LOW = torch.bfloat16


def supernet(how: precision.Precision, dtype: torch.dtype = torch.float32) -> Supernet:
    torch.manual_seed(0)
    space = DartsCNN(channels=4, cells=3, nodes=2, image_size=(8, 8))
    net = Supernet(space.supernet().to(dtype), space.groups, precision=how)
    generator = torch.Generator().manual_seed(1)
    net.alpha = {
        name: (0.5 * torch.randn(value.shape, generator=generator)).to(dtype).requires_grad_()
        for name, value in net.alpha.items()
    }
    return net


def state(net: Supernet) -> State:
    generator, dtype = torch.Generator().manual_seed(2), net.weights["classifier.weight"].dtype
    x = torch.randn(2, 16, 3, 8, 8, generator=generator).to(dtype)
    y = torch.randint(10, (2, 16), generator=generator)
    return State(net, Softmax(), (x[0], y[0]), (x[1], y[1]), SGD(0.1, 0.9, 0.01))


# --- contexts -----------------------------------------------------------------------------------


def test_autocast_is_on_for_bf16_alone_and_off_within_whole() -> None:
    x = torch.ones(2)
    assert lowered(x) is None
    with autocast("float32", CPU):
        assert lowered(x) is None
    with autocast("bf16", CPU):
        assert lowered(x) is LOW
        assert lowered(x.double()) is None  # as PyTorch: float64 is left alone
        assert lowered(torch.empty(2, device="meta")) is None
    with whole(), autocast("bf16", CPU):
        assert lowered(x) is None
    assert lowered(x) is None


def test_tf32_is_off_within_and_then_as_before() -> None:
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    assert before == "tf32"  # PyTorch's default, which is why there is something to do
    with pytest.raises(KeyError), without_tf32():
        assert convolutions.fp32_precision == "ieee"
        raise KeyError
    assert convolutions.fp32_precision == before


def test_bf16_is_refused_where_a_gpu_emulates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    for capability, good in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        precision.check("float32", torch.device("cuda"))
        precision.check("bf16", CPU)
        if good:
            precision.check("bf16", torch.device("cuda"))
        else:
            with pytest.raises(ArchgradError, match="8.0 or newer, found Old GPU; use float32"):
                precision.check("bf16", torch.device("cuda"))


# --- kernels ------------------------------------------------------------------------------------


def test_branches_keep_statistics_in_float64_whatever_comes_in() -> None:
    x = torch.randn(4, 6, 5, 5)
    taps, matrix = nn.Parameter(torch.randn(6, 1, 3, 3)), nn.Parameter(torch.randn(6, 6, 1, 1))
    separable = Branch("separable", 1, 1, taps, matrix)
    hat = Pending(x.to(LOW).requires_grad_(), torch.zeros(6), torch.ones(6))
    with autocast("bf16", CPU):
        found = branches(x, [separable, Branch("max_pool", 1)]) + branches(hat, [separable])
    for raw in found:
        assert (raw.value.dtype, raw.mean.dtype, raw.var.dtype) == (LOW, *[torch.float64] * 2)
        expected = torch.var_mean(raw.value.double(), (0, 2, 3), correction=0)
        for kept, exact in zip((raw.var, raw.mean), expected):
            torch.testing.assert_close(kept.double(), exact, rtol=1e-5, atol=1e-5)
    sum(raw.value.float().sum() + raw.mean.sum() + raw.var.sum() for raw in found).backward()  # type: ignore[union-attr]
    assert taps.grad is not None and hat.value.grad is not None
    assert (taps.grad.dtype, hat.value.grad.dtype) == (torch.float32, LOW)


def test_a_weighted_sum_takes_values_of_mixed_types() -> None:
    values = [torch.randn(2, 3, 4, 4) for _ in range(3)]
    weights = torch.tensor([0.2, 0.5, -0.3], requires_grad=True)
    pending = Pending(values[2].to(LOW), torch.randn(3), torch.rand(3))
    with autocast("bf16", CPU):
        terms = zip(weights.unbind(), [values[0], values[1].to(LOW), pending])
        found = weighted_sum([Term(w, v) for w, v in terms])
    assert found.dtype is LOW
    parts = torch.stack([values[0], values[1], pending.tensor().float()])
    exact = torch.einsum("k,kbchw->bchw", weights, parts)
    torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.02)
    slopes = [torch.autograd.grad(f.float().square().sum(), weights)[0] for f in (found, exact)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("how", ["float32", "bf16"])
@pytest.mark.parametrize("kernel", ["auto", "torch"])
def test_a_constant_channel_has_no_variance(kernel: Any, how: precision.Precision) -> None:
    """Behind a dead ReLU, for one. Infinite, it would spoil the running statistics for good."""
    x = torch.stack([torch.full((2, 8, 8), 1.0), torch.randn(2, 8, 8)], dim=1)
    with native.use(kernel), autocast(how, CPU):
        (raw,) = branches(x, [Branch("max_pool", 1)])
    assert float(raw.var[0]) == pytest.approx(0, abs=1e-12)
    assert float(raw.mean[0]) == 1
    assert float(raw.var[1]) > 0.1


@pytest.mark.parametrize("stride", [1, 2])
def test_a_mixed_operation_is_as_exact_as_plain_modules_under_autocast(stride: int) -> None:
    exact = mixed_operation(CPU, torch.float64, "float32", stride, plain=True)
    plain = error(mixed_operation(CPU, torch.float32, "bf16", stride, plain=True), exact)
    found = error(mixed_operation(CPU, torch.float32, "bf16", stride, plain=False), exact)
    assert 1e-3 < found < 2 * plain < 0.2


# --- hypergradients -----------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [first_order, FiniteDifference(), Exact(), Neumann(1)])
def test_alphas_gradient_is_near_that_of_float64(estimator: Any) -> None:
    def gradient(how: precision.Precision, dtype: torch.dtype) -> Tensor:
        net = supernet(how, dtype)
        found = estimator(net.alpha, state(net))
        assert all(value.dtype is dtype for value in found.gradient.values())
        assert found.loss.dtype is dtype
        return torch.cat([value.flatten().double() for value in found.gradient.values()])

    exact = gradient("float32", torch.float64)
    found = gradient("bf16", torch.float32)
    assert not torch.equal(found, gradient("float32", torch.float32))
    assert float(torch.cosine_similarity(found, exact, dim=0)) > 0.85
    assert float(found.norm() / exact.norm()) == pytest.approx(1, abs=0.3)


def test_differences_are_taken_in_float32() -> None:
    """The two ends of a finite difference, and nothing else."""
    net, seen = supernet("bf16"), list[bool]()
    net.model.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    FiniteDifference()(net.alpha, state(net))
    assert seen == [True, True, False, False]
    seen.clear()
    AlignLayers(weight=1.0)({}, net.alpha, state(net))
    assert seen == [True, False, False]


def test_an_exact_hypergradient_normalizes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    from archgrad.kernels import normalization

    seen: set[torch.dtype] = set()
    apply = normalization._Normalize.apply

    def noted(x: Tensor, eps: float) -> Any:
        seen.add(x.dtype)
        return apply(x, eps)

    monkeypatch.setattr(normalization._Normalize, "apply", noted)
    net = supernet("bf16")
    Exact()(net.alpha, state(net))
    assert seen == {torch.float32}


# --- whole runs ---------------------------------------------------------------------------------


def searched(**options: Any) -> SearchResult:
    given: dict[str, Any] = {"channels": 4, "cells": 3, "nodes": 1, "batch_size": 16, "epochs": 2}
    return archgrad.search("darts-cnn", "digits", subset=64, **(given | options))


@pytest.mark.parametrize("method", ["darts_2nd", "pc_darts", "gdas"])
def test_a_search_in_bf16_measures_and_keeps_float32(method: str) -> None:
    """With all diagnostics."""
    result = searched(method=method, precision="bf16", channels=8, epochs=1)
    assert all(value.dtype is torch.float32 for value in result.alpha.values())
    assert {"eigenvalue", "discrete_accuracy", "layer_alignment"} <= {*result.metrics[0]}
    assert result.metrics[-1]["train_loss"] < 3


def test_weights_and_statistics_of_a_bf16_search_are_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from archgrad.searching.bilevel import BilevelSearch

    kept: list[BilevelSearch] = []
    original = BilevelSearch.result
    monkeypatch.setattr(BilevelSearch, "result", lambda s: kept.append(s) or original(s))
    other = searched(guard="off", epochs=1)
    result = searched(precision="bf16", guard="off", epochs=1)
    leg = kept[-1].leg
    found = {**leg.net.weights, **dict(leg.net.model.named_buffers())}
    momenta = [leg.weight_optimizer.state[w]["momentum_buffer"] for w in leg.net.weights.values()]
    tensors = [t for t in (*found.values(), *momenta) if t.is_floating_point()]
    assert {t.dtype for t in tensors} == {torch.float32}
    assert result.metrics[0]["train_loss"] != other.metrics[0]["train_loss"]


def test_a_cell_hands_on_states_in_bf16() -> None:
    """So that its tensors are half as large, not only its convolutions faster."""
    net, seen = supernet("bf16"), set[torch.dtype]()
    original = CellState.__init__

    def noted(self: CellState, x: Tensor, choices: Any) -> None:
        seen.add(x.dtype)
        original(self, x, choices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CellState, "__init__", noted)
        state(net).train_loss(net.alpha)
    assert seen == {LOW}


def test_a_retraining_in_bf16_keeps_a_float32_network_and_tests_it_so() -> None:
    data = load_data(DATA)[0]
    score, network = retrain(job(epochs=8, precision="bf16", drop_path=0.1, channels=4), data)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert score["train_loss"] < 2.2
    assert data.test is not None
    batches = data.test.batches(64, normalization=data.normalization).epoch(0)
    with torch.no_grad():
        right = sum(int((network(x).argmax(1) == y).sum()) for x, y in batches)
    assert right / 359 == score["accuracy"]

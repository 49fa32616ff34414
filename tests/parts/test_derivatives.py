"""Hessian-vector products against the full Hessian, and on operations without a forward mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from archgrad import Choice, search
from archgrad.errors import ArchgradError
from archgrad.parts.derivatives import hessian_vector


def test_product_with_the_hessian_and_with_a_mixed_block() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, v = (torch.randn(n, generator=generator, dtype=torch.float64) for n in (3, 4, 4))
    a.requires_grad_()
    matrix = torch.randn(3, 4, generator=generator, dtype=torch.float64)

    def loss(at: dict[str, Tensor]) -> Tensor:
        return (a.sin() @ matrix @ at["b"].exp()) + at["b"].pow(4).sum()

    own = hessian_vector(loss, {"b": b}, {"b": v})["b"]
    full = torch.autograd.functional.hessian(lambda b: loss({"b": b}), b)
    torch.testing.assert_close(own, full @ v)
    mixed = hessian_vector(loss, {"b": b}, {"b": v}, by={"a": a})["a"]
    torch.testing.assert_close(mixed, a.detach().cos() * (matrix @ (b.exp() * v)))
    assert not b.requires_grad


def test_nothing_to_bend_is_zero() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(3)
    found = hessian_vector(lambda at: at["b"].sum() + a.sum(), {"b": b}, {"b": b}, by={"a": a})
    assert found["a"].tolist() == [0, 0]
    assert hessian_vector(lambda at: at["b"].sum(), {"b": b}, {"b": b})["b"].tolist() == [0] * 3


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.projection(x).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv1d(3, 3, 3, padding=1, groups=3),
    "batch": lambda: nn.Sequential(nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3)),
    "instance": lambda: nn.Sequential(nn.Conv1d(3, 3, 1), nn.InstanceNorm1d(3)),
    "layer": lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
    "gelu": lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU()),
    "recurrent": lambda: nn.RNNCell(4, 4),
    "attention": Attention,
    # no forward mode in PyTorch:
    "group": lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.GroupNorm(2, 4)),
    "silu": lambda: nn.Sequential(nn.Linear(4, 4), nn.SiLU(inplace=True)),
    "mish": lambda: nn.Sequential(nn.Linear(4, 4), nn.Mish()),
}


@pytest.mark.parametrize("criterion", [F.mse_loss, F.cross_entropy, F.smooth_l1_loss, F.huber_loss])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_losses(name: str, criterion: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Against a central difference of the gradient in float64."""
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    x = torch.randn(3, 4) if name == "recurrent" else torch.randn(5, 3, 4)
    weights = {k: w.detach() for k, w in layer.named_parameters()}
    vector = {k: torch.randn_like(w) for k, w in weights.items()}
    target = layer(x.double()).detach().softmax(1)

    def loss(at: dict[str, Tensor]) -> Tensor:
        return criterion(functional_call(layer, at, (x.double(),)) * 2, target)

    def gradient(step: float) -> list[Tensor]:
        at = {k: (w + step * vector[k]).requires_grad_() for k, w in weights.items()}
        return list(torch.autograd.grad(loss(at), list(at.values())))

    found = hessian_vector(loss, weights, vector)
    step = 1e-5
    for value, plus, minus in zip(found.values(), gradient(step), gradient(-step), strict=True):
        torch.testing.assert_close(value, (plus - minus) / (2 * step), rtol=1e-5, atol=1e-7)


def test_an_error_of_the_loss_is_shown() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        hessian_vector(
            lambda at: (torch.ones(2, 3) @ at["w"]).sum(),
            {"w": torch.ones(2, 2)},
            {"w": torch.ones(2, 2)},
        )


class Cubed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 3 * ctx.saved_tensors[0] ** 2


def test_a_function_that_is_differentiable_once_is_refused() -> None:
    """PyTorch leaves out its second derivative where only others are asked for."""
    w, a = {"w": torch.ones(1)}, {"a": torch.ones(1, requires_grad=True)}
    with pytest.raises(ArchgradError, match="only once .* estimator=finite_difference"):
        hessian_vector(lambda at: (a["a"] * Cubed.apply(at["w"])).sum(), w, w, by=a)


def test_a_search_with_such_a_layer_goes_on_without_the_eigenvalue() -> None:
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = Cubed.apply(x)
            return found

    def found(**options: Any) -> list[dict[str, Any]]:
        model = nn.Sequential(nn.Linear(2, 2), Choice({"a": nn.Tanh(), "b": nn.ReLU()}), Layer())
        data = torch.randn(32, 2), torch.arange(32) % 2
        return search(model, train=data, epochs=1, batch_size=8, **options).metrics

    assert "eigenvalue" not in found(method="darts")[-1]
    finite = {"estimator": "finite_difference"}
    assert "eigenvalue" not in found(method="darts_2nd", method_options=finite)[-1]
    with pytest.raises(ArchgradError, match="only once"):
        found(method="darts_2nd")


def test_memory_that_runs_out_is_not_taken_for_a_missing_forward_mode() -> None:
    """The other way needs more memory, not less."""
    calls = []

    def loss(at: dict[str, Tensor]) -> Tensor:
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        hessian_vector(loss, {"w": torch.ones(2)}, {"w": torch.ones(2)})
    assert len(calls) == 1

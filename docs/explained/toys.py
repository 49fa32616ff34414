"""Small problems with known answers, for the pictures of these pages and for their test.

`Toy` is the example of the paper (arXiv:1806.09055, figure 2): one weight, one alpha,

    L_val = alpha w - 2 alpha + 1,    L_train = w^2 - 2 alpha w + alpha^2,

so w*(alpha) = alpha, L_val(w*(alpha), alpha) = (alpha - 1)^2, and the answer is alpha = w = 1. All
gradients are those of `archgrad.parts.hypergradient`, but for `wrong_line`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from archgrad.networks.choice import Choice, Group
from archgrad.networks.supernet import Supernet, Weights
from archgrad.parts.derivatives import detached, gradient, leaves, norm
from archgrad.parts.hypergradient import Estimate, Exact, FiniteDifference
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import SGD, State
from archgrad.spaces.darts_cnn import DartsCNN

Estimator = Callable[[Any, State], Estimate]


class Toy:
    """The example at alpha = 2, w = -2, where the paper starts."""

    def __init__(self) -> None:
        self.weights = {"w": torch.tensor(-2.0, dtype=torch.float64)}
        self.alpha = {"a": torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)}

    def loss(self, mixing: Any, batch: str, weights: Any = None) -> Tensor:
        w, alpha = (weights or self.weights)["w"], mixing["a"].squeeze()
        if batch == "valid":
            return alpha * w - 2 * alpha + 1
        return w**2 - 2 * alpha * w + alpha**2

    def metric(self, mixing: Any, batch: str) -> float:
        return -float(self.loss(mixing, batch))

    def state(self, xi: float) -> State:
        return State(self, lambda alpha, _: alpha, "train", "valid", SGD(xi))


class Walk(NamedTuple):
    """The course of alternating steps."""

    alpha: list[float]
    w: list[float]


def walk(estimator: Estimator, xi: float, steps: int = 200, rate: float = 0.05) -> Walk:
    """A step of alpha, then one of w, as in algorithm 1; xi is of the virtual step alone."""
    toy = Toy()
    found = Walk([2.0], [-2.0])
    for _ in range(steps):
        slope = estimator(toy.alpha, toy.state(xi)).gradient["a"]
        toy.alpha = {"a": (toy.alpha["a"].detach() - rate * slope).requires_grad_()}
        weights = leaves(toy.weights)
        slopes = gradient(toy.loss(detached(toy.alpha), "train", weights), weights)
        toy.weights = SGD(rate).step(toy.weights, slopes)
        found.alpha.append(float(toy.alpha["a"].detach()))
        found.w.append(float(toy.weights["w"]))
    return found


def ending(xi: float, factor: float = 1.0) -> float:
    """Where alpha comes to rest, on paper: 2 / (1 + 2 xi), with the second term times a factor."""
    return 2 / (1 + 2 * xi * factor)


def direct_term(alpha: Any, state: State) -> dict[str, Tensor]:
    """The first term of equation 7: d L_val(w', alpha) / d alpha with w' held fixed."""
    weights = leaves(state.problem.weights)
    slope = gradient(state.train_loss(detached(alpha), weights), weights)
    with torch.no_grad():
        virtual = state.optimizer.step(state.problem.weights, slope)
    return gradient(state.valid_loss(alpha, virtual), alpha)


def wrong_line(alpha: Any, state: State, step: float = 0.01) -> Estimate:
    """The finite difference with the mistake of several codes: (p - n) / 2. * eps."""
    right = FiniteDifference(step)(alpha, state)
    assert right.valid_gradient is not None
    vector, fixed = right.valid_gradient, detached(state.problem.weights)
    eps = step / norm(vector)
    p, n = (
        gradient(state.train_loss(alpha, _moved(fixed, vector, sign * eps)), alpha)
        for sign in (1, -1)
    )
    direct, rate = direct_term(alpha, state), state.optimizer.learning_rate
    wrong = {name: direct[name] - rate * ((p[name] - n[name]) / 2.0 * eps) for name in alpha}
    return Estimate(wrong, right.loss, vector)


def _moved(weights: Weights, vector: Weights, amount: Tensor) -> dict[str, Tensor]:
    return {name: weight + amount * vector[name] for name, weight in weights.items()}


# --- networks -----------------------------------------------------------------------------------


def smooth_network(dtype: torch.dtype) -> Supernet:
    """Two choices of softplus convolutions, pooling by means and nothing: no kink anywhere."""
    torch.manual_seed(1)

    def conv(kernel: int) -> nn.Module:
        return nn.Sequential(
            nn.Softplus(),
            nn.Conv2d(8, 8, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(8, affine=False),
        )

    def edge(row: int) -> Choice:
        pool, skip = nn.AvgPool2d(3, 1, 1), nn.Identity()
        return Choice({"conv3": conv(3), "conv1": conv(1), "avg": pool, "skip": skip}, "edges", row)

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), edge(0), edge(1), head).to(dtype)
    names = ("conv3", "conv1", "avg", "skip")
    return _settled(Supernet(model, [Group("edges", 1, ((0, 1), (1, 2)), (names,) * 2, 1)]), dtype)


def kinked_network(dtype: torch.dtype) -> Supernet:
    """A small network of the DARTS space: ReLU and max-pooling."""
    torch.manual_seed(1)
    space = DartsCNN(channels=4, cells=3, nodes=2, in_channels=1, image_size=(8, 8), classes=10)
    return _settled(Supernet(space.supernet().to(dtype), space.groups), dtype)


def _settled(net: Supernet, dtype: torch.dtype) -> Supernet:
    """With an alpha that is not near zero, so that nothing is small by chance."""
    generator = torch.Generator().manual_seed(3)
    net.alpha = {
        name: (0.5 * torch.randn(alpha.shape, generator=generator)).to(dtype).requires_grad_()
        for name, alpha in net.alpha.items()
    }
    return net


def digits_state(net: Supernet, dtype: torch.dtype, turn: int = 0, size: int = 16) -> State:
    """Two batches of the digits of scikit-learn, and the paper's weight optimizer."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16 - 0.3).to(dtype).view(-1, 1, 8, 8)
    y = torch.tensor(labels)
    cuts = [slice((2 * turn + i) * size, (2 * turn + i + 1) * size) for i in (0, 1)]
    train, valid = ((x[cut], y[cut]) for cut in cuts)
    return State(net, Softmax(), train, valid, SGD(0.025, weight_decay=3e-4))


def term_errors(
    make: Callable[[torch.dtype], Supernet], dtype: torch.dtype, steps: list[float], turns: int = 3
) -> list[float]:
    """|finite difference - exact| / |exact| of the second-order term, by step; median of turns."""
    errors = []
    net = make(dtype)
    for turn in range(turns):
        state = digits_state(net, dtype, turn)
        direct = direct_term(net.alpha, state)
        exact = _flat(Exact()(net.alpha, state), direct)
        errors.append([
            float((_flat(FiniteDifference(step)(net.alpha, state), direct) - exact).norm())
            / float(exact.norm())
            for step in steps
        ])  # fmt: skip
    return torch.tensor(errors).median(dim=0).values.tolist()


def wrong_error(make: Callable[[torch.dtype], Supernet], dtype: torch.dtype, step: float) -> float:
    """The same of `wrong_line`."""
    net = make(dtype)
    state = digits_state(net, dtype)
    direct = direct_term(net.alpha, state)
    exact = _flat(Exact()(net.alpha, state), direct)
    wrong = _flat(wrong_line(net.alpha, state, step), direct)
    return float((wrong - exact).norm()) / float(exact.norm())


def _flat(estimate: Estimate, direct: dict[str, Tensor]) -> Tensor:
    """The second-order term alone."""
    parts = [(estimate.gradient[name] - direct[name]).flatten() for name in direct]
    return torch.cat(parts).double()

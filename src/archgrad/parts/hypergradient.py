r"""Estimators of the hypergradient d L_val(w*(alpha), alpha) / d alpha.

With the virtual step :math:`w'(\alpha) = w - \xi (g + m v + \lambda w)`,
:math:`g = \nabla_w L_{train}(w, \alpha)`, momentum :math:`m v` and weight decay :math:`\lambda`
(arXiv:1806.09055, equations 5 to 8),

.. math:: \frac{d}{d\alpha} L_{val}(w'(\alpha), \alpha) = \partial_\alpha L_{val}(w', \alpha)
          - \xi\, \nabla^2_{\alpha, w} L_{train}(w, \alpha)\, \nabla_{w'} L_{val}(w', \alpha)

`first_order` takes :math:`\xi = 0`; `FiniteDifference` and `Exact` differ only in how they take
the mixed second derivative. All evaluate the model functionally: weights, their gradients and
running statistics are bit-identical afterwards, and no copy of the network is made. (The original
code updates running statistics in the alpha step as well.)

Where the optimizer of `State` clips, as for recurrent cells, g in the virtual step and
:math:`\nabla_{w'} L_{val}` are cut to that norm, and the mixed derivative is multiplied by the
factor that g was, which is held fixed. (The original recurrent code does so too, but multiplies by
clip / norm even where that is above 1 and nothing was cut; its convolutional code clips nothing.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.supernet import Alpha, Weights
from archgrad.parts.derivatives import detached, gradient, hessian_vector, leaves, norm
from archgrad.parts.state import State
from archgrad.tensors.precision import whole

__all__ = [
    "Estimate",
    "Exact",
    "FiniteDifference",
    "Neumann",
    "at_rest",
    "first_order",
    "first_order_and_weights",
    "single_level",
]


class Estimate(NamedTuple):
    """`gradient` in the shapes of alpha, and the validation loss it was taken at, a scalar.

    `valid_gradient`: d L_val / d w by parameter name, where it was taken; `touched`: by group,
    True for the entries of alpha that the estimate is about, where it is not about all.
    """

    gradient: dict[str, Tensor]
    loss: Tensor
    valid_gradient: dict[str, Tensor] | None = None
    touched: dict[str, Tensor] | None = None


def first_order(alpha: Alpha, state: State) -> Estimate:
    """The gradient at the present weights: d L_val(w, alpha) / d alpha (xi = 0).

    The default of `archgrad.Method` (arXiv:1806.09055, section 2.3).
    """
    loss = state.valid_loss(alpha, detached(state.problem.weights))
    return Estimate(gradient(loss, alpha), loss.detach())


def first_order_and_weights(alpha: Alpha, state: State) -> Estimate:
    """As `first_order`, with d L_val / d w from the same pass for who needs it."""
    direct, vector, loss = _both(alpha, state, leaves(state.problem.weights))
    return Estimate(direct, loss, vector)


def at_rest(alpha: Alpha, state: State) -> None:
    """No step of alpha, ever."""


def single_level(alpha: Alpha, state: State) -> Estimate:
    """The gradient of the training loss, on the batch the weights then see (arXiv:2108.08128).

    >>> import archgrad
    >>> from archgrad.parts.hypergradient import single_level
    >>> archgrad.Method(hypergradient=single_level).filled()
    {'hypergradient': 'single_level'}
    """
    loss = state.train_loss(alpha, detached(state.problem.weights))
    return Estimate(gradient(loss, alpha), loss.detach())


@dataclass(frozen=True)
class FiniteDifference:
    r"""The paper's second order: the mixed derivative as a central difference.

    .. math:: \frac{\nabla_\alpha L_{train}(w^+, \alpha) - \nabla_\alpha L_{train}(w^-, \alpha)}
              {2 \epsilon}, \quad w^\pm = w \pm \epsilon \nabla_{w'} L_{val}, \quad
              \epsilon = \frac{\text{step}}{\lVert \nabla_{w'} L_{val} \rVert_2}

    with one norm over all tensors at once. `step` is the distance moved in weight space; 0.01 in
    the paper. On networks with ReLU and max-pooling the difference is dominated by units that
    switch between w+ and w-; `Exact` has no such error. Both ends are taken in float32, whatever
    the precision: most weights move by less than bfloat16 can tell. `ArchgradError` for a `step`
    that is not above 0.

    >>> import archgrad
    >>> from archgrad.parts.hypergradient import FiniteDifference
    >>> archgrad.Method(hypergradient=FiniteDifference(step=0.001)).filled()
    {'hypergradient': 'FiniteDifference(step=0.001)'}
    """

    step: float = 0.01

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ArchgradError(f"finite difference: step is {self.step}, expected above 0")

    def __call__(self, alpha: Alpha, state: State) -> Estimate:
        direct, vector, loss, rate = _at_virtual_step(alpha, state)
        length = norm(vector)
        epsilon = self.step / length.clamp_min(torch.finfo(length.dtype).tiny)
        with whole():
            plus, minus = (
                gradient(
                    state.train_loss(alpha, _moved(state.problem.weights, vector, sign * epsilon)),
                    alpha,
                )
                for sign in (1, -1)
            )
        mixed = {name: (plus[name] - minus[name]) / (2 * epsilon) for name in alpha}
        return Estimate(_subtract(direct, rate, mixed), loss, vector)


@dataclass(frozen=True)
class Exact:
    r"""Second order with the mixed derivative by automatic differentiation.

    :math:`\nabla^2_{\alpha,w} L_{train}\, v` is the derivative of
    :math:`\nabla_\alpha L_{train}(w + t v, \alpha)` by t at 0, taken in forward mode: what
    `FiniteDifference` approximates with two points. It ignores the kinks of ReLU and max-pooling,
    as every derivative of such a network does.

    >>> import torch
    >>> from archgrad.parts.hypergradient import Exact
    >>> from archgrad.parts.state import SGD, State
    >>> class Problem:  # L = (w - alpha)^2 / 2 on training, w^2 / 2 on validation data
    ...     weights = {"w": torch.tensor(1.0)}
    ...     def loss(self, mixing, batch, weights):
    ...         target = mixing["a"] if batch == "train" else 0.0
    ...         return (weights["w"] - target) ** 2 / 2
    >>> alpha = {"a": torch.tensor(0.0, requires_grad=True)}
    >>> state = State(Problem(), lambda alpha, state: alpha, "train", "valid", SGD(0.5))
    >>> Exact()(alpha, state).gradient  # w' = 0.5, d w' / d alpha = 0.5
    {'a': tensor(0.2500)}
    """

    def __call__(self, alpha: Alpha, state: State) -> Estimate:
        direct, vector, loss, rate = _at_virtual_step(alpha, state)
        mixed = hessian_vector(
            lambda moving: state.train_loss(alpha, moving),
            at=state.problem.weights,
            vector=vector,
            by=alpha,
        )
        return Estimate(_subtract(direct, rate, mixed), loss, vector)


@dataclass(frozen=True)
class Neumann:
    r"""The implicit hypergradient by a truncated Neumann series (iDARTS, arXiv:2106.10784).

    .. math:: \partial_\alpha L_{val} - \xi\, \nabla^2_{\alpha,w} L_{train}
              \sum_{k=0}^{K} (I - \xi H)^k\, \nabla_w L_{val}, \quad H = \nabla^2_{w,w} L_{train}

    at the present weights, with :math:`\xi` the learning rate. `terms` is K; 0 is the second
    order without a virtual step, 2 the code's default. Each term costs one Hessian-vector product.

    Differs from the original code: products are exact, not finite differences, and the weights are
    as before afterwards (the original leaves them slightly moved). `ArchgradError` for `terms`
    below 0.

    >>> import archgrad
    >>> from archgrad.parts.hypergradient import Neumann
    >>> archgrad.Method(hypergradient=Neumann(terms=5), interval=4).filled()
    {'hypergradient': 'Neumann(terms=5)', 'interval': '4'}
    """

    terms: int = 2

    def __post_init__(self) -> None:
        if self.terms < 0:
            raise ArchgradError(f"Neumann series: {self.terms} terms, expected at least 0")

    def __call__(self, alpha: Alpha, state: State) -> Estimate:
        weights = state.problem.weights
        direct, vector, loss = _both(alpha, state, leaves(weights))
        rate = state.optimizer.learning_rate
        fixed = detached(alpha)
        term = total = vector
        for _ in range(self.terms):
            product = hessian_vector(lambda w: state.train_loss(fixed, w), weights, term)
            term = _subtract(term, rate, product)
            total = {name: value + term[name] for name, value in total.items()}
        mixed = hessian_vector(lambda w: state.train_loss(alpha, w), weights, total, by=alpha)
        return Estimate(_subtract(direct, rate, mixed), loss, vector)


def _at_virtual_step(
    alpha: Alpha, state: State
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, float | Tensor]:
    """d L_val / d alpha and d L_val / d w at w', the loss there, and d w' / d(- gradient)."""
    weights, optimizer = leaves(state.problem.weights), state.optimizer
    slope = gradient(state.train_loss(detached(alpha), weights), weights)
    with torch.no_grad():
        slope, factor = optimizer.clipped(slope)
        virtual = optimizer.step(state.problem.weights, slope)
    direct, vector, loss = _both(alpha, state, leaves(virtual))
    return direct, optimizer.clipped(vector)[0], loss, optimizer.learning_rate * factor


def _both(
    alpha: Alpha, state: State, weights: Weights
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """d L_val / d alpha and d L_val / d w at these weights, and the loss."""
    loss = state.valid_loss(alpha, weights)
    both = gradient(loss, {**_prefixed("alpha", alpha), **_prefixed("w", weights)})
    direct = {name: both[f"alpha {name}"] for name in alpha}
    vector = {name: both[f"w {name}"] for name in weights}
    return direct, vector, loss.detach()


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix} {name}": tensor for name, tensor in tensors.items()}


def _moved(weights: Weights, vector: Weights, amount: Tensor) -> dict[str, Tensor]:
    return {name: weight.detach() + amount * vector[name] for name, weight in weights.items()}


def _subtract(direct: Weights, rate: float | Tensor, mixed: Weights) -> dict[str, Tensor]:
    return {name: value - rate * mixed[name] for name, value in direct.items()}

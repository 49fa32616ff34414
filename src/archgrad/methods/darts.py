"""DARTS (Liu, Simonyan, Yang, ICLR 2019, arXiv:1806.09055), both orders, and its nearest kin."""

from __future__ import annotations

from dataclasses import replace

from archgrad.errors import unknown
from archgrad.parts.hypergradient import (
    Exact,
    FiniteDifference,
    Neumann,
    first_order,
    single_level,
)
from archgrad.parts.method import Method
from archgrad.parts.optimizer import Adam


def darts(
    *,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
    alpha_momentum: float = 0.5,
) -> Method:
    r"""DARTS, first order (Liu et al., ICLR 2019, arXiv:1806.09055).

    .. math:: \min_\alpha L_{val}(w^*(\alpha), \alpha), \quad
              w^*(\alpha) = \arg\min_w L_{train}(w, \alpha)

    with alternating steps: alpha along :math:`\partial_\alpha L_{val}(w, \alpha)`, then w along
    :math:`\nabla_w L_{train}(w, \alpha)`. `alpha_momentum`: Adam's first beta, 0.9 in the
    original code's search of recurrent cells.

    Differs from the original code: BatchNorm's running statistics see the weight step alone, not
    the alpha step; the validation half is walked through in shuffled passes, where the original
    draws a fresh permutation every step.
    """
    return Method(
        hypergradient=first_order,
        arch_optimizer=Adam(alpha_learning_rate, (alpha_momentum, 0.999), alpha_weight_decay),
    )


def darts_2nd(
    *,
    estimator: str = "exact",
    step: float = 0.01,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
    alpha_momentum: float = 0.5,
) -> Method:
    r"""DARTS, second order (Liu et al., ICLR 2019, arXiv:1806.09055, equations 5 to 8).

    Alpha follows the gradient of :math:`L_{val}(w'(\alpha), \alpha)`, w' one virtual SGD step with
    momentum and weight decay. `estimator`: "exact" takes the mixed second derivative by automatic
    differentiation, "finite_difference" as the paper does, `step` its distance in weight space
    (0.01 in the paper; used by "finite_difference" alone). `alpha_momentum`: as of `darts`.

    Differs from the paper: the default estimator is "exact", by the measurement in
    docs/second_order.md. Otherwise as `darts`.

    Raises `ArchgradError` for another `estimator`.
    """
    estimators: dict[str, Exact | FiniteDifference] = {
        "exact": Exact(),
        "finite_difference": FiniteDifference(step),
    }
    if estimator not in estimators:
        raise unknown("estimator", estimator, estimators)
    first = darts(
        alpha_learning_rate=alpha_learning_rate,
        alpha_weight_decay=alpha_weight_decay,
        alpha_momentum=alpha_momentum,
    )
    return replace(first, hypergradient=estimators[estimator])


def single_level_darts(
    *, alpha_learning_rate: float = 3e-4, alpha_weight_decay: float = 1e-3
) -> Method:
    r"""Single-level DARTS (Hou, Jin, Chen, ICCV workshops 2021, arXiv:2108.08128).

    .. math:: \min_{\alpha, w} L_{train}(w, \alpha)

    Alpha moves along :math:`\partial_\alpha L_{train}` of the batch on which the weights then move.

    Differs from the paper: alpha's half stays unseen, so that accuracy on it means the same for all
    methods; both steps are taken one after the other.
    """
    first = darts(alpha_learning_rate=alpha_learning_rate, alpha_weight_decay=alpha_weight_decay)
    return replace(first, hypergradient=single_level)


def idarts(
    *,
    terms: int = 2,
    interval: int = 4,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""iDARTS (Zhang et al., ICML 2021, arXiv:2106.10784): the implicit hypergradient.

    .. math:: \partial_\alpha L_{val} - \xi\, \nabla^2_{\alpha,w} L_{train}
              \sum_{k=0}^{K} (I - \xi \nabla^2_{w,w} L_{train})^k\, \nabla_w L_{val}

    `terms`: K of the Neumann series; `interval`: weight steps per step of alpha.

    Differs from the original code: Hessian-vector products are exact, and the weights are unmoved
    by them.
    """
    first = darts(alpha_learning_rate=alpha_learning_rate, alpha_weight_decay=alpha_weight_decay)
    return replace(first, hypergradient=Neumann(terms), interval=interval)

"""DARTS-PT, OLES, Lambda-DARTS and Shapley-NAS: they ask the supernet for more than a gradient."""

from __future__ import annotations

from archgrad.parts.hypergradient import first_order_and_weights
from archgrad.parts.method import Method
from archgrad.parts.optimizer import Adam, Descent
from archgrad.parts.schedule import Linear
from archgrad.parts.selection import Perturbation
from archgrad.parts.shapley import Shapley
from archgrad.parts.weight_gradient import AlignLayers, FreezeOverfitted


def darts_pt(
    *,
    tuning_epochs: int = 5,
    criterion: str = "accuracy",
    blank: int = 0,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    """DARTS with perturbation-based selection (Wang et al., ICLR 2021, arXiv:2108.04392).

    DARTS trains the supernet; then each edge keeps the candidate whose removal costs most
    `criterion` ("accuracy" or "loss"), with `tuning_epochs` epochs of training between edges.
    `blank` 1: alpha stays uniform throughout.

    Differs from the original code: see `archgrad.parts.selection.Perturbation`.
    """
    rate = 0.0 if blank else alpha_learning_rate
    return Method(
        arch_optimizer=Adam(rate, weight_decay=alpha_weight_decay),
        selection=Perturbation(tuning_epochs, criterion),
    )


def oles(
    *,
    checks: int = 20,
    threshold: float = 0.4,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    """OLES, operation-level early stopping (Jiang et al., NeurIPS 2023).

    A candidate whose training and validation gradients have a mean cosine below `threshold` over
    `checks` steps is trained no more: its weights fit the training half alone.

    Differs from the original code: see `archgrad.parts.weight_gradient.FreezeOverfitted`.
    """
    return Method(
        hypergradient=first_order_and_weights,
        weight_gradient=FreezeOverfitted(checks, threshold),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
    )


def lambda_darts(
    *,
    final_weight: float = 0.125,
    step: float = 1e-3,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""Lambda-DARTS (Movahedi et al., ICLR 2023, arXiv:2210.07998): cells that agree.

    The weights also raise the mean cosine :math:`\Lambda` between the cells' gradients
    :math:`\partial L_{train} / \partial p`, its weight rising from 0 to `final_weight`; `step`:
    of the finite difference.

    Differs from the original code: see `archgrad.parts.weight_gradient.AlignLayers`.
    """
    return Method(
        weight_gradient=AlignLayers(Linear(0.0, final_weight), step),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
    )


def shapley(
    *,
    samples: int = 10,
    truncation: float = 0.5,
    momentum: float = 0.8,
    warm_up: float = 0.5,
    step: float = 0.1,
) -> Method:
    """Shapley-NAS (Xiao et al., CVPR 2022, arXiv:2206.09811).

    Once an epoch alpha rises by `step` times the averaged Shapley value of a candidate: the
    accuracy it adds, over `samples` random orders of removal, each cut off at `truncation` of
    the full accuracy.
    `momentum`: of the average; `warm_up`: share of the search in which alpha rests.

    Differs from the original code: see `archgrad.parts.shapley.Shapley`; it builds on PC-DARTS,
    this recipe on DARTS (the parts combine).
    """
    return Method(
        hypergradient=Shapley(samples, truncation, momentum),
        arch_optimizer=Descent(step),
        warm_up=warm_up,
    )

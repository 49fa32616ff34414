"""FairDARTS: candidates that do not compete."""

from __future__ import annotations

from archgrad.networks.supernet import Normal
from archgrad.parts.discretization import Threshold
from archgrad.parts.method import Method
from archgrad.parts.optimizer import Adam
from archgrad.parts.regularizer import ZeroOne
from archgrad.parts.relaxation import Sigmoid


def fair_darts(
    *,
    zero_one_weight: float = 10.0,
    zero_one_power: int = 2,
    threshold: float = 0.85,
    alpha_learning_rate: float = 3e-3,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""FairDARTS (Chu et al., ECCV 2020, arXiv:1911.12126).

    .. math:: \bar o(x) = \sum_o \sigma(\alpha_o)\, o(x), \quad
              L_\alpha = L_{val} - \frac{w_{01}}{N} \sum_i |\sigma(\alpha_i) - 0.5|^{power}

    without `none`, alpha from 0. `zero_one_weight` is w_01, `zero_one_power` 2, or 1 as the paper's
    alternative. Of the two strongest edges a node those above `threshold` are kept, so nodes may
    have one input or none.

    Differs from the original code: the loss of the weights is without the zero-one term, which has
    no gradient there; where nothing passes the threshold, a cell keeps its strongest edge. Learning
    rate and batch size are the search's own (0.005 and 128 in the code).
    """
    return Method(
        without=("none",),
        initial=Normal(0.0),
        relaxation=Sigmoid(),
        regularizers=(ZeroOne(zero_one_weight, zero_one_power),),
        arch_optimizer=Adam(alpha_learning_rate, (0.9, 0.999), alpha_weight_decay),
        discretization=Threshold(threshold),
    )

"""DARTS-, beta-DARTS, AER and GAEA: a term in alpha's loss, an aid on edges, another geometry."""

from __future__ import annotations

from archgrad.networks.supernet import Normal
from archgrad.parts.edge import AuxiliarySkip
from archgrad.parts.hypergradient import first_order, single_level
from archgrad.parts.method import Method
from archgrad.parts.optimizer import Adam, ExponentiatedGradient
from archgrad.parts.regularizer import BetaDecay, Entropy
from archgrad.parts.schedule import Cosine, Linear


def darts_minus(
    *,
    beta: float = 1.0,
    final_beta: float = 0.0,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""DARTS- (Chu et al., ICLR 2021, arXiv:2009.01027).

    .. math:: \bar o(x) = \beta x + \sum_o softmax(\alpha)_o\, o(x)

    with :math:`\beta` from `beta` to `final_beta` in a straight line: the help that a skip
    connection is to training does not count for its alpha.

    Differs from the original code: beta falls with every step, there with every epoch.
    """
    return Method(
        edges=(AuxiliarySkip(Linear(beta, final_beta)),),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
    )


def beta_darts(
    *,
    weight: float = 0.0,
    final_weight: float = 50.0,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""beta-DARTS (Ye et al., CVPR 2022, arXiv:2203.01665).

    .. math:: L_\alpha = L_{val} + \lambda(t)\, mean_e\, logsumexp(\alpha_e)

    with :math:`\lambda` from `weight` to `final_weight` in a straight line.

    Differs from the original code: the weight rises with every step, there with every epoch.
    """
    return Method(
        regularizers=(BetaDecay(Linear(weight, final_weight)),),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
    )


def aer(
    *,
    weight: float = -0.2,
    final_weight: float = 0.2,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""AER, architecture entropy regularizer (Jing, Chen, Xu, Neural Networks 2023).

    .. math:: L_\alpha = L_{val} + \lambda(t)\, mean_e\, H(softmax(\alpha_e))

    the entropy H in bits, over all candidates but `none`; :math:`\lambda` from `weight` (below
    0: keep candidates open) to `final_weight` (above 0: decide) along half a cosine.

    Differs from the original code: the weight changes with every step, there with every epoch;
    alpha's gradient is of first order, as for the code's PC-DARTS (second for its DARTS).
    """
    return Method(
        regularizers=(Entropy(Cosine(weight, final_weight)),),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
    )


def gaea(*, learning_rate: float = 0.1, bilevel: int = 0) -> Method:
    r"""GAEA (Li, Khodak, Balcan, Talwalkar, ICLR 2021, arXiv:2004.07802).

    .. math:: \theta \leftarrow \theta \exp(-rate\, \partial_\theta L), \quad normalized

    The mixing weights themselves, from uniform, without `none`. `bilevel` 1: on the validation
    loss; 0: on the training loss of the same batch (ERM in the paper, its better form).

    Differs from the original code: the mixing weights are kept as their logarithms, which is the
    same update; the entropic penalty is off.
    """
    return Method(
        without=("none",),
        initial=Normal(0.0),
        hypergradient=first_order if bilevel else single_level,
        arch_optimizer=ExponentiatedGradient(learning_rate),
    )

"""PC-DARTS: partial channels and edge normalization."""

from __future__ import annotations

from archgrad.parts.edge import PartialChannels
from archgrad.parts.method import Method
from archgrad.parts.optimizer import Adam
from archgrad.parts.relaxation import EdgeNormalized


def pc_darts(
    *,
    k: int = 4,
    warm_up: float = 0.3,
    alpha_learning_rate: float = 6e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""PC-DARTS (Xu et al., ICLR 2020, arXiv:1907.05737).

    .. math:: f(x) = \sum_o softmax(\alpha)_o\, o(S * x) + (1 - S) * x, \quad
              x_j = \sum_i softmax_i(\beta)_{ij}\, f(x_i)

    S selects the first 1 / `k` of the channels, a channel shuffle follows. Edge and operation
    weights multiply in the derivation. Alpha and beta rest for the first `warm_up` of the search
    (15 of 50 epochs).

    Differs from the paper: batch size and the weights' learning rate are the search's own; the
    paper has 256 and 0.1, falling to 0.
    """
    return Method(
        relaxation=EdgeNormalized(),
        edges=(PartialChannels(k),),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
        warm_up=warm_up,
    )

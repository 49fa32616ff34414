"""Random mixing weights: Gumbel-softmax (SNAS, GDAS) and Dirichlet (DrNAS)."""

from __future__ import annotations

from archgrad.parts.edge import PartialChannels
from archgrad.parts.hypergradient import single_level
from archgrad.parts.method import Method
from archgrad.parts.optimizer import Adam
from archgrad.parts.regularizer import DirichletAnchor
from archgrad.parts.relaxation import Dirichlet, GumbelSoftmax
from archgrad.parts.schedule import Linear
from archgrad.parts.stage import Stage


def snas(
    *,
    temperature: float = 10.0,
    final_temperature: float = 1.0,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""SNAS (Xie et al., ICLR 2019, arXiv:1812.09926).

    .. math:: Z = softmax((\log p + G) / \tau), \quad G \sim Gumbel(0, 1), \quad p = softmax(\alpha)

    one draw a step, alpha and weights on the same training loss; the temperature falls from
    `temperature` to `final_temperature` in a straight line.

    Differs from the paper: without its resource penalty; temperatures as in the re-implementation
    of DrNAS.
    """
    return Method(
        relaxation=GumbelSoftmax(Linear(temperature, final_temperature)),
        hypergradient=single_level,
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
    )


def gdas(
    *,
    temperature: float = 10.0,
    final_temperature: float = 0.1,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""GDAS (Dong, Yang, CVPR 2019, arXiv:1910.04465).

    .. math:: h = onehot(\arg\max q), \quad q = softmax((\log p + G) / \tau), \quad
              weights = h - stop(q) + q

    Only the sampled operation of an edge is computed. The temperature falls from `temperature` to
    `final_temperature` in a straight line.

    Differs from the first published code: candidates that are not sampled add nothing to the
    gradient (there, the sum of the upstream gradient).
    """
    return Method(
        relaxation=GumbelSoftmax(Linear(temperature, final_temperature), hard=True),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
    )


def drnas(
    *,
    progressive: int = 0,
    k: int = 4,
    final_k: int = 2,
    candidates: int = 3,
    warm_up: float = 0.2,
    anchor: float = 1e-3,
    alpha_learning_rate: float = 6e-4,
) -> Method:
    r"""DrNAS (Chen et al., ICLR 2021, arXiv:2006.10355).

    .. math:: x_e \sim Dirichlet(ELU(\alpha_e) + 1), \quad
              L_\alpha = L_{val} + anchor \sum_e KL(Dirichlet(ELU(\alpha_e) + 1) \| Dirichlet(1))

    `anchor`: the weight of the divergence. `progressive` 1: two stages of equal length, partial
    channels 1 / `k` and then 1 / `final_k` with `candidates` candidates an edge, the weights
    inherited by widening (the first four used with progressive=1 alone); alpha rests for the first
    `warm_up` of each stage. 0: one stage, all channels, no rest.

    Differs from the original code: its default anchor is a weight decay of 1e-3 on alpha, the
    paper's is the divergence, as here; defaults of the stages are those for NAS-Bench-201, depth
    and width those of the search.
    """
    stages = (
        Stage(0.5, edges=(PartialChannels(k),)),
        Stage(0.5, candidates, edges=(PartialChannels(final_k),), inherit=True),
    )
    return Method(
        relaxation=Dirichlet(),
        regularizers=(DirichletAnchor(anchor),),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=0.0),
        stages=stages if progressive else (),
        warm_up=warm_up if progressive else 0.0,
    )

"""ProxylessNAS: one path in memory."""

from __future__ import annotations

from archgrad.parts.method import Method
from archgrad.parts.optimizer import Adam
from archgrad.parts.paths import TwoPaths, keep_other_probabilities
from archgrad.parts.relaxation import Gates


def proxyless(
    *,
    paths: int = 2,
    interval: int = 5,
    warm_up: float = 0.25,
    alpha_learning_rate: float = 1e-3,
) -> Method:
    r"""ProxylessNAS by gradients (Cai, Zhu, Han, ICLR 2019, arXiv:1812.00332).

    Weights train on one sampled path; alpha has the gradient of the gates of `paths` sampled
    ones,

    .. math:: \partial L / \partial \alpha_i \approx
              \sum_j \partial L / \partial g_j\, p_j (\delta_{ij} - p_i),

    and after its step the probabilities of all other candidates are as before. `warm_up`: share
    of the search in which alpha rests (40 of 160 epochs); `interval`: weight steps per step of
    alpha.

    Differs from the original code: a gate of `none` has gradient 0, where the original leaves out
    the step; cost terms are no part of this recipe.
    """
    return Method(
        relaxation=Gates(),
        hypergradient=TwoPaths(paths),
        arch_optimizer=Adam(alpha_learning_rate, (0.0, 0.999), 0.0),
        projection=keep_other_probabilities,
        warm_up=warm_up,
        interval=interval,
    )

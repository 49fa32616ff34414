"""SDARTS: weights that are good for all architectures near the present one."""

from __future__ import annotations

from archgrad.parts.method import Method
from archgrad.parts.optimizer import Adam
from archgrad.parts.perturbation import AdversarialPerturbation, RandomPerturbation
from archgrad.parts.schedule import Linear


def sdarts_rs(
    *,
    size: float = 0.03,
    final_size: float = 0.3,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""SmoothDARTS, random smoothing (Chen, Hsieh, ICML 2020, arXiv:2002.05283).

    .. math:: \min_w E_{\delta \sim U[-\epsilon, \epsilon]} L_{train}(w, p + \delta), \quad
              p = softmax(\alpha)

    in the weight step; alpha moves without the perturbation. `size` to `final_size`: epsilon.

    Differs from the original code: epsilon rises with every step, there with every epoch.
    """
    return Method(
        perturbation=RandomPerturbation(Linear(size, final_size)),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
    )


def sdarts_adv(
    *,
    size: float = 0.03,
    final_size: float = 0.3,
    steps: int = 7,
    alpha_learning_rate: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    r"""SmoothDARTS, adversarial (Chen, Hsieh, ICML 2020, arXiv:2002.05283).

    .. math:: \min_w \max_{\|\delta\|_\infty \le \epsilon} L_{train}(w, p + \delta)

    the maximum by `steps` steps of projected sign ascent, in every weight step. `size` to
    `final_size`: epsilon.

    Differs from the original code: the ascent sees the network in training mode.
    """
    return Method(
        perturbation=AdversarialPerturbation(Linear(size, final_size), steps),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
    )

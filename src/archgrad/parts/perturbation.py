"""Perturbations of the mixing weights under which the network's weights are trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.mixing import Mixing
from archgrad.parts.derivatives import detached, gradient, leaves
from archgrad.parts.schedule import Linear, Number, extremes, now
from archgrad.parts.state import State

__all__ = ["AdversarialPerturbation", "RandomPerturbation"]


@dataclass(frozen=True)
class RandomPerturbation:
    """Uniform noise in [-size, size] on every mixing weight, then clipped to [0, 1].

    SDARTS-RS (arXiv:2002.05283), equation 6. `size`: a number or a schedule, from 0 to 1
    (`ArchgradError`).

    >>> import torch
    >>> from archgrad.networks.mixing import Mixing
    >>> from archgrad.parts.perturbation import RandomPerturbation
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> mixing = Mixing({"cell": torch.tensor([[0.5, 0.5]])})
    >>> moved = RandomPerturbation(0.1)(mixing, State(None, Softmax(), seed=1))
    >>> bool((moved["cell"] - 0.5).abs().max() <= 0.1)
    True
    """

    size: Number = Linear(0.03, 0.3)

    def __post_init__(self) -> None:
        _check(self.size)

    def __call__(self, mixing: Mixing, state: State) -> Mixing:
        size, generator = now(self.size, state.progress), state.generator()
        return _moved(mixing, {name: _uniform(w, size, generator) for name, w in mixing.items()})


@dataclass(frozen=True)
class AdversarialPerturbation:
    """The worst mixing weights within `size` in the largest norm, by projected sign ascent.

    SDARTS-ADV (arXiv:2002.05283), equation 8: `steps` steps of 2 size / steps along the sign of
    the gradient of L_train, from a random start; left out where the loss did not rise. Costs a pass
    forward and back a step. The weights are clipped to [0, 1].

    Differs from the original code: the network stays in training mode during the ascent, as the
    weight step then sees it.

    `size`: a number or a schedule, from 0 to 1 (`ArchgradError`, also for fewer than one of
    `steps`).

    >>> import archgrad
    >>> from archgrad.parts.perturbation import AdversarialPerturbation
    >>> archgrad.Method(perturbation=AdversarialPerturbation(steps=3)).filled()
    {'perturbation': 'AdversarialPerturbation(steps=3)'}
    """

    size: Number = Linear(0.03, 0.3)
    steps: int = 7

    def __post_init__(self) -> None:
        _check(self.size)
        if self.steps < 1:
            raise ArchgradError(
                f"adversarial perturbation: {self.steps} steps, expected at least 1"
            )

    def __call__(self, mixing: Mixing, state: State) -> Mixing:
        size, generator = now(self.size, state.progress), state.generator()
        weights = detached(state.problem.weights)
        delta = {name: _uniform(w, size, generator) for name, w in mixing.items()}
        with torch.no_grad():
            before = state.loss(mixing, state.train, weights)
        for _ in range(self.steps):
            tried = leaves(delta)
            with torch.enable_grad():
                slopes = gradient(state.loss(_moved(mixing, tried), state.train, weights), tried)
            step = 2 * size / self.steps
            delta = {
                name: (d + step * slopes[name].sign()).clamp(-size, size)
                for name, d in delta.items()
            }
        with torch.no_grad():
            after = state.loss(_moved(mixing, delta), state.train, weights)
        keep = (after > before).to(after)
        return _moved(mixing, {name: keep * d for name, d in delta.items()})


def _check(size: Number) -> None:
    least, most = extremes(size)
    if not 0 <= least <= most <= 1:
        raise ArchgradError(f"perturbation: size is {size}, expected from 0 to 1")


def _uniform(like: Tensor, size: float, generator: torch.Generator) -> Tensor:
    return ((2 * torch.rand(like.shape, generator=generator) - 1) * size).to(like)


def _moved(mixing: Mixing, delta: dict[str, Tensor]) -> Mixing:
    return mixing.replaced({name: (w + delta[name]).clamp(0, 1) for name, w in mixing.items()})

r"""The gradient of alpha from two sampled paths, and the update that leaves the others alone.

ProxylessNAS (arXiv:1812.00332), section 3.2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Alpha
from archgrad.parts.derivatives import detached, gradient
from archgrad.parts.hypergradient import Estimate
from archgrad.parts.state import State

__all__ = ["TwoPaths", "keep_other_probabilities"]


@dataclass(frozen=True)
class TwoPaths:
    r"""The gradient of binary gates, from `paths` candidates an edge (2 in the paper).

    The candidates are drawn without replacement from p = softmax(alpha); among them one is active,
    with gate 1, drawn from p renormalized, and the others have gate 0:

    .. math:: \partial L / \partial \alpha_i \approx \sum_j \partial L / \partial g_j\,
              p_j (\delta_{ij} - p_i)

    with sums and p over the drawn ones. The outputs of the inactive ones are computed without a
    graph, so one path is in memory. A gate of `none` has gradient 0. `ArchgradError` for fewer than
    two `paths`.

    >>> import archgrad
    >>> from archgrad.parts.paths import TwoPaths
    >>> from archgrad.parts.relaxation import Gates
    >>> archgrad.Method(relaxation=Gates(), hypergradient=TwoPaths(paths=3)).filled()
    {'relaxation': 'Gates', 'hypergradient': 'TwoPaths(paths=3)'}
    """

    paths: int = 2

    def __post_init__(self) -> None:
        if self.paths < 2:
            raise ArchgradError(f"sampled paths: found {self.paths}, expected at least 2")

    def __call__(self, alpha: Alpha, state: State) -> Estimate:
        generator = state.generator()
        drawn, gates, active, watched = {}, {}, {}, {}
        for name, logits in alpha.items():
            p = logits.detach().softmax(dim=-1).cpu().clamp_min(1e-12)
            some = torch.multinomial(p, min(self.paths, p.shape[-1]), generator=generator)
            first = torch.multinomial(p.gather(-1, some), 1, generator=generator)
            chosen = some.gather(-1, first)
            drawn[name] = some.to(logits.device)
            gate = torch.zeros_like(logits).scatter_(-1, chosen.to(logits.device), 1.0)
            gates[name] = gate.detach().requires_grad_()
            active[name] = chosen.tolist()
            watched[name] = [
                [i for i in row if i != one] for row, (one,) in zip(some.tolist(), chosen.tolist())
            ]
        weights = detached(state.problem.weights)
        loss = state.loss(Mixing(gates, active=active, watched=watched), state.valid, weights)
        slopes = gradient(loss, gates)
        estimate, touched = {}, {}
        for name, logits in alpha.items():
            p = logits.detach().gather(-1, drawn[name]).softmax(dim=-1)
            slope = slopes[name].gather(-1, drawn[name])
            change = p * (slope - (p * slope).sum(dim=-1, keepdim=True))
            empty = torch.zeros_like(logits)
            estimate[name] = empty.scatter(-1, drawn[name], change)
            touched[name] = empty.scatter(-1, drawn[name], 1.0).bool()
        return Estimate(estimate, loss.detach(), touched=touched)


def keep_other_probabilities(before: Alpha, after: Alpha, estimate: Estimate) -> dict[str, Tensor]:
    """Alpha after a step such that the softmax of the candidates that were not drawn is unchanged.

    The drawn ones are shifted by one number an edge, the others are as before.
    `ArchgradError` for an `estimate` of a hypergradient that draws none.

    >>> import torch
    >>> from archgrad.parts.hypergradient import Estimate
    >>> from archgrad.parts.paths import keep_other_probabilities
    >>> before, after = {"cell": torch.zeros(1, 3)}, {"cell": torch.tensor([[1.0, 0.0, 0.0]])}
    >>> drawn = {"cell": torch.tensor([[True, True, False]])}
    >>> estimate = Estimate({}, torch.tensor(0.0), touched=drawn)
    >>> kept = keep_other_probabilities(before, after, estimate)
    >>> round(float(kept["cell"].softmax(-1)[0, 2]), 6)
    0.333333
    """
    if estimate.touched is None:
        raise ArchgradError(
            "keeping the other probabilities needs a hypergradient that draws candidates, such as "
            "TwoPaths"
        )
    return {name: _kept(before[name], after[name], estimate.touched[name]) for name in after}


def _kept(before: Tensor, after: Tensor, touched: Tensor) -> Tensor:
    out = torch.full_like(before, -torch.inf)
    was = torch.where(touched, before, out).logsumexp(dim=-1, keepdim=True)
    became = torch.where(touched, after, out).logsumexp(dim=-1, keepdim=True)
    return torch.where(touched, after - (became - was), before)

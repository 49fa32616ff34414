"""A method of the family as a value: one part for each slot; an empty slot is plain DARTS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from archgrad.architecture import Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Edge
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Alpha, Initial, Normal
from archgrad.parts.augmentation import Augment
from archgrad.parts.cost import CostPenalty, CostRatio, ExpectedCost
from archgrad.parts.discretization import StrongestEdges, Threshold
from archgrad.parts.hypergradient import Estimate, at_rest, first_order, single_level
from archgrad.parts.optimizer import Adam, ExponentiatedGradient
from archgrad.parts.paths import TwoPaths, keep_other_probabilities
from archgrad.parts.regularizer import DirichletAnchor, ZeroOne
from archgrad.parts.relaxation import (
    Dirichlet,
    EdgeNormalized,
    Gates,
    GumbelSoftmax,
    Relaxation,
    Sigmoid,
    Softmax,
    UniformPath,
)
from archgrad.parts.selection import Perturbation, Trained
from archgrad.parts.shapley import Shapley
from archgrad.parts.stage import Stage
from archgrad.parts.state import State
from archgrad.parts.stopping import EigenvalueStop, StopRule
from archgrad.parts.weight_gradient import AlignLayers, FreezeOverfitted, Gradients


@dataclass(frozen=True)
class Recovery:
    """What follows when the stopping rule speaks: back to its epoch, with more weight decay.

    RobustDARTS, adaptive (arXiv:1909.09656): the weights' decay is multiplied by `factor`, at most
    to `cap`; once it is there the rule is not asked any more, and the search goes on to its last
    epoch. It never goes back behind the epoch of an earlier recovery. Raises `ArchgradError` for a
    `factor` that is not above 1 or a `cap` that is not above 0.

    >>> from archgrad.methods import Method, Recovery
    >>> from archgrad.parts.stopping import EigenvalueStop
    >>> adaptive = Method(stopping=EigenvalueStop(), recovery=Recovery(factor=3))
    >>> adaptive.filled()["recovery"]
    'Recovery(factor=3)'
    """

    factor: float = 10.0
    cap: float = 0.03

    def __post_init__(self) -> None:
        if not (self.factor > 1 and self.cap > 0):
            raise ArchgradError(
                f"recovery: factor {self.factor} must be above 1, cap {self.cap} above 0"
            )


@dataclass(frozen=True)
class Method:
    """The parts of a search; the search loop calls them and knows no method by name.

    A slot that is left out is plain DARTS, of first order (arXiv:1806.09055).

    - `without`: operations that are not offered.
    - `initial`: the first alpha.
    - `relaxation`: alpha to mixing weights.
    - `edges`: what is around the candidates, from the inside out.
    - `hypergradient`: the gradient of alpha (None from it: no step of alpha now).
    - `regularizers`: terms added to alpha's loss.
    - `arch_optimizer`: of alpha.
    - `projection`: what becomes of alpha after a step, (before, after, estimate) -> alpha.
    - `perturbation`: of the mixing weights in the weight step.
    - `weight_gradient`: what becomes of the weights' gradient.
    - `augmentation`: of the images of both halves.
    - `weight_decay`: of the weights, in units of the configuration's.
    - `warm_up`: share of the search, or of each stage, in which alpha rests.
    - `interval`: weight steps per step of alpha.
    - `stages`: parts of the search with other supernets.
    - `discretization`: alpha to an architecture, in every epoch.
    - `selection`: the trained supernet to the final architecture (None: the discretization).
    - `stopping`: when to end early.
    - `recovery`: to go back and on instead.

    Raises `ArchgradError` for numbers out of range and for parts that do not go together.

    >>> import archgrad
    >>> from archgrad.parts.edge import PartialChannels
    >>> from archgrad.parts.relaxation import EdgeNormalized
    >>> parts = {"relaxation": EdgeNormalized(), "edges": (PartialChannels(2),)}
    >>> mine = archgrad.Method(**parts, warm_up=0.3)
    >>> mine.filled()
    {'relaxation': 'EdgeNormalized', 'edges': 'PartialChannels(k=2)', 'warm_up': '0.3'}

    Give it to `archgrad.search` as `method=mine`.
    """

    without: tuple[str, ...] = ()
    initial: Initial = Normal()
    relaxation: Relaxation = Softmax()
    edges: tuple[Edge, ...] = ()
    hypergradient: Callable[[Alpha, State], Estimate | None] = first_order
    regularizers: tuple[Callable[[Alpha, State], Tensor], ...] = ()
    arch_optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer] = Adam()
    projection: Callable[[Alpha, Alpha, Estimate], dict[str, Tensor]] | None = None
    perturbation: Callable[[Mixing, State], Mixing] | None = None
    weight_gradient: Callable[[Gradients, Alpha, State], Gradients] | None = None
    augmentation: Augment | None = None
    weight_decay: float = 1.0
    warm_up: float = 0.0
    interval: int = 1
    stages: tuple[Stage, ...] = ()
    discretization: Callable[[Alpha, State], tuple[Cell, ...]] = StrongestEdges()
    selection: Callable[[Trained], tuple[Cell, ...]] | None = None
    stopping: StopRule | None = None
    recovery: Recovery | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.warm_up < 1 and self.interval >= 1 and self.weight_decay >= 0):
            raise ArchgradError(
                f"method: warm_up {self.warm_up} must be from 0 to below 1, interval "
                f"{self.interval} at least 1, weight_decay {self.weight_decay} not negative"
            )
        for wrong, reason in _contradictions(self):
            if wrong:
                raise ArchgradError(f"these parts do not go together: {reason}")

    @property
    def cost(self) -> ExpectedCost | None:
        """The expected cost that the search minds, if it does."""
        parts = (*self.regularizers, self.hypergradient)
        return next((p.cost for p in parts if isinstance(p, CostPenalty | CostRatio)), None)

    def slots(self) -> dict[str, str]:
        """Slot name -> the part in it, for tables."""
        return {field.name: _label(getattr(self, field.name)) for field in fields(self)}

    def filled(self) -> dict[str, str]:
        """The slots that are not plain DARTS: name -> the part in it, in words."""
        plain, slots = Method(), self.slots().items()
        return {slot: label for slot, label in slots if getattr(self, slot) != getattr(plain, slot)}


def _contradictions(method: Method) -> Iterable[tuple[bool, str]]:
    """Combinations that make no sense, each with its reason."""
    weights = method.relaxation
    if isinstance(weights, EdgeNormalized):
        weights = weights.operations
    estimator = method.hypergradient
    if isinstance(estimator, CostRatio):
        estimator = estimator.inner
    gates, hard = isinstance(weights, Gates), isinstance(weights, GumbelSoftmax) and weights.hard
    uniform = isinstance(weights, UniformPath)
    hard |= uniform
    paths = isinstance(estimator, TwoPaths)
    alpha_alone = paths or estimator in (first_order, single_level)
    alpha_alone |= isinstance(estimator, Shapley)
    kinds = [type(r) for r in method.regularizers]
    stages = method.stages or (Stage(1.0),)
    edges = [[type(edge) for edge in (*stage.edges, *method.edges)] for stage in stages]
    return [
        (gates != paths, "binary gates have no gradient but that of sampled paths, and sampled "
         "paths stand for binary gates; use Gates with TwoPaths"),
        (uniform and estimator is not at_rest, "paths that are drawn uniformly give alpha no "
         "gradient; use at_rest"),
        (paths and isinstance(method.relaxation, EdgeNormalized), "sampled paths give edge weights "
         "no gradient; leave the edge normalization out"),
        (method.projection is keep_other_probabilities and not paths, "keeping the other "
         "probabilities needs a hypergradient that draws candidates; use TwoPaths"),
        (isinstance(method.arch_optimizer, ExponentiatedGradient) and not weights.simplex,
         "exponentiated gradient moves weights that sum to one, these do not; use Softmax"),
        (method.perturbation is not None and (gates or hard), "where a single path is computed, "
         "perturbed weights of the others change nothing; use a relaxation that computes all"),
        (isinstance(method.weight_gradient, AlignLayers) and (gates or hard), "the alignment of "
         "layers needs the gradient of every mixing weight; use a relaxation that computes all"),
        (isinstance(method.weight_gradient, FreezeOverfitted) and (gates or hard), "freezing "
         "compares two gradients of every candidate, and a single path gives the others none; use "
         "a relaxation that computes all"),
        ((isinstance(estimator, Shapley) or isinstance(method.selection, Perturbation))
         and (gates or hard), "where a single path is computed, removing another candidate costs "
         "nothing; use a relaxation that computes all"),
        (isinstance(method.arch_optimizer, ExponentiatedGradient)
         and isinstance(weights, Dirichlet), "exponentiated gradient takes alpha for the logits of "
         "a softmax, the Dirichlet relaxation does not; use Adam"),
        (ZeroOne in kinds and not isinstance(weights, Sigmoid), "the zero-one loss pushes sigmoids "
         "to 0 or 1, the weights of a softmax compete anyway; use Sigmoid"),
        (DirichletAnchor in kinds and not isinstance(weights, Dirichlet), "the Dirichlet anchor "
         "needs the Dirichlet relaxation"),
        (isinstance(method.discretization, Threshold) and weights.simplex, "a threshold judges "
         "each candidate by itself, a softmax only against the others; use Sigmoid"),
        (isinstance(method.weight_gradient, FreezeOverfitted) and alpha_alone, "freezing needs the "
         "validation gradient of the weights; use first_order_and_weights or a second-order "
         "hypergradient"),
        (method.recovery is not None and method.stopping is None, "a recovery follows a stopping "
         "rule, and there is none"),
        (method.selection is not None and isinstance(method.stopping, EigenvalueStop), "a "
         "selection judges the supernet of the last epoch, and this stopping rule goes back to an "
         "earlier one; use another rule"),
        (method.recovery is not None and bool(method.stages), "going back over the border of a "
         "stage is not supported; leave out the recovery or the stages"),
        (any(len(set(parts)) < len(parts) for parts in edges), "an edge part is there "
         "twice; take one out"),
    ]  # fmt: skip


def _label(part: Any) -> str:
    """The part's name, with those of its numbers that are not the default."""
    if isinstance(part, tuple):
        return ", ".join(_label(one) for one in part) or "-"
    if part is None:
        return "-"
    if isinstance(part, float):
        return f"{part:g}"
    if not is_dataclass(part) or isinstance(part, type):
        return getattr(part, "__name__", None) or str(part)
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    changed = [
        f"{f.name}={_label(values[f.name])}" for f in fields(part) if values[f.name] != f.default
    ]
    return type(part).__name__ + (f"({', '.join(changed)})" if changed else "")

"""Changes to the gradient of the network's weights: (gradients, alpha, state) -> gradients.

A gradient of None leaves that parameter alone in this step: no decay and no momentum either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Row
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Alpha, Supernet
from archgrad.parts.derivatives import detached, gradient, leaves
from archgrad.parts.schedule import Linear, Number, now
from archgrad.parts.state import State
from archgrad.tensors.precision import whole

__all__ = ["AlignLayers", "FreezeOverfitted"]

Gradients = dict[str, Tensor | None]


@dataclass(frozen=True)
class FreezeOverfitted:
    """Freeze for good the candidates whose training gradient parts from their validation gradient.

    OLES (NeurIPS 2023): for each candidate of each choice the cosine between d L_val / d w and d
    L_train / d w, averaged over its parameter tensors; where the mean of `checks` steps is below
    `threshold`, its parameters are no longer trained. Needs a hypergradient that takes d L_val /
    d w, such as `first_order_and_weights`.

    Differs from the original code: the cosine is that of the flattened tensors (the original
    averages cosines along the first dimension), and the mean is over exactly `checks` values.

    `ArchgradError` for `checks` below 1 and a `threshold` that is not from -1 to 1.

    >>> import archgrad
    >>> from archgrad.parts.hypergradient import first_order_and_weights
    >>> from archgrad.parts.weight_gradient import FreezeOverfitted
    >>> parts = {"hypergradient": first_order_and_weights, "weight_gradient": FreezeOverfitted(10)}
    >>> archgrad.Method(**parts).filled()["weight_gradient"]
    'FreezeOverfitted(checks=10)'
    """

    checks: int = 20
    threshold: float = 0.4

    def __post_init__(self) -> None:
        if self.checks < 1 or not -1 <= self.threshold <= 1:
            raise ArchgradError(
                f"freezing overfitted candidates: checks {self.checks} must be at least 1, "
                f"threshold {self.threshold} from -1 to 1"
            )

    def __call__(self, gradients: Gradients, alpha: Alpha, state: State) -> Gradients:
        net = _supernet(state, "freezing overfitted candidates")
        kept = state.memory.setdefault("oles", {"count": 0, "frozen": [], "sums": {}})
        if state.valid_gradient is not None:
            kept["count"] += 1
            for candidate, names in net.parameters_of_candidates.items():
                found = _mean_cosine(names, gradients, state.valid_gradient)
                if candidate not in kept["frozen"] and found is not None:
                    kept["sums"][candidate] = kept["sums"].get(candidate, 0.0) + found
        if kept["count"] >= self.checks:
            low = self.threshold * kept["count"]
            kept["frozen"] += [name for name, total in kept["sums"].items() if float(total) < low]
            kept["count"], kept["sums"] = 0, {}
        for candidate in kept["frozen"]:
            gradients |= dict.fromkeys(net.parameters_of_candidates[candidate])
        return gradients


def _mean_cosine(names: list[str], train: Gradients, valid: Mapping[str, Tensor]) -> Tensor | None:
    pairs = [(g.flatten(), valid[n].flatten()) for n in names if (g := train.get(n)) is not None]
    if not pairs:
        return None
    return torch.stack([torch.cosine_similarity(t, v, dim=0) for t, v in pairs]).mean()


@dataclass(frozen=True)
class AlignLayers:
    r"""Train the weights so that all cells want the same change of the mixing weights.

    Lambda-DARTS (arXiv:2210.07998): with :math:`g_l = \partial L_{train} / \partial p` at cell l,
    the alignment :math:`\Lambda` is the mean cosine over pairs of cells, and
    :math:`-weight\, \nabla_w \Lambda` is added to the gradient of the loss, as a central difference

    .. math:: weight\, \frac{\nabla_w L(p - \epsilon D) - \nabla_w L(p + \epsilon D)}{2 \epsilon},
              \quad D_l = \frac{2}{n (n - 1)} \frac{(I - u_l u_l^T) \sum_j u_j}{\lVert g_l \rVert},
              \quad u = \frac{g}{\lVert g \rVert}, \quad \epsilon = \frac{step}{\lVert D \rVert}

    with both ends in float32, whatever the precision. Three passes a weight step instead of one.
    Every group with at least two cells counts, each with its own mean; the original takes normal
    cells only. `ArchgradError` for a `step` that is not above 0.

    >>> import archgrad
    >>> from archgrad.parts.weight_gradient import AlignLayers
    >>> archgrad.Method(weight_gradient=AlignLayers(weight=0.1)).filled()
    {'weight_gradient': 'AlignLayers(weight=0.1)'}
    """

    weight: Number = Linear(0.0, 0.125)
    step: float = 1e-3

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ArchgradError(f"layer alignment: step is {self.step}, expected above 0")

    def __call__(self, gradients: Gradients, alpha: Alpha, state: State) -> Gradients:
        net = _supernet(state, "layer alignment")
        weight = now(self.weight, state.progress)
        if weight == 0.0:
            return gradients
        mixing = state.relaxation(alpha, state)
        layers, slopes, rows = layer_gradients(net, mixing, state)
        direction = {i: d for group in layers for i, d in _directions(group, slopes).items()}
        norm = torch.stack([d.norm() for d in direction.values()]).norm() if direction else 0.0
        if not direction or not float(norm) > 0:
            return gradients
        epsilon = self.step / norm
        weights = leaves(net.weights)
        sides = []
        for sign in (-1, 1):
            moved = [
                row._replace(weights=row.weights.detach() + sign * epsilon * direction[i])
                if i in direction
                else row
                for i, row in enumerate(rows)
            ]
            with whole():
                sides.append(gradient(state.loss(moved, state.train, weights), weights))
        minus, plus = sides
        added = {n: (minus[n] - plus[n]) / (2 * epsilon) for n in weights}
        return {n: None if g is None else g + weight * added[n] for n, g in gradients.items()}


def layer_gradients(
    net: Supernet, mixing: Mixing, state: State
) -> tuple[list[list[list[int]]], list[Tensor], list[Row]]:
    """The cells of each group, as indices of their choices; d L_train / d p and the row by choice.

    Each choice has mixing weights of its own here. The choices of a group that have the same row
    are those of its cells, in order; a group whose cells have not all the same rows is left out.
    """
    rows = [
        row._replace(
            weights=row.weights.detach().requires_grad_(),
            edge=None if row.edge is None else row.edge.detach(),
        )
        for row in mixing.rows(net.choices)
    ]
    loss = state.loss(rows, state.train, detached(net.weights))
    slopes = torch.autograd.grad(loss, [row.weights for row in rows], materialize_grads=True)
    layers: dict[str, list[list[int]]] = {}
    for index, choice in enumerate(net.choices):
        cells = layers.setdefault(choice.group, [])
        if not cells or any(net.choices[i].row == choice.row for i in cells[-1]):
            cells.append([])
        cells[-1].append(index)
    alike = [
        cells
        for cells in layers.values()
        if len({tuple(net.choices[i].row for i in cell) for cell in cells}) == 1
    ]
    return alike, list(slopes), rows


def _directions(layers: list[list[int]], slopes: list[Tensor]) -> dict[int, Tensor]:
    """D for the choices of one group; empty where it has a single cell or a zero gradient."""
    flat = [torch.cat([slopes[i].flatten() for i in cell]) for cell in layers]
    if len(flat) < 2 or any(not float(g.norm()) > 0 for g in flat):
        return {}
    unit = [g / g.norm() for g in flat]
    total = torch.stack(unit).sum(0)
    factor = 2 / (len(flat) * (len(flat) - 1))
    found: dict[int, Tensor] = {}
    for cell, g, u in zip(layers, flat, unit, strict=True):
        change = factor * (total - u * (u @ total)) / g.norm()
        sizes = [slopes[i].numel() for i in cell]
        found |= dict(zip(cell, change.split(sizes), strict=True))
    return found


def _supernet(state: State, what: str) -> Supernet:
    if not isinstance(state.problem, Supernet):
        raise ArchgradError(f"{what} needs a supernet, found {type(state.problem).__name__}")
    return state.problem

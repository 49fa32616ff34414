"""Measurements of a search's health, the same for every method and space."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from archgrad.architecture import Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import NONE, Group
from archgrad.networks.supernet import Alpha
from archgrad.parts.derivatives import hessian_vector

SKIP = "skip_connect"
PARAMETER_FREE = frozenset({SKIP, "max_pool_3x3", "avg_pool_3x3", NONE, "noise"})


Weights = Mapping[str, Tensor]  # group name -> (edges, operations)


def entropy(strength: Weights) -> float:
    """Mean entropy of the mixing weights over all edges, in nats: ln(operations) when uniform.

    Weights that do not sum to one an edge are divided by their sum.
    """
    parts = [weights / weights.sum(dim=-1, keepdim=True) for weights in strength.values()]
    rows = [-(part * part.clamp_min(1e-30).log()).sum(dim=-1) for part in parts]
    return float(sum(row.sum() for row in rows) / sum(row.numel() for row in rows))


def moved(before: Weights, now: Weights) -> float:
    """The largest change of any weight, as a share of the mean weight of its edge before.

    0 where nothing has moved; an edge with a single candidate cannot, and does not count.
    """
    shares = [
        (now[name] - weights).abs() / weights.mean(dim=-1, keepdim=True)
        for name, weights in before.items()
        if weights.shape[-1] > 1
    ]
    return max((float(share.max()) for share in shares), default=0.0)


# --- the derived cells ---------------------------------------------------------------------------


def skip_share(cells: Iterable[Cell]) -> float:
    """Share of skip connections among the edges of the derived cells, in [0, 1]; 0 of no edges."""
    return parameter_free_share(cells, {SKIP})


def parameter_free_share(cells: Iterable[Cell], names: Collection[str] = PARAMETER_FREE) -> float:
    """Share of the operations called `names` among all edges, in [0, 1]; 0 of no edges.

    What is free of parameters goes by name: the skip connection of a reduction cell counts, though
    its strided form has two small convolutions.
    """
    operations = [operation for cell in cells for operation in cell.operations]
    return sum(operation in names for operation in operations) / max(1, len(operations))


def skip_counts(cells: Iterable[Cell]) -> dict[str, int]:
    """Number of skip connections of each cell, by its name."""
    return {cell.name: cell.operations.count(SKIP) for cell in cells}


def ranking(
    strength: Weights, groups: Iterable[Group], without: Collection[str] = PARAMETER_FREE
) -> dict[str, list[list[int]]]:
    """Each edge's operations from the strongest to the weakest, by index, those with parameters.

    What DARTS+ watches for changes (arXiv:1909.06035). Ties go to the lower index.
    """
    found = {}
    for group in groups:
        orders = strength[group.name].argsort(dim=-1, descending=True, stable=True).tolist()
        found[group.name] = [
            [index for index in order if names[index] not in without]
            for names, order in zip(group.candidates, orders, strict=True)
        ]
    return found


def percentile(value: float, sample: Sequence[float]) -> float:
    """Where `value` stands among the costs of random cells, in (0, 1): 0.5 in their middle.

    The mid-rank of the value within the sample and itself: equal costs count half, so that a space
    whose cells all cost the same gives 0.5, and a handful of cells can never make a value extreme
    (below 2.5 % needs 20 cells).
    """
    below, equal = sum(s < value for s in sample), sum(s == value for s in sample)
    return (below + (equal + 1) / 2) / (len(sample) + 1)


# --- the loss over alpha -------------------------------------------------------------------------


def dominant_eigenvalue(
    loss: Callable[[Mapping[str, Tensor]], Tensor],
    alpha: Alpha,
    *,
    iterations: int,
    generator: torch.Generator | None = None,
    tolerance: float = 1e-3,
) -> float:
    """The largest eigenvalue of the Hessian of `loss` over all of alpha (arXiv:1909.09656).

    `loss`: group name -> (edges, operations) to a scalar, such as the loss of one validation
    batch at fixed weights. The groups count as one vector. Largest means most positive: a more
    negative curvature is passed over, as in the paper. Lanczos iteration with full
    reorthogonalization from a random start, at most `iterations` Hessian-vector products; it
    ends early once the residual is below `tolerance` times the eigenvalue, or no direction is
    left. With too few iterations the value is too small, never too large: in 48 trials on DARTS
    networks with 80 alphas, ten were within 4 % but for two (13 %), and twenty always within 1e-5.
    nan where a derivative is not finite. The original builds the whole Hessian, row by row, and
    adds the weight decay of alpha to its diagonal; this is the Hessian of the loss alone.
    """
    if iterations < 1:
        raise ArchgradError(f"eigenvalue: found {iterations} iterations, expected at least 1")
    sizes = [value.numel() for value in alpha.values()]
    first = next(iter(alpha.values()))
    vector = torch.randn(sum(sizes), generator=generator, dtype=torch.float64).to(first.device)
    residual, eigenvalue = float(vector.norm()), math.nan
    basis = vector.new_empty(0, len(vector))
    diagonal: list[float] = []
    below: list[float] = []
    for _ in range(min(iterations, len(vector))):
        vector = vector / residual
        basis = torch.cat([basis, vector[None]])
        parts = zip(alpha.items(), vector.split(sizes), strict=True)
        direction = {name: part.view_as(value).to(value) for (name, value), part in parts}
        product = hessian_vector(loss, alpha, direction)
        image = torch.cat([product[name].flatten().double() for name in alpha])
        if not bool(image.isfinite().all()):
            return math.nan
        diagonal.append(float(vector @ image))
        for _ in range(2):  # once leaves rounding errors behind
            image = image - basis.T @ (basis @ image)
        vector, residual = image, float(image.norm())
        values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, below))
        eigenvalue = float(values[-1])
        if residual * abs(float(vectors[-1, -1])) <= tolerance * abs(eigenvalue):
            break
        if residual <= torch.finfo(first.dtype).eps * float(values.abs().max()):
            break
        below.append(residual)
    return eigenvalue


def _tridiagonal(diagonal: list[float], below: list[float]) -> Tensor:
    """The lower half, which is all that `torch.linalg.eigh` reads."""
    main, under = (torch.tensor(values, dtype=torch.float64) for values in (diagonal, below))
    return torch.diag(main) + torch.diag(under, -1)


def layer_alignment(gradients: Sequence[Tensor]) -> float:
    """Mean cosine over all pairs of layers of dL/dp, in [-1, 1] (Lambda-DARTS, arXiv:2210.07998).

    Near 1 the layers agree on the operations; where it falls, a few of them decide for all. 1 for
    fewer than two layers; the cosine with a zero gradient is 0.
    """
    if len(gradients) < 2:
        return 1.0
    units = torch.stack([gradient.detach().flatten().double() for gradient in gradients])
    norms = units.norm(dim=1, keepdim=True)
    units = units / torch.where(norms > 0, norms, 1.0)
    cosines = units @ units.T
    pairs = len(gradients) * (len(gradients) - 1)
    return float((cosines.sum() - cosines.trace()) / pairs)

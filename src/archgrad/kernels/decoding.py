r"""Cross-entropy over a vocabulary whose logits are never all there, as one function.

Of outputs :math:`x` (N, H), an embedding :math:`E` (V, H) as decoder and its bias :math:`b`:

.. math:: L = \frac{1}{N} \sum_n \log \sum_v e^{z_{nv}} - z_{n t_n}, \quad z = x E^T + b

Some rows at a time, which stay in the cache; their gradient before the products,
:math:`(\mathrm{softmax}(z) - 1_t) / N`, is taken while they are there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from archgrad.tensors.precision import lowered

ENTRIES = {"cpu": 1_400_000}  # logits at a time: what stays in a cache
MOST = 1 << 25  # elsewhere, where launches cost more


class Decoded(NamedTuple):
    """What logits are made of: `outputs` (T, B, H), `embedding` (V, H), `bias` (V,)."""

    outputs: Tensor
    embedding: Tensor
    bias: Tensor

    @property
    def logits(self) -> Tensor:
        """(T, B, V)."""
        return F.linear(self.outputs, self.embedding, self.bias)


def decoded(outputs: Tensor, embedding: Tensor, bias: Tensor) -> Decoded | Tensor:
    """For `cross_entropy`; the logits themselves under autocast, and where nothing is computed."""
    found = Decoded(outputs, embedding, bias)
    plain = outputs.is_meta or torch.compiler.is_compiling() or lowered(outputs) is not None
    return found.logits if plain else found


def cross_entropy(output: Decoded | Tensor, target: Tensor) -> Tensor:
    """The mean over all tokens in nats, a scalar; `target` (T, B) int64.

    In forward mode, and where it goes backward twice, plain operations compute it.
    """
    if isinstance(output, Tensor):
        return F.cross_entropy(output.flatten(0, 1), target.flatten())
    if any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in output):
        return cross_entropy(output.logits, target)
    outputs, embedding, bias = output
    found: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        outputs.flatten(0, 1), embedding, bias, target.flatten()
    )
    return found


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, embedding: Tensor, bias: Tensor, target: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[:3]
        back = [
            torch.zeros_like(t) if want else None for t, want in zip((x, embedding, bias), wanted)
        ]
        entries = ENTRIES.get(x.device.type, MOST)
        rows = max(1, entries // len(embedding), x.shape[1] // 2)  # fewer make slow products
        buffer = x.new_empty(min(rows, len(x)), len(embedding))
        losses = x.new_empty(len(x))
        for start in range(0, len(x), rows):
            some, logits = slice(start, start + rows), buffer[: len(x) - start]
            torch.addmm(bias, x[some], embedding.t(), out=logits)
            logs, index = logits.log_softmax(dim=1), target[some]
            losses[some] = F.nll_loss(logs, index, reduction="none")
            if any(wanted):
                slope = torch.exp(logs, out=logits).div_(len(x))
                slope.scatter_add_(1, index[:, None], slope.new_full((len(slope), 1), -1 / len(x)))
                _add(back, some, slope, x[some], embedding)
        ctx.save_for_backward(x, embedding, bias, target, *back)
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, embedding, bias, target, *back = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return *(None if slope is None else slope * grad for slope in back), None
        # by themselves: x may depend on the embedding, and that way is not of this function
        x, embedding, bias = (tensor.view_as(tensor) for tensor in (x, embedding, bias))
        given = [t for t, slope in zip((x, embedding, bias), back) if slope is not None]
        loss = F.cross_entropy(F.linear(x, embedding, bias), target)
        found = iter(torch.autograd.grad(loss, given, grad, create_graph=True))
        return *(None if slope is None else next(found) for slope in back), None


def _add(
    back: list[Tensor | None], some: slice, slope: Tensor, x: Tensor, embedding: Tensor
) -> None:
    """What some rows give to the gradients, from that of their logits."""
    to_x, to_embedding, to_bias = back
    if to_x is not None:
        torch.mm(slope, embedding, out=to_x[some])
    if to_embedding is not None:
        to_embedding.addmm_(slope.t(), x)
    if to_bias is not None:
        to_bias.add_(slope.sum(dim=0))

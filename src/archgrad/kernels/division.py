r"""A pass whose batch is divided among processes, and whose result is that of the whole batch.

Two linear functions are enough. `spread` takes what is the same in all processes into the part of
each, `total` adds the parts up to what is the same in all: each is the other's transpose, so
gradients, gradients of gradients and derivatives in forward mode are those of one process,

.. math:: L = \ell\Big(\sum_r f_r(w, x_r)\Big), \qquad
          \frac{dL}{dw} = \sum_r \Big(\frac{\partial f_r}{\partial w}\Big)^T \nabla \ell .

Parameters and mixing weights are spread, outputs are put together (a total of parts padded with
zeros), and the loss, its metric and all that follows are computed in every process alike: whatever
the loss is, it sees the whole batch. Batch normalization joins its statistics in between, as both
functions, and what a pass draws for each example is drawn for the whole batch, then cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from archgrad.errors import ArchgradError
from archgrad.kernels.duals import at_rest, moves
from archgrad.kernels.normalization import affine
from archgrad.system.distributed import summed, world
from archgrad.tensors.dimensions import others, wide
from archgrad.tensors.precision import full_type
from archgrad.tensors.trees import describe, mapped, size

Grad = Tensor | None


@dataclass(frozen=True)
class Division:
    """Which of the `examples` of a batch this process computes: from `start` up to `stop`.

    `axis`: along which they stand in what is computed, 1 of texts side by side.
    """

    examples: int
    start: int
    stop: int
    axis: int = 0

    @classmethod
    def of(cls, batch: Any) -> Division | None:
        """That of a batch; None where every process computes all of it: `undivided`, or few."""
        rank, ranks = world()
        beside = getattr(batch, "beside", None)
        count = size(batch, unknown=0) if beside is None else beside
        if ranks == 1 or count < ranks or _alone.get():
            return None
        axis = 0 if beside is None else 1
        start, stop = _ends(count, ranks)[rank : rank + 2]
        return cls(count, start, stop, axis)

    @property
    def mine(self) -> int:
        """Examples of this process."""
        return self.stop - self.start

    def part(self, batch: Any) -> Any:
        """This process's examples; tensors of other lengths stay whole."""
        if self.axis:
            return batch.texts(self.start, self.stop)
        return mapped(self._part, batch)

    def _part(self, tensor: Tensor) -> Tensor:
        whole = tensor.ndim and len(tensor) == self.examples
        return tensor[self.start : self.stop] if whole else tensor

    def whole(self, output: Any, axis: int | None = None) -> Any:
        """What all processes computed, one after the other; of a scalar the mean over examples."""
        along = self.axis if axis is None else axis
        return mapped(lambda tensor: self._whole(tensor, along), output)

    def _whole(self, tensor: Tensor, axis: int) -> Tensor:
        if tensor.is_floating_point() or tensor.is_complex():
            return self._joined(tensor, axis)
        return self._joined(tensor.long(), axis).to(tensor.dtype) if tensor.ndim else tensor

    def _joined(self, tensor: Tensor, axis: int) -> Tensor:
        if not tensor.ndim:
            return total(tensor * (self.mine / self.examples))
        rows, rest = divmod(tensor.shape[axis], self.mine) if axis < tensor.ndim else (0, 1)
        if rest or not rows:
            raise ArchgradError(
                f"the model returned {describe(tensor)} for {self.mine} examples; expected a row "
                "an example, which several processes can put together: use one process"
            )
        behind = [0] * (2 * (tensor.ndim - axis - 1))
        return total(F.pad(tensor, [*behind, *(rows * n for n in self._beside)]))

    @property
    def _beside(self) -> tuple[int, int]:
        """Examples of the processes before this one, and of those after it."""
        return self.start, self.examples - self.stop

    def drawn(self, draw: Callable[[Tensor], Tensor], like: Tensor) -> Tensor | None:
        """This process's part of `draw` of the whole batch, 0 in place of the others' examples.

        None where `like` has no row, or equally many, for each example.
        """
        rows, rest = divmod(len(like), self.mine) if like.ndim else (0, 1)
        if rest or not rows:
            return None
        shape = rows * self.examples, *like.shape[1:]
        strides = like.stride()
        order = sorted(range(like.ndim), key=lambda axis: -strides[axis])
        blank = torch.empty_permuted(shape, order, dtype=like.dtype, device=like.device).zero_()
        start, stop = rows * self.start, rows * self.stop
        return draw(blank.slice_scatter(like, 0, start, stop))[start:stop]

    def statistics(self, means: Sequence[Tensor], variances: Sequence[Tensor]) -> list[Tensor]:
        """Means and biased variances (C,) of this process's examples -> those of the batch.

        With as many values an example in every process; in float64 (doi:10.1007/978-3-642-51461-6_3
        is the sum of two parts). All in one message.
        """
        rank, ranks = world()
        mine = torch.cat([*means, *variances])
        (table,) = spread([total(F.pad(mine[None], (0, 0, rank, ranks - 1 - rank)))])
        share = mine.new_tensor(_ends(self.examples, ranks)).diff()[:, None] / self.examples
        each, around = table.chunk(2, dim=1)
        mean = (share * each).sum(0)
        variance = (share * (around + (each - mean).square())).sum(0)
        sizes = [len(one) for one in means]
        return [*mean.split(sizes), *variance.split(sizes)]


def _ends(examples: int, ranks: int) -> list[int]:
    """Where the part of each process begins, and where the last one ends."""
    return [rank * examples // ranks for rank in range(ranks + 1)]


def drawn(draw: Callable[..., Tensor], examples: int, *shape: int) -> Tensor:
    """`draw(examples, *shape)`; in a divided pass this process's part of the whole batch's."""
    division = present()
    if division is None:
        return draw(examples, *shape)
    return draw(division.examples, *shape)[division.start : division.stop]


_present: ContextVar[Division | None] = ContextVar("division", default=None)
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def present() -> Division | None:
    """The division of the pass that is being computed, if it is divided."""
    return _present.get()


@contextmanager
def computing(division: Division | None) -> Iterator[None]:
    """A pass over this process's part, in which statistics and draws are those of the batch."""
    if division is None or division is present():
        yield
        return
    token = _present.set(division)
    try:
        with _OfTheBatch(division):
            yield
    finally:
        _present.reset(token)


@contextmanager
def undivided() -> Iterator[None]:
    """Every process computes all of every batch by itself."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def divided(call: Callable[[Any], Any], batch: Any) -> Any:
    """`call(batch)`, computed by all processes together; parameters are not spread."""
    division = Division.of(batch)
    if division is None:
        return call(batch)
    with computing(division):
        found = call(division.part(batch))
    return division.whole(found)


def add_gradients(parameters: Iterable[Tensor], batch: Any) -> None:
    """Add up over the processes the gradients of parameters that were not spread."""
    if Division.of(batch) is None:
        return
    ours = list(parameters)
    found = _had_somewhere([p.grad for p in ours], ours)
    sums = iter(_at_once(summed, [grad for grad in found if grad is not None]))
    for parameter, grad in zip(ours, found, strict=True):
        parameter.grad = None if grad is None else next(sums)


def spread(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors as inputs of this process's part: their gradients are summed, in one go.

    In forward mode those that have tangents go by themselves: one function cannot have both kinds.
    """
    if not torch.is_grad_enabled():
        return list(tensors)
    found: dict[int, Tensor] = {}
    for kind in (False, True):
        alike = [i for i, tensor in enumerate(tensors) if moves(tensor) is kind]
        if alike:
            spread_ones = _Spread.apply(*(tensors[i] for i in alike))  # type: ignore[no-untyped-call]
            found |= dict(zip(alike, spread_ones, strict=True))
    return [found[i] for i in range(len(tensors))]


def total(tensor: Tensor) -> Tensor:
    """The sum of the parts of all processes."""
    found: Tensor = _Total.apply(tensor)  # type: ignore[no-untyped-call]
    return found


class _Spread(torch.autograd.Function):
    """(x, ...) -> (x, ...)."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.like = tensors
        return tuple(tensor.detach().view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Grad) -> tuple[Grad, ...]:
        given = _had_somewhere(grads, ctx.like)
        found = iter(_at_once(total, [g for g in given if g is not None]))
        return tuple(None if g is None else next(found) for g in given)

    @staticmethod
    def jvp(ctx: Any, *tangents: Grad) -> tuple[Grad, ...]:
        return tuple(None if t is None else t.view_as(t) for t in tangents)


class _Total(torch.autograd.Function):
    """x -> the sum of all x."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return summed(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        found: Tensor = _Spread.apply(grad)  # type: ignore[no-untyped-call]
        return found

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return summed(tangent)


def _had_somewhere(grads: Sequence[Grad], like: Sequence[Tensor]) -> list[Grad]:
    """Zeros in place of a gradient that other processes alone have.

    As of an expert that none of this process's examples ask for.
    """
    if len(grads) == 1:  # whose gradient was asked for
        return list(grads)
    counts = summed(torch.tensor([grad is not None for grad in grads], dtype=torch.int64)).tolist()
    return [
        torch.zeros_like(at_rest(one)) if grad is None and count else grad
        for grad, one, count in zip(grads, like, counts, strict=True)
    ]


def _at_once(add: Callable[[Tensor], Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Many small tensors added up in one message for each type."""
    found: dict[int, Tensor] = {}
    for kind in {tensor.dtype: None for tensor in tensors}:
        alike = [i for i, tensor in enumerate(tensors) if tensor.dtype == kind]
        flat = add(torch.cat([tensors[i].reshape(-1) for i in alike]))
        parts = flat.split([tensors[i].numel() for i in alike])
        found |= {i: part.view(tensors[i].shape) for i, part in zip(alike, parts, strict=True)}
    return [found[i] for i in range(len(tensors))]


class _OfTheBatch(TorchFunctionMode):
    """Batch normalization by the statistics of the batch; draws for each example as in one process.

    What other functions draw, and draws within them, are not seen: `archgrad.preparing.rehearsal`
    looks.
    """

    def __init__(self, division: Division) -> None:
        super().__init__()
        self.division = division

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        options = options or {}
        if function is F.batch_norm:
            return _batch_norm(self.division, *arguments, **options)
        if self.division.axis or function not in DRAWS:  # language models draw by `drawn`
            return function(*arguments, **options)
        target, *rest = arguments or (options["input"],)
        options = {name: value for name, value in options.items() if name != "input"}
        found = self.division.drawn(lambda x: function(x, *rest, **options), target)
        if found is None:
            return function(target, *rest, **options)
        inplace = rest[2:3] == [True] or options.get("inplace", False)  # of all dropouts the fourth
        return target.copy_(found) if inplace or function in WITHIN else found


WITHIN = {
    torch.Tensor.bernoulli_, torch.Tensor.exponential_, torch.Tensor.normal_, torch.Tensor.uniform_
}  # fmt: skip
DRAWS = {
    *WITHIN, torch.bernoulli, torch.dropout, torch.rand_like, torch.randn_like, F.alpha_dropout,
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.feature_alpha_dropout, F.gumbel_softmax,
}  # fmt: skip


def _batch_norm(
    division: Division,
    input: Tensor,
    running_mean: Grad,
    running_var: Grad,
    weight: Grad = None,
    bias: Grad = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    x = input.to(full_type(input.dtype))
    var, mean = torch.var_mean(x, others(x), correction=0)
    mean, var = division.statistics([mean.double()], [var.double()])
    if running_mean is not None and running_var is not None:
        count = x.numel() // x.shape[1] // division.mine * division.examples
        with torch.no_grad():
            unbiased = at_rest(var) * (count / (count - 1))
            running_mean.lerp_(at_rest(mean).to(running_mean), momentum)
            running_var.lerp_(unbiased.to(running_var), momentum)
    output = (x - wide(mean, x).to(x.dtype)) * wide((var + eps).rsqrt(), x).to(x.dtype)
    return affine(output, weight, bias).to(input.dtype)

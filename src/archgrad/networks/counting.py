"""What the passes of a search cost: examples times multiply-adds, as whole numbers.

A forward pass costs the multiply-adds of what was computed, in convolutions and products of
matrices; with its backward pass three times that; within a second derivative, which carries a
tangent along or goes backward twice, twice as much again. The number follows from the network and
the examples alone: device, kernels, precision, CUDA graphs and recomputed cells do not change it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from archgrad.kernels import native
from archgrad.kernels.decoding import Decoded
from archgrad.networks.choice import Choice, Row, State, Summand, term
from archgrad.networks.network import Classifier
from archgrad.networks.operations import Zero
from archgrad.tensors.trees import cut, mapped, size, tensors

if TYPE_CHECKING:
    from archgrad.networks.supernet import Supernet

OF_MODULES = frozenset(vars(nn.Module()))  # what every module has, and no setting
Call = Callable[[Callable[..., Any], Any], Any]  # of a model with a batch
BACKWARD = 3  # a forward pass with its backward pass
SECOND = 2  # a second derivative, beside one gradient

_second: ContextVar[bool] = ContextVar("second", default=False)


@contextmanager
def second_derivative() -> Iterator[None]:
    """Passes within count as those of a second derivative."""
    token = _second.set(True)
    try:
        yield
    finally:
        _second.reset(token)


class Candidates(NamedTuple):
    """Multiply-adds of the candidates of one choice, for the counted examples.

    `alone`: of each; `beside`: what each adds to later ones that are computed with it, less
    than alone where they share layers; `inside`: the choices whose candidates hold this one, with
    the candidates that do.
    """

    alone: tuple[int, ...]
    beside: tuple[int, ...]
    inside: tuple[tuple[int, frozenset[int]], ...] = ()

    def of(self, computed: Sequence[int]) -> int:
        """Of these candidates, computed together."""
        if not computed:
            return 0
        last = max(computed)
        return self.alone[last] + sum(self.beside[i] for i in {*computed} - {last})


@dataclass(frozen=True)
class Count:
    """Multiply-adds of `examples` in a supernet: `fixed` outside all candidates, and theirs."""

    examples: int
    fixed: int
    choices: tuple[Candidates, ...]

    @cached_property
    def whole(self) -> int:
        """With every candidate of every choice."""
        return self.fixed + sum(c.of(range(len(c.alone))) for c in self.choices)

    def spent(self, rows: Sequence[Row], examples: int, backward: bool) -> int:
        """What a pass with these rows costs.

        Candidates that are computed without a graph have no backward pass.
        """
        graph, bare = self._computed(rows)
        passes = BACKWARD if backward else 1
        found = (passes * graph + bare) * examples // self.examples
        return SECOND * found if _second.get() else found

    def _computed(self, rows: Sequence[Row]) -> tuple[int, int]:
        """With a graph, and without."""
        if all(row.active is None for row in rows):
            return self.whole, 0
        active = [
            range(len(choice.alone)) if row.active is None else row.active
            for choice, row in zip(self.choices, rows, strict=True)
        ]
        graph, bare = self.fixed, 0
        for choice, row, some in zip(self.choices, rows, active, strict=True):
            reached = (
                not holding.isdisjoint((*active[outer], *rows[outer].watched))
                for outer, holding in choice.inside
            )
            if all(reached):
                graph += choice.of(some)
                bare += choice.of([i for i in row.watched if i not in some])
        return graph, bare


_NORMALIZATIONS = (
    torch.ops.aten.native_batch_norm.default,
    torch.ops.aten._native_batch_norm_legit_no_training.default,
)


class _Shapes(TorchDispatchMode):
    """Batch normalizations and ReLUs of tensors without values: the output's shape alone.

    PyTorch takes them apart, though nothing is to be counted in them: most of a count's time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.relu.default and args[0].is_meta:
            return torch.empty_like(args[0])
        if func in _NORMALIZATIONS and args[0].is_meta:
            return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
        return func(*args, **(kwargs or {}))


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Count what is computed meanwhile, without gradients."""
    with FlopCounterMode(display=False) as counter, _Shapes(), torch.no_grad():
        yield counter


_known: dict[Hashable, Count] = {}


def counted(net: Supernet, call: Call, batch: Any) -> Count:
    """What `_counted` says; once a process for supernets that are `known_as` the same."""
    key = net.known_as
    if key is None:
        return _counted(net, call, batch)
    if key not in _known:
        _known[key] = _counted(net, call, batch)
    return _known[key]


def name_of(space: Any, edges: Sequence[Any]) -> Hashable | None:
    """What a supernet of a space with these edge parts is known as; None where that can change."""
    if not getattr(getattr(space, "__dataclass_params__", None), "frozen", False):
        return None
    key = (space, tuple(edges))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _counted(net: Supernet, call: Call, batch: Any) -> Count:
    """Count one call of a supernet's model with a batch, each candidate by itself.

    A network of a named space is counted with two examples on the meta device, where nothing is
    computed; an own model with the whole batch, where it is. Weights, buffers and random numbers
    are as before.
    """
    model, slots, device = net.model, net.slots, net.device
    placed = {name: slots.buffer(name).clone() for name in slots.buffers}
    if isinstance(model, Classifier):
        named = (*model.named_parameters(), *model.named_buffers())
        placed = {name: torch.empty_like(tensor, device="meta") for name, tensor in named}
        batch = mapped(lambda t: torch.empty_like(t, device="meta"), cut(batch, 2))
    placed = slots.everywhere(placed)
    counter = _Counter(net.choices, known={} if isinstance(model, Classifier) else None)

    def run(*inputs: Any, **options: Any) -> Any:
        return functional_call(model, placed, inputs, options, tie_weights=False)

    devices = [device] if device.type == "cuda" else []
    with (
        torch.no_grad(),
        torch.random.fork_rng(devices),
        native.use("torch"),
        sdpa_kernel(SDPBackend.MATH),
        counter.intercepting(),
        counter.flops,
        _Shapes(),
    ):
        _decode(call(run, batch))
    total = counter.flops.get_total_flops() // 2
    found = (Candidates(*costs, inside) for costs, inside in zip(*counter.found(), strict=True))
    return Count(size(batch), total - counter.inside, tuple(found))


def _decode(output: Any) -> Any:
    """Logits of text, which only the loss computes, without their values."""
    if isinstance(output, Decoded):
        return Decoded(*(tensor.to("meta") for tensor in output)).logits
    return [_decode(one) for one in output] if isinstance(output, tuple) else None


class _Counter:
    """Counts candidates one by one where choices are met in a forward pass.

    `known`: those of tensors without values, which are computed once where they are alike.
    """

    def __init__(self, choices: Sequence[Choice], known: dict[object, Any] | None) -> None:
        self.choices, self.known, self.flops = choices, known, FlopCounterMode(display=False)
        self.alone = [[0] * len(choice.names) for choice in choices]
        self.beside = [[0] * len(choice.names) for choice in choices]
        self.inside = 0  # of all choices met so far
        self.keeping = True

    @contextmanager
    def intercepting(self) -> Iterator[None]:
        """Choices count in place of mixing; one candidate's output goes on."""
        for number, choice in enumerate(self.choices):
            vars(choice).update(self._in_place_of(number, choice))
            choice.mixing = Row(torch.empty(len(choice.names)))
        try:
            yield
        finally:
            for choice in self.choices:
                for name in ("mixture", "_terms"):
                    del vars(choice)[name]
                choice.mixing = None

    def _in_place_of(self, number: int, choice: Choice) -> dict[str, Callable[..., Any]]:
        def mixture(inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
            return self._met(number, choice, inputs, options)

        def terms(state: State) -> list[Summand]:
            return [term(self._met(number, choice, [state.x], {}))]

        return {"mixture": mixture, "_terms": terms}

    def _met(
        self, number: int, choice: Choice, inputs: Sequence[Any], options: Mapping[str, Any]
    ) -> Any:
        some = [i for i, c in enumerate(choice.candidates) if not isinstance(c, Zero)]
        last = some[-1] if some else len(choice.names) - 1
        shares = type(choice).outputs is not Choice.outputs
        output = None
        for index in some or [last]:
            # What is in all candidates that share layers is in the last one.
            with self._keeping(not shares or index == last):
                cost, output = self._of(choice, [index], inputs, options)
            more = cost
            if shares and index != last:
                with self._keeping(False):
                    more = self._of(choice, [index, last], inputs, options)[0]
                    more -= self._of(choice, [last], inputs, options)[0]
            if self.keeping:
                self.alone[number][index] += cost
                self.beside[number][index] += more
        return output

    @contextmanager
    def _keeping(self, keep: bool) -> Iterator[None]:
        """Whether choices inside keep what they count: each shall do so once."""
        before, self.keeping = self.keeping, self.keeping and keep
        try:
            yield
        finally:
            self.keeping = before

    def _of(
        self,
        choice: Choice,
        indices: Sequence[int],
        inputs: Sequence[Any],
        options: Mapping[str, Any],
    ) -> tuple[int, Any]:
        """Multiply-adds of some candidates, choices inside them left out; the last one's output."""
        key: object = None
        if self.known is not None:
            shapes = repr([tuple(t.shape) for t in tensors((inputs, options))])
            key = tuple(signature(choice.candidates[i]) for i in indices), shapes
            if key in self.known:
                found: tuple[int, Any] = self.known[key]
                return found
        before, inner = self.flops.get_total_flops() // 2, self.inside
        output = choice.outputs(indices, inputs, options)[-1]
        cost = self.flops.get_total_flops() // 2 - before
        own = cost - (self.inside - inner)
        self.inside = inner + cost
        if self.known is not None:
            self.known[key] = own, output
        return own, output

    def found(self) -> tuple[list[tuple[tuple[int, ...], tuple[int, ...]]], list[Any]]:
        """(alone, beside) of each choice, and the candidates that hold it."""
        costs = [
            (tuple(alone), tuple(beside))
            for alone, beside in zip(self.alone, self.beside, strict=True)
        ]
        return costs, [self._holding(choice) for choice in self.choices]

    def _holding(self, inner: Choice) -> tuple[tuple[int, frozenset[int]], ...]:
        found = []
        for number, outer in enumerate(self.choices):
            holding = frozenset(
                i
                for i, candidate in enumerate(outer.candidates)
                if any(module is inner for module in candidate.modules())
            )
            if holding and outer is not inner:
                found.append((number, holding))
        return tuple(found)


def signature(module: nn.Module) -> object:
    """Equal for modules that compute at equal cost: kinds, settings and shapes of all parts."""
    return tuple(
        (name, type(part), _settings(part), tuple(tuple(p.shape) for p in part.parameters(False)))
        for name, part in module.named_modules()
    )


def _settings(module: nn.Module) -> str:
    plain: Mapping[str, object] = vars(module)
    return repr([(name, plain[name]) for name in sorted(plain.keys() - OF_MODULES)])

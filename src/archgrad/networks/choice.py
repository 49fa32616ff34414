"""A place in a model with several candidate operations, and the slot for its mixing weights."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.kernels.branches import Branch, Raw, branches
from archgrad.kernels.weighted_sum import Term, weighted_sum
from archgrad.networks.candidates import Candidate, checked, made
from archgrad.networks.mixed import mixed, shapes
from archgrad.networks.operations import Branching, Zero
from archgrad.tensors.precision import full_type
from archgrad.tensors.trees import describe, mapped

Made = TypeVar("Made")
NONE = "none"  # the candidate that stands for no edge


@dataclass(frozen=True)
class Group:
    """Choices that are decided together, one row of alpha each.

    `edges` gives (source, node) of each row and `inputs` the number of the cell's inputs;
    `candidates` the operation names of each row, all rows of the same length;
    `edges_per_node` how many edges a derived node keeps (None: every edge); `keep_none`
    whether a derived edge may be `none`; `output` the nodes that form the output of a derived
    cell (None: every node); `picks` how many candidates a derived edge keeps.

    >>> import archgrad
    >>> normal, reduce = archgrad.space("darts-cnn", nodes=1).groups
    >>> normal.shape, normal.edges
    ((2, 8), ((0, 2), (1, 2)))
    >>> normal.candidates[0][:3]
    ('none', 'max_pool_3x3', 'avg_pool_3x3')
    """

    name: str
    inputs: int
    edges: tuple[tuple[int, int], ...]
    candidates: tuple[tuple[str, ...], ...]
    edges_per_node: int | None
    keep_none: bool = False
    output: tuple[int, ...] | None = None
    picks: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """(edges, operations), the shape of this group's alpha."""
        return len(self.candidates), len(self.candidates[0])

    def derivable(self, row: int) -> list[int]:
        """Which candidates of an edge may be derived: `none` only where the space keeps it."""
        return [i for i, name in enumerate(self.candidates[row]) if self.keep_none or name != NONE]


class Row(NamedTuple):
    """What one choice is run with.

    `weights`: (operations,); `edge`: a scalar that weighs the whole edge; `active`: the
    candidates that are computed (None: all); `watched`: candidates whose output is computed
    without a graph, so that only the gradient of their weight exists: exact where that weight is 0.
    """

    weights: Tensor
    edge: Tensor | None = None
    active: Sequence[int] | None = None
    watched: Sequence[int] = ()


class Edge(Protocol):
    """A part that changes how a choice is built; see `archgrad.parts.edge`."""

    @property
    def bypasses(self) -> bool:
        """Whether some of the input passes by the candidates: channels must be the same behind."""

    def width(self, channels: int) -> int:
        """Channels of what is inside, for an edge of this many."""

    def candidate(self, name: str, module: nn.Module) -> nn.Module:
        """The candidate, changed or not."""

    def around(self, channels: int, stride: int, dims: int) -> Around | None:
        """A module that stands around the mixed operation, or None; `dims`: 2 for images."""


class Around(nn.Module):
    """What stands around a mixed operation: what this sees of a state, and what becomes of it."""

    def inside(self, state: State) -> State:
        """What the mixed operation sees: this state, or one of `State.derived`."""
        return state

    def outside(self, state: State, terms: list[Summand]) -> list[Summand]:
        """What is added to a node in place of the mixed operation's `terms`."""
        return terms


class Parts(NamedTuple):
    """Tensors of which each is a sum of terms, to be joined to one.

    `join` is linear and is compared by equality: in a node the parts of all edges that are joined
    alike are summed first, and joined once.
    """

    join: Callable[[Sequence[Tensor]], Tensor]
    sums: tuple[list[Term], ...]


Summand = Term | Parts


def build(
    candidates: Callable[[str, int, int], nn.Module],
    group: Group,
    row: int,
    channels: int,
    stride: int,
    *,
    edges: Sequence[Edge] = (),
    outputs: int | None = None,
    dims: int = 2,
) -> Choice:
    """A choice of `group` made of `candidates(name, channels, stride)` and of edge parts.

    The first of `edges` is the innermost. `outputs`: channels behind the choice (None: as
    many as before it); parts that pass some of the input by are refused where they are others.
    `dims`: those of the tensors, 2 for images.
    """
    if outputs not in (None, channels):
        _refuse_bypasses(edges, group.name, channels, outputs)
    around: list[Around] = []
    width = channels
    for edge in reversed(edges):
        module = edge.around(width, stride, dims)
        around = around if module is None else [module, *around]
        width = edge.width(width)
    made = {name: candidates(name, width, stride) for name in group.candidates[row]}
    for edge in edges:
        made = {name: edge.candidate(name, module) for name, module in made.items()}
    return Choice(made, group.name, row, around)


def _refuse_bypasses(edges: Sequence[Edge], where: str, before: int, behind: int | None) -> None:
    for edge in edges:
        if edge.bypasses:
            raise ArchgradError(
                f"{where} leads from {before} to {behind} channels, and {type(edge).__name__} "
                "passes some of its input by the candidates, so it needs as many behind as "
                "before; use a method without it, or another space"
            )


class Choice(nn.Module):
    """The mixed operation: sum_o w_o o(x) over the candidates (arXiv:1806.09055, equation 2).

    A place in any model with several candidates by name: modules, or functions without arguments
    that return one. They are called with what the choice is called with, and return tensors of the
    same shapes, alone or in a tuple, a list or a dict. Choices of one `name` share one decision;
    without a name it is the place in the model. `row`: of the alpha of that name.

    >>> import archgrad
    >>> from torch import nn
    >>> block = {"linear": nn.Linear(4, 4), "skip": nn.Identity()}
    >>> model = nn.Sequential(archgrad.Choice(block, name="block"), nn.Linear(4, 2))
    >>> model[0].names
    ('linear', 'skip')

    Call a model with choices through `archgrad.search` or `archgrad.Supernet`: `mixing` is set
    before each forward pass and cleared after it. `around` is what stands around the mixed
    operation, from the inside out (partial channels, an auxiliary skip connection, drop path).
    Candidates of type `Zero` are not computed: they add nothing, and the gradient of their weight
    is exactly zero either way.

    Raises `ArchgradError` for candidates that are no modules and no functions that make one.
    """

    mixing: Row | None
    picks = 1  # how many candidates a derived choice keeps

    def __init__(
        self,
        candidates: Mapping[str, Candidate],
        name: str | None = None,
        row: int = 0,
        around: Iterable[Around] = (),
    ) -> None:
        super().__init__()
        self.names = checked(candidates)
        self.candidates = nn.ModuleList(made(n, c, name) for n, c in candidates.items())
        self.around = nn.ModuleList(around)
        self.group, self.row = name or "", row
        self.mixing = None

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The weighted sum of what the candidates return, each called with these arguments.

        `ArchgradError` without mixing weights, or with parts around it and anything but one tensor.
        """
        single = len(inputs) == 1 and isinstance(inputs[0], Tensor) and not options
        if single and (self.around or any(isinstance(c, Branching) for c in self.candidates)):
            return total(self.terms(State(inputs[0], [self])))
        if self.around:
            said = f"choice {self.group} has parts around it, and got {shapes([*inputs, options])}"
            raise ArchgradError(f"{said}; expected one tensor: call it so, or use another method")
        return self.mixture(inputs, options)

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import of_choice

        return of_choice(self)

    def chosen(self, names: Sequence[str]) -> nn.Module:
        """What stands in place of the choice once these candidates are chosen."""
        (name,) = names
        return self.candidates[self.names.index(name)]

    def restrict(self, names: Sequence[str]) -> None:
        """Offer these candidates alone."""
        self.candidates = nn.ModuleList(self.candidates[self.names.index(n)] for n in names)
        self.names = tuple(names)

    def mixture(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """The weighted sum of the outputs; `ArchgradError` where they differ or there are none."""
        weights, edge, active, watched = self.row_of_mixing()
        computed = list(range(len(self.names)) if active is None else active)
        indices = [i for i in computed if not isinstance(self.candidates[i], Zero)] or computed[:1]
        outputs = self.outputs(indices, inputs, options)
        if watched:
            more = [i for i in watched if i not in indices]
            with torch.no_grad():
                outputs = [*outputs, *self.outputs(more, inputs, options)]
            indices = [*indices, *more]
        if not outputs:
            raise ArchgradError(
                f"choice {self.group} is run without any of its candidates {list(self.names)}"
            )
        found = mixed([weights[i] for i in indices], outputs, lambda: self._said(indices, outputs))
        return found if edge is None else mapped(lambda tensor: edge * tensor, found)

    def outputs(
        self, indices: Sequence[int], inputs: Sequence[Any], options: Mapping[str, Any]
    ) -> list[Any]:
        """What these candidates return."""
        return [self._output(index, inputs, options) for index in indices]

    def _output(self, index: int, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        try:
            return self.candidates[index](*inputs, **options)
        except Exception as error:
            given = ", ".join(describe(value) for value in (*inputs, *options.values()))
            error.add_note(
                f"in choice {self.group}, candidate {self.names[index]}, called with {given}"
            )
            raise

    def _said(self, indices: Sequence[int], outputs: Sequence[Any]) -> str:
        found = (f"{self.names[i]}: {shapes(o)}" for i, o in zip(indices, outputs, strict=True))
        return f"choice {self.group} has candidates with the outputs {'; '.join(found)}"

    def terms(self, state: State) -> list[Summand]:
        """What the choice adds to a node, summand by summand."""
        states = self._states(state)
        terms: list[Summand] = [*self._terms(states[-1])]
        for module, outer in zip(self.around, reversed(states[:-1]), strict=True):
            terms = module.outside(outer, terms)  # type: ignore[operator]
        edge = self.row_of_mixing().edge
        return terms if edge is None else [_scaled(term, edge) for term in terms]

    def seen(self, state: State) -> State:
        """What the candidates see of a state that the choice goes into."""
        return self._states(state)[-1]

    def _states(self, state: State) -> list[State]:
        """The state, and what each module around, from the outside in, makes of it."""
        states = [state]
        for module in reversed(self.around):
            states.append(module.inside(states[-1]))  # type: ignore[operator]
        return states

    def branching(self) -> list[Branching]:
        """The candidates that are computed with a graph and share their first step."""
        active = self.row_of_mixing().active
        return [
            candidate
            for index, candidate in enumerate(self.candidates)
            if isinstance(candidate, Branching) and (active is None or index in active)
        ]

    def row_of_mixing(self) -> Row:  # what the choice is run with
        """What the choice is run with; `ArchgradError` where nothing has set it."""
        if self.mixing is None:
            raise ArchgradError(
                f"choice {self.group}[{self.row}] has no mixing weights; run the model through "
                "archgrad.Supernet, or derive a discrete network first"
            )
        return self.mixing

    def _terms(self, state: State) -> list[Term]:
        weights, _, active, watched = self.row_of_mixing()
        terms = []
        for index, (weight, operation) in enumerate(
            zip(weights.unbind(), self.candidates, strict=True)
        ):
            if isinstance(operation, Zero):
                continue
            if active is None or index in active:
                if isinstance(operation, Branching):
                    terms.append(Term(weight, operation.finish(state.raw(operation))))
                else:
                    terms.append(Term(weight, self._output(index, [state.x], {})))
            elif index in watched:
                with torch.no_grad():
                    output = self._output(index, [state.x], {})
                terms.append(Term(weight, output))
        return terms or [Term(weights.sum(), self._zero(state.x))]  # 0, still a function of alpha

    def _zero(self, x: Tensor) -> Tensor:
        """Zeros of the output's shape."""
        zero = next((c for c in self.candidates if isinstance(c, Zero)), None)
        if zero is not None:
            output: Tensor = zero(x)
            return output
        with torch.no_grad():
            output = self.candidates[0](x)
        return torch.zeros_like(output)


def total(terms: Sequence[Summand]) -> Tensor:
    """The sum of all that enters a node."""
    plain = [term for term in terms if isinstance(term, Term)]
    outputs = [weighted_sum(plain)] if plain else []
    joined: dict[Hashable, list[Parts]] = {}
    for term in terms:
        if isinstance(term, Parts):
            joined.setdefault(term.join, []).append(term)
    for alike in joined.values():
        sums = zip(*(parts.sums for parts in alike), strict=True)
        outputs.append(alike[0].join([weighted_sum([*chain(*terms)]) for terms in sums]))
    found: Tensor = sum(outputs[1:], start=outputs[0])
    return found


def term(value: Tensor, weight: float = 1.0) -> Term:
    """A tensor with a weight that is a number."""
    return Term(value.new_full((), weight, dtype=full_type(value.dtype)), value)


def _scaled(summand: Summand, factor: Tensor) -> Summand:
    if isinstance(summand, Term):
        return Term(factor * summand.weight, summand.value)
    sums = ([Term(factor * t.weight, t.value) for t in terms] for terms in summand.sums)
    return Parts(summand.join, tuple(sums))


class State:
    """A state of a cell, (B, C, ...), and the choices that it goes into.

    Their candidates' first steps are computed together, when the first of them is asked for. What
    is derived from a state refers to it weakly: a cycle would keep its tensors until the garbage
    collector comes.
    """

    def __init__(self, x: Tensor, choices: Sequence[Choice], root: State | None = None) -> None:
        self.x, self.choices = x, choices
        self._root = None if root is None else weakref.ref(root)
        self.found: dict[Hashable, Raw] = {}
        self.kept: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` returned when it was first asked for by this key."""
        if key not in self.kept:
            self.kept[key] = make()
        found: Made = self.kept[key]
        return found

    @property
    def root(self) -> State:
        """The state of the cell that this one was made of."""
        root = None if self._root is None else self._root()
        return self if root is None else root

    def derived(self, key: Hashable, make: Callable[[], Tensor]) -> State:
        """What modules around choices make of this state; the same for all with the same key."""
        return self.once(("state", key), lambda: State(make(), self.choices, self.root))

    def raw(self, candidate: Branching) -> Raw:
        """The first step of a candidate."""
        key, branch = candidate.branch()
        if key not in self.found:
            wanted: dict[Hashable, Branch] = {key: branch}
            for choice in self.choices:
                if choice.seen(self.root) is self:
                    wanted |= dict(c.branch() for c in choice.branching())
            self.found |= zip(wanted, branches(self.x, list(wanted.values())), strict=True)
        return self.found[key]

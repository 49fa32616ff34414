"""The architectures of any space as decisions: draws, probabilities and mutations of them.

An architecture decides for every node of every cell which of its sources it keeps, and for every
kept edge which of the offered operations it holds (`archgrad.networks.choice.Group`). Both are
decisions of one kind: so many of so many options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.spaces import SearchSpace

Option = TypeVar("Option")
Edges = Mapping[int, frozenset[str]]  # of a node: source -> the operations on the edge from it


@dataclass(frozen=True)
class Decision(Generic[Option]):
    """To keep `picks` of the `options`; their logits are numbered from `first` on."""

    first: int
    options: tuple[Option, ...]
    picks: int

    @property
    def end(self) -> int:
        """The number behind its last logit."""
        return self.first + len(self.options)

    @property
    def ways(self) -> int:
        """In how many ways it can be decided."""
        return math.comb(len(self.options), self.picks)

    def top(self, keys: Sequence[float]) -> tuple[int, ...]:
        """The places of the options with the largest keys, the largest first."""
        places = range(len(self.options))
        return tuple(sorted(places, key=lambda i: -keys[self.first + i])[: self.picks])

    def log_probability(self, logits: Tensor, places: Sequence[int]) -> Tensor:
        """Of drawing these places in this order without replacement; scalar."""
        left = list(range(self.first, self.end))
        total = logits.new_zeros(())
        for place in places:
            total = total + logits[self.first + place] - logits[left].logsumexp(0)
            left.remove(self.first + place)
        return total


Drawn = tuple[Decision[int] | Decision[str], tuple[int, ...]]  # and its places, in their order


class Node(NamedTuple):
    """What is decided about one node: its sources, and the operations on the edge from each."""

    sources: Decision[int]
    operations: Mapping[int, Decision[str]]

    @classmethod
    def of(cls, group: Group, node: int, first: int) -> Node:
        """Read from the rways of a group; its logits are numbered from `first` on."""
        rways = {edge[0]: row for row, edge in enumerate(group.edges) if edge[1] == node}
        keep = len(rways) if group.edges_per_node is None else group.edges_per_node
        sources = Decision(first, tuple(sorted(rways)), keep)
        operations, end = {}, sources.end
        for source in sources.options:
            names = group.candidates[rways[source]]
            offered = tuple(names[i] for i in group.derivable(rways[source]))
            operations[source] = Decision(end, offered, group.picks)
            end = operations[source].end
        return cls(sources, operations)

    @property
    def end(self) -> int:
        """The number behind its last logit."""
        return max(decision.end for decision in self.operations.values())

    @property
    def ways(self) -> int:
        """In how many ways a node can be decided."""
        each = [decision.ways for decision in self.operations.values()]
        return sum(math.prod(kept) for kept in combinations(each, self.sources.picks))

    def draw(self, keys: Sequence[float]) -> tuple[Edges, list[Drawn]]:
        """The node as the largest keys have it; operations are decided on kept edges alone."""
        kept = self.sources.top(keys)
        drawn: list[Drawn] = [(self.sources, kept)]
        edges = {}
        for source in (self.sources.options[place] for place in sorted(kept)):
            decision = self.operations[source]
            places = decision.top(keys)
            drawn.append((decision, places))
            edges[source] = frozenset(decision.options[place] for place in places)
        return edges, drawn

    def listed(self, edges: Edges) -> tuple[tuple[str, int], ...]:
        """As a cell lists them: by source, operations of one edge in the order of the space."""
        return tuple(
            (name, source)
            for source, decision in self.operations.items()
            for name in decision.options
            if name in edges.get(source, ())
        )

    def changes(self, edges: Edges) -> Branches[Edges]:
        """All that differs in one decision: edge -> operation or source -> result.

        A source changes to one that is not kept, and the edge keeps its operations where they are
        offered there; where not, it takes any that are.
        """
        return _open(
            _open([self._other_operations(edges, source), self._other_sources(edges, source)])
            for source in sorted(edges)
        )

    def _other_operations(self, edges: Edges, source: int) -> Branches[Edges]:
        names, options = edges[source], self.operations[source].options
        return _open(
            [{**edges, source: names - {old} | {new}} for new in options if new not in names]
            for old in sorted(names)
        )

    def _other_sources(self, edges: Edges, source: int) -> Branches[Edges]:
        names, rest = edges[source], {s: kept for s, kept in edges.items() if s != source}
        branches: Branches[Edges] = []
        for other in self.sources.options:
            if other in edges:
                continue
            decision = self.operations[other]
            if names <= set(decision.options):
                branches.append({**rest, other: names})
            else:
                sets = map(frozenset, combinations(decision.options, decision.picks))
                branches.append([{**rest, other: kept} for kept in sets])
        return branches


class Draw(NamedTuple):
    """A drawn architecture, and what was drawn for it, decision by decision."""

    architecture: Architecture
    drawn: tuple[Drawn, ...]


class Change(NamedTuple):
    """New edges of a node, which is number `node` of cell number `cell`."""

    cell: int
    node: int
    edges: Edges


@dataclass(frozen=True)
class Decisions:
    """All decisions of a space, node by node of each group.

    In an own model all choices are decided, also those inside a candidate that is not chosen: then
    architectures can differ and be the same network, as isomorphic cells of NAS-Bench-201 are.
    """

    space: str
    groups: tuple[Group, ...]
    nodes: tuple[tuple[Node, ...], ...]

    @classmethod
    def of(cls, space: SearchSpace) -> Decisions:
        """Read from the groups of a space."""
        first, cells = 0, []
        for group in space.groups:
            nodes: list[Node] = []
            for number in sorted({node for _, node in group.edges}):
                nodes.append(Node.of(group, number, first))
                first = nodes[-1].end
            cells.append(tuple(nodes))
        return cls(space.name, space.groups, tuple(cells))

    @property
    def size(self) -> int:
        """The number of logits of a policy: one for each option of each decision."""
        return self.nodes[-1][-1].end

    @property
    def count(self) -> int:
        """The number of architectures; isomorphic ones are counted apart."""
        return math.prod(node.ways for nodes in self.nodes for node in nodes)

    def draw(self, logits: Tensor, generator: torch.Generator) -> Draw:
        r"""An architecture from a policy of independent decisions with `logits`, (size,).

        .. math:: p(o) = softmax(logits)_o

        Where a decision keeps several, they are drawn one after the other without replacement, from
        the softmax over those that are left (the Plackett-Luce model), here as the largest of the
        logits with Gumbel noise (arXiv:1903.06059).

        Logits of 0 draw every architecture with the same probability, if all edges of a node offer
        equally many operations, as those of all spaces here do.
        """
        noise = torch.empty_like(logits).exponential_(generator=generator)
        keys = (logits.detach() - noise.log()).tolist()
        drawn: list[Drawn] = []
        cells = []
        for group, nodes in zip(self.groups, self.nodes, strict=True):
            listed = []
            for node in nodes:
                edges, more = node.draw(keys)
                listed.append(node.listed(edges))
                drawn += more
            cells.append(_cell(group, listed))
        return Draw(Architecture(space=self.space, cells=tuple(cells)), tuple(drawn))

    def log_probability(self, logits: Tensor, draw: Draw) -> Tensor:
        """The logarithm of the probability of a draw; a differentiable scalar.

        It is that of the order in which several of one decision were drawn: the gradient of its
        logarithm has the same mean as that of the set. A decision that keeps all is none.
        """
        terms = [
            decision.log_probability(logits, places)
            for decision, places in draw.drawn
            if decision.ways > 1
        ]
        return torch.stack([logits.new_zeros(()), *terms]).sum()

    def uniform(self, generator: torch.Generator) -> Architecture:
        """Any architecture, see `draw`."""
        return self.draw(torch.zeros(self.size, dtype=torch.float64), generator).architecture

    def different(self, generator: torch.Generator) -> Iterator[Architecture]:
        """Uniform draws, none twice, until the space has no other."""
        seen: set[Architecture] = set()
        count = self.count
        while len(seen) < count:
            found = self.uniform(generator)
            if found not in seen:
                seen.add(found)
                yield found

    def changes(self, architecture: Architecture) -> Branches[Change]:
        """The architectures that differ in one decision, as a tree: cell, node, edge, ...

        At each fork all branches are equally likely; see `Node.changes` for what follows an edge.
        """
        cells = {cell.name: cell for cell in architecture.cells}
        return _open(
            _open(
                _leaves(node.changes(_edges(listed)), partial(Change, at, place))
                for place, (node, listed) in enumerate(zip(nodes, cells[group.name].nodes))
            )
            for at, (group, nodes) in enumerate(zip(self.groups, self.nodes, strict=True))
        )

    def mutated(self, architecture: Architecture, generator: torch.Generator) -> Architecture:
        """One decision changed: a random cell, node and kept edge; half of the time the operation.

        The other half the source, to one that the node does not use yet; where it keeps all its
        sources always the operation. All uniform, among those where something can change. Exactly
        one decision changes, but for operations that the new source does not offer.
        """
        found: Change | Branches[Change] = self.changes(architecture)
        if not found:
            raise ArchgradError(
                f"space {self.space} has a single architecture, so none can be mutated; offer more "
                "than one candidate somewhere, or use another baseline"
            )
        while isinstance(found, list):
            found = found[int(torch.randint(len(found), (1,), generator=generator))]
        return self.changed(architecture, found)

    def changed(self, architecture: Architecture, change: Change) -> Architecture:
        """The architecture with this change."""
        group, node = self.groups[change.cell], self.nodes[change.cell][change.node]
        nodes = list(architecture.cell(group.name).nodes)
        nodes[change.node] = node.listed(change.edges)
        new = _cell(group, nodes)
        cells = tuple(new if cell.name == new.name else cell for cell in architecture.cells)
        return Architecture(space=self.space, cells=cells)


def _cell(group: Group, nodes: Sequence[tuple[tuple[str, int], ...]]) -> Cell:
    output = group.output or tuple(sorted({node for _, node in group.edges}))
    return Cell(name=group.name, inputs=group.inputs, nodes=tuple(nodes), output=output)


def _edges(listed: Iterable[tuple[str, int]]) -> Edges:
    edges: dict[int, frozenset[str]] = {}
    for name, source in listed:
        edges[source] = edges.get(source, frozenset()) | {name}
    return edges


# --- trees of equally likely branches -------------------------------------------------------------

Leaf = TypeVar("Leaf")
Other = TypeVar("Other")
Branches = list["Leaf | Branches[Leaf]"]


def _open(branches: Iterable[Branches[Leaf]]) -> Branches[Leaf]:
    """Those that lead anywhere."""
    return [branch for branch in branches if branch]


def _leaves(tree: Branches[Leaf], make: Callable[[Leaf], Other]) -> Branches[Other]:
    return [_leaves(b, make) if isinstance(b, list) else make(b) for b in tree]

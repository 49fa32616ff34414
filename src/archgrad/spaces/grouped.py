"""What spaces share whose edges offer operations by name: fewer candidates, and the checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Self

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError, unknown
from archgrad.networks.choice import NONE, Group

Edges = tuple[tuple[str, ...], ...]  # for each edge of a group the names of its candidates


class Grouped(ABC):
    """A space whose groups list the candidates edge by edge; its subclasses are frozen dataclasses.

    `candidates`: for each group and each of its edges, node by node, the operations to choose
    from (None: those of the space on every edge). All edges of a group offer as many.
    """

    name: str
    candidates: tuple[Edges, ...] | None

    @property
    @abstractmethod
    def group_names(self) -> tuple[str, ...]:
        """The names of the groups, in order."""

    @property
    @abstractmethod
    def groups(self) -> tuple[Group, ...]:
        """The groups of choices, one cell of the architecture each."""

    @property
    @abstractmethod
    def known(self) -> Collection[str]:
        """The operations that can stand on an edge."""

    def _check_groups(self) -> None:
        if self.candidates is not None and len(self.candidates) != len(self.group_names):
            raise ArchgradError(
                f"space {self.name}: found candidates for {len(self.candidates)} groups, expected "
                f"one entry for each of {', '.join(self.group_names)}"
            )
        for group in self.groups:
            self._check_candidates(group)

    def _check_candidates(self, group: Group) -> None:
        where = f"space {self.name}, group {group.name}"
        if len(group.candidates) != len(group.edges):
            raise ArchgradError(
                f"{where}: found candidates for {len(group.candidates)} edges, expected "
                f"{len(group.edges)}, one entry an edge"
            )
        for edge, names in zip(group.edges, group.candidates, strict=True):
            for name in names:
                if name not in self.known:
                    raise unknown(f"operation of space {self.name}", name, self.known)
            if len(set(names)) < len(names) or not set(self._derivable(group, names)):
                wanted = "at least one" + ("" if group.keep_none else " of them not none")
                raise ArchgradError(
                    f"{where}: edge {edge[0]} to {edge[1]} offers {list(names)}; expected "
                    f"different operations, {wanted}"
                )
        counts = {len(names) for names in group.candidates}
        if len(counts) > 1:
            raise ArchgradError(
                f"{where}: edges offer {min(counts)} to {max(counts)} operations; expected the "
                "same number on each"
            )

    def restricted(self, candidates: Mapping[str, Sequence[Iterable[str]]]) -> Self:
        """The same space with fewer candidates: group name -> operations of each edge.

        Every edge keeps a part of its present operations; a group that is not named keeps all.
        """
        present = {group.name: group for group in self.groups}
        for name in candidates:
            if name not in present:
                raise unknown(f"group of space {self.name}", name, present)
        kept = {
            name: tuple(tuple(row) for row in candidates.get(name, group.candidates))
            for name, group in present.items()
        }
        found: Self = replace(self, candidates=tuple(kept.values()))  # type: ignore[type-var]
        for group in present.values():
            for edge, old, new in zip(group.edges, group.candidates, kept[group.name], strict=True):
                for name in new:
                    if name not in old:
                        raise ArchgradError(
                            f"space {self.name}, group {group.name}: edge {edge[0]} to {edge[1]} "
                            f"cannot be restricted to {name}; it offers {', '.join(old)}"
                        )
        return found

    def without(self, operations: Collection[str]) -> Self:
        """The same space without these operations on any edge; absent ones are ignored."""
        return self.restricted(
            {
                group.name: [
                    [name for name in names if name not in operations] for names in group.candidates
                ]
                for group in self.groups
            }
        )

    def offered(self, group: Group, source: int, node: int) -> tuple[str, ...]:
        """What a derived edge may hold; nothing where the space has no such edge."""
        rows = dict(zip(group.edges, group.candidates, strict=True))
        return self._derivable(group, rows.get((source, node), ()))

    @staticmethod
    def _derivable(group: Group, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if group.keep_none or name != NONE)

    def validate(self, architecture: Architecture) -> None:
        """Refuse an architecture that this space cannot build."""
        groups = {group.name: group for group in self.groups}
        names = {cell.name for cell in architecture.cells}
        if architecture.space != self.name or names != set(groups):
            raise ArchgradError(
                f"architecture of space {architecture.space} with cells {sorted(names)} does not "
                f"fit space {self.name}; expected that space and as cells {' and '.join(groups)}"
            )
        for cell in architecture.cells:
            group = groups[cell.name]
            if cell.inputs != group.inputs:
                raise ArchgradError(
                    f"cell {cell.name} has {cell.inputs} inputs, space {self.name} has "
                    f"{group.inputs}"
                )
            self._validate_nodes(group, cell)
            for node, edges in enumerate(cell.nodes, start=cell.inputs):
                for operation, source in edges:
                    known = self.offered(group, source, node)
                    if operation not in known:
                        raise ArchgradError(
                            f'cell {cell.name}: operation "{operation}" cannot be built on the '
                            f"edge {source} to {node} of space {self.name}; known: "
                            f"{', '.join(known) or 'none, there is no such edge'}"
                        )

    @abstractmethod
    def _validate_nodes(self, group: Group, cell: Cell) -> None:
        """Refuse a cell whose nodes and output this space cannot build."""

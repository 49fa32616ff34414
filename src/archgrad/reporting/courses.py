"""What the edges that a search kept counted for, from its first epoch to its last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from archgrad.networks.choice import Group
    from archgrad.searching.result import SearchResult


class Course(NamedTuple):
    """The strength of one edge of the found architecture after each of these `epochs`.

    nan where a stage did not offer the operation.
    """

    cell: str
    operation: str
    source: int
    node: int
    epochs: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What a drawing calls the edge."""
        return self.cell, self.operation, self.source, self.node


def courses(result: SearchResult) -> list[Course]:
    """Those of all edges, in the order of the cells; none of a baseline."""
    lines = [line for line in result.replay if "strength" in line]  # older ones have none
    if not lines:
        return []
    from archgrad.parts.method import Method
    from archgrad.searching.groups import Groups

    assert isinstance(result.method, Method)
    groups = {group.name: group for group in Groups.of(result.space, result.method).groups}
    epochs = tuple(int(line["epoch"]) for line in lines)
    return [
        Course(cell.name, name, source, node, epochs, tuple(
            _strength(line, groups[cell.name], name, (source, node)) for line in lines
        ))
        for cell in result.architecture.cells
        for node, edges in enumerate(cell.nodes, start=cell.inputs)
        for name, source in edges
    ]  # fmt: skip


def _strength(
    line: Mapping[str, Any], group: Group, operation: str, edge: tuple[int, int]
) -> float:
    row = group.edges.index(edge)
    names = list(line.get("candidates", {}).get(group.name, group.candidates)[row])
    if operation not in names:
        return math.nan
    return float(line["strength"][group.name][row][names.index(operation)])


def strengths(result: SearchResult) -> dict[tuple[str, str, int, int], float]:
    """That of every edge where the architecture was derived; empty of a baseline."""
    cells = result.architecture.model_dump(mode="json")["cells"]
    lines = [line for line in result.replay if "strength" in line]
    derived = [index for index, line in enumerate(lines) if line.get("cells") == cells]
    at = derived[-1] if derived else -1
    found = {course.key: course.values[at] for course in courses(result)}
    return {key: value for key, value in found.items() if math.isfinite(value)}

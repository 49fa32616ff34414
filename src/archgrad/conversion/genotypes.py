"""The fields of a `Genotype` of others to an architecture, and an architecture to that text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from archgrad.architecture import RECURRENT, Architecture, Cell
from archgrad.errors import ArchgradError, explain, shown
from archgrad.networks.choice import NONE
from archgrad.spaces import darts_rnn, space

CNN, INPUTS, MOST = "darts-cnn", 2, 100  # MOST: nodes of a cell
NASLIB_CONCAT, NASLIB_NODES = {"normal": (2, 3, 4, 5, 6), "reduce": (4, 5, 6)}, 4

Edges = Sequence[tuple[str, int]]


def architecture(fields: Any, of_space: str = CNN, naslib: bool = False) -> Architecture:
    """The architecture of `normal`, `normal_concat`, `reduce`, `reduce_concat`.

    Or of `recurrent` and `concat`. `of_space`: the space of convolutional cells; `naslib`:
    take NASLib's concat, which names nodes that its cells do not have, as all nodes.
    """
    if not isinstance(fields, Mapping):
        raise ArchgradError(f"found {shown(fields)}, expected the fields of a Genotype")
    given = {name for name, entry in fields.items() if entry is not None}
    if given == {RECURRENT, "concat"}:
        return checked(darts_rnn.NAME, [_cell(RECURRENT, 1, fields[RECURRENT], fields["concat"])])
    if given != {"normal", "normal_concat", "reduce", "reduce_concat"}:
        raise ArchgradError(
            f"found the fields {', '.join(sorted(map(shown, given))) or 'none'}, expected normal, "
            "normal_concat, reduce and reduce_concat, or recurrent and concat; a space with one "
            "of these cells alone cannot be built here"
        )
    found = []
    for name in ("normal", "reduce"):
        concat = fields[f"{name}_concat"]
        if naslib and _numbers(concat, name) == NASLIB_CONCAT[name]:
            concat = range(INPUTS, INPUTS + NASLIB_NODES)
        found.append(_cell(name, INPUTS, fields[name], concat))
    return checked(of_space, found)


def _cell(name: str, inputs: int, entries: Any, concat: Any) -> Cell:
    output = _numbers(concat, f"{name}_concat")
    return cell(name, inputs, _nodes(entries, name, inputs, max(output, default=0)), output)


def _nodes(entries: Any, name: str, inputs: int, least: int) -> list[Edges]:
    """The edges of each node; an entry may be (operation, source), with a weight after it.

    Pairs stand two a node (one in a recurrent cell), or are grouped node by node; entries
    (operation, node, source), as FairDARTS writes them, say the node themselves: to node `least`.
    """
    items = _listed(entries, name)
    if items and all(_grouped(item) for item in items):
        return [[_edge(entry, name) for entry in _listed(item, name)] for item in items]
    if items and all(_placed(item) for item in items):
        for _, node, _ in items:
            if not inputs <= node < MOST:
                raise ArchgradError(f"{name}: found node {node}, expected {inputs} to {MOST - 1}")
        last = max(least, *(node for _, node, _ in items))
        return [[(e[0], e[2]) for e in items if e[1] == n] for n in range(inputs, last + 1)]
    edges, each = [_edge(entry, name) for entry in items], min(inputs, 2)
    if len(edges) % each:
        raise ArchgradError(
            f"{name}: found {len(edges)} edges, expected two for each node; say the nodes, as "
            "(operation, node, source)"
        )
    return [edges[at : at + each] for at in range(0, len(edges), each)]


def cell(name: str, inputs: int, nodes: Sequence[Edges], concat: Sequence[int]) -> Cell:
    """A cell without the operation none: what has no other edge is left out of the output.

    For none gives zeros, which add nothing.
    """
    last = inputs + len(nodes) - 1
    if max(concat, default=0) > last:
        raise ArchgradError(
            f"cell {name}: the output names node {max(concat)}, and there are the nodes {inputs} "
            f"to {last}; if NASLib wrote it, say so with --from naslib, which takes all nodes as "
            "its networks do; else correct it"
        )
    kept = [tuple((op, source) for op, source in edges if op != NONE) for edges in nodes]
    empty = {node for node, edges in enumerate(kept, start=inputs) if not edges}
    output = tuple(node for node in concat if node not in empty)
    try:
        return Cell(name=name, inputs=inputs, nodes=tuple(kept), output=output)
    except ValidationError as error:
        raise ArchgradError(f"cell {name}: {explain(error).removeprefix('file: ')}") from None


def checked(of_space: str, cells: Sequence[Cell]) -> Architecture:
    """The architecture, which the space can build."""
    found = Architecture(space=of_space, cells=tuple(cells))
    space(of_space).validate(found)
    return found


def text(found: Architecture) -> str:
    """`Genotype(...)` as DARTS prints it; nodes that have not two edges as FairDARTS does.

    >>> from archgrad import published
    >>> text(published("DARTS_RNN_V1"))[:52]
    "Genotype(recurrent=[('relu', 0), ('relu', 1), ('tanh"
    """
    names = {each.name for each in found.cells}
    if names == {RECURRENT}:
        recurrent = found.cell(RECURRENT)
        if {len(edges) for edges in recurrent.nodes} != {1}:
            raise ArchgradError(
                "the recurrent cell has nodes without an edge, which a Genotype cannot say; keep "
                "it in the form archgrad"
            )
        edges = [edge for (edge,) in recurrent.nodes]
        return f"Genotype(recurrent={edges}, concat={_concat(recurrent.output)})"
    if names != {"normal", "reduce"}:
        raise ArchgradError(
            f"found cells {', '.join(sorted(names))} of space {found.space}, expected normal and "
            "reduce, or recurrent; a Genotype has no others, so keep the form archgrad"
        )
    placed = any(len(edges) != 2 for each in found.cells for edges in each.nodes)
    fields = (_fields(found.cell(name), placed) for name in ("normal", "reduce"))
    return f"Genotype({', '.join(fields)})"


def _fields(one: Cell, placed: bool) -> str:
    nodes = list(enumerate(one.nodes, start=one.inputs))
    entries: list[tuple[Any, ...]] = [edge for _, edges in nodes for edge in edges]
    if placed:
        entries = [(name, node, source) for node, edges in nodes for name, source in edges]
    empty = {node for node, edges in nodes if not edges}
    concat = _concat(sorted({*one.output, *empty}))
    return f"{one.name}={entries}, {one.name}_concat={concat}"


def _concat(nodes: Sequence[int]) -> str:
    whole = range(nodes[0], nodes[-1] + 1)
    return str(whole) if len(nodes) > 1 and tuple(nodes) == tuple(whole) else str(list(nodes))


def _listed(entries: Any, name: str) -> list[Any]:
    if not isinstance(entries, list | tuple) or len(entries) > 2 * MOST:
        raise ArchgradError(f"{name}: found {shown(entries)}, expected a list of edges")
    return list(entries)


def _grouped(item: Any) -> bool:
    """Whether an item holds the edges of a node."""
    return isinstance(item, list | tuple) and all(isinstance(e, list | tuple) for e in item)


def _placed(item: Any) -> bool:
    """Whether an item is (operation, node, source)."""
    return (
        isinstance(item, list | tuple)
        and len(item) == 3
        and isinstance(item[0], str)
        and all(type(number) is int for number in item[1:])
    )


def _edge(entry: Any, name: str) -> tuple[str, int]:
    match entry:
        case [str(operation), int(source)] | [str(operation), int(source), float()]:
            if type(source) is int:
                return operation, source
    raise ArchgradError(f"{name}: found {shown(entry)}, expected an edge as ('sep_conv_3x3', 0)")


def _numbers(found: Any, name: str) -> tuple[int, ...]:
    if not isinstance(found, list | tuple | range):
        raise ArchgradError(f"{name}: found {shown(found)}, expected node numbers as [2, 3, 4, 5]")
    numbers = tuple(found)
    if not all(type(number) is int and 0 <= number < MOST for number in numbers):
        raise ArchgradError(f"{name}: found {shown(found)}, expected numbers below {MOST}")
    return numbers

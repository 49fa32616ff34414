"""Architectures that others write as objects with a key for each choice: NNI, NASLib, NB301."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from archgrad.architecture import Architecture
from archgrad.conversion.genotypes import CNN, INPUTS, MOST, Edges, cell, checked
from archgrad.errors import ArchgradError, shown, unknown
from archgrad.spaces.nas_bench_201 import EDGES, NODES, from_string

NNI_OLD = {
    "maxpool": "max_pool_3x3", "avgpool": "avg_pool_3x3", "skipconnect": "skip_connect",
    "sepconv3x3": "sep_conv_3x3", "sepconv5x5": "sep_conv_5x5",
    "dilconv3x3": "dil_conv_3x3", "dilconv5x5": "dil_conv_5x5",
}  # fmt: skip
NNI_NAS_BENCH_201 = {"conv_1x1": "nor_conv_1x1", "conv_3x3": "nor_conv_3x3"}
NASLIB_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
NASLIB_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
ALL, LOOSE_ENDS = 4, 5  # nodes of NNI's space DARTS, and of NASNet, ENAS, AmoebaNet and PNAS
_NEW = re.compile(r"(?:.*/)?(normal|reduce)/(op|input)_(\d{1,2})_(\d)", re.DOTALL)
_OLD = re.compile(r"(normal|reduce)_n(\d{1,2})_(?:p(\d{1,2})|switch)")
_NAS_BENCH_201 = re.compile(r"(?:.*?)(?:/|__)([0-3])_([0-3])", re.DOTALL)
_NAS_BENCH_301 = re.compile(r"(?:.*:)?edge_(normal|reduce)_(\d{1,2})", re.DOTALL)

Choices = Mapping[str, Any]
Found = dict[str, dict[int, list[tuple[str, int]]]]  # cell -> node -> edges


def nni(choices: Choices) -> Architecture | None:
    """The architecture of what NNI exports, None where the keys are no cells of its spaces.

    `normal/op_2_0` with `normal/input_2_0` as NNI 2 and 3 write them, `normal_n2_p0` with
    `normal_n2_switch` as the example of NNI 1, `cell/0_1` of NAS-Bench-201.
    """
    if any(_NEW.fullmatch(key) for key in choices):
        return _cells(_new(choices), loose_ends=True)
    if any(_OLD.fullmatch(key) for key in choices):
        return _cells(_old(choices))
    places = {key: _NAS_BENCH_201.fullmatch(key) for key in choices}
    found = {(int(m[1]), int(m[2])): choices[key] for key, m in places.items() if m}
    if set(found) != set(EDGES):
        return None
    names = {place: str(_only(choice)) for place, choice in found.items()}
    return nas_bench_201({p: NNI_NAS_BENCH_201.get(name, name) for p, name in names.items()})


def nas_bench_301(choices: Choices) -> Architecture | None:
    """The architecture of a configuration of NAS-Bench-301, which NASLib calls config."""
    matches = {key: _NAS_BENCH_301.fullmatch(key) for key in choices}
    edges = [(m[1], int(m[2]), choices[key]) for key, m in matches.items() if m]
    if not edges:
        return None
    found: Found = {}
    for name, number, operation in sorted(edges, key=lambda edge: edge[:2]):
        node, source = _place(number)
        found.setdefault(name, {}).setdefault(node, []).append((str(operation), source))
    return _cells(found)


def op_indices(numbers: Any) -> Architecture:
    """The cell of NAS-Bench-201 of NASLib's six numbers."""
    listed = isinstance(numbers, list | tuple) and len(numbers) == 6
    if not listed or not all(type(number) is int and 0 <= number < 5 for number in numbers):
        raise ArchgradError(
            f"found {shown(numbers)}, expected six numbers from 0 to 4, NASLib's op_indices"
        )
    names = (NASLIB_OPERATIONS[number] for number in numbers)
    return nas_bench_201(dict(zip(NASLIB_EDGES, names, strict=True)))


def nas_bench_201(names: Mapping[tuple[int, int], str]) -> Architecture:
    """The cell with these operations on the edges (source, node)."""
    parts = (
        "".join(f"|{names[source, node]}~{source}" for source in range(node)) for node in NODES
    )
    return from_string("+".join(f"{part}|" for part in parts))


def _new(choices: Choices) -> Found:
    found: Found = {}
    matches = [match for key in choices if (match := _NEW.fullmatch(key))]
    keys = {match.group(1, 2, 3, 4): match[0] for match in matches}
    if len(keys) < len(matches):
        raise ArchgradError("found choices of several models, expected one; export it alone")
    for name, kind, node, slot in sorted(keys, key=lambda k: (k[0], int(k[2]), k[3])):
        if kind == "op":
            if (name, "input", node, slot) not in keys:
                raise ArchgradError(
                    f"found {name}/op_{node}_{slot} without {name}/input_{node}_{slot}; expected "
                    "both, so export the whole architecture"
                )
            operation = _only(choices[keys[name, "op", node, slot]])
            source = _only(choices[keys[name, "input", node, slot]])
            edge = _edge(name, int(node), operation, source)
            found.setdefault(name, {}).setdefault(int(node), []).append(edge)
    return found


def _old(choices: Choices) -> Found:
    found: Found = {}
    for key, choice in choices.items():
        match = _OLD.fullmatch(key)
        if match and match[3] is None:
            name, node = match[1], int(match[2])
            for chosen in _chosen(choice, key):
                operation = choices.get(f"{name}_n{node}_p{chosen}")
                if type(operation) is int and 0 <= operation < len(NNI_OLD):
                    operation = list(NNI_OLD)[operation]
                operation = _only(operation)
                if not isinstance(operation, str) or operation not in NNI_OLD:
                    raise unknown(
                        f"operation of {name}_n{node}_p{chosen}", shown(operation), NNI_OLD
                    )
                edge = _edge(name, node, NNI_OLD[operation], chosen)
                found.setdefault(name, {}).setdefault(node, []).append(edge)
    return found


def _chosen(switch: Any, key: str) -> Iterator[int]:
    """The inputs that a switch lets in: their numbers, or the keys of their operations."""
    for entry in switch if isinstance(switch, list | tuple) else [switch]:
        number = re.fullmatch(r".*_p(\d{1,2})", entry) if isinstance(entry, str) else None
        if number is None and type(entry) is not int:
            raise ArchgradError(f"{key}: found {shown(switch)}, expected the inputs it lets in")
        yield int(number[1]) if number else entry


def _only(choice: Any) -> Any:
    """The one entry of a list, or the value itself."""
    return choice[0] if isinstance(choice, list | tuple) and len(choice) == 1 else choice


def _edge(name: str, node: int, operation: Any, source: Any) -> tuple[str, int]:
    if not isinstance(operation, str) or type(source) is not int or not 0 <= source < node:
        raise ArchgradError(
            f"{name}, node {node}: found {shown(operation)} from {shown(source)}, expected an "
            f"operation's name and a number from 0 to {node - 1}"
        )
    return operation, source


def _cells(found: Found, loose_ends: bool = False) -> Architecture:
    """`loose_ends`: cells of five nodes give out those that no other takes."""
    if set(found) != {"normal", "reduce"}:
        raise ArchgradError(
            f"found choices of {', '.join(sorted(found)) or 'no cell'}, expected those of a "
            "normal and a reduce cell; export the whole architecture"
        )
    cells = []
    for name in ("normal", "reduce"):
        nodes: list[Edges] = [found[name].get(n, ()) for n in range(INPUTS, max(found[name]) + 1)]
        concat: Iterable[int] = range(INPUTS, INPUTS + len(nodes))
        if loose_ends:
            if len(nodes) not in (ALL, LOOSE_ENDS):
                raise ArchgradError(
                    f"cell {name}: found {len(nodes)} nodes, expected {ALL} as NNI's space DARTS "
                    f"or {LOOSE_ENDS} as NASNet, ENAS, AmoebaNet and PNAS; of another space it is "
                    "not known what the cell gives out, so write it as a Genotype"
                )
            taken = {source for edges in nodes for _, source in edges}
            concat = [n for n in concat if len(nodes) == ALL or n not in taken]
        cells.append(cell(name, INPUTS, nodes, list(concat)))
    return checked(CNN, cells)


def _place(number: int) -> tuple[int, int]:
    """Node and source of an edge, which are numbered node by node."""
    for node in count(INPUTS):
        if number < node:
            return node, number
        number -= node
    raise AssertionError(MOST)

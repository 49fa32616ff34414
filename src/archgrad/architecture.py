"""The discrete result of a search: frozen, validated, hashable, JSON with a format version."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from archgrad import untrusted
from archgrad.errors import ArchgradError, explain, printable, unknown
from archgrad.settings.config import OWN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 2**24  # bytes of a file
RECURRENT = "recurrent"  # the cell whose input 0 is made of an input and its own last output


class Cell(BaseModel):
    """A cell: for each intermediate node the edges that enter it, as (operation, source).

    Sources count the cell's inputs first (0 and 1 in the DARTS space), then the intermediate nodes.
    `name`: of the cell in its architecture; `inputs`: how many it has; `nodes`: the edges, node by
    node; `output`: the nodes whose states form the cell's output, in ascending order. A source that
    is not before its node, an edge listed twice and an `output` that is no node are refused: by
    pydantic's ValidationError here, as an `ArchgradError` where `Architecture` reads a file.

    >>> from archgrad import Cell
    >>> cell = Cell(name="normal", inputs=1, nodes=((("skip_connect", 0),),), output=(1,))
    >>> cell.operations
    ('skip_connect',)
    >>> print(cell)
    normal  skip_connect<-0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    inputs: int = Field(ge=1)
    nodes: tuple[tuple[tuple[str, int], ...], ...] = Field(min_length=1)
    output: tuple[int, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for node, edges in enumerate(self.nodes, start=self.inputs):
            if len(set(edges)) != len(edges):
                raise ValueError(f"node {node} lists the same edge twice")
            for operation, source in edges:
                if not 0 <= source < node:
                    raise ValueError(
                        f"node {node} takes {operation} from source {source}; "
                        f"expected a source from 0 to {node - 1}"
                    )
        known = range(self.inputs, self.inputs + len(self.nodes))
        if list(self.output) != sorted(set(self.output)) or not set(self.output) <= set(known):
            raise ValueError(
                f"output {list(self.output)} is not an ascending selection of the intermediate "
                f"nodes {known.start} to {known.stop - 1}"
            )
        return self

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations of all edges, node by node."""
        return tuple(operation for edges in self.nodes for operation, _ in edges)

    def __str__(self) -> str:
        nodes = (" ".join(f"{op}<-{source}" for op, source in edges) for edges in self.nodes)
        return printable(f"{self.name:<7} " + " | ".join(nodes))

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import of_cell

        return of_cell(self)


class Architecture(BaseModel):
    """A discrete architecture ("genotype"): the cells of one search space.

    `space`: the name of the space, "own" of an own model; `cells`: with different names; `format`:
    of the JSON text. A value: frozen, hashable, equal where all cells are.

    >>> import archgrad
    >>> found = archgrad.published("DARTS_V2")
    >>> found.space, [cell.name for cell in found.cells]
    ('darts-cnn', ['normal', 'reduce'])
    >>> found.cell("reduce").nodes[0]
    (('max_pool_3x3', 0), ('max_pool_3x3', 1))
    >>> archgrad.Architecture.from_json(found.to_json()) == found
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["archgrad-architecture/1"] = "archgrad-architecture/1"
    space: str = Field(min_length=1)
    cells: tuple[Cell, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [cell.name for cell in self.cells]
        if len(set(names)) != len(names):
            raise ValueError(f"cells {names} do not have distinct names")
        return self

    def cell(self, name: str) -> Cell:
        """The cell called `name`; `ArchgradError` for an unknown one, with those that are known."""
        for cell in self.cells:
            if cell.name == name:
                return cell
        raise unknown("cell", name, (cell.name for cell in self.cells))

    @property
    def edges(self) -> Counter[tuple[str, str, int, int]]:
        """Every (cell, operation, source, node) with how often it is there.

        >>> import archgrad
        >>> archgrad.published("DARTS_V2").edges.total()
        16
        """
        return Counter(
            (cell.name, operation, source, node)
            for cell in self.cells
            for node, entering in enumerate(cell.nodes, start=cell.inputs)
            for operation, source in entering
        )

    def distance(self, other: Architecture) -> float:
        """The share of edges that differ, from 0 (the same edges) to 1 (none in common).

        1 - |common| / max(|edges|, |other's edges|), over all cells together, where an edge is its
        operation, source and node in the cell of a name. Nodes are compared by their place: two
        cells that are the same function with nodes in another order do differ. In NAS-Bench-201 it
        is the share of the six operations that differ. Raises `ArchgradError` for another space.

        >>> import archgrad
        >>> archgrad.published("DARTS_V1").distance(archgrad.published("DARTS_V2"))
        0.3125
        """
        if self.space != other.space:
            raise ArchgradError(
                f"found architectures of the spaces {self.space} and {other.space}; expected two "
                "of one space, as edges of different spaces have nothing to compare"
            )
        mine, theirs = self.edges, other.edges
        most = max(mine.total(), theirs.total())
        return 1 - (mine & theirs).total() / most if most else 0.0

    def plot(
        self, width: float = 6.75, strength: Mapping[tuple[str, str, int, int], float] | None = None
    ) -> Figure:
        """The cells as a figure for a paper, at most `width` inches wide; needs matplotlib.

        A page of two columns is 6.75 inches wide, a column 3.25. Text has 7 points where the cells
        fit, and less where they do not. `strength`: of edges, (cell, operation, source, node) ->
        a number, such as `result.strength`: lines are as wide. Raises `ArchgradError` where
        matplotlib is not installed. How to save it: docs/figures.md.
        """
        from archgrad.reporting.figures import of_architecture

        return of_architecture(self, width, strength)

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import of_architecture

        return of_architecture(self)

    def to_json(self) -> str:
        """Text that `from_json` reads back to an equal value."""
        cells = ",\n".join("    " + json.dumps(cell.model_dump(mode="json")) for cell in self.cells)
        return (
            f'{{\n  "format": {json.dumps(self.format)},\n  "space": {json.dumps(self.space)},\n'
            f'  "cells": [\n{cells}\n  ]\n}}\n'
        )

    @classmethod
    def from_json(cls, text: str, origin: str = "architecture") -> Architecture:
        """Read and validate text in the format of `to_json`.

        Raises `ArchgradError` that names `origin`, the field, what was found and what was expected.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ArchgradError(f"{origin}: {explain(error)}") from None

    @classmethod
    def load(cls, path: str | Path) -> Architecture:
        """Read a JSON file, such as the architecture.json of a run folder, of at most 16 MiB.

        Raises `ArchgradError` where it cannot be read or holds no architecture.

        >>> import archgrad
        >>> from pathlib import Path
        >>> size = Path("found.json").write_text(archgrad.published("PC_DARTS").to_json())
        >>> archgrad.Architecture.load("found.json") == archgrad.published("PC_DARTS")
        True
        """
        try:
            text = untrusted.text(path, LIMIT)
        except (OSError, UnicodeDecodeError) as error:
            raise ArchgradError(
                f"architecture file {path} cannot be read: {error}; expected a JSON file as "
                "written by archgrad search or derive"
            ) from None
        return cls.from_json(text, origin=str(path))

    def __str__(self) -> str:
        if self.space == OWN:
            lines = (f"{cell.name}: {', '.join(cell.operations)}" for cell in self.cells)
            return "\n".join(map(printable, lines))
        return "\n".join(str(cell) for cell in self.cells)


def _published() -> dict[str, Any]:
    text = resources.files("archgrad").joinpath("published.json").read_text(encoding="utf-8")
    entries: dict[str, Any] = json.loads(text)
    return entries


def published_names() -> Iterable[str]:
    """Names of the published architectures that come with the library."""
    return sorted(_published())


def published(name: str) -> Architecture:
    """A published architecture by `name`, such as "DARTS_V2"; its paper stands in published.json.

    Raises `ArchgradError` for an unknown name, with all that are known.

    >>> import archgrad
    >>> for edges in archgrad.published("DARTS_V2").cell("normal").nodes:
    ...     print(*edges)
    ('sep_conv_3x3', 0) ('sep_conv_3x3', 1)
    ('sep_conv_3x3', 0) ('sep_conv_3x3', 1)
    ('sep_conv_3x3', 1) ('skip_connect', 0)
    ('skip_connect', 0) ('dil_conv_3x3', 2)
    """
    entries = _published()
    if name not in entries:
        raise unknown("published architecture", name, entries)
    return Architecture.from_json(json.dumps(entries[name]["architecture"]), origin=name)


def resolve(reference: str | Path | Architecture) -> Architecture:
    """An architecture from a value, a published name, a JSON file or a run folder."""
    if isinstance(reference, Architecture):
        return reference
    if not isinstance(reference, str | Path):
        raise ArchgradError(
            f"found a {type(reference).__name__}, expected an architecture, a published name, a "
            ".json file or a run folder"
        )
    path = Path(reference)
    with suppress(OSError):  # a name that cannot be a path, such as a very long one
        if path.is_dir() and not (path / "architecture.json").is_file():
            raise ArchgradError(
                f"folder {path} holds no architecture.json; if it is an unfinished search, finish "
                f"it with archgrad search --resume {path}"
            )
        if path.is_dir():
            return Architecture.load(path / "architecture.json")
        if path.suffix == ".json" or path.is_file():
            return Architecture.load(path)
    try:
        return published(str(reference))
    except ArchgradError as error:
        raise ArchgradError(f"{error}; or give a .json file or a run folder") from None

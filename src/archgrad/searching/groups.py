"""The groups of a search, kept in its folder: what alpha stands for without the space itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from archgrad import untrusted
from archgrad.errors import explain
from archgrad.networks.choice import Group
from archgrad.parts.method import Method
from archgrad.searching.leg import offered
from archgrad.spaces import SearchSpace
from archgrad.storage.files import GROUPS, write
from archgrad.storage.folder import fitting

FORMAT = "archgrad-groups/1"


class Groups(NamedTuple):
    """The name of a space and its groups, without the candidates that the method leaves out."""

    space: str
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, space: SearchSpace, method: Method) -> Groups:
        """What a search of this space by this method decides."""
        return cls(space.name, offered(space, method).groups)

    @classmethod
    def load(cls, folder: Path) -> Groups:
        """What `keep` wrote."""
        with fitting(folder / GROUPS):
            kept = untrusted.mapping_of_json(folder / GROUPS)
            if kept["format"] != FORMAT:
                raise ValueError(f"format {kept['format']}, expected {FORMAT}")
            groups = _read(kept["groups"])
            if wrong := [group.name for group in groups if not _whole(group)]:
                raise ValueError(f"group {wrong[0]} has edges or candidates that fit no cell")
            return cls(str(kept["space"]), groups)

    def keep(self, folder: Path) -> None:
        """Write them to a run folder."""
        groups = ",\n".join(f"  {json.dumps(asdict(group))}" for group in self.groups)
        about = f'"format": {json.dumps(FORMAT)}, "space": {json.dumps(self.space)}'
        write(folder / GROUPS, f'{{{about}, "groups": [\n{groups}\n]}}\n')

    def at(self, line: Mapping[str, Any]) -> tuple[tuple[Group, ...], dict[str, Tensor]]:
        """The groups and alpha of a line of alphas.jsonl: a stage may offer fewer candidates."""
        rows = line.get("candidates") or {g.name: g.candidates for g in self.groups}
        groups = tuple(replace(g, candidates=_tuples(rows[g.name])) for g in self.groups)
        for group, whole in zip(groups, self.groups, strict=True):
            pairs = zip(group.candidates, whole.candidates, strict=True)
            if not all(set(some) <= set(every) for some, every in pairs):
                raise ValueError(f"group {group.name} has other candidates than the search")
        return groups, {name: torch.tensor(value) for name, value in line["alpha"].items()}


_GROUPS = TypeAdapter(tuple[Group, ...])


def _read(kept: Any) -> tuple[Group, ...]:
    try:
        return _GROUPS.validate_json(json.dumps(kept), strict=True)
    except ValidationError as error:
        raise ValueError(explain(error)) from None


def _whole(group: Group) -> bool:
    """Whether its numbers fit together, so that none is larger than the file."""
    rows = len(group.edges)
    nodes = all(0 <= source < node < group.inputs + rows for source, node in group.edges)
    offered = {len(names) for names in group.candidates}
    fits = len(group.candidates) == rows and len(offered) == 1 and 0 not in offered
    return nodes and fits and 0 < group.inputs <= rows + 1


def _tuples(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value

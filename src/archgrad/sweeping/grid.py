"""What varies in a sweep: names, values, the grid, and a random part of it. Imports no torch."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from archgrad.errors import ArchgradError, unknown
from archgrad.settings.config import FILLED_IN, RunConfig, SearchConfig, build
from archgrad.settings.data_config import DataConfig
from archgrad.settings.section import Section

HOMES: dict[str, type[Section]] = {"data": DataConfig, "search": SearchConfig}
OF_METHOD = "method_options."
LARGEST = 10_000  # trials
Sections = Mapping[str, Mapping[str, Any]]
Vary = Mapping[str, Sequence[Any]]


def parsed(texts: Iterable[str]) -> dict[str, list[str]]:
    """NAME=V1,V2,... texts, names as in config.yaml or as flags."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        each = [value.strip() for value in values.split(",")]
        if not (name and equals and all(each)):
            raise ArchgradError(f'--vary: found "{text}", expected NAME=VALUE,VALUE,...')
        if name in found:
            raise ArchgradError(f"--vary: found {name} twice; give all its values at once")
        found[name] = each
    return found


def trials(
    sections: Sections, vary: Vary, count: int | None, seed: Any, base: RunConfig | None = None
) -> list[RunConfig]:
    """A configuration for each point of the grid, or for `count` of them, drawn with `seed`.

    Drawn ones keep the order of the grid. Raises `ArchgradError` where an option cannot vary, or
    has a value that it cannot have: it names the option.
    """
    _check(sections, vary)
    size = 1
    for values in vary.values():
        size *= len(values)
    if count is not None and count > size:
        raise ArchgradError(f"found trials {count}, and the grid has {size}; ask for fewer")
    if (wanted := count or size) > LARGEST:
        raise ArchgradError(
            f"found {wanted} trials, expected at most {LARGEST}; vary less, or give trials"
        )
    chosen = (
        range(size) if count is None else sorted(random.Random(seed).sample(range(size), count))
    )
    return [_configured(sections, _point(vary, index), base) for index in chosen]


def value(config: RunConfig, name: str) -> Any:
    """What an option that varies is in a configuration."""
    assert config.search is not None
    if name.startswith(OF_METHOD):
        return config.search.method_options.get(name.removeprefix(OF_METHOD))
    return getattr(getattr(config, _home(name)), name)


def _check(sections: Sections, vary: Vary) -> None:
    if not vary:
        raise ArchgradError(
            "found nothing that varies; say what with vary, as --vary seed=0,1,2, or make one "
            "search with archgrad search"
        )
    for name, values in vary.items():
        home = _home(name)
        given = sections.get(home, {})
        if name in given or name.removeprefix(OF_METHOD) in given.get("method_options", {}):
            raise ArchgradError(f"found {name} among the options and in vary; leave one out")
        if isinstance(values, str) or not len(values):
            raise ArchgradError(f"vary: found {name} = {values!r}, expected a list of values")
        if len(set(map(str, values))) < len(values):
            raise ArchgradError(f"vary: found a value of {name} twice in {list(values)}")


def _home(name: str) -> str:
    """The section that an option is of."""
    if name.startswith(OF_METHOD):
        return "search"
    known = {
        field: home
        for home, section in HOMES.items()
        for field in section.model_fields
        if field not in (*FILLED_IN, "method_options", "device")
    }
    if name not in known:
        raise unknown("option to vary", name, [*known, f"{OF_METHOD}NAME"])
    return known[name]


def _point(vary: Vary, index: int) -> dict[str, Any]:
    """A point of the grid; the last option varies fastest."""
    found = {}
    for name in reversed(list(vary)):
        index, place = divmod(index, len(vary[name]))
        found[name] = vary[name][place]
    return {name: found[name] for name in vary}


def _configured(sections: Sections, point: Mapping[str, Any], base: RunConfig | None) -> RunConfig:
    values = {home: dict(sections.get(home, {})) for home in HOMES}
    for name, chosen in point.items():
        if name.startswith(OF_METHOD):
            option = {name.removeprefix(OF_METHOD): chosen}
            search = values["search"]
            search["method_options"] = {**search.get("method_options", {}), **option}
        else:
            values[_home(name)][name] = chosen
    return build(values, base)

"""From the arguments of a verb in Python to options, and to a search that can be checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from archgrad.architecture import Architecture, resolve
from archgrad.data.own import OwnData
from archgrad.errors import ArchgradError, unknown
from archgrad.parts.method import Method
from archgrad.preparing.prepared import Prepared, came_from_python, checked, prepare, section
from archgrad.searching.result import SearchResult
from archgrad.settings.config import OWN, RunConfig, SearchConfig
from archgrad.settings.data_config import DataConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.spaces.own import OwnModel
from archgrad.storage.folder import Run
from archgrad.task import Task

Sections = dict[str, type[DataConfig] | type[SearchConfig] | type[TrainConfig]]
SEARCH: Sections = {"data": DataConfig, "search": SearchConfig}
TRAIN: Sections = {"data": DataConfig, "train": TrainConfig}


OF_IMAGES = (
    "channels", "cells", "nodes", "edges_per_node", "stem", "recompute", "watch_fraction",
    "classes", *DataConfig.model_fields,
)  # fmt: skip


def beginning(
    space: str | SearchSpace | nn.Module | None,
    data: Any,
    options: dict[str, Any],
    own: dict[str, Any],
    train: Any,
    task: Task,
) -> tuple[Callable[[RunConfig], Prepared], dict[str, dict[str, Any]]]:
    """What makes a checked search of a configuration, and the options to build that of."""
    method = own["method"]
    if not isinstance(space, nn.Module):
        if train is not None or task != Task.of(None, None, None):
            raise ArchgradError(
                "train, loss, metric and forward go with an own model as the first argument; a "
                "named space classifies images, given as data="
            )
        return (
            partial(prepare, space=space, data=data, **own),
            sections_of(options, SEARCH, data, space, method),
        )
    given = {**options, "classes": own["classes"]}
    if wrong := [name for name in OF_IMAGES if given.get(name)]:
        raise ArchgradError(
            f"{', '.join(wrong)}: these go with a named space and its images; an own model has the "
            "size it has, and its data come as they are: leave them out"
        )
    model = OwnModel(space)
    learned = OwnData(_either(train, data), own["valid"], task)

    def ready(config: RunConfig) -> Prepared:
        found = section(config).space
        if found != OWN:
            raise ArchgradError(
                f"this run searched the space {found}, not an own model: leave the model out, or "
                "begin a new run"
            )
        return checked(config, learned, learned.augmentation, model, method)

    return ready, sections_of(options, SEARCH, learned, model, method)


def _either(train: Any, data: Any) -> Any:
    if (train is None) == (data is None):
        raise ArchgradError(
            "a search of an own model needs train=, the data that trains it: a tuple of arrays "
            "(x, y), a Dataset, or a loader; found "
            + ("neither train nor data" if train is None else "both train and data")
        )
    return data if train is None else train


def resumed(resume: str | Path, options: dict[str, Any], out: str | Path | None) -> Run:
    if options or out is not None:
        raise ArchgradError(
            f"a resumed run keeps its options; leave out {sorted(options) or 'out'}"
        )
    return Run.open(resume)


def sections_of(
    options: dict[str, Any],
    sections: Sections,
    data: Any = None,
    space: str | SearchSpace | None = None,
    method: str | Method | None = None,
) -> dict[str, dict[str, Any]]:
    """Options of a Python call, by the section whose field they are; values become "own"."""
    result: dict[str, dict[str, Any]] = {name: {} for name in sections}
    for option, value in options.items():
        home = next((n for n, s in sections.items() if option in s.model_fields), None)
        if home is None:
            known: Iterable[str] = (f for s in sections.values() for f in s.model_fields)
            raise unknown("option", option, known)
        result[home][option] = value
    for home, name, value in (
        ("data", "data", str(data) if isinstance(data, Path) else data),
        ("search", "space", space),
        ("search", "method", method),
    ):
        if value is not None:
            result[home][name] = value if isinstance(value, str) else OWN
    if not isinstance(space, str | None):
        result["data"].setdefault("dims", getattr(space, "dims", 2) or 2)  # 0: of text
    return result


def sections_with_training(
    options: dict[str, Any],
    data: Any = None,
    space: str | SearchSpace | None = None,
    method: str | Method | None = None,
) -> dict[str, dict[str, Any]]:
    """As `sections_of`, of a search and its retrainings, whose options have the prefix train_."""
    of_training = {
        name
        for name in options
        if name.startswith("train_") and name not in SearchConfig.model_fields
    }
    rest = {name: value for name, value in options.items() if name not in of_training}
    training = {name.removeprefix("train_"): options[name] for name in of_training}
    named = sections_of(training, {"train": TrainConfig})
    return {**sections_of(rest, SEARCH, data, space, method), **named}


def retrainable(what: str | Path | Architecture | SearchResult) -> Architecture:
    """The architecture of `what`, refused where it is of an own model."""
    architecture = what.architecture if isinstance(what, SearchResult) else resolve(what)
    if architecture.space == OWN:
        raise ArchgradError(
            "an architecture of an own model is not retrained here; train result.derive(), or "
            "archgrad.build(factory, architecture), with your own code"
        )
    return architecture


def data_of(what: str | Path | Architecture | SearchResult) -> dict[str, Any]:
    """The data options of the search that `what` is the result of; none for a bare cell."""
    if isinstance(what, SearchResult):
        if what.path is None:
            raise ArchgradError("this search has no run folder; say on which data to train")
        what = what.path
    if isinstance(what, Architecture):
        return {}
    folder = Path(what) if Path(what).is_dir() else Path(what).parent
    if folder == Path() or not (folder / "config.yaml").is_file():
        return {}
    config = Run.open(folder).config.data
    if config.data == OWN:
        raise came_from_python("data")
    return {"data": config.data, **config.model_dump(exclude_defaults=True)}

"""Every option of every command: its default, range, unit and source. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from archgrad import untrusted
from archgrad.errors import ArchgradError, explain
from archgrad.settings import recipes, units
from archgrad.settings.data_config import DataConfig
from archgrad.settings.presets import DEFAULT_SPACE, preset, usual_space
from archgrad.settings.section import CODE, PAPER, PRECISION, STAGED, STEM, Section
from archgrad.settings.text_config import TextOptions
from archgrad.settings.train_config import TrainConfig  # sections are imported from here

FILLED_IN = ("budget_epochs",)  # by the library, no flags
OWN = "own"  # stands for a value that came from Python


def _number(value: Any) -> Any:
    if isinstance(value, str):
        for kind in (int, float):
            with suppress(ValueError):
                return kind(value) if math.isfinite(kind(value)) else value
    return value


class SearchConfig(TextOptions):
    """One search. Defaults are the paper's for CIFAR-10."""

    space: str = Field(
        DEFAULT_SPACE, description="search space (see archgrad spaces), of text darts-rnn"
    )
    method: str = Field("darts", description="search method (see archgrad methods)")
    method_options: dict[str, float | int | str] = Field(
        default_factory=dict, description="an option of the method as KEY=VALUE; repeatable"
    )
    recipe: str | None = Field(
        None,
        description=f"options from a paper; others override them (see archgrad recipes): "
        f"{', '.join(recipes.named('search'))} [none]",
    )

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, name: str | None) -> str | None:
        recipes.values(name, "search")
        return name

    @field_validator("method_options", mode="before")
    @classmethod
    def _numbers(cls, options: Any) -> Any:
        """YAML reads 1e-3 as text: a text that is a number becomes one; truth values are none."""
        if not isinstance(options, Mapping):
            return options
        for key, value in options.items():
            if isinstance(value, bool):
                raise ValueError(f"{key}: found {value}, expected a number or a text")
        return {key: _number(value) for key, value in options.items()}

    channels: int = Field(
        16, ge=2, description=f"channels of the first cells, in mbconv of the stem ({PAPER})"
    )
    cells: int = Field(
        8, ge=1, description=f"cells of the supernet; of a stage in {STAGED} ({PAPER})"
    )
    nodes: int = Field(4, ge=1, description=f"intermediate nodes of a cell ({PAPER})")
    edges_per_node: int = Field(
        2, ge=1, description=f"incoming edges that a derived node keeps ({PAPER})"
    )
    stem: Literal["cifar", "imagenet"] = Field("cifar", description=STEM)
    epochs: int = Field(50, ge=1, description=f"passes over the weights' half ({PAPER})")
    child_epochs: int | None = Field(
        None,
        ge=1,
        description="of a baseline: epochs that train each architecture it tries [half of epochs]",
    )
    table: str | None = Field(
        None,
        description="of a baseline on nas-bench-201: look scores up in this file of the benchmark "
        "[none: train]",
    )
    evaluations: int | None = Field(
        None, ge=1, description="of a baseline with a table: how many it may look up [100]"
    )
    batch_size: int = Field(64, ge=2, description=f"images, or streams of text, a step ({PAPER})")
    train_fraction: float = Field(
        0.5, gt=0, lt=1, description=f"part of the training images that trains weights ({PAPER})"
    )
    watch_fraction: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="part of alpha's half that neither weights nor alpha see, to measure how far "
        "alpha overfits (paper: 0)",
    )
    learning_rate: float = Field(
        0.025, ge=0, description=f"of the weights at the start, cosine after ({PAPER})"
    )
    final_learning_rate: float = Field(
        0.001, ge=0, description=f"of the weights at the end ({CODE}; the paper says 0)"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description=f"of the weights' SGD ({PAPER})")
    weight_decay: float = Field(3e-4, ge=0, description=f"of the weights ({PAPER})")
    clip: float = Field(5.0, gt=0, description=f"largest gradient norm of the weights ({CODE})")
    second_order_clip: float | None = Field(
        None,
        gt=0,
        description="largest norm of the weights' gradients within the second order "
        f"({CODE}: 0.25 for darts-rnn) [none: not clipped]",
    )
    guard: Literal["off", "warn", "stop", "rollback"] = Field(
        "warn",
        description="what follows when a search begins to collapse: warn; stop (the architecture "
        "of that epoch); rollback (that of the last healthy epoch); off: no diagnostics",
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="of initialization, data order and augmentation"
    )
    device: str = Field("auto", description="cpu, cuda, cuda:N, or auto: cuda where there is one")
    recompute: Literal["off", "cells"] = Field(
        "off",
        description="cells: keep only what enters a cell, compute the rest again in the backward "
        "pass: less memory, more time, the same numbers up to rounding",
    )
    threads: int = Field(
        1,
        ge=1,
        le=1024,
        description="CPU threads of torch (on shared cores more can be slower); another number "
        "gives other rounding errors",
    )
    kernel: Literal["auto", "native", "torch"] = Field(
        "auto",
        description="on a CPU: native (built once, with the machine's C++ compiler), torch "
        "(PyTorch's own), or auto: native where there is a compiler; each with rounding errors of "
        "its own",
    )
    precision: Literal["float32", "bf16"] = Field("float32", description=PRECISION)
    graphs: Literal["off", "on"] = Field(
        "off",
        description="on: a GPU records the kernels of a step once and replays them (CUDA graphs); "
        "where a method does not allow it, or it fails, the search goes on without",
    )
    max_params: str | None = Field(
        None, description="limit of the parameters, such as 2M or 500k [none: no limit]"
    )
    max_madds: str | None = Field(
        None, description="limit of the multiply-adds of an image, such as 300M [none: no limit]"
    )
    max_latency: str | None = Field(
        None, description="limit of the latency, such as 5ms; needs a table [none: no limit]"
    )
    latency_table: str | None = Field(
        None, description="file that archgrad measure-latency wrote [none]"
    )
    latency_device: str | None = Field(
        None, description="name of the device in that table, where it is none of this machine"
    )
    cost_form: Literal["limit", "penalty", "ratio"] = Field(
        "limit",
        description="limit: the strongest architecture that meets it; penalty, ratio: the limit is "
        "a reference of alpha's loss alone (add#linear and mul#log of arXiv:1812.00332)",
    )
    cost_weight: float | None = Field(
        None,
        ge=0,
        description="weight of the expected cost in alpha's loss, the exponent of a ratio "
        "(arXiv:1812.00332) [0.1, ratio: 0.3]",
    )

    budget: str | None = Field(
        None,
        description="multiply-adds of all passes, such as 5T: as many epochs as fit, in place of "
        "epochs [none]",
    )
    budget_seconds: float | None = Field(
        None,
        gt=0,
        description="seconds of the search, from measured steps: as many epochs as fit, in place "
        "of epochs; another time it may be others [none]",
    )
    budget_epochs: int | None = Field(
        None, ge=1, description="filled in: the epochs that fitted a budget [none]"
    )

    @field_validator("budget", mode="before")
    @classmethod
    def _work(cls, value: Any) -> Any:
        if value is not None:
            units.work(str(value))
        return value if value is None else str(value)

    @field_validator(*units.LIMITS, mode="before")
    @classmethod
    def _amount(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            units.LIMITS[str(info.field_name)][1](str(value))
        return value if value is None else str(value)

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        units.check_limits(self.model_dump(include={*units.LIMITS, *units.OF_LIMITS}))
        if self.budget is not None and self.budget_seconds is not None:
            raise ValueError("found budget and budget_seconds, expected one; leave the other out")
        return self


class RunConfig(Section):
    """Everything that `config.yaml` of a run folder holds; running from it repeats the run."""

    data: DataConfig = DataConfig()
    search: SearchConfig | None = None
    train: TrainConfig | None = None
    random_cells: int | None = Field(None, ge=2)
    transferred_from: str | None = None  # the data set of the search, where a retraining has other

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.search is None and self.train is None:
            raise ValueError("neither a search nor a train section; expected at least one")
        return self

    def to_yaml(self) -> str:
        """The text of config.yaml."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=False), sort_keys=False)


def build(
    sections: Mapping[str, Mapping[str, Any]],
    base: RunConfig | None = None,
    random_cells: int | None = None,
    space: str | None = None,
) -> RunConfig:
    """A configuration from explicit options a section, over a recipe, a base or the presets.

    The presets are those of the data set and of the space, which a retraining without a search
    gives as `space`. A recipe that is named among the explicit options wins over the base and
    the presets; method_options of either are for `recipes.METHODS` alone, and with another method
    left out. A section is present if it is a key of `sections`. Bad values: an error that names
    the field.
    """
    published, named = _published(sections)
    data = named.get("data", (base.data if base else DataConfig()).data)
    asked = {**published.get("search", {}), **sections.get("search", {})}
    kept = base.search.space if base and base.search else None
    space = space or asked.get("space") or kept or usual_space(data)
    values: dict[str, Any] = {"random_cells": random_cells}
    for section in sections:
        start: dict[str, Any] = {}
        for name in (space, data):
            start |= preset(name, section)
        suggested = {**start.pop("method_options", {})}
        given = getattr(base, section, None)
        if given is not None:
            start, suggested = given.model_dump(), {}
        if section == "search":
            start.setdefault("space", space)
            _check_budget({**start, **sections[section]}, sections[section])
            if sections[section]:
                start["budget_epochs"] = None  # with other options other epochs may fit
        recipe = dict(published.get(section, {}))
        suggested |= recipe.pop("method_options", {})
        values[section] = {**start, **recipe, **sections[section]}
        _suggest(suggested, values[section])
    return validated(values, "options")


def _published(sections: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the recipes of a search and a retraining say, by section; the options of the data."""
    published: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for section in ("search", "train"):
        name = sections.get(section, {}).get("recipe")
        if name is not None:
            published[section] = recipes.values(name, section)
            data |= recipes.recipe(name).data
    return {**published, "data": data}, {**data, **sections.get("data", {})}


def _suggest(options: Mapping[str, Any], search: dict[str, Any]) -> None:
    """Options of the method, below those that are given, where it is one that they are for."""
    given = search.get("method_options", {})
    method = search.get("method", SearchConfig.model_fields["method"].default)
    if options and method in recipes.METHODS and isinstance(given, Mapping):
        search["method_options"] = {**options, **given}


def _check_budget(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in ("budget", "budget_seconds"):
        if values.get(name) is not None and given.get("epochs") is not None:
            raise ArchgradError(
                f"options: found epochs {given['epochs']} and {name} {values[name]}; a budget says "
                "how many epochs fit, so leave one of them out"
            )


def load(path: str | Path) -> RunConfig:
    """Read config.yaml; an error names the file, the field, what was found and expected."""
    try:
        values = untrusted.from_yaml(untrusted.text(path, untrusted.LIMIT_YAML))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ArchgradError(f"configuration {path} cannot be read: {reason}") from None
    if not isinstance(values, dict):
        raise ArchgradError(
            f"configuration {path}: found {type(values).__name__}, expected a mapping with data, "
            "search and train"
        )
    return validated(values, str(path))


def validated(values: Mapping[str, Any], origin: str) -> RunConfig:
    """The configuration, or an error that names `origin` and the field."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ArchgradError(f"{origin}: {explain(error)}") from None

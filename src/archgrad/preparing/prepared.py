"""From a configuration to a search that has passed every check and has not begun."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from archgrad import data as data_sets
from archgrad import methods, spaces
from archgrad.baselines import BASELINES
from archgrad.baselines.beginning import Baseline, check_gradient_method
from archgrad.data import Augmentation, Data
from archgrad.data.corpus import check_vocabulary
from archgrad.data.own import OwnData
from archgrad.data.workers import reading
from archgrad.errors import ArchgradError, out_of_memory, reason, remembered, unknown
from archgrad.kernels import native
from archgrad.methods.calling import defaults, made
from archgrad.networks.recurrent import Regularization
from archgrad.parts.method import Method
from archgrad.preparing.rehearsal import rehearse
from archgrad.resources.budget import REPORT, Budget
from archgrad.resources.fitting import epochs_within
from archgrad.resources.planning import Plan, plan, ran_out
from archgrad.resources.probe import Wanted
from archgrad.retraining.scratch import augmentation_of, load_data
from archgrad.retraining.sizing import (
    check_kind,
    refuse_options,
    retrained,
    stem_option,
    training_options,
)
from archgrad.retraining.transfer import keep_classes
from archgrad.searching.bilevel import bilevel_search
from archgrad.searching.callbacks import Callback
from archgrad.searching.leg import check
from archgrad.searching.loaders import Loaders
from archgrad.searching.result import Origin, SearchResult
from archgrad.settings.config import OWN, RunConfig, SearchConfig
from archgrad.settings.data_config import DataConfig
from archgrad.settings.recipes import check_space
from archgrad.settings.text_config import TextOptions
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.storage.files import write
from archgrad.storage.folder import Run
from archgrad.system.distributed import world
from archgrad.system.loops import resolve_device
from archgrad.tensors.precision import check as check_precision

_SMALLER = (
    "resume it once memory is free, or begin a new one with a smaller batch_size, fewer channels "
    "or cells"
)


@dataclass(frozen=True)
class Prepared:
    """All that a search needs, loaded and checked; nothing is on disk yet."""

    config: RunConfig
    data: Data | OwnData
    augmentation: Augmentation
    space: SearchSpace
    method: Method | Baseline
    budget: Budget | None = None

    def search(self, run: Run | None = None, callback: Callback | None = None) -> SearchResult:
        """Run it, or go on with it where `run` has a checkpoint.

        Memory that runs out is an `ArchgradError` that says what would fit.
        """
        if run is not None and isinstance(self.data, Data):
            keep_classes(run, self.data)
        resume = "" if run is None else f"go on with --resume {run.path}"
        with reading(resume and f"finished epochs and evaluations are kept: {resume}"):
            return self._reported(self._searched(run, callback))

    def _searched(self, run: Run | None, callback: Callback | None) -> SearchResult:
        if isinstance(self.method, Baseline):
            kept = "no evaluation is kept" if run is None else "finished evaluations are kept"
            with remembered("a training of the search", f"{kept}; {_SMALLER}"):
                return self.method.search(run, callback)
        if self.budget is not None and run is not None:
            self.budget.keep(run)
        wanted = self._wanted()
        if callback is not None and wanted.config.budget_seconds is not None:
            callback.warning(
                f"{wanted.config.epochs} epochs fit budget_seconds {wanted.config.budget_seconds:g}"
                " by the time that steps took; chosen anew, it may be another number"
            )
        try:
            return bilevel_search(
                *wanted[:4], augmentation=self.augmentation, run=run, callback=callback
            )
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            told = reason(error)
        if not world().alone:  # which cannot all measure what would fit
            raise ArchgradError(
                f"out of memory ({told}); whole epochs are kept: begin again with a smaller "
                "batch_size, fewer channels or cells, or continue with more processes"
            )
        raise ran_out(wanted, run, told)  # here no traceback holds that search any more

    def _reported(self, result: SearchResult) -> SearchResult:
        """The result, with its classes, and with what it costs where there is a limit."""
        if isinstance(self.data, Data):
            origin = Origin(self.config.data.data, self.data.classes)
            result = replace(result, origin=origin)
        if self.budget is None:
            return result
        report = self.budget.report(result.architecture)
        if result.path is not None:
            write(result.path / REPORT, json.dumps({**asdict(report), "met": report.met}) + "\n")
        return replace(result, cost=report)

    def plan(self) -> Plan:
        """What it will need of memory and time; see `archgrad.resources.planning`."""
        return plan(self._wanted())

    def _wanted(self) -> Wanted:
        config = section(self.config)
        if isinstance(self.method, Baseline):
            raise ArchgradError(
                f"a plan is made of the steps of a supernet, and {config.method} trains networks "
                "one by one; its budget says what it costs"
            )
        return Wanted(self.space, self.data, self.method, config, self.augmentation)


def prepare(
    config: RunConfig,
    *,
    space: str | SearchSpace | None = None,
    data: Any = None,
    method: str | Method | None = None,
    valid: Any = None,
    test: Any = None,
    classes: int | None = None,
) -> Prepared:
    """Load and check; values from Python stand in where the configuration says "own".

    The configuration of the result is complete: options of the method that were left to their
    defaults, and the device, are filled in.
    """
    search = section(config)
    if isinstance(space, nn.Module):
        raise ArchgradError(
            "an own model is searched by archgrad.search(model, train=...), then trained with your "
            "own code; this verb is for spaces of images"
        )
    loaded, augmentation = prepare_data(config.data, data, valid=valid, test=test, classes=classes)
    found_space = search_space(search, loaded, space)
    return checked(config, loaded, augmentation, found_space, method)


def checked(
    config: RunConfig,
    loaded: Data | OwnData,
    augmentation: Augmentation,
    found_space: SearchSpace,
    method: str | Method | None,
) -> Prepared:
    """Refuse what does not fit, before anything is written."""
    search = section(config)
    check_space(search.recipe, "search", found_space.name)
    _refuse_several(search)
    device = resolve_device(search.device)
    loaders = Loaders.of(loaded, search, augmentation, device)
    check_precision(search.precision, device)
    if isinstance(loaded, OwnData):
        rehearse(found_space, loaded.task, loaders, device)
    filled: dict[str, Any] = {
        "device": str(device),
        "method_options": method_options(search),
        "kernel": _kernel(search, found_space),
    }
    if search.method in BASELINES:
        _agree("method", search.method, method)
        strategy = made("baseline", BASELINES, search.method, search.method_options)
        complete = _filled(config, filled)
        baseline = Baseline.of(found_space, strategy, section(complete), loaded, augmentation)
        return Prepared(complete, loaded, augmentation, found_space, baseline)
    check_gradient_method(search)
    found_method = search_method(search, method)
    check(found_space, found_method, search)
    budget = Budget.of(config, found_space, found_method)
    if budget is not None:
        found_method = budget.applied(found_method)
    epochs = search.budget_epochs
    if epochs is None:
        epochs = epochs_within(Wanted(found_space, loaded, found_method, search, augmentation))
    filled |= {"epochs": epochs or search.epochs, "budget_epochs": epochs}
    complete = _filled(config, filled)
    return Prepared(complete, loaded, augmentation, found_space, found_method, budget)


def _refuse_several(search: SearchConfig) -> None:
    """Refuse what cannot be one search of several processes."""
    size = world().size
    if size == 1:
        return
    told = f"found {size} processes for one search"
    if search.budget_seconds is not None:
        raise ArchgradError(
            f"{told} with budget_seconds {search.budget_seconds:g}, and their clocks differ; give "
            "epochs or a budget in multiply-adds"
        )
    if search.batch_size < size:
        raise ArchgradError(
            f"{told} with a batch_size of {search.batch_size}; expected an example for each at "
            "least: use larger batches, or fewer processes"
        )


def _filled(config: RunConfig, search: dict[str, Any]) -> RunConfig:
    return config.model_copy(update={"search": section(config).model_copy(update=search)})


def timed_space(config: RunConfig) -> tuple[SearchSpace, SearchConfig]:
    """The space whose latency a configuration asks for, at the size of its retraining, if any."""
    search, train = section(config), config.train
    space = search_space(search, load_data(config.data)[0])
    return (space if train is None else retrained(space, train)), search


def section(config: RunConfig) -> SearchConfig:
    """The search section, or an error where there is none."""
    if config.search is None:
        raise ArchgradError("the configuration has no search section; this folder holds no search")
    return config.search


def prepare_data(
    config: DataConfig,
    value: Any = None,
    *,
    valid: Any = None,
    test: Any = None,
    classes: int | None = None,
) -> tuple[Data, Augmentation]:
    """The data of a configuration, or the given value where it says "own"; its augmentation."""
    if config.data != OWN:
        if isinstance(value, str | Path | None) and (valid, test, classes) == (None, None, None):
            return load_data(config)
        raise ArchgradError(
            f'valid, test and classes go with data from Python; "{config.data}" brings its own: '
            "leave them out"
        )
    if value is None:
        raise came_from_python("data")
    loaded = data_sets.as_data(
        value,
        valid=valid,
        test=test,
        classes=classes,
        image_size=config.image_size,
        subset=config.subset,
        dims=config.dims,
        level=config.level,
        vocabulary=config.vocabulary,
        encoding=config.encoding,
    )
    return loaded, augmentation_of(loaded, config)


def search_method(config: SearchConfig, value: str | Method | None = None) -> Method:
    """The method of a configuration, or the given value where it says "own"."""
    if config.method != OWN:
        _agree("method", config.method, value)
        return methods.method(config.method, **config.method_options)
    if not isinstance(value, Method):
        raise came_from_python("method")
    return methods.method(value, **config.method_options)


def method_options(config: SearchConfig) -> dict[str, Any]:
    """The options of the method, those left to their defaults included."""
    if config.method == OWN:
        return config.method_options
    recipes = {**methods.RECIPES, **BASELINES}
    if config.method not in recipes:
        raise unknown("method", config.method, recipes)
    return defaults(recipes[config.method]) | config.method_options


def search_space(
    config: SearchConfig, data: Data | None, value: str | SearchSpace | None = None
) -> SearchSpace:
    """The space of a configuration for the shape of the data, or the given value for "own".

    Without `data` the space serves for its groups alone, not for building networks.
    """
    if config.space != OWN:
        _agree("space", config.space, value)
        shape = {} if data is None else _shape(data, config.space, config)
        return spaces.space(config.space, **space_options(config), **shape)
    if value is None or isinstance(value, str):
        raise came_from_python("space")
    if data is not None and not fits(value, data):
        raise ArchgradError(
            f"the space takes examples of shape {value.input_shape} in {value.classes} classes, "
            f"the data has {data.shape} in {len(data.classes)}; build the space for the data"
        )
    return value


def space_options(config: SearchConfig) -> dict[str, Any]:
    """The options of the space; one that it does not have must be left at its default."""
    known = spaces.options(config.space)
    chosen: dict[str, Any] = stem_option(config.space, config.stem)
    options = {"channels", "cells", "nodes", "edges_per_node", "hidden"}
    if "regularization" in known:
        chosen["regularization"] = Regularization.of(config)
    else:
        refuse_options(config, TextOptions.model_fields, config.space)
    refuse_options(config, sorted(options.difference(known)), config.space)
    return chosen | {option: getattr(config, option) for option in options.intersection(known)}


def retraining_space(config: TrainConfig, data: Data, name: str) -> SearchSpace:
    """The space called `name` at the size of the retraining, for the shape of the data."""
    shape = _shape(data, name, config)
    return spaces.space(name, **training_options(name, config), **shape)


def fits(space: SearchSpace, data: Data) -> bool:
    """Whether the space takes these images and classes."""
    return space.input_shape == data.shape and space.classes == len(data.classes)


def _kernel(config: SearchConfig, space: SearchSpace) -> str:
    """The kernels of the search; native ones know images and text alone."""
    dims = getattr(space, "dims", 2)
    if dims in (0, 2):
        with native.use(config.kernel):  # which refuses those that cannot be had
            return config.kernel
    if config.kernel == "native":
        raise ArchgradError(
            f"kernel native works on images alone, and the space has dims {dims}; use auto or torch"
        )
    return "torch"


def _shape(data: Data, space: str, config: SearchConfig | TrainConfig) -> dict[str, Any]:
    """The options that say what a space is for; `config`: of the search, or of a retraining."""
    check_kind(space, data)
    if data.of_text:
        check_vocabulary(len(data.classes), config.hidden, resolve_device(config.device))
        return {"classes": len(data.classes)}
    channels, *image_size = data.shape
    return {
        "in_channels": channels,
        "image_size": tuple(image_size),
        "dims": len(image_size),
        "classes": len(data.classes),
    }


def _agree(what: str, kept: str, value: object) -> None:
    """Refuse a value from Python beside another name in the configuration."""
    if value is not None and value != kept:
        raise ArchgradError(
            f'this run has the {what} "{kept}" and keeps it; leave out {what}={value!r}, or '
            "begin a new run"
        )


def came_from_python(what: str) -> ArchgradError:
    """The error for a value that config.yaml calls "own" and nobody gave again."""
    kept = (
        f", or archgrad.train(..., {what}=...)"
        if what == "data"
        else "; to derive, take the last epoch's architecture, result.architecture or "
        f"architecture.json in the folder: that of another epoch needs the {what} as well"
    )
    return ArchgradError(
        f"the {what} of this run came from Python and is not in its folder; give it again, from "
        f"Python: archgrad.search({what}=..., resume=...), of an own model "
        f"archgrad.search(model, train=..., resume=...){kept}"
    )

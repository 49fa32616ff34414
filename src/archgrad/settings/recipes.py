"""Published recipes as plain data: the values of options, and where they come from.

Imports no torch. A recipe names every option that changes a result, so that nothing of it depends
on the library's defaults; what belongs to the machine (device, threads, precision) it leaves open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from archgrad.errors import ArchgradError, unknown

CELLS = ("darts-cnn", "s1", "s2", "s3", "s4")
RECURRENT = ("darts-rnn",)
METHODS = ("darts", "darts_2nd")  # those that the method_options of recipes are for
CODE = "the published code"


@dataclass(frozen=True)
class Recipe:
    """Options of a retraining, or of a search, as published, and what they were made for.

    `train`, `data`, `search`: values by the name of the option; `image_size`: the side in
    pixels of the images, None for text; `spaces`: those that it searches, or whose architectures
    it trains; `note`: what differs from its source.
    """

    title: str
    source: str
    image_size: int | None
    train: Mapping[str, Any]
    data: Mapping[str, Any]
    spaces: tuple[str, ...] = CELLS
    note: str = ""
    search: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """Those that hold anything."""
        found = {"data": self.data, "search": self.search, "train": self.train}
        return {name: dict(values) for name, values in found.items() if values}


_CIFAR = {"crop_padding": 4, "flip": True}
_IMAGENET = {"resized_crop": True, "flip": True, "color_jitter": 0.4}
_DARTS_CIFAR = {
    "channels": 36,
    "cells": 20,
    "stem": "cifar",
    "epochs": 600,
    "batch_size": 96,
    "learning_rate": 0.025,
    "schedule": "cosine",
    "decay": 0.97,  # of schedule step alone
    "decay_epochs": 1,
    "tail_epochs": 0,
    "warm_up_epochs": 0,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 3e-4,
    "clip": 5.0,
    "cutout": 16,
    "drop_path": 0.2,
    "auxiliary_weight": 0.4,
    "label_smoothing": 0.0,
    "ema": 0.0,
}
_DARTS_IMAGENET = {
    **_DARTS_CIFAR,
    "channels": 48,
    "cells": 14,
    "stem": "imagenet",
    "epochs": 250,
    "batch_size": 128,
    "learning_rate": 0.1,
    "schedule": "step",
    "weight_decay": 3e-5,
    "cutout": 0,
    "drop_path": 0.0,
    "label_smoothing": 0.1,
}
_TEXT = {
    "bptt": 35,
    "dropout_output": 0.75,
    "dropout_hidden": 0.25,
    "dropout_input": 0.75,
    "dropout_embedding": 0.2,
    "activation": 0.0,
    "slowness": 1e-3,
    "learning_rate": 20.0,
    "momentum": 0.0,
    "clip": 0.25,
}
_DARTS_PTB = {
    **_TEXT,
    "hidden": 850,
    "bptt_spread": 5.0,
    "dropout_words": 0.1,
    "epochs": 8000,
    "batch_size": 64,
    "valid_batch_size": 10,
    "test_batch_size": 1,
    "schedule": "constant",
    "decay": 0.97,  # of schedule step alone
    "decay_epochs": 1,
    "tail_epochs": 0,
    "warm_up_epochs": 0,
    "nesterov": False,
    "weight_decay": 8e-7,
    "ema": 0.0,
    "averaged": True,
    "non_monotone": 5,
    "keep": "best",
}
_DARTS_PTB_SEARCH = {
    **_TEXT,
    "space": "darts-rnn",
    "method_options": {
        "alpha_learning_rate": 3e-3,
        "alpha_weight_decay": 1e-3,
        "alpha_momentum": 0.9,
    },
    "nodes": 8,
    "hidden": 300,
    "bptt_spread": 0.0,
    "dropout_words": 0.0,
    "epochs": 50,
    "batch_size": 256,
    "watch_fraction": 0.0,
    "final_learning_rate": 20.0,  # constant
    "weight_decay": 5e-7,
    "second_order_clip": 0.25,
}
_PTB = {"data": "ptb", "level": "word"}
RECIPES: dict[str, Recipe] = {
    "darts-cifar10": Recipe(
        "the paper's complete evaluation on CIFAR-10",
        f"arXiv:1806.09055, appendix A.1, and {CODE}",
        32,
        _DARTS_CIFAR,
        {"data": "cifar10", **_CIFAR},
    ),
    "darts-cifar10-short": Recipe(
        "the short training that chooses among several searches",
        "arXiv:1806.09055: 100 epochs",
        32,
        {**_DARTS_CIFAR, "epochs": 100},
        {"data": "cifar10", **_CIFAR},
        note="all but the epochs is taken from darts-cifar10",
    ),
    "darts-cifar100": Recipe(
        "the evaluation of darts-cifar10 on CIFAR-100",
        f"arXiv:1806.09055, appendix A.1, and {CODE}",
        32,
        _DARTS_CIFAR,
        {"data": "cifar100", **_CIFAR},
        note="the paper has no CIFAR-100; later ones retrain its cells with the same options",
    ),
    "pc-darts-cifar10": Recipe(
        "PC-DARTS on CIFAR-10: a higher drop path",
        f"arXiv:1907.05737 and {CODE}, whose batch size it takes",
        32,
        {**_DARTS_CIFAR, "drop_path": 0.3},
        {"data": "cifar10", **_CIFAR},
    ),
    "darts-imagenet": Recipe(
        "the paper's evaluation on ImageNet",
        f"arXiv:1806.09055, appendix A, and {CODE}",
        224,
        _DARTS_IMAGENET,
        _IMAGENET,
    ),
    "pc-darts-imagenet": Recipe(
        "the later recipe for ImageNet: large batches, linear decay, warm-up",
        f"arXiv:1907.05737 and {CODE}",
        224,
        {
            **_DARTS_IMAGENET,
            "batch_size": 1024,
            "learning_rate": 0.5,
            "schedule": "linear",
            "tail_epochs": 5,
            "warm_up_epochs": 5,
        },
        _IMAGENET,
    ),
    "nas-bench-201": Recipe(
        "the training behind the table of NAS-Bench-201",
        "arXiv:2001.00326",
        32,
        {
            **_DARTS_CIFAR,
            "channels": 16,
            "cells": 5,
            "stem": None,
            "epochs": 200,
            "batch_size": 256,
            "learning_rate": 0.1,
            "nesterov": True,
            "weight_decay": 5e-4,
            "clip": 0.0,
            "cutout": 0,
            "drop_path": 0.0,
            "auxiliary_weight": 0.0,
        },
        {"data": "cifar10", **_CIFAR},
        spaces=("nas-bench-201",),
        note="its code lowers the learning rate with every batch, here it falls with every epoch",
    ),
    "darts-ptb": Recipe(
        "the paper's complete evaluation of recurrent cells on the Penn Treebank",
        f"arXiv:1806.09055, appendix A.2, and {CODE}",
        None,
        _DARTS_PTB,
        _PTB,
        spaces=RECURRENT,
        note="an epoch that diverges counts as one; its code takes that back as well",
    ),
    "darts-ptb-short": Recipe(
        "the short training that chooses among several searches",
        "arXiv:1806.09055: 300 epochs",
        None,
        {**_DARTS_PTB, "epochs": 300},
        _PTB,
        spaces=RECURRENT,
        note="all but the epochs is taken from darts-ptb",
    ),
    "darts-wikitext2": Recipe(
        "the evaluation of cells found on the Penn Treebank on WikiText-2",
        f"arXiv:1806.09055, appendix A, and {CODE}",
        None,
        {**_DARTS_PTB, "hidden": 700, "weight_decay": 5e-7, "dropout_hidden": 0.15},
        {"level": "word"},
        spaces=RECURRENT,
        note="as darts-ptb, its number of epochs too; give the text as data",
    ),
    "darts-ptb-search": Recipe(
        "the search of a recurrent cell on the Penn Treebank",
        f"arXiv:1806.09055, appendix A.1, and {CODE}",
        None,
        {},
        _PTB,
        spaces=RECURRENT,
        note="of either order: give method darts or darts_2nd, the latter with method option "
        "estimator=finite_difference for the paper's; with another method its options of alpha are "
        "left out",
        search=_DARTS_PTB_SEARCH,
    ),
}


def recipe(name: object) -> Recipe:
    """The recipe called `name`, or an error that names the nearest."""
    if not isinstance(name, str) or name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def named(section: str) -> list[str]:
    """The recipes of a "search" or of a retraining, "train"."""
    return [name for name, found in RECIPES.items() if getattr(found, section)]


def values(name: object, section: str) -> dict[str, Any]:
    """The options of a recipe for "search" or "train"; none for None.

    ArchgradError for a recipe that has no such options.
    """
    if name is None:
        return {}
    found: dict[str, Any] | None = recipe(name).sections.get(section)
    if found is None:
        what = {"search": ("a search", "a retraining"), "train": ("a retraining", "a search")}
        wanted, other = what[section]
        raise ArchgradError(
            f"recipe {name} is one of {other}, expected one of {wanted}; use "
            f"{' or '.join(named(section))}, or leave it out"
        )
    return found


def changed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a retraining's options that are not as its recipe has them."""
    if options.get("recipe") is None:
        return {}
    published = recipe(options["recipe"]).train
    return {name: options[name] for name, value in published.items() if options[name] != value}


def check_space(name: object, section: str, space: str) -> None:
    """Refuse a recipe of a "search" or a retraining, "train", made for other spaces than this."""
    if name is None:
        return
    found = recipe(name)
    if space in found.spaces:
        return
    fitting = [other for other in named(section) if space in RECIPES[other].spaces]
    does = "searches" if section == "search" else "trains architectures of"
    what = space if section == "search" else f"one of {space}"
    raise ArchgradError(
        f"recipe {name} {does} {', '.join(found.spaces)}, found {what}; use "
        f"{' or '.join(fitting) or 'the options one by one'}"
    )


def check(options: Mapping[str, Any], space: str, shape: Sequence[int]) -> None:
    """Refuse a recipe that was made for another space or another image size.

    `options`: those of the retraining; `shape`: (channels, height, width) of the images.
    Another size is let pass with `any_image_size`, or with another `stem` than the recipe's.
    """
    name = options.get("recipe")
    check_space(name, "train", space)
    if name is None or recipe(name).image_size is None:
        return
    found = recipe(name)
    side, sizes = found.image_size, tuple(shape[1:])
    otherwise = options["any_image_size"] or options["stem"] != found.train["stem"]
    if otherwise or sizes == (side, side):
        return
    fitting = [
        other
        for other, entry in RECIPES.items()
        if space in entry.spaces and sizes == (entry.image_size,) * 2
    ]
    instead = f"use {' or '.join(fitting)}, " if fitting else ""
    raise ArchgradError(
        f"recipe {name} is made for images of {side}x{side} pixels, found "
        f"{'x'.join(map(str, sizes))}; {instead}give images of that size (image_size {side}), or "
        "say any_image_size to use it all the same"
    )


def rows() -> list[list[str]]:
    """Name, kind, data, size, length and paper of each, header first."""
    table = [["recipe", "of a", "data", "size", "epochs", "paper"]]
    for name, found in RECIPES.items():
        kind, options = ("search", found.search) if found.search else ("training", found.train)
        size = f"hidden {options['hidden']}" if "hidden" in options else _size(options)
        paper = re.split(r"[ ,]|: ", found.source)[0]
        table.append([name, kind, _made_for(found), size, str(options["epochs"]), paper])
    return table


def _size(options: Mapping[str, Any]) -> str:
    return f"{options['cells']} x {options['channels']}"


def _made_for(found: Recipe) -> str:
    return "text" if found.image_size is None else f"{found.image_size}x{found.image_size}"


def describe(name: str) -> str:
    """One recipe in full, as YAML: its source, and its values as config.yaml has them."""
    found = recipe(name)
    head: dict[str, Any] = {"recipe": name, "what": found.title, "source": found.source}
    head |= {"note": found.note} if found.note else {}
    if found.image_size is not None:
        head["image_size"] = _made_for(found)
    head["spaces"] = [*found.spaces]
    return str(yaml.safe_dump(head | found.sections, sort_keys=False, width=100))

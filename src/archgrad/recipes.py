"""Published recipes of retraining as plain data: the values of options, and where they come from.

Imports no torch. A recipe names every option that changes a result, so that nothing of it depends
on the library's defaults; what belongs to the machine (device, threads, precision) it leaves open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from archgrad.errors import ArchgradError, unknown

CELLS = ("darts-cnn", "s1", "s2", "s3", "s4")
CODE = "the published code"


@dataclass(frozen=True)
class Recipe:
    """Options of a retraining as published, and what they were made for.

    ``train``, ``data``: values by the name of the option; ``image_size``: the side in pixels of the
    images; ``spaces``: those whose architectures it trains; ``note``: what differs from its source.
    """

    title: str
    source: str
    image_size: int
    train: Mapping[str, Any]
    data: Mapping[str, Any]
    spaces: tuple[str, ...] = CELLS
    note: str = ""


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
}


def recipe(name: object) -> Recipe:
    """The recipe called ``name``, or an error that names the nearest."""
    if not isinstance(name, str) or name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def values(name: object) -> dict[str, dict[str, Any]]:
    """The options of a recipe by section, "train" and "data"; none for None."""
    if name is None:
        return {}
    found = recipe(name)
    return {"train": dict(found.train), "data": dict(found.data)}


def changed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a retraining's options that are not as its recipe has them."""
    if options.get("recipe") is None:
        return {}
    published = recipe(options["recipe"]).train
    return {name: options[name] for name, value in published.items() if options[name] != value}


def check(options: Mapping[str, Any], space: str, shape: Sequence[int]) -> None:
    """Refuse a recipe that was made for another space or another image size.

    ``options``: those of the retraining; ``shape``: (channels, height, width) of the images.
    Another size is let pass with ``any_image_size``, or with another ``stem`` than the recipe's.
    """
    name = options.get("recipe")
    if name is None:
        return
    found = recipe(name)
    if space not in found.spaces:
        fitting = [other for other, entry in RECIPES.items() if space in entry.spaces]
        raise ArchgradError(
            f"recipe {name} trains architectures of {', '.join(found.spaces)}, found one of "
            f"{space}; use {' or '.join(fitting) or 'the options one by one'}"
        )
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
    """Name, size, length and paper of each, header first."""
    table = [["recipe", "images", "cells x channels", "epochs", "paper"]]
    for name, found in RECIPES.items():
        train = found.train
        size = f"{train['cells']} x {train['channels']}"
        images = f"{found.image_size}x{found.image_size}"
        paper = re.split(r"[ ,]|: ", found.source)[0]
        table.append([name, images, size, str(train["epochs"]), paper])
    return table


def describe(name: str) -> str:
    """One recipe in full, as YAML: its source, and its values as config.yaml has them."""
    found = recipe(name)
    head: dict[str, Any] = {"recipe": name, "what": found.title, "source": found.source}
    head |= {"note": found.note} if found.note else {}
    head |= {"image_size": f"{found.image_size}x{found.image_size}", "spaces": [*found.spaces]}
    sections = {"data": dict(found.data), "train": dict(found.train)}
    return str(yaml.safe_dump(head | sections, sort_keys=False, width=100))

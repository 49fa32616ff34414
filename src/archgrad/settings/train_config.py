"""The options of a retraining: defaults, ranges, units and sources. Imports no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from archgrad.settings import recipes
from archgrad.settings.section import CODE, PAPER, PRECISION, STAGED, STEM
from archgrad.settings.text_config import TextOptions

OF_IMAGES = (
    "channels", "cells", "stem", "any_image_size", "cutout", "drop_path", "auxiliary_weight",
    "label_smoothing", "compile",
)  # fmt: skip
OF_TEXT = (
    *TextOptions.model_fields, "valid_batch_size", "test_batch_size", "averaged", "non_monotone",
    "keep",
)  # fmt: skip
OF_SCHEDULES = {"decay": "step", "decay_epochs": "step", "tail_epochs": "linear"}
ORDER = "order of the weights of images and volumes in memory (channels_last is mostly faster)"


class TrainConfig(TextOptions):
    """One retraining from scratch. Defaults are the paper's for CIFAR-10."""

    recipe: str | None = Field(
        None,
        description=f"options from a paper; others override them (see archgrad recipes): "
        f"{', '.join(recipes.named('train'))} [none]",
    )
    any_image_size: bool = Field(
        False, description="use a recipe on images of another size than it was made for"
    )

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, name: str | None) -> str | None:
        recipes.values(name, "train")
        return name

    channels: int = Field(
        36, ge=2, description=f"channels of the first cells, in mbconv of the stem ({PAPER})"
    )
    cells: int = Field(
        20,
        ge=1,
        description=f"cells of the network; of a stage in {STAGED}, for mbconv the number that "
        f"was searched ({PAPER})",
    )
    stem: Literal["cifar", "imagenet"] | None = Field(
        None, description=f"{STEM} [that of the search, else cifar]"
    )
    epochs: int = Field(600, ge=1, description=f"passes over the training images ({PAPER})")
    batch_size: int = Field(96, ge=2, description=f"images, or streams of text, a step ({PAPER})")
    learning_rate: float = Field(0.025, ge=0, description=f"at the start ({PAPER})")
    schedule: Literal["cosine", "linear", "step", "constant"] = Field(
        "cosine",
        description="of the learning rate: cosine or linear to 0, step: times decay every "
        f"decay_epochs, or constant ({PAPER})",
    )
    decay: float = Field(0.97, gt=0, le=1, description=f"of schedule step ({PAPER}, ImageNet)")
    decay_epochs: int = Field(1, ge=1, description=f"of schedule step ({PAPER}, ImageNet)")
    tail_epochs: int = Field(
        0, ge=0, description="last epochs of schedule linear, with a smaller slope (paper: 0)"
    )
    warm_up_epochs: int = Field(
        0, ge=0, description="first epochs, over which the learning rate rises linearly (paper: 0)"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description=f"of SGD ({PAPER})")
    nesterov: bool = Field(False, description="Nesterov's momentum (paper: no)")
    weight_decay: float = Field(3e-4, ge=0, description=f"of the weights ({PAPER})")
    clip: float = Field(5.0, ge=0, description=f"largest gradient norm; 0: no limit ({CODE})")
    cutout: int = Field(16, ge=0, description=f"side of the square cut out, pixels ({PAPER})")
    drop_path: float = Field(
        0.2, ge=0, lt=1, description=f"drop path probability at the end, rising from 0 ({PAPER})"
    )
    auxiliary_weight: float = Field(
        0.4, ge=0, description=f"weight of the auxiliary head's loss; 0: no head ({PAPER})"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing (paper: 0)")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay a step of an exponential moving average of the weights, which is then "
        "the network that is tested and kept; 0: none (paper: none)",
    )
    valid_batch_size: int = Field(
        10, ge=1, description=f"text: texts side by side when validated ({CODE})"
    )
    test_batch_size: int = Field(
        10, ge=1, description=f"text: texts side by side when tested ({CODE}: 1)"
    )
    averaged: bool = Field(
        False,
        description="text: average the weights after every step once the validation loss no "
        f"longer falls ({PAPER}: yes)",
    )
    non_monotone: int = Field(
        5,
        ge=1,
        description="text: which is when it is above the smallest of all epochs but the last so "
        "many (arXiv:1708.02182)",
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="text: test and keep the last epoch's network, or that of the smallest "
        f"validation loss, to which a training that diverges goes back ({CODE}: best)",
    )
    seeds: int = Field(3, ge=1, description="retrainings, with the seeds seed, seed + 1, ...")
    seed: int = Field(0, ge=0, lt=2**32, description="first seed of the retrainings")
    device: str = Field("auto", description="cpu, cuda, cuda:N, or auto: cuda where there is one")
    threads: int = Field(
        1,
        ge=1,
        description="CPU threads of torch a retraining (on shared cores more can be slower); "
        "another number gives other rounding errors",
    )
    precision: Literal["float32", "bf16"] = Field("float32", description=PRECISION)
    memory_format: Literal["channels_last", "contiguous"] = Field(
        "channels_last", description=ORDER
    )
    compile: Literal["off", "on"] = Field(
        "off",
        description="on: train through torch.compile, which takes minutes to begin; where that "
        "fails, without; rounding errors are others",
    )
    jobs: int = Field(
        0, ge=0, description="retrainings at a time; 0: one a CPU core, or one on a GPU"
    )

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov needs a momentum above 0, found 0; give one or leave out nesterov"
            )
        if self.averaged and self.ema:
            raise ValueError(
                f"found averaged and ema {self.ema}, expected one average; leave the other out"
            )
        for name, schedule in OF_SCHEDULES.items():
            default = type(self).model_fields[name].default
            if self.schedule != schedule and getattr(self, name) != default:
                raise ValueError(
                    f"{name} goes with schedule {schedule}, found {self.schedule}; leave it at "
                    f"{default}"
                )
        for name in ("warm_up_epochs", "tail_epochs"):
            if getattr(self, name) >= self.epochs:
                raise ValueError(
                    f"{name} is {getattr(self, name)} of {self.epochs} epochs; expected fewer: "
                    "lower it or raise epochs"
                )
        return self

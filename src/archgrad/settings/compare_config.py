"""The options of a comparison, and the file that holds a whole one. Imports no torch."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from archgrad.settings.config import RunConfig
from archgrad.settings.section import Section
from archgrad.settings.train_config import TrainConfig

UNUSED = {  # options of other commands, by section, and what stands in their place
    "search.method": "say what is compared with methods",
    "search.method_options": "the methods have their published options",
    "train.seed": "the seeds of the retrainings follow from those of the searches: leave it out",
    "train.jobs": "say with parallel how many searches run at a time",
}
METHODS = "darts,pc_darts,drnas,random,evolution"


class CompareConfig(Section):
    """What is compared, and how its architectures are judged."""

    methods: str = Field(
        METHODS, description="methods and baselines, with commas between (see archgrad methods)"
    )
    seeds: int = Field(
        3, ge=1, description="searches of each method, with the seeds seed, seed + 1, ..."
    )
    selection_fraction: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="part of the training images, of text its end, that no search sees: it judges "
        "the short retrainings",
    )
    short_epochs: int | None = Field(
        None,
        ge=1,
        description="epochs of the short retraining (arXiv:1806.09055: 100 of 600) [a sixth of "
        "train-epochs]",
    )
    parallel: int = Field(
        0, ge=0, description="searches at a time; 0: one a CPU core, or one on a GPU"
    )
    tuning: str = Field(
        "", description="how the options of the methods were found, for the checklist [not known]"
    )

    @field_validator("methods")
    @classmethod
    def _names(cls, text: str) -> str:
        names = [name.strip() for name in text.split(",")]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f'found "{twice[0]}" twice in "{text}", expected each method once')
        if not all(names):
            raise ValueError(f'found "{text}", expected names with commas between')
        return ",".join(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The methods, in order."""
        return tuple(self.methods.split(","))

    def short(self, epochs: int) -> int:
        """Epochs of the short retraining, where the full one has `epochs`."""
        return self.short_epochs or max(1, epochs // 6)


class RetrainingConfig(TrainConfig):
    """The full retraining of a comparison: one seed, since what varies are the searches."""

    seeds: int = Field(1, ge=1, description="retrainings of each architecture found")


class ComparisonConfig(Section):
    """A whole comparison: `runs` holds one complete configuration a data set and method.

    `table`: of the benchmark that stands for the retrainings; `own`: what fills the slots of the
    method called own, which came from Python.
    """

    compare: CompareConfig
    table: str | None = None
    own: dict[str, str] | None = None
    runs: tuple[RunConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if any(run.search is None or run.train is None for run in self.runs):
            raise ValueError("a run without search or train section; expected both in each")
        return self

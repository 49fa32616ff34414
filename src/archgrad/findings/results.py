"""What one comparison measured: frozen values, checked, with JSON that reads back to the same."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from archgrad import untrusted
from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError, explain
from archgrad.measure import MEASURES, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REQUIRED = ("architecture", "test_value", "parameters", "multiply_adds")  # of what is done


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Phase(_Value):
    """What a phase took: `spent` in the budget's unit, and wall-clock `seconds`."""

    spent: float = Field(0.0, ge=0)
    seconds: float = Field(0.0, ge=0)

    def __add__(self, other: Phase) -> Phase:
        return Phase(spent=self.spent + other.spent, seconds=self.seconds + other.seconds)


class Costs(_Value):
    """What the phases of one entry took; a phase that was not run took nothing."""

    search: Phase = Phase()
    short: Phase = Phase()
    full: Phase = Phase()
    test: Phase = Phase()

    @property
    def total(self) -> Phase:
        """All phases together."""
        return self.search + self.short + self.full + self.test


class Point(_Value):
    """What validation said during the search, `value`, and what was used up by then."""

    spent: float = Field(ge=0)
    seconds: float = Field(ge=0)
    value: float = Field(validation_alias=AliasChoices("value", "accuracy"))


class Entry(_Value):
    """One search of a method on a data set with a seed, and what became of its architecture.

    Values are of the measure of the `Results`: accuracies from 0 to 1, or perplexities. They are
    named after their phase alone, since a perplexity called an accuracy would mislead; the older
    names (`test_accuracy`, of a point `accuracy`) are read as well.

    `search_value`: what the search itself saw of its architecture (of the supernet, or of a
    child); `short_value`: validation after the short retraining; `test_value`: after the full
    one. `parameters` and `multiply_adds` (of one example, or token) are those of the network
    that was tested. `conditions`: fingerprints of what has to be equal for all entries of a data
    set, by name, such as `data`, `short` and `full` (the retrainings). `test_reads`: how
    often test data were read for this entry. A failed entry says the error in one line and has no
    test value; it keeps its costs.
    """

    method: str = Field(min_length=1)
    data: str = Field(min_length=1)
    seed: int = Field(ge=0)
    status: Literal["done", "failed"]
    error: str = ""
    architecture: Architecture | None = None
    costs: Costs = Costs()
    search_value: float | None = Field(
        None, validation_alias=AliasChoices("search_value", "search_accuracy")
    )
    short_value: float | None = Field(
        None, validation_alias=AliasChoices("short_value", "short_accuracy")
    )
    test_value: float | None = Field(
        None, validation_alias=AliasChoices("test_value", "test_accuracy")
    )
    parameters: int | None = Field(None, ge=0)
    multiply_adds: int | None = Field(None, ge=0)
    curve: tuple[Point, ...] = ()
    conditions: dict[str, str] = Field(default_factory=dict)
    test_reads: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.status == "done" and (lacks := [n for n in REQUIRED if getattr(self, n) is None]):
            raise ValueError(
                f"{self.name} is done but has no {lacks[0]}; add it, or mark it failed"
            )
        if self.status == "done" and self.error:
            raise ValueError(f'{self.name} is done but has the error "{self.error}"; expected none')
        if self.status == "failed" and (not self.error.strip() or "\n" in self.error):
            raise ValueError(
                f"{self.name} failed with error {self.error!r}; expected its reason in one line"
            )
        if self.status == "failed" and self.test_value is not None:
            raise ValueError(f"{self.name} failed but has a test_value; expected none")
        if any(b.spent < a.spent or b.seconds < a.seconds for a, b in pairwise(self.curve)):
            raise ValueError(
                f"the curve of {self.name} goes back; expected it in order of spending"
            )
        return self

    @property
    def name(self) -> str:
        """Method, data and seed, for messages."""
        return f"{self.method} on {self.data}, seed {self.seed}"

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells entries apart: method, data, seed."""
        return self.method, self.data, self.seed

    @property
    def values(self) -> list[float]:
        """All that are known, those of the curve too."""
        known = (self.search_value, self.short_value, self.test_value)
        return [*(v for v in known if v is not None), *(point.value for point in self.curve)]


class Budget(_Value):
    """What every search may spend: `amount` in `unit`, or `seconds` where these decide.

    `multiply-adds` are sample passes times multiply-adds; `evaluations` look-ups in a table.
    """

    amount: float | None = Field(None, gt=0)
    unit: Literal["multiply-adds", "evaluations"] = "multiply-adds"
    seconds: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.amount is None and self.seconds is None:
            raise ValueError("found neither amount nor seconds; expected a budget of every search")
        return self


class Settings(_Value):
    """What was asked for: every method on every data set with every seed.

    `table`: name of the benchmark table that stood for training, if any. `validation_apart`:
    whether the part of the data that selects was seen by no search. `tuning`: how the
    hyperparameters were found, in the user's own words. `options`: all others, as given.
    """

    space: str = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    data: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    guard: Literal["off", "warn", "stop", "rollback"] = "warn"
    table: str | None = None
    validation_apart: bool | None = None
    tuning: str = ""
    options: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for field in ("methods", "data", "seeds"):
            found = getattr(self, field)
            if len(set(found)) != len(found):
                raise ValueError(f"{field} {list(found)} holds one twice; name each once")
        return self


class Results(_Value):
    """One comparison: what was asked for, where it ran, and an entry a search that ended.

    `measure`: what all values are, by the name of `archgrad.measure.Measure`.
    `environment`: versions and device of the processes that took part, as in environment.json;
    those of which nothing but start and number differ stand for one another.
    A search that is asked for and has no entry has not been run yet; see `missing`.
    """

    format: Literal["archgrad-comparison/1"] = "archgrad-comparison/1"
    measure: str = "accuracy"
    settings: Settings
    budget: Budget
    environment: tuple[dict[str, JsonValue], ...] = ()
    entries: tuple[Entry, ...] = ()

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.measure not in MEASURES:
            raise ValueError(f"measure is {self.measure}; expected {' or '.join(MEASURES)}")
        seen: set[tuple[str, str, int]] = set()
        asked = self.settings
        for entry in self.entries:
            if entry.key in seen:
                raise ValueError(f"{entry.name} is there twice; remove one of the entries")
            seen.add(entry.key)
            for field, value in (("methods", entry.method), ("data", entry.data),
                                 ("seeds", entry.seed)):  # fmt: skip
                if value not in getattr(asked, field):
                    raise ValueError(
                        f"{entry.name} is not among the {field} of the settings, "
                        f"{list(getattr(asked, field))}; add it there, or remove the entry"
                    )
            low, high = self.judge.bounds
            if wrong := [value for value in entry.values if not low <= value <= high]:
                raise ValueError(
                    f"{entry.name} has the {self.measure} {wrong[0]:g}; expected {low:g} to "
                    f"{high:g}: correct it, or the measure"
                )
        return self

    @property
    def judge(self) -> Measure:
        """The measure: which direction is better, and how it is shown."""
        return MEASURES[self.measure]

    def of(self, method: str, data: str, status: str = "done") -> list[Entry]:
        """The entries of a method on a data set with this status, in order of the seeds."""
        found = (e for e in self.entries if (e.method, e.data, e.status) == (method, data, status))
        return sorted(found, key=lambda entry: entry.seed)

    @property
    def missing(self) -> list[tuple[str, str, int]]:
        """Method, data and seed of what was asked for and has no entry."""
        there = {entry.key for entry in self.entries}
        asked = self.settings
        keys = [(m, d, s) for d in asked.data for m in asked.methods for s in asked.seeds]
        return [key for key in keys if key not in there]

    def plot(self, width: float = 6.75) -> Figure:
        """The methods side by side, as a figure `width` inches wide, as of a search.

        A row a data set: the test value of every search with the mean and its 95 % t interval,
        and the mean of the best validation value so far over what was spent.
        """
        from archgrad.reporting.figures import of_comparison

        return of_comparison(self, width)

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import of_comparison

        return of_comparison(self)

    def to_json(self) -> str:
        """Text that `from_json` reads back to an equal value; an entry a line."""
        fields = self.model_dump(mode="json")
        entries = ",\n".join("    " + json.dumps(entry) for entry in fields.pop("entries"))
        head = json.dumps(fields, indent=2, allow_nan=False).removesuffix("\n}")
        return f'{head},\n  "entries": [\n{entries}\n  ]\n}}\n'

    @classmethod
    def from_json(cls, text: str | bytes, origin: str = "comparison") -> Results:
        """Read and validate text in the format of `to_json`.

        Raises `ArchgradError` that names `origin`, the field, what was found and what was expected.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ArchgradError(f"{origin}: {explain(error)}") from None

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read a JSON file, the results.json of a comparison; `ArchgradError` where it is none."""
        try:
            content = untrusted.content(path)
        except OSError as error:
            raise ArchgradError(
                f"results {path} cannot be read: {error}; expected the file that archgrad compare "
                "wrote"
            ) from None
        return cls.from_json(content, origin=str(path))

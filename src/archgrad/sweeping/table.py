"""What a sweep found, as a table for people, CSV and JSON. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from archgrad.measure import ACCURACY, MEASURES, Measure

COLUMNS = ("validation", "parameters", "multiply_adds", "spent", "status")
FORMAT = "archgrad-sweep/1"


@dataclass(frozen=True)
class Swept:
    """A row a trial, the best by validation first, then those that did not end.

    `vary`: the options that vary; each row has `trial` (its folder, from that of the sweep),
    `options` by name, `status`, and of what is done the rest of trial.json.
    """

    vary: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, vary: tuple[str, ...], rows: list[dict[str, Any]]) -> Swept:
        """Sorts them; those of equal values stay in the order of the grid."""
        measure = _measure(rows)

        def key(row: dict[str, Any]) -> tuple[bool, float]:
            known = row.get("validation")
            return known is None, 0.0 if known is None else measure.order(known)

        return cls(vary, tuple(sorted(rows, key=key)))

    @property
    def measure(self) -> Measure:
        """Of the validation values."""
        return _measure(self.rows)

    @property
    def failed(self) -> int:
        """How many trials ended with an error."""
        return sum(row["status"] == "failed" for row in self.rows)

    def as_value(self) -> dict[str, Any]:
        """The value of sweep.json, numbers not rounded."""
        return {
            "format": FORMAT,
            "measure": self.measure.name,
            "vary": list(self.vary),
            "chosen_by": "validation",
            "test_reads": 0,
            "trials": list(self.rows),
        }

    def to_json(self) -> str:
        """The text of sweep.json."""
        return json.dumps(self.as_value(), indent=2, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """A line a trial, numbers not rounded; what is not known is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["trial", *self.vary, *COLUMNS, "seconds", "error"])
        for row in self.rows:
            own = [row["options"][name] for name in self.vary]
            rest = [row.get(name) for name in (*COLUMNS, "seconds", "error")]
            writer.writerow([row["trial"], *own, *rest])
        return text.getvalue()

    def __str__(self) -> str:
        """The table for people."""
        title = self.measure.with_unit(f"validation {self.measure.name}")
        rows = [["trial", *self.vary, title, "parameters", "madds, M", "spent", "status"]]
        for row in self.rows:
            known = row.get("validation")
            rows.append(
                [
                    row["trial"].rpartition("/")[2],
                    *(_text(row["options"][name]) for name in self.vary),
                    "-" if known is None else self.measure.shown(known),
                    _number(row.get("parameters"), 1, ","),
                    _number(row.get("multiply_adds"), 1e6, ".2f"),
                    _number(row.get("spent"), 1, ".4g"),
                    row["status"],
                ]
            )
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)

    def notes(self, methods: int) -> list[str]:
        """What the table does not say, in sentences; `methods`: how many there are in it."""
        told = [
            "Sorted by validation, which chose: the best of many is optimistic, the more so the\n"
            "more trials. The test part was not read; archgrad train tests one of them."
        ]
        if methods > 1:
            told.append(
                "A row a method is not a comparison, which takes equal budgets, several seeds and\n"
                "one test at the end: archgrad compare."
            )
        told += [
            f"Failed: {row['trial']}: {row['error']}"
            for row in self.rows
            if row["status"] == "failed"
        ]
        return told


def _measure(rows: Any) -> Measure:
    names = [row["measure"] for row in rows if "measure" in row]
    return MEASURES[names[0]] if names else ACCURACY


def _number(value: int | None, unit: float, form: str) -> str:
    return "-" if value is None else format(value / unit if unit > 1 else value, form)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

"""What is found in the files of other tools, and how an architecture is written for them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from archgrad.architecture import Architecture
from archgrad.conversion import genotypes
from archgrad.errors import ArchgradError, unknown
from archgrad.spaces.nas_bench_201 import to_string

WRITTEN: Mapping[str, Callable[[Architecture], str]] = {
    "archgrad": Architecture.to_json, "genotype": genotypes.text, "nas-bench-201": to_string,
}  # fmt: skip
"""The forms that `written` writes, each with what writes it."""


@dataclass(frozen=True)
class Found:
    """One architecture of a text: its epoch as the other tool counts, or its name, if any.

    `architecture` is None where no space here can build it; `problem` then says why.
    """

    architecture: Architecture | None
    epoch: int | None = None
    name: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class Conversion:
    """What `convert` found: the architectures in order, of a log one an epoch, and its numbers.

    `metrics`: a line an epoch, as in metrics.jsonl: epoch, train_accuracy, valid_accuracy (from
    0 to 1), train_loss, valid_loss, valid_perplexity, what there is of them.
    """

    source: str
    found: tuple[Found, ...]
    metrics: tuple[Mapping[str, float], ...] = ()

    @property
    def architecture(self) -> Architecture:
        """The last one; raises `ArchgradError` where it is not clear which, or where none is."""
        return self.chosen()

    def chosen(self, epoch: int | None = None, name: str | None = None) -> Architecture:
        """The architecture of an epoch, or of a name; of neither the last of all.

        Raises `ArchgradError` where there is none, several have other names, or no space can build
        it.
        """
        fits = [f for f in self.found if epoch in (None, f.epoch) and name in (None, f.name)]
        if not fits:
            raise self._missing(epoch, name)
        last = fits[-1]
        others = {f.name for f in fits if f.epoch is None and f.name is not None}
        if len(others) > 1:
            raise ArchgradError(
                f"{self.source} holds several architectures: {', '.join(sorted(others))}; choose "
                "one by its name"
            )
        if last.architecture is None:
            raise ArchgradError(f"{self.source}: {last.problem}")
        return last.architecture

    def text(self, form: str, epoch: int | None = None, name: str | None = None) -> str:
        """The chosen architecture as `archgrad` (JSON), `genotype` or `nas-bench-201`."""
        return written(self.chosen(epoch, name), form)

    def _missing(self, epoch: int | None, name: str | None) -> ArchgradError:
        if not self.found:
            return ArchgradError(
                f"{self.source} has numbers of {len(self.metrics)} epochs and no architecture; "
                "print the architecture with the tool that wrote the file, and convert that text"
            )
        names = {each.name for each in self.found if each.name}
        if name is not None and names:
            return unknown("architecture", name, names)
        if name is not None:
            return ArchgradError(
                f'{self.source} has architectures without names, not "{name}"; leave the name out'
            )
        epochs = [each.epoch for each in self.found if each.epoch is not None]
        if not epochs:
            return ArchgradError(
                f"{self.source} has architectures without epochs, not epoch {epoch}; leave the "
                "epoch out"
            )
        return ArchgradError(
            f"{self.source} has epochs {min(epochs)} to {max(epochs)}, not epoch {epoch}; choose "
            "one that it has"
        )

    def table(self) -> str:
        """CSV of the epochs: their numbers, and the architecture in one line that `convert` reads.

        A string of NAS-Bench-201, a Genotype, or JSON where that cannot say it. Raises
        `ArchgradError` where there is no epoch.
        """
        lines: dict[int, dict[str, object]] = {int(m["epoch"]): dict(m) for m in self.metrics}
        for each in self.found:
            if each.epoch is not None and each.architecture is not None:
                line = lines.setdefault(each.epoch, {"epoch": each.epoch})
                line["architecture"] = _in_one_line(each.architecture)
        if not lines:
            raise ArchgradError(f"{self.source} has no epochs, so no table; convert it without one")
        columns = list(dict.fromkeys(["epoch", *(c for line in lines.values() for c in line)]))
        columns.sort(key=lambda column: column == "architecture")
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines[epoch] for epoch in sorted(lines))
        return text.getvalue()


def _in_one_line(architecture: Architecture) -> str:
    with suppress(ArchgradError):
        return genotypes.text(architecture)
    with suppress(ArchgradError):
        return to_string(architecture)
    return " ".join(architecture.to_json().split())


def written(architecture: Architecture, form: str) -> str:
    """The text of an architecture: `archgrad` (JSON), `genotype` or `nas-bench-201`.

    Raises `ArchgradError` for another `form`.

    >>> from archgrad import published
    >>> from archgrad.conversion import written
    >>> print(written(published("DARTS_RNN_V2"), "genotype")[-41:])
    h', 3), ('relu', 5)], concat=range(1, 9))
    """
    if form not in WRITTEN:
        raise unknown("form to write", form, WRITTEN)
    return WRITTEN[form](architecture)

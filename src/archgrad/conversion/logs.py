"""What the logs of others say of each epoch: numbers, and where it begins. No torch."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from heapq import merge
from operator import itemgetter
from typing import Any, NamedTuple

from archgrad.errors import ArchgradError, shown

NASLIB = {"train_acc": "train_accuracy", "valid_acc": "valid_accuracy", "test_acc": "test_accuracy",
          "train_loss": "train_loss", "valid_loss": "valid_loss"}  # fmt: skip
MOST, HUGE = 100_000, 1e300  # epochs, a number
_NUMBER = r"(\d{1,9}(?:\.\d{1,20})?)"
# In each the epoch where it has a group of that name, then the numbers in order. They begin with
# fixed letters, which is what re finds fast: Train_acc and train_acc by what they share.
_LINES = {
    r"poch:? (?P<epoch>\d{1,6}) lr\b": (),  # DARTS and what came from it
    rf"rain_acc:? {_NUMBER}": ("train_accuracy",),
    rf"alid_acc(?:_top1)?:? {_NUMBER}": ("valid_accuracy",),
    r"\| epoch {1,9}(?P<epoch>\d{1,6}) \|": (),  # recurrent cells of the same
    r"\| end of epoch {1,9}(?P<epoch>\d{1,6}) \|[^\n|]{0,99}\| valid loss {1,9}" + _NUMBER
    + rf" \| valid ppl {{1,9}}{_NUMBER}": ("valid_loss", "valid_perplexity"),
    r"\[Search the (?P<epoch>\d{1,6})-\d{1,6}-th epoch\]": (),  # AutoDL-Projects
    r"\[(?P<epoch>\d{1,6})-\d{1,6}\] search(?:ing| \[base\]) ?: loss=" + _NUMBER
    + rf", accuracy@1={_NUMBER}%": ("train_loss", "train_accuracy"),
    r"\[(?P<epoch>\d{1,6})-\d{1,6}\] evaluate {1,2}: loss=" + _NUMBER
    + rf", accuracy@1={_NUMBER}%": ("valid_loss", "valid_accuracy"),
    rf"Epoch (?P<epoch>\d{{1,6}}) done\. Train accuracy: {_NUMBER}, Validation accuracy: "
    + _NUMBER: ("train_accuracy", "valid_accuracy"),  # NASLib
}  # fmt: skip
_PATTERNS = [(re.compile(pattern), names) for pattern, names in _LINES.items()]

Line = dict[str, float]


class Epochs(NamedTuple):
    """The epochs of a log: where each is said, in order, and its numbers."""

    places: list[int]
    numbers: list[int]
    metrics: list[Line]

    def at(self, place: int, after: bool) -> int | None:
        """The epoch that was said last before a place, or `after` it, for what comes before."""
        index = bisect_left(self.places, place) if after else bisect_right(self.places, place) - 1
        return self.numbers[index] if 0 <= index < len(self.numbers) else None


def epochs(text: str) -> Epochs:
    """The epochs of a log as its tool counts them; accuracies are shares, not percent."""
    places: list[int] = []
    numbers: list[int] = []
    lines: dict[int, Line] = {}
    # Merged, not sorted: a log may have a million of them, each much larger than its text.
    for place, match, names in merge(
        *(_found(text, *each) for each in _PATTERNS), key=itemgetter(0)
    ):
        groups = match.groupdict()
        if "epoch" in groups:
            places.append(place)
            numbers.append(int(groups["epoch"]))
        values = match.groups()[-len(names) :] if names else ()
        if values and numbers:
            line = lines.setdefault(numbers[-1], {"epoch": numbers[-1]})
            line.update({name: _share(name, float(v)) for name, v in zip(names, values)})
    return Epochs(places, numbers, [lines[number] for number in sorted(lines)])


def _found(
    text: str, pattern: re.Pattern[str], names: tuple[str, ...]
) -> Iterator[tuple[int, re.Match[str], tuple[str, ...]]]:
    """What a pattern finds, in order."""
    for match in pattern.finditer(text):
        yield match.start(), match, names


def trajectory(value: Any) -> list[Line] | None:
    """The epochs of NASLib's errors.json, which has a list for each kind of number; else None."""
    if isinstance(value, list) and len(value) == 2:
        value = value[1]  # the first is the configuration
    if not isinstance(value, Mapping) or not {"train_acc", "valid_acc"} <= value.keys():
        return None
    columns = {theirs: ours for theirs, ours in NASLIB.items() if value.get(theirs)}
    for theirs in columns:
        if not _numbers(value[theirs]):
            raise ArchgradError(f"{theirs}: found {shown(value[theirs])}, expected numbers")
    lengths = [len(value[theirs]) for theirs in columns]
    if max(lengths, default=0) > MOST:
        raise ArchgradError(f"found {max(lengths):,} epochs, expected at most {MOST:,}")
    lines: list[Line] = [{"epoch": epoch} for epoch in range(max(lengths, default=0))]
    for theirs, ours in columns.items():
        for line, number in zip(lines, value[theirs]):
            if 0 <= number < HUGE:  # -1: not known
                line[ours] = _share(ours, number)
    return lines


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) in (int, float) for value in values)


def _share(name: str, value: float) -> float:
    return value / 100 if name.endswith("accuracy") else value

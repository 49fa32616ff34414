"""The files of a run folder: their names; never half-written. Imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from archgrad import untrusted
from archgrad.errors import ArchgradError

CONFIG, ENVIRONMENT, ARCHITECTURE = "config.yaml", "environment.json", "architecture.json"
METRICS, ALPHAS, GROUPS = "metrics.jsonl", "alphas.jsonl", "groups.json"  # of a gradient search
EVALUATIONS = "evaluations.jsonl"  # of a baseline
SELECTION = "selection.json"  # what a selection after the last epoch took
RESULT = "result.json"  # of a retraining
RESULTS, SUMMARY = "results.json", "summary.txt"  # of a main job; the first of a comparison too
COMPARISON, FAILED, TEST = "comparison.yaml", "failed.json", "test.json"  # and of its searches
REPORT = "report.html"


def write(path: Path, content: str | bytes) -> None:
    """Write a file to the side and rename it: a reader sees the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _named(path):
            with side.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(side, path)
        _tidy(path)
    except BaseException:  # Ctrl-C as well
        with suppress(OSError):
            side.unlink(missing_ok=True)
        raise


def _tidy(path: Path) -> None:
    """Remove what processes that were killed left to the side of a file."""
    before, after = f".{path.name}.", ".part"
    for rest in path.parent.iterdir():
        process = rest.name.removeprefix(before).removesuffix(after)
        if rest.name == f"{before}{process}{after}" and process.isdecimal():
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                rest.unlink(missing_ok=True)
            except (OSError, OverflowError):
                pass  # it goes on


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one line to a JSON-lines file; half a line at its end, left by a fault, goes first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _named(path), path.open("a+b") as file:
        _cut_half_line(file)
        file.write(json.dumps(entry, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _cut_half_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the system name the file that was wanted, also those of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


def read_lines(path: Path, epochs: int | None = None) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file, of the first `epochs` epochs if given."""
    if not path.is_file():
        return []
    try:
        lines = untrusted.content(path).split(b"\n")[:-1]  # the last is empty or cut off
        entries = [untrusted.from_json(line) for line in lines]
        if any(not isinstance(entry, dict) for entry in entries):
            raise TypeError("a line holds no object")
        return [entry for entry in entries if epochs is None or entry["epoch"] <= epochs]
    except (ValueError, KeyError, TypeError) as error:
        raise ArchgradError(
            f"{path} is damaged ({error!r}); expected one JSON object an epoch: restore it, or "
            "begin a new run with --config"
        ) from None

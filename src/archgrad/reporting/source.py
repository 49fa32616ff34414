"""The files of one folder, read with care: what cannot be read is said, never raised."""

from __future__ import annotations

import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archgrad.reporting.values import Value, mapping
from archgrad.storage import files
from archgrad.untrusted import LIMIT, from_json, from_yaml

SHOWN = {
    files.CONFIG: "what was asked for",
    files.METRICS: "losses, accuracies and diagnostics",
    files.ALPHAS: "weights of the edges, and how they moved",
    files.GROUPS: "weights of the edges, and how they moved",
    files.ARCHITECTURE: "the cells",
    files.ENVIRONMENT: "command, versions and device",
    files.EVALUATIONS: "the evaluations",
    files.RESULT: "the scores of this retraining",
    files.RESULTS: "results",
    files.SUMMARY: "the table of results",
    files.COMPARISON: "what was compared",
    files.TEST: "the test values",
    files.FAILED: "why it failed",
}


class Source:
    """A folder whose `problems` are what was found in place of what was expected.

    `damaged`: its files that could not be read whole.
    """

    def __init__(self, folder: Path, problems: list[str], within: str = "") -> None:
        self.folder, self.problems, self.within = folder, problems, within
        self.damaged: set[str] = set()

    def inside(self, name: str) -> Source:
        """A folder in this one; its problems are among those of this one."""
        return Source(self.folder / name, self.problems, f"{self.within}{name}/")

    def has(self, name: str) -> bool:
        """Whether there is something of that name."""
        try:
            return (self.folder / name).exists()
        except OSError:
            return False

    def folders(self, pattern: str) -> list[str]:
        """The names of the folders that a pattern fits, in order."""
        try:
            found = sorted(path for path in self.folder.glob(pattern) if path.is_dir())
        except OSError as error:
            self.say(pattern, f"cannot be listed ({_reason(error)})")
            return []
        return [str(path.relative_to(self.folder)) for path in found]

    def written(self, *patterns: str) -> str | None:
        """When the newest of the files that a pattern fits was written, ISO in UTC; or None."""
        times = []
        with suppress(OSError):
            for path in (path for pattern in patterns for path in self.folder.glob(pattern)):
                with suppress(OSError, OverflowError, ValueError):  # it is gone, or of no real time
                    times.append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
        return max(times).isoformat(timespec="seconds") if times else None

    def say(self, name: str, finding: str) -> None:
        """A problem with a file: what was found, and what is therefore not shown."""
        self.damaged.add(name)
        lost = SHOWN.get(name.rpartition("/")[2], "what it holds")
        self.problems.append(f"{self.within}{name} {finding}; not shown: {lost}")

    def text(self, name: str, limit: int = LIMIT) -> str | None:
        """The text of a file, None where there is none."""
        path = self.folder / name
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no regular file"
                self.say(name, f"is {kind}, expected a file")
                return None
            if about.st_size > limit:
                size = f"{about.st_size / 2**20:,.0f} MiB, more than the {limit / 2**20:,.0f} MiB"
                self.say(name, f"has {size} that are read")
                return None
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            self.say(name, f"cannot be read ({_reason(error)})")
            return None
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            self.problems.append(
                f"{self.within}{name} is no UTF-8 from byte {error.start} on; such bytes are shown "
                "as \N{REPLACEMENT CHARACTER}"
            )
            return content.decode("utf-8", "replace")

    def json(self, name: str) -> Any:
        """The value of a JSON file; None where there is none."""
        found = self.text(name)
        if found is None:
            return None
        try:
            return from_json(found)
        except ValueError as error:
            self.say(name, f"is no JSON ({_reason(error)})")
            return None

    def yaml(self, name: str, found: str | None) -> Value:
        """The mapping in the text of a YAML file; empty where there is none."""
        if found is None:
            return {}
        try:
            value = from_yaml(found)
        except ValueError as error:
            self.say(name, f"is no YAML ({_reason(error)})")
            return {}
        if not isinstance(value, dict):
            self.say(name, f"holds {_kind(value)}, expected a mapping")
        return mapping(value)

    def mapping(self, name: str) -> Value:
        """The mapping of a JSON file; empty where there is none."""
        value = self.json(name)
        if value is not None and not isinstance(value, dict):
            self.say(name, f"holds {_kind(value)}, expected an object")
        return mapping(value)

    def lines(self, name: str) -> list[Value]:
        """The objects of a JSON-lines file, those left out that are none."""
        found = self.text(name)
        if found is None:
            return []
        *lines, rest = found.split("\n")
        good, bad = [], []
        for index, line in enumerate([*lines, rest] if rest.strip() else lines, start=1):
            value = _object(line)
            good += [value] if value is not None else []
            bad += [index] if value is None else []
        if bad:
            self.damaged.add(name)
        if bad and bad[-1] > len(lines):
            self.problems.append(
                f"the last line of {self.within}{name} is cut off: it is being written, or its "
                "process was killed; that line is not shown"
            )
            bad.pop()
        if bad:
            self.problems.append(
                f"{self.within}{name}: {len(bad)} of {len(lines)} lines hold no JSON object, the "
                f"first is line {bad[0]}; these are not shown"
            )
        return good


def _object(line: str) -> Value | None:
    try:
        value = from_json(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", type(None): "nothing"}.get(type(value), "a single value")


def _reason(error: BaseException) -> str:
    told = getattr(error, "strerror", None) or str(error)
    return " ".join(told.split())[:120] or type(error).__name__

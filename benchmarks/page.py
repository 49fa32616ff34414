"""Raw results that are kept, and tables that are written into a page, between two marks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archgrad.storage.files import write

END = "<!-- end -->"


def keep(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write raw results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, json.dumps(content, indent=indent) + "\n")


def load(path: Path) -> dict[str, Any]:
    """Raw results, read back."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def made(environment: Mapping[str, Any]) -> str:
    """Commit and date of a measurement, for the text above its table."""
    return f"commit {(environment['commit'] or 'unknown')[:7]}, {environment['started'][:10]}"


def begin(command: str) -> str:
    """The mark before the table of a command, such as "benchmarks/bench.py --report"."""
    return f"<!-- begin: {command} -->"


def fill(page: Path, command: str, text: str) -> None:
    """Write the text between the marks of a page, if the page is there and has them."""
    if not page.is_file():
        return
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin(command))
    _, end, after = rest.partition(END)
    if mark and end:
        write(page, f"{before}{mark}\n\n{text.strip()}\n\n{end}{after}")

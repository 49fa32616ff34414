"""Tables that are written into a page, between two marks."""

from __future__ import annotations

from pathlib import Path

from archgrad.folder import write

END = "<!-- end -->"


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

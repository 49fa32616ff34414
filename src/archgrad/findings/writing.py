"""What a comparison leaves for people: tables, lists, and the report of the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from archgrad.findings import tables
from archgrad.findings.checklist import checklist, lines
from archgrad.findings.results import Results


def files(results: Results) -> dict[str, str]:
    """The tables and the report by the name of their file."""
    return {
        "table.md": tables.markdown(results),
        "table.tex": tables.latex(results),
        "table.csv": tables.as_csv(results),
        "anytime.csv": tables.anytime_csv(results),
        "correlations.csv": tables.correlations_csv(results),
        "report.txt": report(results),
    }


def report(results: Results) -> str:
    """All of it for the terminal."""
    return "\n".join([*_sections(results), ""])


def _sections(results: Results) -> Iterator[str]:
    yield tables.text(results)
    yield tables.anytime_text(results)
    yield f"Rank correlations of {results.judge.plural}: in search, short retraining and test\n"
    yield tables.correlations_text(results)
    yield "Checklist of best practices (arXiv:1909.02453); in brackets the number there.\n"
    yield from lines(checklist(results))

"""HTML for notebooks: self-contained, without scripts, on a background of its own.

All text of the user's goes through `html.escape`. Pictures are inline SVG with a text alternative.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from archgrad.architecture import Architecture, Cell
from archgrad.measure import MEASURES
from archgrad.reporting.drawing import svg
from archgrad.reporting.layout import Strength, printable
from archgrad.settings.config import OWN

if TYPE_CHECKING:
    from archgrad.exporting.trained import TrainResult
    from archgrad.findings.results import Results
    from archgrad.networks.choice import Choice
    from archgrad.searching.callbacks import EpochEnd
    from archgrad.searching.result import SearchResult
    from archgrad.verbs.experiment import Report

FRAME = (
    "background:#fff;color:#222;border:1px solid #c8ced6;border-radius:6px;padding:10px 14px;"
    "max-width:100%;overflow-x:auto;font-family:Helvetica,Arial,sans-serif;font-size:13px;"
    "line-height:1.45;text-align:left"
)
ROW = "background:none;color:inherit;text-align:left"  # against the notebook's own theme
CELL = "padding:2px 14px 2px 0;text-align:left;vertical-align:top;border:0"
NOTE = "margin:6px 0 0;max-width:50em"


def text(value: object) -> str:
    """Escaped, for content and attributes."""
    return escape(printable(str(value)))


def frame(title: str, *parts: str) -> str:
    """A box with a title around parts that are HTML already."""
    inside = "".join(parts)
    return f'<div style="{FRAME}"><strong>{text(title)}</strong>{inside}</div>'


def facts(pairs: Mapping[str, object]) -> str:
    """A table of two columns; what is None or empty is left out."""
    known = [[name, value] for name, value in pairs.items() if value not in (None, "")]
    return table(None, known)


def table(header: Sequence[object] | None, rows: Iterable[Sequence[object]]) -> str:
    """A table; the first cell of a row is its header where the table has none."""
    made = []
    if header is not None:
        heads = "".join(f'<th scope="col" style="{CELL}">{text(cell)}</th>' for cell in header)
        made.append(f'<tr style="{ROW};border-bottom:1px solid #c8ced6">{heads}</tr>')
    for first, *others in rows:
        head = f'<th scope="row" style="{CELL};font-weight:normal">{text(first)}</th>'
        cells = "".join(f'<td style="{CELL}">{text(cell)}</td>' for cell in others)
        made.append(f'<tr style="{ROW}">{head}{cells}</tr>')
    style = "border-collapse:collapse;margin:6px 0;border:0;background:none;color:inherit"
    return f'<table style="{style}">{"".join(made)}</table>'


def notes(sentences: Iterable[object]) -> str:
    """A paragraph each."""
    return "".join(f'<p style="{NOTE}">{text(sentence)}</p>' for sentence in sentences)


def drawn(architecture: Architecture, strength: Strength | None = None) -> str:
    """The cells, as wide as there is room."""
    made = svg(architecture, strength).strip()
    made = made.replace(' xmlns="http://www.w3.org/2000/svg"', "", 1)  # HTML knows it
    return made.replace("<svg ", '<svg style="display:block;max-width:100%;height:auto" ', 1)


def of_architecture(architecture: Architecture) -> str:
    """The cells of an architecture."""
    own = architecture.space == OWN
    title = "Architecture of " + ("an own model" if own else f"space {architecture.space}")
    return frame(title, drawn(architecture))


def of_cell(cell: Cell) -> str:
    """One cell."""
    return frame("Cell", drawn(Architecture(space="cell", cells=(cell,))))


def of_choice(choice: Choice) -> str:
    """A choice: its candidates, with all parameters that each holds."""
    kept = f", keeps {choice.picks}" if choice.picks > 1 else ""
    title = f"{type(choice).__name__} {choice.group}".strip()
    title += f" of {len(choice.names)} candidates{kept}"
    sizes = [sum(p.numel() for p in choice.chosen([n]).parameters()) for n in choice.names]
    rows = [[name, f"{size:,}"] for name, size in zip(choice.names, sizes)]
    return frame(title, table(["candidate", "parameters"], rows))


def of_search(result: SearchResult) -> str:
    """What a search found, and how it went."""
    config, last = result.config, result.metrics[-1] if result.metrics else {}
    count = f"{len(result.metrics)} {'evaluations' if 'evaluation' in last else 'epochs'}"
    found = {
        "data": result.origin.data if result.origin else None,
        "seed": config.seed,
        "ended after": count + (f": {result.stopped}" if result.stopped else ""),
        **_last(last),
        "best score": _best(result.metrics),
        "limit of cost": result.cost,
        "folder": result.path,
    }
    said = [
        f"Epoch {line['epoch']}: {sentence}."
        for line in result.metrics
        for sentence in line.get("warnings", ())
    ]
    if result.undecided:
        said.append(f"{result.undecided}.")
    widths = ["A line is as wide as its edge is strong."] if result.strength else []
    space = result.architecture.space
    space = "an own model" if space == OWN else space
    title = f"Search of {space} by {getattr(result.method, 'name', config.method)}"
    picture = drawn(result.architecture, result.strength)
    return frame(title, facts(found), picture, notes([*widths, *said]))


def _last(line: Mapping[str, Any]) -> dict[str, object]:
    """What the last epoch measured, for people."""
    found: dict[str, object] = {}
    for key, value in line.items():
        phase, _, name = key.partition("_")
        if phase in ("train", "valid") and isinstance(value, float):
            judge = MEASURES.get(name)
            found[f"{phase} {name}"] = judge.whole(value) if judge else f"{value:.4g}"
    return found


def _best(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """Of a baseline, whose architecture is the one with this score: a longest training has it."""
    scores = [(line["share"], line["score"]) for line in lines if line.get("score") is not None]
    return f"{max(scores)[1]:.4g}" if scores else None


def of_epoch(event: EpochEnd) -> str:
    """An epoch of a search, or of a retraining."""
    title = f"Epoch {event.epoch} of {event.epochs}"
    title = f"Evaluation {event.epoch}" if event.epochs is None else title
    said = ["Other cells than after the epoch before."] if event.before and event.changed else []
    return frame(title, facts(_last(event.metrics)), drawn(event.architecture), notes(said))


def of_run(report: Report, rows: Sequence[Sequence[str]], verdict: Sequence[str]) -> str:
    """A main job: the table, what may be claimed, and the found cells."""
    search = report.search
    said = [*([report.limit] if report.limit else []), *verdict]
    picture = drawn(search.architecture, search.strength)
    folder = facts({"folder": search.path})
    return frame("Found and random cells", table(*_headed(rows)), notes(said), folder, picture)


def of_retraining(result: TrainResult) -> str:
    """Retrainings of one architecture."""
    judge = result.measure
    rows = [[score["seed"], judge.whole(v)] for score, v in zip(result.scores, result.values)]
    if len(rows) > 1:
        spread = f"{judge.whole(result.mean)} ± {judge.shown(result.spread)}"
        rows.append(["mean ± standard deviation", spread])
    seeds = table(["seed", f"test {judge.name}"], rows)
    return frame("Retraining from scratch", seeds, drawn(result.architecture))


def of_comparison(results: Results) -> str:
    """The table of a comparison, and what has to be said with it."""
    from archgrad.findings import tables

    title = f"Comparison on {', '.join(results.settings.data)}, space {results.settings.space}"
    header, body = _headed(tables.rows(results))
    return frame(title, table(header, body), notes(tables.notes(results)))


def _headed(rows: Sequence[Sequence[str]]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    return rows[0], rows[1:]

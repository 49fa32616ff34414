"""The table of a comparison as text, Markdown, LaTeX and CSV, and its other lists.

All forms come from the same lines, `archgrad.findings.statistics.summaries`. A gap is marked:
"failed" where every search failed, "-" where there is nothing to say.
"""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence

from archgrad.columns import TEST, VALIDATION
from archgrad.findings.results import Phase, Results
from archgrad.findings.statistics import (
    ALPHA,
    RANDOM,
    Correlation,
    Difference,
    Reached,
    Summary,
    anytime,
    correlations,
    pairs_needed,
    smallest_p,
    summaries,
)
from archgrad.measure import Measure

GAP, FAILED = "-", "failed"
WIDTH = 100
FEW = 4  # below that many searches a rank correlation says next to nothing


def text(results: Results) -> str:
    """For the terminal: values, costs, and what has to be said with them."""
    header, *body = rows(results)
    ids, values = slice(0, 2), slice(0, 9)
    parts = [
        aligned([row[values] for row in (header, *body)]),
        aligned([[*row[ids], *row[9:]] for row in (header, *body)]),
    ]
    said = (textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in notes(results))
    return "\n".join([*parts, *said]) + "\n"


def markdown(results: Results) -> str:
    """The table, and under it what has to be said with it."""
    header, *body = [[_escape_markdown(cell) for cell in row] for row in rows(results)]
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)], *body]
    table = "\n".join(f"| {' | '.join(row)} |" for row in lines)
    below = "\n".join(f"- {_escape_markdown(note)}" for note in notes(results))
    return f"{table}\n\n{below}\n"


def latex(results: Results) -> str:
    """A tabular with booktabs' rules; what has to be said with it stands below as comments."""
    header, *body = [
        [*map(_escape_latex, row[:2]), *map(_latex_number, row[2:])] for row in rows(results)
    ]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
        "\\toprule",
        _tabular(header),
        "\\midrule",
        *map(_tabular, body),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"% {note}" for note in notes(results)),
    ]
    return "\n".join(lines) + "\n"


CSV_COLUMNS = (
    "data", "method", "planned", "done", "failed", "mean", "deviation", "low", "high",
    "minus_random", "minus_random_low", "minus_random_high", "test", "pairs", "p", "p_smallest",
    "p_holm", "selected", "parameters", "multiply_adds", "search_spent", "search_seconds",
    "total_spent", "total_seconds",
)  # fmt: skip


def as_csv(results: Results) -> str:
    """The table for machines: accuracies from 0 to 1, or perplexities; nothing rounded."""
    return _csv(CSV_COLUMNS, (_exact(line) for line in summaries(results)))


def anytime_csv(results: Results, points: int = 20) -> str:
    """Best value of validation so far over what was spent, a line a method and amount."""
    header = [results.measure if name == "value" else name for name in Reached._fields]
    return _csv(header, anytime(results, points))


def correlations_csv(results: Results) -> str:
    """The rank correlations, a line each."""
    return _csv(Correlation._fields, correlations(results))


def anytime_text(results: Results, points: int = 5) -> str:
    """The same for the terminal, a line a method."""
    found, judge = anytime(results, points), results.judge
    grid = sorted({reached.spent for reached in found})
    rows = [["data", "method", *(f"{spent:.3g}" for spent in grid)]]
    for line in summaries(results):
        mine = [r for r in found if (r.data, r.method) == (line.data, line.method)]
        rows.append([line.data, line.method, *(_shown(r.value, judge) for r in mine)])
    said = (
        f"Best validation {judge.with_unit(f'{judge.name} so far')}, over {results.budget.unit} "
        "spent; mean over the searches that are done. It is of what a search looks at, a supernet "
        "or a child, so compare a method with itself."
    )
    return f"{aligned(rows)}\n{textwrap.fill(said, WIDTH, subsequent_indent='  ')}\n"


def correlations_text(results: Results) -> str:
    """The rank correlations for the terminal."""
    return aligned(correlation_rows(results))


def correlation_rows(results: Results) -> list[list[str]]:
    """The rank correlations for people, header first, those without a value left out."""
    rows = [["data", "searches of", "between", "n", "Kendall's tau-b", "Spearman", ""]]
    for c in correlations(results):
        if c.tau is not None and c.rho is not None:
            few = "too few to tell" if c.n < FEW else ""
            between = f"{c.first} and {c.second}"
            rows.append([c.data, c.scope, between, str(c.n), f"{c.tau:.2f}", f"{c.rho:.2f}", few])
    return rows


def notes(results: Results) -> list[str]:
    """What has to be said with the table, a sentence or two each."""
    lines, judge = summaries(results), results.judge
    said = [
        f"Test {judge.name}: mean ± sample standard deviation over searches, 95 % t interval of "
        "the mean. Selected: the one search that validation after the short retraining selects. "
        "Search: the mean of one search. Total: all phases of all searches, failed ones too.",
    ]
    if not judge.higher:
        said.append(
            f"Less {judge.name} is better: a method that is better than random has less than 0 in "
            "minus random."
        )
    if (table := results.settings.table) is not None:
        said.append(
            f"Looked up in {table}, nothing was retrained: validation is {VALIDATION}, which "
            f"searches without a supernet see too; test is {TEST}."
        )
    if RANDOM not in results.settings.methods:
        said.append("No method random: nothing says whether a method is better than it.")
    elif not any(line.done for line in lines if line.method == RANDOM):
        said.append("No search of random is done: nothing says whether a method is better than it.")
    said += _tests([line.difference for line in lines if line.difference is not None])
    said += [note for data in results.settings.data for note in _correction(data, lines)]
    for entry in sorted(results.entries, key=lambda entry: entry.key):
        if entry.status == "failed":
            said.append(f"Failed: {entry.name}: {entry.error}.")
    said += [f"Not run: {m} on {d}, seed {s}." for m, d, s in results.missing]
    return said


def _tests(found: Sequence[Difference]) -> list[str]:
    said = []
    if any(d.test == "paired" for d in found):
        said.append(
            "Minus random, paired: t interval and two-sided sign-flip permutation test over the "
            "seeds that both have; p (Holm) is corrected for the methods of a data set. The "
            "interval rests on normal differences, which few seeds cannot show; the test does not."
        )
    few = sorted({d.n for d in found if d.smallest is not None and d.smallest > ALPHA})
    said += [
        f"With {n} pairs the smallest p-value that the test can reach is {smallest_p(n):g}, so "
        f"{ALPHA:g} cannot be reached; it takes {pairs_needed()} pairs."
        for n in few
    ]
    if any(d.test == "welch" for d in found):
        said.append("Welch: fewer than two pairs of seeds, so Welch's t of unpaired searches.")
    if any(d.test is None for d in found):
        said.append("Some differences have too few searches for an interval or a test.")
    return said


def _correction(data: str, lines: Sequence[Summary]) -> list[str]:
    """Where each test could reach the level, but not once it is corrected."""
    found = [line.difference for line in lines if line.data == data and line.difference is not None]
    family = sum(d.p is not None for d in found)
    short = [d.smallest for d in found if d.smallest is not None and d.smallest <= ALPHA]
    if not short or min(short) * family <= ALPHA:
        return []
    return [
        f"On {data}, corrected for {family} methods, the smallest p (Holm) of the best of them is "
        f"{min(short) * family:g}, so {ALPHA:g} cannot be reached."
    ]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of one width, two spaces between, as lines."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def rows(results: Results) -> list[list[str]]:
    """The table for people, header first."""
    unit, judge = results.budget.unit, results.judge
    header = [
        "data", "method", "searches", f"test {judge.title}", "95 % interval",
        f"minus random, {judge.points}", "p", "p (Holm)", judge.with_unit("selected"),
        "parameters, M", "multiply-adds, M", f"search, {unit}",
        "search, s", f"total, {unit}", "total, s",
    ]  # fmt: skip
    return [header, *(_row(line, judge) for line in summaries(results))]


def _row(line: Summary, judge: Measure) -> list[str]:
    gap = FAILED if line.failed == line.planned else GAP
    count = f"{line.done} of {line.planned}"
    if line.failed:
        count += f" ({line.failed} failed)"
    values = [
        _mean(line, judge),
        _bounds(line.low, line.high, judge.shown),
        *_difference(line.difference, judge),
        _shown(line.selected, judge),
        _millions(line.parameters),
        _millions(line.multiply_adds),
        *_phase(line.search),
        *_phase(line.total),
    ]
    return [
        line.data,
        line.method,
        count,
        *(gap if v == GAP and not line.done else v for v in values),
    ]


def _mean(line: Summary, judge: Measure) -> str:
    deviation = "" if line.deviation is None else f" ± {judge.shown(line.deviation)}"
    return _shown(line.mean, judge) + deviation


def _difference(found: Difference | None, judge: Measure) -> list[str]:
    if found is None:
        return [GAP] * 3
    bounds = _bounds(found.low, found.high, judge.gap)
    value = judge.gap(found.value) + ("" if bounds == GAP else f" {bounds}")
    p = GAP if found.p is None else f"{found.p:.2g}"
    if found.test == "welch":
        p += " (Welch)"
    return [value, p, GAP if found.holm is None else f"{found.holm:.2g}"]


def _bounds(low: float | None, high: float | None, shown: Callable[[float], str]) -> str:
    return GAP if low is None or high is None else f"[{shown(low)}, {shown(high)}]"


def _shown(value: float | None, judge: Measure) -> str:
    return GAP if value is None else judge.shown(value)


def _millions(value: float | None) -> str:
    return GAP if value is None else f"{value / 1e6:.3g}"


def _phase(phase: Phase | None) -> list[str]:
    return [GAP, GAP] if phase is None else [f"{phase.spent:.3g}", _seconds(phase.seconds)]


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _exact(line: Summary) -> list[object]:
    d, gap = line.difference, FAILED if line.failed == line.planned else None
    compared = [d.value, d.low, d.high, d.test, d.n, d.p, d.smallest, d.holm] if d else [None] * 8
    phases = [
        value
        for phase in (line.search, line.total)
        for value in ([phase.spent, phase.seconds] if phase else [None, None])
    ]
    values = [
        line.mean, line.deviation, line.low, line.high, *compared, line.selected, line.parameters,
        line.multiply_adds, *phases,
    ]  # fmt: skip
    counts = [line.data, line.method, line.planned, line.done, line.failed]
    return [*counts, *(gap if value is None else value for value in values)]


def _csv(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([GAP if value is None else value for value in row] for row in rows)
    return file.getvalue()


def _escape_markdown(cell: str) -> str:
    return re.sub(r"([\\|*_`<])", r"\\\1", cell) if cell != GAP else cell


SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#",
    "_": r"\_", "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
}  # fmt: skip
POWER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-])0*(\d+)(?!\w)")
SIGNED = re.compile(r"(?<![\w.$^{-])([+-]\d+(?:\.\d+)?)(?![\w-])")


def _escape_latex(cell: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in cell)


def _latex_number(cell: str) -> str:
    """Escaped, with signs and powers of ten in math mode."""
    if cell == GAP:
        return "--"
    cell = POWER.sub(
        lambda m: f"${m[1]}\\cdot10^{{{m[2].replace('+', '')}{m[3]}}}$", _escape_latex(cell)
    )
    return SIGNED.sub(r"$\1$", cell)


def _tabular(row: Sequence[str]) -> str:
    return " & ".join(row) + r" \\"

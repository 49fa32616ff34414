"""Tables of a comparison: every form from the same lines, gaps marked, nothing unescaped."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.findings import tables
from archgrad.findings.results import Budget, Results
from archgrad.findings.statistics import Summary, anytime, correlations, summaries
from comparisons import done, results

SHORT = {"darts": [0.5, 0.7, 0.6], "pc_darts": [0.5, 0.6, 0.7], "random": [0.5, 0.4, 0.3]}
FOUND = results(
    {"darts": [0.91, 0.92, 0.95], "pc_darts": [0.9, None, 0.93], "random": [0.89, 0.9, 0.935]},
    short=SHORT,
)
MAYBE = st.none() | st.integers(0, 1000).map(lambda k: k / 1000)


def _read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_table_for_the_terminal() -> None:
    lines = tables.text(FOUND).splitlines()
    assert [re.split("  +", line) for line in lines[:9]] == [
        ["data", "method", "searches", "test accuracy, %", "95 % interval",
         "minus random, points", "p", "p (Holm)", "selected, %"],
        ["digits", "darts", "3 of 3", "92.67 ± 2.08", "[87.50, 97.84]", "+1.83 [+1.12, +2.55]",
         "0.25", "0.5", "92.00"],
        ["digits", "pc_darts", "2 of 3 (1 failed)", "91.50 ± 2.12", "[72.44, 110.56]",
         "+0.25 [-9.28, +9.78]", "1", "1", "93.00"],
        ["digits", "random", "3 of 3", "90.83 ± 2.36", "[84.96, 96.70]", "-", "-", "-", "89.00"],
        [""],
        ["data", "method", "parameters, M", "multiply-adds, M", "search, multiply-adds",
         "search, s", "total, multiply-adds", "total, s"],
        ["digits", "darts", "2", "300", "1e+09", "10", "2.13e+10", "213"],
        ["digits", "pc_darts", "2", "300", "1e+09", "10", "1.47e+10", "147"],
        ["digits", "random", "2", "300", "1e+09", "10", "2.13e+10", "213"],
    ]  # fmt: skip
    assert max(map(len, lines[10:])) <= tables.WIDTH


def test_markdown_has_the_same_cells() -> None:
    lines = tables.markdown(FOUND).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {16}
    assert table[3] == (
        r"| digits | pc\_darts | 2 of 3 (1 failed) | 91.50 ± 2.12 | [72.44, 110.56] | "
        "+0.25 [-9.28, +9.78] | 1 | 1 | 93.00 | 2 | 300 | 1e+09 | 10 | 1.47e+10 | 147 |"
    )
    assert r"- Failed: pc\_darts on digits, seed 1: out of memory." in lines


def test_latex_is_escaped_and_whole() -> None:
    text = tables.latex(FOUND)
    assert text.startswith("% needs \\usepackage{booktabs}\n\\begin{tabular}{ll" + 13 * "r" + "}\n")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in rows} == {14}
    assert r"test accuracy, \% & 95 \% interval" in rows[0]
    assert rows[2] == (
        r"digits & pc\_darts & 2 of 3 (1 failed) & 91.50 $\pm$ 2.12 & [72.44, 110.56] & "
        r"$+0.25$ [$-9.28$, $+9.78$] & 1 & 1 & 93.00 & 2 & 300 & $1\cdot10^{9}$ & 10 & "
        r"$1.47\cdot10^{10}$ & 147 \\"
    )
    assert rows[3].count(" -- ") == 3
    for rule in ("toprule", "midrule", "bottomrule", "end{tabular}"):
        assert text.count(f"\\{rule}\n") == 1


NAME = st.text(st.sampled_from(list("ab_%&#$~^{}|<>\\*`-+ 1.5e")), min_size=1, max_size=9)


@given(NAME.filter(lambda name: name not in ("random", "-")))
def test_any_name_is_escaped(name: str) -> None:
    found = results({name: [0.9], "random": [0.8]})
    row = next(r for r in tables.latex(found).splitlines() if r.startswith("digits & "))
    cell = row.split(" & ")[1]
    assert not re.search(r"[%#_$~^{}<>|\\&]", re.sub(r"\\(text\w+\{\}|[{}%&#_$])", "", cell))
    line = tables.markdown(found).splitlines()[2]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 16


@given(
    st.dictionaries(
        st.sampled_from(["darts", "random", "drnas"]),
        st.lists(MAYBE, min_size=1, max_size=3),
        min_size=1,
    )
)
def test_csv_reads_back_to_the_same_values(accuracies: dict[str, list[float | None]]) -> None:
    found = results(accuracies)
    rows = _read(tables.as_csv(found))
    assert len(rows) == len(accuracies)
    for row, line in zip(rows, summaries(found), strict=True):
        assert tuple(row) == tables.CSV_COLUMNS
        gap = "failed" if line.failed == line.planned else "-"
        for name in ("mean", "deviation", "low", "high", "selected", "parameters"):
            value = getattr(line, name)
            assert row[name] == gap if value is None else float(row[name]) == value
        for name in ("planned", "done", "failed"):
            assert int(row[name]) == getattr(line, name)
        assert (row["data"], row["method"]) == (line.data, line.method)
        if line.total is None:
            assert row["total_spent"] == gap
        else:
            assert float(row["total_spent"]) == line.total.spent
        told = line.difference
        assert (
            row["minus_random"] == gap if told is None else float(row["minus_random"]) == told.value
        )
        if told is not None and told.p is not None:
            assert (float(row["p"]), float(row["p_holm"])) == (told.p, told.holm)
            assert (row["test"], int(row["pairs"])) == (told.test, told.n)


def test_no_field_of_a_line_is_left_out_of_the_csv() -> None:
    flat = {"difference", "search", "total"}
    assert {field.name for field in fields(Summary)} - flat <= set(tables.CSV_COLUMNS)


def test_gaps_are_marked() -> None:
    lost = results({"darts": [None, None], "random": [0.9]}, seeds=2)
    text = tables.text(lost).splitlines()
    assert re.split("  +", text[1]) == ["digits", "darts", "0 of 2 (2 failed)", *6 * ["failed"]]
    assert re.split("  +", text[2])[2:] == ["1 of 2", "90.00", *5 * ["-"]]
    notes = tables.notes(lost)
    assert "Failed: darts on digits, seed 0: out of memory." in notes
    assert "Failed: darts on digits, seed 1: out of memory." in notes
    assert "Not run: random on digits, seed 1." in notes
    row = _read(tables.as_csv(lost))[0]
    assert (row["mean"], row["p"], row["failed"]) == ("failed", "failed", "2")
    begun = results({"darts": [None], "random": [0.9, 0.8]})
    assert "failed" not in _read(tables.as_csv(begun))[0].values()  # seed 1 may still be done


def _said(found: Results) -> str:
    return "\n".join(tables.notes(found))


@pytest.mark.parametrize(
    ("seeds", "smallest"), [(2, "0.5"), (3, "0.25"), (4, "0.125"), (5, "0.0625"), (6, None)]
)
def test_the_smallest_p_is_told_while_005_cannot_be_reached(
    seeds: int, smallest: str | None
) -> None:
    found = results({m: [0.5 + 0.01 * s for s in range(seeds)] for m in ("darts", "random")})
    told = f"With {seeds} pairs the smallest p-value that the test can reach is {smallest}"
    assert (told in _said(found)) == (smallest is not None)
    assert ("it takes 6 pairs" in _said(found)) == (smallest is not None)


def test_the_correction_is_told_where_it_is_what_stands_in_the_way() -> None:
    values = [0.5 + 0.01 * s for s in range(6)]
    two = results(dict.fromkeys(("darts", "drnas", "random"), values))
    assert "On digits, corrected for 2 methods" in _said(two)
    assert "0.0625, so 0.05 cannot be reached" in _said(two)
    assert "corrected for 1" not in _said(results(dict.fromkeys(("darts", "random"), values)))


def test_without_random_the_notes_say_what_is_not_known() -> None:
    assert "No method random" in _said(results({"darts": [0.9, 0.8]}))
    assert "No search of random is done" in _said(results({"darts": [0.9], "random": [None]}))
    assert "No method random" not in _said(FOUND)


def test_welch_is_told() -> None:
    found = results({"darts": [0.9, 0.92, None, None], "random": [None, None, 0.8, 0.85]})
    assert "(Welch)" in tables.text(found)
    assert "Welch's t of unpaired searches" in _said(found)
    assert "paired:" not in _said(found)


def test_signs_and_small_numbers_in_latex() -> None:
    values = [0.5 + 0.01 * s for s in range(15)]
    found = results({"1e-5 -2": [v - 0.1 + 0.001 * v for v in values], "random": values})
    text = tables.latex(found)
    assert r" & $6.1\cdot10^{-5}$ & " in text  # 2 / 2^15
    assert "$-9.94$ [$-9.95$, $-9.94$]" in text
    assert "digits & 1e-5 -2 & 15 of 15 & " in text


def test_a_difference_that_rounds_to_zero_has_no_minus() -> None:
    found = results({"darts": [0.5, 0.50001], "random": [0.50002, 0.5]})
    assert "+0.00 [-0.02, +0.02]" in tables.text(found)
    assert "-0.00" not in tables.text(found)


def test_the_unit_of_the_budget_is_that_of_the_table() -> None:
    looked_up = results({"random": [0.9]}, budget=Budget(amount=100, unit="evaluations"))
    assert "search, evaluations" in tables.text(looked_up)
    assert "search, multiply-adds" not in tables.text(looked_up)


def test_several_data_sets_are_lines_of_one_table() -> None:
    found = results({"random": [0.9]}, data=("digits", "cifar10"))
    both = found.model_copy(update={"entries": (*found.entries, done("random", 0, 0.7, "cifar10"))})
    rows = _read(tables.as_csv(both))
    assert [(row["data"], float(row["mean"])) for row in rows] == [
        ("digits", 0.9),
        ("cifar10", 0.7),
    ]


def test_accuracy_over_spending() -> None:
    rows = _read(tables.anytime_csv(FOUND, points=4))
    assert len(rows) == 3 * 4
    for row, reached in zip(rows, anytime(FOUND, points=4), strict=True):
        assert (row["data"], row["method"]) == reached[:2]
        assert (float(row["spent"]), float(row["accuracy"])) == (reached.spent, reached.value)
    early = _read(tables.anytime_csv(FOUND, points=5))[0]
    assert (early["accuracy"], early["searches"]) == ("-", "0")
    lines = tables.anytime_text(FOUND, points=5).splitlines()
    assert lines[0].split() == ["data", "method", "2e+08", "4e+08", "6e+08", "8e+08", "1e+09"]
    assert lines[1].split() == ["digits", "darts", "-", "50.00", "50.00", "50.00", "75.00"]


def test_correlations_say_where_they_are_of_too_few() -> None:
    rows = _read(tables.correlations_csv(FOUND))
    assert len(rows) == len(correlations(FOUND))
    lines = tables.correlations_text(FOUND).splitlines()
    of_all = next(line for line in lines if "all methods" in line)
    of_darts = next(line for line in lines if "  darts" in line)
    assert re.split("  +", of_darts)[2:] == [
        "short and test", "3", "0.33", "0.50", "too few to tell",
    ]  # fmt: skip
    assert "8" in of_all.split()
    assert "too few" not in of_all
    assert not any("search and test" in line for line in lines)  # no search-time accuracies

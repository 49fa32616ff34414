"""Figures for papers: the right data, told apart without color, text as text, no state left."""

from __future__ import annotations

import io
import math
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import archgrad
from archgrad.architecture import Architecture, Cell, published
from archgrad.errors import ArchgradError
from archgrad.findings.results import Budget, Entry, Point, Results, Settings
from archgrad.reporting import panels
from archgrad.reporting.cells import save_drawing
from archgrad.reporting.figures import of_architecture
from archgrad.searching.result import SearchResult
from helpers import digits
from main_jobs import report

matplotlib = pytest.importorskip("matplotlib")

SPACE: dict[str, Any] = {"space": "s2", "channels": 2, "cells": 3, "nodes": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def result() -> SearchResult:
    stages = {"more_cells": 0, "candidates_3": 1}
    options = {"epochs": 3, "batch_size": 12, "method": "p_darts", "method_options": stages}
    found = archgrad.search(data=digits(), **SPACE, **options)
    found.metrics[1]["warnings"] = ["skip connections take over: <script>"]
    return found


@pytest.fixture(scope="module")
def baseline() -> SearchResult:
    options = {"batch_size": 8, "child_epochs": 1, "watch_fraction": 0, "budget": "8M"}
    return archgrad.search(data=digits(), method="random", guard="off", **SPACE, **options)


def comparison(data: tuple[str, ...] = ("digits",), done: bool = True) -> Results:
    cell = published("DARTS_V2")
    entries = [
        Entry(
            method=method, data=name, seed=seed, status="done", architecture=cell,
            test_value=0.6 + 0.1 * seed + 0.05 * (method == "darts"), parameters=9,
            multiply_adds=9, curve=tuple(Point(spent=s, seconds=s, value=s / 10) for s in (1, 4)),
        )
        for name in data for method in ("darts", "random") for seed in (0, 1)
    ]  # fmt: skip
    settings = Settings(space="darts-cnn", methods=("darts", "random"), data=data, seeds=(0, 1))
    return Results(
        settings=settings, budget=Budget(amount=8.0), entries=tuple(entries if done else ())
    )


def drawn(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines
    }


def by_title(figure: Any) -> dict[str, Any]:
    return {axes.get_ylabel(): axes for axes in figure.axes}


def test_the_lines_of_a_search_are_its_metrics(result: SearchResult) -> None:
    found = by_title(result.plot())
    lines = result.metrics
    assert list(found) == [
        "loss", "accuracy, %", "entropy, nats", "largest eigenvalue", "strength, normal",
        "strength, reduce",
    ]  # fmt: skip
    epochs = [1, 2, 3]
    for phase in ("train", "valid"):
        assert drawn(found["loss"])[phase] == (epochs, [line[f"{phase}_loss"] for line in lines])
        expected = [100 * line[f"{phase}_accuracy"] for line in lines]
        assert drawn(found["accuracy, %"])[phase] == (epochs, expected)
    measured = [line for line in lines if "discrete_accuracy" in line]
    assert drawn(found["accuracy, %"])["valid, derived"] == (
        [line["epoch"] for line in measured],
        [100 * line["discrete_accuracy"] for line in measured],
    )
    entropy = found["entropy, nats"].lines[0]
    assert list(entropy.get_ydata()) == [line["entropy"] for line in lines]
    assert {axes.get_xlabel() for axes in found.values()} == {"epoch"}
    assert not any(axes.get_title() for axes in found.values())


def test_the_guards_warnings_are_marked_at_their_epochs(result: SearchResult) -> None:
    figure = result.plot()
    for title, axes in by_title(figure).items():
        marked = drawn(axes).get("the guard warns")
        assert (marked is not None) == (title in ("entropy, nats", "largest eigenvalue"))
        assert marked is None or marked[0] == [2.0]
    calm = [{k: v for k, v in line.items() if k != "warnings"} for line in result.metrics]
    for axes in replace(result, metrics=calm).plot().axes:
        assert "the guard warns" not in drawn(axes)


def test_the_strengths_are_those_of_the_edges_that_were_kept(result: SearchResult) -> None:
    found = by_title(result.plot())
    groups = {group.name: group for group in result.space.groups}
    for cell in result.architecture.cells:
        expected = []
        for node, edges in enumerate(cell.nodes, start=cell.inputs):
            for operation, source in edges:
                row = groups[cell.name].edges.index((source, node))
                values = []
                for line in result.replay:
                    offered = line.get("candidates", {}).get(cell.name)
                    names = list((offered or groups[cell.name].candidates)[row])
                    values.append(line["strength"][cell.name][row][names.index(operation)])
                expected.append(values)
                key = (cell.name, operation, source, node)
                assert result.strength[key] == values[-1]
        lines = found[f"strength, {cell.name}"].lines
        assert [list(line.get_ydata()) for line in lines] == expected
    assert any("candidates" in line for line in result.replay)  # the later stages offer fewer


def test_replay_is_what_the_folder_keeps(tmp_path: Path) -> None:
    options = {**SPACE, "epochs": 2, "batch_size": 12, "guard": "off"}
    kept = archgrad.search(data=digits(), out=tmp_path / "run", **options)
    resumed = archgrad.search(data=digits(), resume=tmp_path / "run")
    assert len(kept.replay) == 2 and list(resumed.replay) == list(kept.replay)
    assert kept.replay[-1]["alpha"].keys() == kept.alpha.keys()


def test_a_baseline_shows_its_scores_and_the_best_so_far(baseline: SearchResult) -> None:
    (axes,) = baseline.plot().axes
    scores = [line["score"] for line in baseline.metrics]
    best = [max(scores[: i + 1]) for i in range(len(scores))]
    numbers = list(range(1, len(scores) + 1))
    assert drawn(axes) == {
        "one architecture": (numbers, scores), "best so far": (numbers, best)
    }  # fmt: skip
    assert baseline.strength == {}
    short = [{**baseline.metrics[0], "share": 0.5, "score": 9.0}, *baseline.metrics[1:]]
    (axes,) = replace(baseline, metrics=short).plot().axes
    assert drawn(axes)["best so far"][1][:2] == [9.0, scores[1]]  # that of a whole training


def test_lines_are_told_apart_without_color(result: SearchResult) -> None:
    for axes in result.plot().axes:
        labeled = [line for line in axes.lines if not line.get_label().startswith("_")]
        looks = [(line.is_dashed(), line._dash_pattern, line.get_marker()) for line in labeled]
        assert all(one != other for one, other in combinations(looks, 2))
    looks = [panels.look(i) for i in range(20)]
    assert len({(look.dashes, look.marker) for look in looks}) == 20


def test_a_width_in_inches(result: SearchResult) -> None:
    for width in (3.25, 6.75):
        for figure in (result.plot(width), report(result).plot(width), comparison().plot(width)):
            assert figure.get_figwidth() == pytest.approx(width)
        assert published("DARTS_V2").plot(width).get_figwidth() <= width + 1e-6
    rows = [len({a.get_position().y0 for a in result.plot(w).axes}) for w in (3.25, 6.75)]
    assert rows[0] == 6 and rows[1] < 6
    with pytest.raises(ArchgradError, match=r"width 0.*expected inches"):
        result.plot(0)
    with pytest.raises(ArchgradError, match=r"width nan.*expected inches"):
        published("DARTS_V2").plot(math.nan)
    with pytest.raises(ArchgradError, match=r"width 3in.*expected inches"):
        result.plot("3in")  # type: ignore[arg-type]


def texts(figure: Any) -> list[Any]:
    return [text for axes in figure.axes for text in axes.texts if text.get_text()]


def test_cells_are_drawn_with_small_but_readable_text() -> None:
    page, column = (published("DARTS_V2").plot(width) for width in (6.75, 3.25))
    assert len(page.axes) == len(column.axes) == 2
    assert len({a.get_position().y1 for a in page.axes}) == 1  # side by side
    assert page.axes[0].get_position().x1 <= page.axes[1].get_position().x0 + 1e-6
    assert column.axes[0].get_position().x0 == column.axes[1].get_position().x0 == 0
    for figure, least in ((page, 6.5), (column, 6.0)):
        words = [t for t in texts(figure) if t.get_text() in ("sep 3×3", "skip", "dil 3×3")]
        assert len(words) > 8
        assert all(least <= text.get_fontsize() <= 7.001 for text in words)


def test_an_edge_is_as_wide_as_it_is_strong() -> None:
    nodes = ((("sep_conv_3x3", 0), ("skip_connect", 1)),)
    cell = Cell(name="normal", inputs=2, nodes=nodes, output=(2,))
    other = Architecture(space="darts-cnn", cells=(cell,))
    strength = {("normal", "sep_conv_3x3", 0, 2): 0.8, ("normal", "skip_connect", 1, 2): 0.4}

    def widths(figure: Any) -> list[float]:
        patches = figure.axes[0].patches
        paths = [p for p in patches if type(p).__name__ == "PathPatch"]
        return [p.get_linewidth() for p in paths if p.get_edgecolor()[:3] != (0.65098,) * 3][-2:]

    plain, wide = widths(other.plot()), widths(other.plot(strength=strength))
    assert plain[0] == plain[1]
    assert sorted(wide) == pytest.approx([max(wide) / 2, max(wide)])


def test_one_cell_needs_no_title() -> None:
    single = Architecture(space="darts-cnn", cells=published("DARTS_V2").cells[:1])
    assert "normal" not in {text.get_text() for text in texts(single.plot())}
    assert "normal" in {text.get_text() for text in texts(published("DARTS_V2").plot())}


def test_the_main_job_shows_every_seed_and_the_means_over_the_costs(result: SearchResult) -> None:
    first, second = report(result).plot().axes
    assert [label.get_text() for label in first.get_yticklabels()] == [
        "found", "random-1", "random-2"
    ]  # fmt: skip
    values = [list(line.get_xdata()) for line in first.lines]
    assert values == [pytest.approx(v) for v in ([90, 80], [85], [70, 60], [65], [50, 70], [60])]
    assert drawn(second)["found"] == ([1.0], pytest.approx([85.0]))
    assert drawn(second)["random"] == ([2.0, 3.0], pytest.approx([65.0, 60.0]))


def test_a_comparison_shows_searches_means_and_intervals() -> None:
    rows, reached = comparison().plot().axes
    values = [list(line.get_xdata()) for line in rows.lines]
    assert values[0] == pytest.approx([65.0, 75.0]) and values[2] == pytest.approx([70.0])
    assert values[1][0] < 65 and values[1][1] > 75  # two searches say little
    assert list(drawn(reached)) == ["darts", "random"]
    x, y = drawn(reached)["darts"]
    assert y[0] == pytest.approx(10.0) and y[-1] == pytest.approx(40.0) and x[-1] == 8.0
    several = comparison(("digits", "cifar10")).plot().axes
    assert [axes.get_xlabel().split(":")[0] for axes in several] == ["digits"] * 2 + ["cifar10"] * 2
    with pytest.raises(ArchgradError, match="no search of this comparison is done"):
        comparison(done=False).plot()


def test_text_stays_text_and_no_setting_is_changed(
    result: SearchResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would fail
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")  # a dark style of the user
    before = dict(matplotlib.rcParams.copy())
    for figure in (result.plot(), result.architecture.plot(strength=result.strength)):
        file, pages = io.BytesIO(), io.BytesIO()
        figure.savefig(file, format="svg")
        figure.savefig(pages, format="pdf")
        words = {
            "".join(element.itertext()).strip()
            for element in ET.fromstring(file.getvalue()).iter("{http://www.w3.org/2000/svg}text")
        }
        assert {"entropy, nats", "epoch"} <= words or {"normal", "reduce"} <= words
        assert b"/Type3" not in pages.getvalue() and b"/CIDFontType2" in pages.getvalue()
        assert figure._repr_png_().startswith(b"\x89PNG")
        assert all(axes.get_facecolor() == (1, 1, 1, 1) for axes in figure.axes)
    assert dict(matplotlib.rcParams.copy()) == before


def test_fonts_are_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["serif"])
    assert {text.get_fontfamily()[0] for text in texts(published("DARTS_V2").plot())} == {"serif"}


def test_an_architecture_is_drawn_without_torch_and_pyplot() -> None:
    code = (
        "import sys, archgrad; archgrad.published('DARTS_V2').plot();"
        "print({'torch', 'matplotlib.pyplot', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_long_chain_of_choices_fits_a_page() -> None:
    cells = tuple(
        Cell(name=f"blocks.{i}.conv_{i}", inputs=1, nodes=((("sep_conv_3x3", 0),),), output=(1,))
        for i in range(30)
    )
    for width, limit in ((6.75, 5), (3.25, 9)):
        figure = of_architecture(Architecture(space="own", cells=cells), width)
        assert figure.get_figwidth() <= width + 1e-6 and figure.get_figheight() < limit
        names = [text.get_text() for text in texts(figure)]
        assert "blocks.29.conv_29" in names and names.count("sep_conv_3x3") == 30


def test_the_code_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "figures.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "code.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("code.py")
    made = {path.name for path in tmp_path.iterdir()} - {"code.py"}
    assert made == set(re.findall(r'savefig\("(.*?)"\)', code)) and len(made) == 4


def test_the_drawing_in_a_run_folder_shows_the_strengths(
    result: SearchResult, tmp_path: Path
) -> None:
    files = save_drawing(result.architecture, tmp_path, result.strength)
    assert [file.name for file in files] == ["cells.svg", "cells.png"]
    assert 'stroke-width="4.5"' in files[0].read_text(encoding="utf-8")
    strong = files[1].read_bytes()
    plain, image = save_drawing(result.architecture, tmp_path)
    assert 'stroke-width="4.5"' not in plain.read_text(encoding="utf-8")
    assert image.read_bytes() != strong

"""What the page makes a reader believe at a glance: colors, first choices, names and states."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.image as mpimg
import numpy as np
import pytest

from browser import folders
from browser.folders import KINDS
from browser.test_kinds import THOROUGH
from browser.test_moving import served

if TYPE_CHECKING:
    from playwright.sync_api import Page


def close(folder: Path, spread: float) -> Path:
    """A search whose mixing weights and alphas are nearly equal, but for so much."""
    folders.search(folder)
    known = [json.loads(line) for line in (folder / "alphas.jsonl").read_text().splitlines()]
    rng = np.random.default_rng(0)
    for line in known:
        for name, rows in line["strength"].items():
            noise = rng.uniform(-spread, spread, np.shape(rows))
            line["strength"][name] = (0.125 + noise).tolist()
            line["alpha"][name] = (8 * noise).tolist()
    folders.lines(folder / "alphas.jsonl", known)
    return folder


def contrast(page: Page, place: str) -> float:
    """How far apart the colors of a heat map are, 1 from end to end of its scale."""
    colors = page.locator(f"{place} svg").first.evaluate(
        "svg => [...svg.querySelectorAll('rect')].map(r => getComputedStyle(r).fill)"
    )
    found = np.array([[int(part) for part in re.findall(r"\d+", one)[:3]] for one in colors])
    light = found @ [0.2126, 0.7152, 0.0722]
    return float(np.ptp(light)) / 190  # of cividis


@pytest.mark.parametrize("kind", ["strength", "alpha"])
def test_noise_does_not_look_like_a_decision(
    kind: str, show: Callable[..., Any], tmp_path: Path
) -> None:
    for name, spread, least, most in (("tie", 0.001, 0.0, 0.2), ("decided", 0.12, 0.5, 2.0)):
        with show(close(tmp_path / name, spread)) as page:
            page.locator(f"#weights input[value={kind}]").check(force=True)
            for place in ("#weights .maps", "#weights .course"):
                assert least <= contrast(page, place) < most
            low, high = page.locator("#weights .scale").first.locator("span").all_inner_texts()
            if kind == "strength":
                assert low == "0" and "from 0 to" in page.inner_text("#weights .lead")
            elif name == "tie":
                assert float(high) - float(low.replace("−", "-")) == pytest.approx(0.2, abs=0.02)


def test_a_search_that_decided_nothing_is_explained(
    show: Callable[..., Any], tmp_path: Path
) -> None:
    folder = folders.search(tmp_path / "run")
    known = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    folders.lines(
        folder / "metrics.jsonl", [{**line, "moved": 0.01, "alpha_loss": 1.0} for line in known]
    )
    with show(folder) as page:
        told = page.locator("[data-chart=moved] .chart-marks").inner_text()
        assert "decided next to nothing" in told
        assert "little better founded than random ones" in told


def test_two_methods_stand_side_by_side_first(show: Callable[..., Any], tmp_path: Path) -> None:
    methods = ("darts", "darts", "pc_darts", "pc_darts")
    runs = [
        folders.search(tmp_path / f"run {i}", seed=i, method=method)
        for i, method in enumerate(methods)
    ]
    chosen = "#runs tbody tr:has(input:checked) th"
    with show(*runs) as page:
        assert page.locator(chosen).all_inner_texts() == ["run 0", "run 2"]
    with show(*runs[:2]) as page:
        assert page.locator(chosen).all_inner_texts() == ["run 0", "run 1"]


def aged(folder: Path, seconds: float, now: float) -> Path:
    """A folder whose files that grow were written so long ago."""
    for path in folder.rglob("*.jsonl"):
        os.utime(path, (now - seconds, now - seconds))
    return folder


def test_a_search_that_no_longer_writes_is_noticed(tab: Callable[..., Any], tmp_path: Path) -> None:
    runs = [folders.search(tmp_path / name, done=3) for name in ("alive", "slow")]
    known = [json.loads(line) for line in (runs[1] / "metrics.jsonl").read_text().splitlines()]
    folders.lines(runs[1] / "metrics.jsonl", [{**line, "seconds": 100.0} for line in known])
    runs.append(folders.search(tmp_path / "done"))
    state = "#runs tr:has(button:text-is('{}')) [data-state-of]"
    for path in runs:
        aged(path, 0, time.time())
    with served(*runs) as server, tab(server.url) as page:

        def told() -> list[str]:
            return [page.inner_text(state.format(path.name)) for path in runs]

        assert told() == ["going on", "going on", "finished"]
        assert page.inner_text("#run-state") == "going on"
        page.clock.run_for(190_000)
        assert told() == ["nothing new for 3 min", "going on", "finished"]
        assert page.inner_text("#run-state") == "nothing new for 3 min"
        page.clock.run_for(120_000)
        assert told()[1] == "nothing new for 5 min"


def test_when_a_page_that_stays_was_last_written(show: Callable[..., Any], tmp_path: Path) -> None:
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    run = aged(folders.search(tmp_path / "run", done=3), 0, then)
    words = "not finished, last written 2026-01-02 03:04 UTC"
    with show(run, width=380, height=800) as page:
        assert page.inner_text("#state") == words
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    (tmp_path / "empty").mkdir()
    with show(run, tmp_path / "empty") as page:
        told = page.locator("#runs [data-state-of]").all_inner_texts()
        assert told == [words, "cannot be read"]
        page.select_option("select#run", label="empty")
        assert page.inner_text("#run-state") == "cannot be read"


NAMES = """() => [...document.querySelectorAll("button, summary, input, select, [role=region]")]
  .filter((one) => one.checkVisibility())
  .map((one) => [one.tagName, one.getAttribute("aria-label")
    ?? one.labels?.[0]?.textContent ?? one.textContent].join(" "))"""


@pytest.mark.parametrize("kind", THOROUGH)
def test_no_two_controls_have_the_same_name(
    kind: str, show: Callable[..., Any], tmp_path: Path
) -> None:
    runs = [KINDS[kind](tmp_path / f"{kind} {i}") for i in range(2)]
    with show(*runs) as page:
        names = page.evaluate(NAMES)
        assert len(names) > 10
        assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_box_shows_at_which_edge_there_is_more(
    scheme: str, show: Callable[..., Any], tmp_path: Path
) -> None:
    run = folders.search(tmp_path / "run")
    with show(run, width=380, height=800, color_scheme=scheme) as page:
        box = page.locator("#cells .scroll").first
        box.scroll_into_view_if_needed()
        seen = []
        for part in (0, 0.5, 1):
            box.evaluate("(box, part) => box.scrollLeft = part * (box.scrollWidth - 380)", part)
            box.evaluate("(box, part) => part === 1 && (box.scrollLeft = box.scrollWidth)", part)
            pixels = mpimg.imread(BytesIO(box.screenshot()), format="png")[:, :, :3]
            ground = np.median(pixels.reshape(-1, 3), axis=0)
            edges = (pixels[:, 1], pixels[:, -2])
            seen.append([bool(np.abs(np.median(e, axis=0) - ground).max() > 0.1) for e in edges])
        assert seen == [[False, True], [True, True], [True, False]]

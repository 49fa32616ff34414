"""Every kind of folder in Chromium: it opens silently and offline, to be read by everyone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from archgrad.reporting.document import document
from browser import folders
from browser.folders import KINDS

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
FAULTS = """async (rules) => (await axe.run({resultTypes: ["violations"], ...rules}))
  .violations.map((rule) => `${rule.id}: ${rule.nodes[0].html.slice(0, 200)}`)"""
COLORS = {"runOnly": ["color-contrast"]}
QUICK = {"rules": {"color-contrast": {"enabled": False}}}
# of text in pictures, which axe leaves out: relative luminances as WCAG 2.2 defines them
FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return rgb("white");
  };
  const opacity = (element) => {
    let all = Number(getComputedStyle(element).fillOpacity);
    for (let at = element; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity);
    return all;
  };
  return [...document.querySelectorAll("figure svg text")]
    .filter((text) => text.checkVisibility() && text.textContent.trim())
    .map((text) => {
      const back = behind(text.closest("svg"));
      const own = rgb(getComputedStyle(text).fill);
      const part = opacity(text) * own[3] / 255;
      const [a, b] = [own.map((c, i) => part * c + (1 - part) * back[i]), back].map(luminance);
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text.textContent];
    })
    .filter(([contrast]) => contrast < 4.5)
    .map(([contrast, text]) => `${contrast.toFixed(2)} ${text}`);
}"""
HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4")]
  .filter((one) => one.checkVisibility()).map((one) => `${one.tagName[1]} ${one.textContent}`)"""
UNNAMED = """() => [...document.querySelectorAll("svg")]
  .filter((svg) => svg.checkVisibility() && !svg.closest("[aria-hidden=true]"))
  .filter((svg) => svg.getAttribute("role") !== "img" || !svg.getAttribute("aria-label"))
  .map((svg) => svg.outerHTML.slice(0, 200))"""
SIDEWAYS = """() => document.documentElement.scrollWidth - window.innerWidth"""


def faults(page: Page, **rules: Any) -> list[str]:
    """What axe-core finds against WCAG and its own best practices."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found: list[str] = page.evaluate(FAULTS, rules)
    return found


SECTIONS = {
    "search": "cells weights curves diagnostics",
    "unfinished": "cells weights curves diagnostics",
    "stages": "cells weights curves diagnostics",
    "recurrent": "cells weights curves diagnostics",
    "mbconv": "cells weights curves diagnostics",
    "own": "cells weights curves diagnostics",
    "baseline": "cells curves",
    "main job": "cells weights curves diagnostics costs retraining",
    "retraining": "cells costs retraining",
    "comparison": "runs comparison cells weights curves diagnostics",
}
NOTICES = {"unfinished": 1}
THOROUGH = ("recurrent", "mbconv", "main job", "comparison")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_opens_for_everyone(kind: str, show: Callable[..., Any], tmp_path: Path) -> None:
    folder = KINDS[kind](tmp_path / kind)
    with show(folder) as page:
        text = page.inner_text("body")
        assert kind in text
        for nothing in ("undefined", "NaN", "[object", "null"):
            assert nothing not in text
        assert page.locator(".notice:visible").count() == NOTICES.get(kind, 0)
        shown = page.locator("main section:visible").evaluate_all("all => all.map(s => s.id)")
        assert set(shown) == {"overview", "reproduce", *SECTIONS[kind].split()}
        assert faults(page, **({} if kind in THOROUGH else QUICK)) == []
        assert page.evaluate(UNNAMED) == []
        assert page.evaluate(FAINT) == []
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(FAINT) == []
        if kind in THOROUGH:
            assert faults(page, **COLORS) == []
        page.set_viewport_size({"width": 380, "height": 800})
        page.clock.run_for(500)  # pictures are drawn anew a moment after
        assert page.evaluate(SIDEWAYS) <= 0


def test_several_runs_stand_side_by_side(show: Callable[..., Any], tmp_path: Path) -> None:
    runs = [folders.search(tmp_path / f"run {i}", seed=i, epochs=3 + i) for i in range(3)]
    with show(*runs) as page:
        table = page.locator("#runs table").first
        names = lambda: table.locator("tbody tr th").all_inner_texts()  # noqa: E731
        assert names() == ["run 0", "run 1", "run 2"]
        page.fill("#runs input[type=search]", "run 2")
        assert names() == ["run 2"]
        page.fill("#runs input[type=search]", "")
        head = page.locator("[data-sort=epochs]")
        head.click()
        first = names()
        head.click()
        assert names() == first[::-1]
        assert page.evaluate(SIDEWAYS) <= 0


def test_what_is_of_all_runs_comes_before_what_is_of_one(
    show: Callable[..., Any], tmp_path: Path
) -> None:
    with show(KINDS["comparison"](tmp_path / "compared")) as page:
        headings = page.evaluate(HEADINGS)
        levels = [int(text[0]) for text in headings]
        assert levels[0] == 1 and max(np.diff(levels)) == 1
        wanted = ["1 compared", "2 Comparison", "2 Runs", "1 Run darts seed-0", "2 Overview"]
        assert [text for text in headings if text in wanted] == wanted
        assert page.title() == "compared"
        page.select_option("select#run", label="darts seed-1")
        assert page.inner_text("#run-name") == "Run darts seed-1"
        assert page.inner_text("h1#name") == "compared"
    with show(KINDS["search"](tmp_path / "alone")) as page:
        assert [text for text in page.evaluate(HEADINGS) if text[0] == "1"] == ["1 alone"]


def test_a_warning_is_explained_at_its_chart_by_its_kind_alone(
    show: Callable[..., Any], tmp_path: Path
) -> None:
    folder = folders.search(tmp_path / "run")
    with show(folder) as page:
        chart = page.locator("[data-chart=shares]")
        assert "many skips" in chart.inner_text().lower()
        assert chart.locator(".mark-meaning").count() == 1
    known = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in known:
        line.pop("warning_kinds", None)
        if "warnings" in line:
            line["warnings"] = ["skip connections take over"]
    folders.lines(folder / "metrics.jsonl", known)
    with show(folder) as page:
        assert "take over" in page.inner_text("#diagnostics > .section-note")
        assert page.locator(".mark-meaning").count() == 0


def test_it_prints(show: Callable[..., Any], tmp_path: Path) -> None:
    with show(KINDS["main job"](tmp_path / "run")) as page:
        page.emulate_media(media="print", color_scheme="light")
        assert page.locator("#cells figure").first.is_visible()
        assert not page.locator("#epoch").is_visible()
        assert page.locator("details:not([open]):visible").count() == 0
        pdf = page.pdf()
        assert pdf.startswith(b"%PDF") and len(pdf) > 20_000


def problems(folder: Path) -> list[str]:
    return [text for run in document([folder])["runs"] for text in run["problems"]]


def damaged(folder: Path, how: str) -> Path:
    """A main job to which something has happened."""
    folders.main_job(folder)
    if how == "empty":
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    elif how == "half-written":
        for path in [*folder.rglob("*.json"), *folder.rglob("*.jsonl"), folder / "config.yaml"]:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
    elif how == "newer":
        for name in ("groups.json", "architecture.json"):
            value = json.loads((folder / name).read_text())
            folders.write(folder / name, {**value, "format": value["format"][:-1] + "9"})
        with (folder / "config.yaml").open("a") as file:
            file.write("invented_later: {an_option: 1}\n")
    elif how == "not a number":
        known = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for line in known[2:]:
            line |= {"train_loss": float("nan"), "entropy": float("inf"), "valid_loss": None}
        folders.lines(folder / "metrics.jsonl", known)
    elif how == "other shapes":
        for path in [*folder.rglob("*.json"), folder / "config.yaml"]:
            path.write_text("[1, {}]")
        (folder / "metrics.jsonl").write_text('3\n"text"\n{"epoch": "two"}\n[]\n')
        (folder / "alphas.jsonl").write_text('{"epoch": 1, "alpha": {"normal": "wide"}}\n')
    return folder


@pytest.mark.parametrize("how", ["empty", "half-written", "newer", "not a number", "other shapes"])
def test_a_damaged_folder_opens_and_says_what_is_missing(
    how: str, show: Callable[..., Any], tmp_path: Path
) -> None:
    folder = damaged(tmp_path / "run", how)
    said = problems(folder)
    assert said
    with show(folder) as page:
        text = " ".join(page.inner_text("body").split()).lower()
        for problem in said:
            assert " ".join(problem.split()).lower().rstrip(".") in text
        assert faults(page, **QUICK) == []


MARKUP = "\"'><img src=x onerror=window.__hacked=1><script>window.__hacked=1</script>"


def hostile(value: Any, key: str = "") -> Any:
    """With markup in every text but those that say the format."""
    if isinstance(value, str):
        return value if key == "format" else value + MARKUP
    if isinstance(value, list):
        return [hostile(one) for one in value]
    if isinstance(value, dict):
        named = key in ("alpha", "strength", "candidates", "scores", "costs")
        return {k + MARKUP if named else k: hostile(v, k) for k, v in value.items()}
    return value


@pytest.mark.parametrize("kind", ["main job", "baseline", "comparison"])
def test_nothing_of_the_data_is_run(kind: str, show: Callable[..., Any], tmp_path: Path) -> None:
    folder = KINDS[kind](tmp_path / "<img src=x onerror=window.__hacked=1>")
    for path in folder.rglob("*.json"):
        folders.write(path, hostile(json.loads(path.read_text())))
    for path in folder.rglob("*.jsonl"):
        folders.lines(path, [hostile(json.loads(t)) for t in path.read_text().splitlines()])
    for path in folder.rglob("config.yaml"):
        text = path.read_text().replace("data: digits", f"data: {json.dumps('x' + MARKUP)}")
        path.write_text(text.replace("method: darts", f"method: {json.dumps('x' + MARKUP)}"))
    with show(folder) as page:
        for unfolds in page.locator("details:visible > summary").all():
            unfolds.click()
        assert page.evaluate("window.__hacked") is None
        assert page.locator("img, main script").count() == 0
        assert "onerror=window.__hacked" in page.inner_text("main")

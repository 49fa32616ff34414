"""How large a page is and how soon it is there: 600 epochs of search and of every retraining."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from archgrad.reporting.document import document
from archgrad.reporting.page import page
from browser import folders

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FIRST = """
window.__first = new Promise((seen) => {
  const look = () => document.querySelector("figure.cell svg [data-operation]")
    ? requestAnimationFrame(() => seen(performance.now())) : setTimeout(look, 5);
  look();
});
"""


def test_a_long_run_is_small_and_opens_at_once(
    chromium: Browser, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(document([folders.large(tmp_path / "run")])), encoding="utf-8")
    size = file.stat().st_size
    tab = chromium.new_page()
    tab.add_init_script(FIRST)
    tab.goto(file.as_uri(), wait_until="commit")
    seconds = tab.evaluate("window.__first") / 1000
    assert tab.evaluate("document.getElementById('epoch').max") == "600"
    tab.close()
    record_property("megabytes", size / 1e6)
    record_property("seconds to the first cell", seconds)
    print(f"page of 600 epochs: {size / 1e6:.2f} MB, first cell after {seconds:.2f} s")
    assert size < 2_000_000
    assert seconds < 8  # 2 on a machine that does nothing else


@pytest.mark.parametrize("runs", [4])
def test_a_page_of_several_long_runs_stays_small(runs: int, tmp_path: Path) -> None:
    made: list[Any] = [
        folders.search(tmp_path / f"run {i}", epochs=200, seed=i) for i in range(runs)
    ]
    assert len(page(document(made)).encode()) < 2_000_000

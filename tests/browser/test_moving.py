"""What moves on the page: the slider, the keyboard, and the page of a run that goes on."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from archgrad.cli import main as cli
from archgrad.reporting.serving import Server
from browser import folders

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

DRAWN = """figure => [...figure.querySelectorAll("svg [data-operation]")]
  .filter((edge) => edge.checkVisibility()).map((edge) => edge.dataset.operation)"""
MOVE = """(epoch) => {  // where it is, without scrolling to it
  const slider = document.getElementById("epoch");
  slider.value = epoch;
  slider.dispatchEvent(new Event("input"));
}"""
CONTROLS = """() => {
  const all = "a[href], button, input, select, summary, textarea, [tabindex='0']";
  const groups = new Set();
  return [...document.querySelectorAll(all)]
    .filter((one) => one.checkVisibility({visibilityProperty: true}) && !one.disabled)
    .filter((one) => one.type !== "radio" || one.checked)
    .map((one, i) => (one.dataset.control = i));
}"""
FOCUSED = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const seen = style.outlineStyle !== "none" || style.boxShadow !== "none";
  return [Number(one.dataset.control ?? -1), seen, one.outerHTML.slice(0, 120)];
}"""


def until(page: Page, expression: str, step: int = 200) -> None:
    """Wait for something; Playwright's own way of it is what the page's policy forbids."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.clock.run_for(step)
        page.wait_for_timeout(20)
    pytest.fail(f"did not come to be: {expression}")


def drawn(page: Page) -> list[Counter[str]]:
    """The operations of each drawn cell."""
    found = page.locator("#cells figure.cell").all()
    return [Counter(figure.evaluate(DRAWN)) for figure in found]


def recorded(folder: Path, epoch: int) -> list[Counter[str]]:
    """Those that the folder keeps of an epoch."""
    line = json.loads((folder / "alphas.jsonl").read_text().splitlines()[epoch - 1])
    return [Counter(name for node in cell["nodes"] for name, _ in node) for cell in line["cells"]]


def test_the_slider_changes_the_drawing_to_what_each_epoch_gave(
    show: Callable[..., Any], tmp_path: Path
) -> None:
    folder = folders.search(tmp_path / "run")
    with show(folder) as page:
        assert drawn(page) == recorded(folder, 6)
        widths = page.locator("#cells figure.cell svg").first.inner_html()
        for epoch in (1, 4):
            assert recorded(folder, epoch) != recorded(folder, 6)
            page.locator("#epoch").fill(str(epoch))
            assert drawn(page) == recorded(folder, epoch)
            assert f"epoch {epoch} of 6" in page.inner_text("#epoch-label")
        assert page.locator("#cells figure.cell svg").first.inner_html() != widths


def test_pictures_far_from_what_is_seen_follow_when_they_are_wanted(
    show: Callable[..., Any], tmp_path: Path
) -> None:
    folder = folders.search(tmp_path / "run")
    with show(folder, width=1200, height=300) as page:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(100)
        page.evaluate(MOVE, 2)
        assert drawn(page) == recorded(folder, 6)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert drawn(page) == recorded(folder, 2)
        page.evaluate(MOVE, 4)
        assert drawn(page) == recorded(folder, 2)
        for figure in page.locator("#cells figure").all():
            figure.scroll_into_view_if_needed()
            page.wait_for_timeout(100)
        assert drawn(page) == recorded(folder, 4)


def test_a_real_search_replays(
    show: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--channels 2 --cells 3 --nodes 2 --epochs 2 --subset 40 --batch-size 20"
    options = [*options.split(), "--guard", "off"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["search", *options, "--out", str(tmp_path / "run")])
    assert ended.value.code == 0
    with show(tmp_path / "run") as page:
        assert drawn(page) == recorded(tmp_path / "run", 2)
        page.locator("#epoch").fill("1")
        assert drawn(page) == recorded(tmp_path / "run", 1)


def test_the_keyboard_reaches_everything_and_is_seen_there(
    show: Callable[..., Any], tmp_path: Path
) -> None:
    runs = [folders.main_job(tmp_path / "one"), folders.search(tmp_path / "two", seed=1)]
    with show(*runs) as page:
        wanted = set(page.evaluate(CONTROLS))
        reached = {}
        for _ in range(2 * len(wanted)):
            page.keyboard.press("Tab")
            number, visible, what = page.evaluate(FOCUSED)
            reached[number] = (visible, what)
            if wanted <= reached.keys():
                break
        assert wanted - reached.keys() == set()
        assert [what for number, (visible, what) in reached.items() if not visible] == []


def test_the_keyboard_moves_everything(show: Callable[..., Any], tmp_path: Path) -> None:
    runs = [folders.search(tmp_path / f"run {i}", seed=i, epochs=4 + i) for i in range(2)]
    with show(*runs) as page:
        page.focus("#epoch")
        page.keyboard.press("ArrowLeft")
        assert page.input_value("#epoch") == "3"
        assert drawn(page) == recorded(runs[0], 3)
        page.keyboard.press("Home")
        assert page.input_value("#epoch") == "1"
        page.focus("#play")
        page.keyboard.press("Enter")
        until(page, "document.getElementById('epoch').value === '4'")
        background = "getComputedStyle(document.body).backgroundColor"
        before = page.evaluate(background)
        page.focus("#theme")
        page.keyboard.press("Enter")
        until(page, f"{background} !== {before!r}")
        page.focus("[data-sort=epochs]")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        assert page.locator("#runs tbody tr th").first.inner_text() == "run 1"
        page.focus("select#run")
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.getElementById('epoch').max") == "5"


@contextmanager
def served(*folders: Path, port: int = 0) -> Iterator[Server]:
    with Server(folders, socket.create_server(("127.0.0.1", port))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_page_that_follows_gets_a_new_epoch_and_keeps_what_was_chosen(
    tab: Callable[..., Any], tmp_path: Path
) -> None:
    folder = folders.search(tmp_path / "run", done=3)
    with served(folder) as server, tab(server.url) as page:
        assert page.input_value("#epoch") == "3"
        page.evaluate("window.__same = true")
        folders.search(folder, done=4)  # it follows the newest until the slider is moved
        until(page, "document.getElementById('epoch').value === '4'")
        assert drawn(page) == recorded(folder, 4)

        page.focus("#epoch")
        page.locator("#epoch").fill("2")
        zoom = page.locator("#curves input[type=range]").first
        zoom.fill("2")
        chosen = zoom.input_value()
        page.evaluate("window.__slider = document.getElementById('epoch')")
        page.focus("#epoch")
        folders.search(folder, done=5)
        until(page, "document.getElementById('epoch').max === '5'")
        assert page.input_value("#epoch") == "2"
        assert drawn(page) == recorded(folder, 2)
        assert zoom.input_value() == chosen
        assert page.evaluate("window.__slider === document.activeElement")

        (folder / "metrics.jsonl").write_text('{"epoch": 1, "tr')  # caught while it is written
        until(page, "document.querySelector('main .notice:not([hidden])') !== null")
        folders.search(folder)
        until(page, "document.getElementById('epoch').max === '6'")
        assert "finished" in page.inner_text("body")
        assert page.input_value("#epoch") == "2"
        assert page.evaluate("window.__same") is True


def test_a_page_whose_server_is_gone_asks_for_a_while_and_when_told_to(
    window: BrowserContext, tmp_path: Path
) -> None:
    folder = folders.search(tmp_path / "run", done=3)
    page = window.new_page()
    errors: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.clock.install()
    with served(folder) as server:
        page.goto(server.url)
        page.wait_for_selector("#epoch")
    until(page, "document.getElementById('live').dataset.state === 'gone'", 2000)
    tries = len(asked)
    page.clock.run_for(600_000)
    assert len(asked) == tries < 8
    page.locator("#epoch").fill("1")
    assert drawn(page) == recorded(folder, 1)

    port = int(page.url.rpartition(":")[2].strip("/"))
    folders.search(folder, done=4)
    with served(folder, port=port):
        page.click("#again")
        until(page, "document.getElementById('epoch').max === '4'")
        assert page.locator("#again").is_hidden()
    until(page, "document.getElementById('live').dataset.state === 'gone'", 2000)
    with served(folder, port=port):
        page.evaluate("window.dispatchEvent(new Event('focus'))")
        until(page, "document.getElementById('live').dataset.state === 'following'")
    assert errors == []
    page.close()

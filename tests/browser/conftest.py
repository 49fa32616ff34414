"""One headless Chromium a worker, and pages in it that must stay silent and offline."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from archgrad.reporting.document import document
from archgrad.reporting.page import page
from browser.chromium import HOW, found

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

HEARD = """
window.__violations = [];
document.addEventListener("securitypolicyviolation",
  (event) => window.__violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", help="folder for pictures of every page that is opened")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Skips where there is none; fails there if ARCHGRAD_BROWSER_REQUIRED is set."""
    try:
        from playwright import sync_api
    except ImportError:
        _without('playwright is not installed; pip install -e ".[browser]"')
    program = found()
    if program is None:
        _without(f"no Chromium found; {HOW}")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=program,
                # root has no sandbox, and a container little shared memory
                args=["--no-sandbox", "--disable-dev-shm-usage"],
            )
        except sync_api.Error as error:
            _without(f"{program} does not start ({str(error).splitlines()[0]}); {HOW}")
        yield browser
        browser.close()


def _without(reason: str) -> NoReturn:
    if os.environ.get("ARCHGRAD_BROWSER_REQUIRED"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Heard:
    """What a page did beside being looked at."""

    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", lambda m: self.messages.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))


@pytest.fixture(scope="session")
def window(chromium: Browser) -> Iterator[BrowserContext]:
    """Where all pages are opened; one stays, and with it the process that has compiled the code."""
    context = chromium.new_context(reduced_motion="reduce")
    context.add_init_script(HEARD)
    context.new_page()
    yield context
    context.close()


@pytest.fixture
def tab(window: BrowserContext) -> Iterator[Callable[..., Any]]:
    """A context manager of a fresh page at an address, ready; afterwards it must have been silent.

    ``allowed``: how the addresses of its requests may begin (default: it makes one, for itself).
    """

    @contextmanager
    def opened(
        url: str, allowed: str | None = None, width: int = 1200, height: int = 900, **media: Any
    ) -> Iterator[Page]:
        made, heard = window.new_page(), Heard()
        try:
            made.set_default_timeout(20_000)
            made.set_viewport_size({"width": width, "height": height})
            made.emulate_media(**media)
            heard.listen(made)
            made.clock.install()  # it goes on by itself, and can be moved
            made.goto(url)
            made.wait_for_selector("main section:not([hidden]), main .notice", state="attached")
            yield made
            violations = made.evaluate("window.__violations")
            made.evaluate("localStorage.clear()")
        finally:
            made.close()
        assert heard.messages == []
        assert violations == []
        assert [r for r in heard.requests if not r.startswith((allowed or url, "data:"))] == []

    yield opened


@pytest.fixture
def show(
    tab: Callable[..., Any], tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Any]:
    """The page of some folders, written to a file and opened from there."""

    @contextmanager
    def opened(*folders: Path, **options: Any) -> Iterator[Page]:
        file = tmp_path / "report.html"
        file.write_text(page(document(folders)), encoding="utf-8")
        with tab(file.as_uri(), **options) as made:
            yield made
            _picture(made, request)

    return opened


def _picture(made: Page, request: pytest.FixtureRequest) -> None:
    if folder := request.config.getoption("--screenshots", None):
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        made.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

"""Find a Chromium for the tests of the page; as a program, install one where that can be done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW = (
    "install one (Debian: apt-get install chromium; anywhere: .venv/bin/playwright install "
    "chromium), or set ARCHGRAD_BROWSER to the path of one"
)
WAIT = ("-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=20")
INSTALL = (
    ("apt-get", *WAIT, "update", "-qq"),
    ("apt-get", *WAIT, "install", "-y", "-qq", "--no-install-recommends", "chromium",
     "fonts-dejavu-core"),
)  # fmt: skip


def found() -> str | None:
    """The program of a browser: the one that ARCHGRAD_BROWSER names, or one of this machine."""
    if given := os.environ.get("ARCHGRAD_BROWSER"):
        return shutil.which(given)
    return next(filter(None, map(shutil.which, NAMES)), None) or _playwrights_own()


def _playwrights_own() -> str | None:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        return shutil.which(playwright.chromium.executable_path)


def install() -> str | None:
    """A browser from Debian's packages, where this is root on a machine that has them."""
    if os.environ.get("ARCHGRAD_BROWSER") or os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    print("the tests of the page need Chromium: installing it with apt-get", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in INSTALL:
        try:
            subprocess.run(command, check=True, timeout=300, env=environment)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{command[0]} failed: {error}")
            return None
    return found()


if __name__ == "__main__":
    browser = found() or install()
    print(f"browser: {browser}" if browser else f"no Chromium: its tests are skipped; {HOW}")
    sys.exit(browser is None)

"""The site builds without a warning, leads nowhere dead, and leaves out nothing that is public."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import zlib
from html import unescape
from pathlib import Path
from pydoc import locate
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

import archgrad
import archgrad.parts

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGES = ("methods", "spaces", "data", "baselines", "benchmarks")
# Of discretization under a limit alone, and of the supernet's own draws.
NOT_FOR_AUTHORS = {"architectures", "front"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("sphinx", "furo", "myst_parser", "sphinx_copybutton"):
        pytest.importorskip(package, reason=f"{package} is not installed: archgrad[docs]")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, *"-m sphinx -W --keep-going -n -q -d".split(), folder / "doctrees",
         DOCS, folder / "html"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder / "html"


def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    anchors = {path: {*re.findall(r'\bid="([^"]+)"', text)} for path, text in pages.items()}
    assert len(pages) > 50
    dead, seen = [], 0
    for path, text in pages.items():
        for link in map(unescape, re.findall(r'\b(?:href|src)="([^"]+)"', text)):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or parts.path == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            seen += 1
            if not target.is_file():
                dead.append(f"{path.relative_to(site)}: {link}: no such file")
            elif parts.fragment and unquote(parts.fragment) not in anchors.get(target, ()):
                dead.append(f"{path.relative_to(site)}: {link}: no such place in the page")
    assert dead == []
    assert seen > 1000


def test_files_of_the_repository_are_shown(site: Path) -> None:
    page = (site / "comparing.html").read_text(encoding="utf-8")
    assert 'href="files/src/archgrad/networks/counting.py.html"' in page
    counting = site / "files" / "src" / "archgrad" / "networks" / "counting.py.html"
    shown = counting.read_text(encoding="utf-8")
    assert re.sub("<[^>]+>", "", shown).count("def ") > 5
    assert 'href="../../files/src/archgrad/verbs/search.py.html#L-' in (
        site / "reference" / "api" / "verbs.html"
    ).read_text(encoding="utf-8")
    folder = (site / "files" / "examples" / "own_models.html").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "examples" / "own_models").glob("*.py")}
    assert names and all(f"<code>{name}</code>" in folder for name in names)


def described(site: Path) -> dict[int, str]:
    """By identity what the reference has an entry for: the inventory says its names."""
    content = (site / "objects.inv").read_bytes()
    lines = zlib.decompress(content[content.index(b"zlib.\n") + 6 :]).decode().splitlines()
    names = [name for name, kind, *_ in map(str.split, lines) if kind.startswith("py:")]
    found = {name: locate(name) for name in names}
    return {id(value): name for name, value in found.items() if value is not None}


def public(module: ModuleType) -> dict[str, object]:
    """The names of ``__all__``, or those without an underscore that the module itself defines."""
    named = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", None) == module.__name__
    ]
    return {name: getattr(module, name) for name in named}


def test_the_reference_leaves_out_no_public_name(site: Path) -> None:
    entries = described(site)
    modules = [importlib.import_module(f"archgrad.{name}") for name in PACKAGES]
    for found in pkgutil.iter_modules(archgrad.parts.__path__):
        if found.name not in NOT_FOR_AUTHORS:
            modules.append(importlib.import_module(f"archgrad.parts.{found.name}"))
    names = {
        f"{module.__name__}.{name}": value
        for module in (archgrad, *modules)
        for name, value in public(module).items()
    }
    assert {f"archgrad.{name}" for name in archgrad.__all__} < {*names}
    assert [name for name, value in names.items() if id(value) not in entries] == []


def test_the_tables_of_methods_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    tables = importlib.import_module("tables")
    page = (DOCS / "reference" / "methods.md").read_text(encoding="utf-8")
    for name, text in tables.tables().items():
        mark = f"<!-- begin: docs/tables.py, {name} -->"
        stands = page.partition(mark)[2].partition("<!-- end -->")[0].strip()
        assert stands == text, f"{name} is not current: python docs/tables.py"


RESULTS = DOCS / "reference" / "results.md"
RAW = ROOT / "benchmarks" / "results"


def test_every_raw_file_of_the_results_exists_and_is_named() -> None:
    linked = {*re.findall(r"\]\(\.\./\.\./benchmarks/results/([^)#]+)\)", RESULTS.read_text())}
    assert [name for name in linked if not (RAW / name).exists()] == []
    assert {path.name for path in RAW.iterdir()} - {name.split("/")[0] for name in linked} == set()


def test_commits_and_devices_of_the_results_are_those_of_the_raw_files() -> None:
    rows = [line for line in RESULTS.read_text().splitlines() if "benchmarks/results/" in line]
    checked = 0
    for row in rows:
        name = re.findall(r"\.\./\.\./benchmarks/results/([^)]+)\)", row)[0]
        made = [RAW / name] if name.endswith(".json") else sorted((RAW / name).glob("*.json"))
        contents = [json.loads(path.read_text()) for path in made]
        if "environment" not in contents[0]:  # of a run folder
            contents = [
                {"environment": json.loads((made[0].parent / "environment.json").read_text())}
            ]
        found = [content["environment"] for content in contents]
        environments = [
            one for each in found for one in (each if isinstance(each, list) else [each])
        ]
        assert {one["commit"][:7] for one in environments} == {*re.findall(r"\b[0-9a-f]{7}\b", row)}
        words = {"Intel(R) Xeon(R) Processor": "Xeon", "AMD EPYC": "EPYC", "cpu": "CPU"}
        assert all(words[one["device"]] in row for one in environments), row
        checked += 1
    assert checked > 15


def test_means_and_spreads_of_the_results_stand_where_they_were_reported() -> None:
    said = {*re.findall(r"[\d.]+ ± [\d.]+", RESULTS.read_text())}
    pages = [path for path in DOCS.glob("*.md") if path.name != "start.md"]
    reports = [*RAW.rglob("*.txt"), *pages]
    known = "\n".join(path.read_text(encoding="utf-8") for path in reports)
    assert len(said) > 50 and [figure for figure in said if figure not in known] == []

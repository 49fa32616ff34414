"""Code of others: as it was published, with its licence, and part of what is installed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from archgrad import reporting
from archgrad.reporting.page import LIBRARIES, SCRIPTS

OURS = Path(reporting.__file__).parent
FOLDERS = [OURS / "vendor", Path(__file__).parent.parent / "browser" / "vendor"]


@pytest.mark.parametrize("folder", FOLDERS, ids=["page", "tests"])
def test_files_are_those_that_were_published_and_none_lacks_its_licence(folder: Path) -> None:
    listed = json.loads((folder / "vendored.json").read_text())
    for entry in listed:
        for file, digest in (("file", "sha256"), ("license_file", "license_sha256")):
            content = (folder / entry[file]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == entry[digest], entry[file]
        name, version = entry["package"], entry["version"]
        assert entry["source"].endswith(f"/{name}/-/{name.split('/')[-1]}-{version}.tgz")
    assert {p.name for p in folder.glob("*.js")} == {entry["file"] for entry in listed}


def test_page_takes_its_code_from_the_package_alone() -> None:
    listed = {e["file"] for e in json.loads((OURS / "vendor" / "vendored.json").read_text())}
    assert {f"{name}.min.js" for name in LIBRARIES} == listed
    assert {f"{name}.js" for name in SCRIPTS} == {p.name for p in (OURS / "assets").glob("*.js")}

"""What a release says of itself: version, citation, changelog, notices."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from archgrad import __version__

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "src" / "archgrad" / "reporting" / "vendor"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_has_what_the_format_requires_and_this_version() -> None:
    cited = yaml.safe_load(text("CITATION.cff"))
    assert cited["cff-version"] == "1.2.0"
    assert cited["message"] and cited["title"] and cited["authors"]
    assert all(author.get("name") or author.get("family-names") for author in cited["authors"])
    assert cited["type"] == "software" and cited["license"] == "Apache-2.0"
    assert cited["version"] == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", cited["date-released"])
    assert all({"type", "title", "authors"} <= {*one} for one in cited["references"])


def test_the_changelog_has_a_dated_entry_of_this_version_below_what_is_unreleased() -> None:
    """In the form of Keep a Changelog; the day is that of the citation."""
    entries = re.findall(r"^## (.+)$", text("CHANGELOG.md"), re.MULTILINE)
    day = yaml.safe_load(text("CITATION.cff"))["date-released"]
    assert entries[0] == "[Unreleased]"
    assert entries[1] == f"[{__version__}] - {day}"
    kinds = set(re.findall(r"^### (.+)$", text("CHANGELOG.md"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_what_is_not_ours_is_named_with_its_licence() -> None:
    for one in json.loads((VENDOR / "vendored.json").read_text()):
        assert (VENDOR / one["license_file"]).is_file()
        for name in ("NOTICE", "docs/sources.md"):
            lines = [line.replace("|", " ").split() for line in text(name).splitlines()]
            (line,) = (words for words in lines if words[:1] == [one["package"]])
            assert line[1] == one["license"]


def test_every_published_architecture_is_named_with_its_paper() -> None:
    rows = [line for line in text("docs/sources.md").splitlines() if line.startswith("| `")]
    for name, entry in json.loads(text("src/archgrad/published.json")).items():
        (paper,) = re.findall(r"arXiv:\d{4}\.\d{5}", entry["source"])
        (row,) = (row for row in rows if f"`{name}`" in row)
        assert paper in row

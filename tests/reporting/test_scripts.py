"""The scripts of the page share one scope: no name may be there twice."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import get_args

from archgrad import reporting
from archgrad.reporting.page import SCRIPTS
from archgrad.searching.guard import Kind

DECLARED = re.compile(r"^(?:async )?(?:function\*?|const|let|class) (\w+)", re.MULTILINE)


def test_no_two_scripts_declare_the_same_name() -> None:
    folder = Path(reporting.__file__).parent / "assets"
    names = Counter(
        name
        for script in SCRIPTS
        for name in DECLARED.findall((folder / f"{script}.js").read_text())
    )
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []


def test_every_finding_of_the_guard_is_explained() -> None:
    script = (Path(reporting.__file__).parent / "assets" / "marks.js").read_text()
    table = script.partition("const FINDINGS = {\n")[2].partition("\n};")[0]
    explained = re.findall(r'^  "?([\w ]+)"?: \{', table, re.MULTILINE)
    assert sorted(explained) == sorted(get_args(Kind))

"""The scripts of the page share one scope: no name may be there twice."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from archgrad import reporting
from archgrad.reporting.page import SCRIPTS

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

"""The example of a tracker and the code of docs/callbacks.md: both run, and write what they say."""

from __future__ import annotations

import csv
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import archgrad
from small import data as digits
from test_callbacks import TINY, Heard, Killed

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "own_tracker.py"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "epochs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_example_is_short_and_writes_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    monkeypatch.chdir(tmp_path)
    whole = archgrad.search

    def small(space: str, callbacks: list[Any], **_: Any) -> archgrad.SearchResult:
        found.append(whole(space, digits(), callbacks=[*callbacks, heard], **TINY))
        return found[0]

    found: list[archgrad.SearchResult] = []
    heard = Heard()
    monkeypatch.setattr(archgrad, "search", small)
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    written = rows(tmp_path / "tracked")
    assert [row["epoch"] for row in written] == ["1", "2", "3"]
    assert [float(row["valid_loss"]) for row in written] == [
        line["valid_loss"] for line in found[0].metrics
    ]
    options = json.loads((tmp_path / "tracked" / "options.json").read_text())
    assert options["epochs"] == 3 and options["space"] == "s2"
    kept = {path.name: path.read_text() for path in (tmp_path / "tracked").glob("cells-*.json")}
    assert kept == {
        f"cells-{event.epoch}.json": event.architecture.to_json()
        for event in heard.of("architecture_changed")
    }


def test_the_example_goes_on_with_a_resumed_run(tmp_path: Path) -> None:
    tracker = runpy.run_path(str(EXAMPLE))["Table"]
    with pytest.raises(Killed):
        archgrad.search(
            "s2", digits(), out=tmp_path / "run",
            callbacks=[tracker(tmp_path / "a"), Heard(kill=2)], **TINY,
        )  # fmt: skip
    assert [row["epoch"] for row in rows(tmp_path / "a")] == ["1", "2"]
    archgrad.search(data=digits(), resume=tmp_path / "run", callbacks=[tracker(tmp_path / "a")])
    assert [row["epoch"] for row in rows(tmp_path / "a")] == ["1", "2", "3"]


def test_the_code_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = archgrad.search
    monkeypatch.setattr(
        archgrad,
        "search",
        lambda space, callbacks, **_: whole(space, digits(), callbacks=callbacks, **TINY),
    )
    text = (ROOT / "docs" / "callbacks.md").read_text()
    (tmp_path / "code.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)))
    runpy.run_path(str(tmp_path / "code.py"))
    printed = capsys.readouterr().out
    assert printed.startswith("1 normal") and list((tmp_path / "events").iterdir())
    for name in re.findall(r"^\| `(\w+)\(", text, re.M):
        assert callable(getattr(archgrad.Callback, name))
    methods = {name for name in vars(archgrad.Callback) if not name.startswith("_")}
    assert methods == set(re.findall(r"^\| `(\w+)\(", text, re.M))

"""The option --watch: every command that works in a folder serves its page meanwhile."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from archgrad.cli import main as cli
from archgrad.errors import ArchgradError
from archgrad.progress.display import Display
from archgrad.reporting import serving
from small import FLAGS

TINY = "--channels 2 --cells 3 --epochs 2".split()
SEARCH = [*TINY, *"--subset 80 --nodes 1 --batch-size 20".split()]
COMMANDS = {
    "search": ["search", *SEARCH],
    "run": ["run", *SEARCH, "--train-batch-size", "20"],
    "train": ["train", "DARTS_V2", *TINY],
    "compare": ["compare", "--methods", "darts,random", *FLAGS],
}


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_search_is_seen_while_it_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    address = ""

    def look(self: Display, event: Any) -> None:
        nonlocal address
        if not address:
            told = capfd.readouterr().err
            [address] = re.findall(r"watch +(http://127\.0\.0\.1:\d+/)\n", told)
        with urllib.request.urlopen(f"{address}document.json", timeout=30) as answer:
            seen.append(json.load(answer))

    monkeypatch.setattr(Display, "epoch_end", look)
    assert run("search", *SEARCH, "--out", tmp_path / "run", "--watch") == 0
    assert [d["runs"][0]["epochs"]["columns"]["epoch"] for d in seen] == [[1], [1, 2]]
    assert [d["runs"][0]["found"] for d in seen] == [None, None]
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=30)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_serves_its_folder_only_if_asked(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, bool]] = []

    def followed(folder: Path, wanted: bool, tell: object) -> None:
        asked.append((folder, wanted))
        raise ArchgradError("far enough for this test")

    monkeypatch.setattr(serving, "followed", followed)
    for wanted in (True, False):
        out = tmp_path / str(wanted)
        assert run(*COMMANDS[command], "--out", out, *["--watch"] * wanted) == 2
    assert asked == [(tmp_path / "True", True), (tmp_path / "False", False)]


def test_report_serves_with_its_options_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def watch(*arguments: Any, browser: bool) -> None:
        asked.append((*arguments[:2], browser))

    monkeypatch.setattr(serving, "watch", watch)
    assert run("report", tmp_path, "--watch") == 0
    assert run("report", tmp_path, "--watch", "--port", "8123", "--no-browser") == 0
    assert asked == [([tmp_path], 0, True), ([tmp_path], 8123, False)]
    assert list(tmp_path.iterdir()) == []
    capsys.readouterr()
    assert run("report", tmp_path, "--watch", "--out", tmp_path / "page.html") == 2
    assert "leave out --out" in capsys.readouterr().err
    assert run("report", tmp_path, "--no-browser") == 2
    assert "are for --watch" in capsys.readouterr().err
    assert run("report", tmp_path / "none", "--watch") == 2
    assert "found nothing at" in capsys.readouterr().err
    assert len(asked) == 2

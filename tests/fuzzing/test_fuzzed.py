"""A short, always equal part of benchmarks/fuzz.py: changed files are read or told."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from archgrad.errors import ArchgradError
from fuzz import Attempts
from fuzz_changes import changed
from fuzz_targets import CANARY, Target, light

TARGETS = {target.name: target for target in light()}
FOUND = [  # what earlier versions did not tell in one line
    ("begun_with.json", "begun_with.json", b'{"a": '),
    ("begun_with.json", "begun_with.json", b"r\xff\xff"),
    ("begun_with.json", "begun_with.json", b"[0, 1]"),
    ("environment.json", "environment.json", b"[1]"),
    ("jsonl lines", "l.jsonl", b"[" * 5000 + b"\n"),
    ("table, JSON", "t.json", b"9" * 5000),
    ("checkpoints", "last.pt", b"PK\x03\x04"),
    ("files of other tools", "log.txt", b"(0)"),
]  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_changed_files_are_told(name: str, tmp_path: Path) -> None:
    attempts = Attempts(TARGETS[name], tmp_path, CANARY)
    health = list(HealthCheck)

    @settings(derandomize=True, max_examples=15, deadline=None, suppress_health_check=health)
    @given(changed(TARGETS[name].files))
    def run(case: tuple[str, bytes]) -> None:
        attempts.attempt(*case)

    run()
    assert attempts.tried >= 10 and not attempts.findings


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_each_file_is_changed_from_one_that_is_read(name: str, tmp_path: Path) -> None:
    """Else every change is refused for what was wrong before it."""
    for file, contents in TARGETS[name].files.items():
        folders = [tmp_path / file.replace("/", "-") / str(n) for n in range(len(contents))]
        for folder, content in zip(folders, contents, strict=True):
            (folder / file).parent.mkdir(parents=True)
            (folder / file).write_bytes(content)
        assert any(is_read(TARGETS[name], folder) for folder in folders), file


def is_read(target: Target, folder: Path) -> bool:
    with suppress(ArchgradError):
        target.read(folder)
        return True
    return False


@pytest.mark.parametrize(("name", "file", "content"), FOUND)
def test_what_was_found_stays_mended(name: str, file: str, content: bytes, tmp_path: Path) -> None:
    attempts = Attempts(TARGETS[name], tmp_path, CANARY)
    attempts.attempt(file, content)
    assert not attempts.findings


def test_findings_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def runs_code(folder: Path) -> None:
        (folder / "canary").mkdir()

    def fails(folder: Path) -> None:
        raise KeyError((folder / "a").read_text())

    monkeypatch.setattr("fuzz.SECONDS", -1.0)
    for read, kind in ((runs_code, "code of the file"), (fails, "KeyError"), (str, "time")):
        attempts = Attempts(Target("a", read, {"a": [b""]}), tmp_path, tmp_path / "canary")
        attempts.attempt("a", b"x")
        attempts.attempt("a", b"y")
        (found,) = attempts.findings.values()
        assert found.told.startswith(kind) and found.content == b"x" and attempts.tried == 2

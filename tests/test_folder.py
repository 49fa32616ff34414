"""The run folder: nothing half-written, nothing overwritten, nothing executed on reading."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import archgrad
from archgrad.errors import ArchgradError
from archgrad.settings.config import RunConfig, SearchConfig, build
from archgrad.storage import folder as module
from archgrad.storage.files import append, read_lines, write
from archgrad.storage.folder import (
    Run,
    environment,
    fitting,
    load_checkpoint,
    save_checkpoint,
    truncate,
)

CPU = torch.device("cpu")
CONFIG = build({"data": {}, "search": {"epochs": 3}})


# --- files -------------------------------------------------------------------------------------


def test_text_and_bytes_are_written_whole_and_replace_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write(path, "für\n")
    assert path.read_bytes() == "für\n".encode()
    write(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_failure_leaves_the_old_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write(path, "old")

    def fail(*args: object) -> None:
        raise OSError("the power went off")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="power"):
        write(path, "new, and longer")
    assert path.read_text() == "old"
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="power"):
        write(tmp_path / "other", "new")
    assert not (tmp_path / "other").exists()


# --- folders -----------------------------------------------------------------------------------


def test_a_run_holds_its_configuration_and_environment(tmp_path: Path) -> None:
    made = Run.create(tmp_path / "deep" / "run", CONFIG)
    assert [path.name for path in made.path.iterdir()] == ["config.yaml"]
    with made.working():
        pass
    opened = Run.open(str(made.path))
    assert (opened.path, opened.config) == (made.path, CONFIG)
    saved = json.loads((made.path / "environment.json").read_text())[0]
    assert saved["archgrad"] == archgrad.__version__


def test_an_empty_folder_may_take_a_run(tmp_path: Path) -> None:
    assert Run.create(tmp_path, CONFIG).config == CONFIG


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    made = Run.create(tmp_path / "run", CONFIG)
    before = {path.name: path.read_bytes() for path in made.path.iterdir()}
    other = RunConfig(search=SearchConfig(epochs=9))
    with pytest.raises(ArchgradError, match=r"not empty; choose another --out, or .*--resume"):
        Run.create(made.path, other)
    assert {path.name: path.read_bytes() for path in made.path.iterdir()} == before
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ArchgradError, match="already exists"):
        Run.create(file, CONFIG)
    assert file.read_text() == "mine"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ArchgradError, match=r"holds no run \(no config\.yaml\); give"):
            Run.open(folder)
    (tmp_path / "config.yaml").write_text("search: {epochs: 0}")
    with pytest.raises(ArchgradError, match=r"config\.yaml: field search\.epochs: found 0"):
        Run.open(tmp_path)


# --- lines -------------------------------------------------------------------------------------


def entries(count: int) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "loss": epoch / 3} for epoch in range(1, count + 1)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path, CONFIG)
    for entry in entries(4):
        append(made.path / "metrics.jsonl", entry)
    return made


def test_lines_come_back_in_order(run: Run) -> None:
    assert read_lines(run.path / "metrics.jsonl") == entries(4)
    assert read_lines(run.path / "metrics.jsonl", 2) == entries(2)
    assert read_lines(run.path / "metrics.jsonl", 0) == []
    assert read_lines(run.path / "other.jsonl") == []


@given(cut=st.integers(1, 30))
def test_a_line_that_was_cut_off_is_left_out(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut")
    made = Run(path, CONFIG)
    for entry in entries(2):
        append(made.path / "metrics.jsonl", entry)
    content = (path / "metrics.jsonl").read_bytes()
    first = content.index(b"\n") + 1
    kept = max(first, len(content) - cut)
    (path / "metrics.jsonl").write_bytes(content[:kept])
    assert read_lines(made.path / "metrics.jsonl") == entries(1)
    assert truncate(made.path / "metrics.jsonl", 9) == entries(1)
    append(made.path / "metrics.jsonl", entries(2)[1])
    assert read_lines(made.path / "metrics.jsonl") == entries(2)


def test_truncating_drops_what_came_after_the_checkpoint(run: Run) -> None:
    assert truncate(run.path / "metrics.jsonl", 2) == entries(2)
    assert read_lines(run.path / "metrics.jsonl") == entries(2)
    append(run.path / "metrics.jsonl", entries(3)[2])
    assert read_lines(run.path / "metrics.jsonl") == entries(3)
    assert truncate(run.path / "metrics.jsonl", 0) == []
    assert (run.path / "metrics.jsonl").read_bytes() == b""


def test_a_damaged_line_in_the_middle_is_an_error_that_names_the_file(run: Run) -> None:
    path = run.path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epo\n{"epoch": 3}\n')
    with pytest.raises(ArchgradError, match=r"metrics\.jsonl is damaged .*: restore it, or begin"):
        read_lines(run.path / "metrics.jsonl")


# --- checkpoints -------------------------------------------------------------------------------


def saved(folder: Path, *epochs: int) -> None:
    for epoch in epochs:
        save_checkpoint(folder, {"epoch": epoch, "weights": {"w": torch.full((3,), float(epoch))}})


def epoch(folder: Path) -> int | None:
    content = load_checkpoint(folder, CPU)
    return None if content is None else content["epoch"]


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, CPU) is None
    state = {"w": torch.randn(2, 3), "step": 4, "names": ["a"], "rate": 0.1}
    save_checkpoint(tmp_path, {"state": state})
    content = load_checkpoint(tmp_path, CPU)
    assert content is not None
    assert content["format"] == "archgrad-checkpoint/1"
    assert torch.equal(content["state"].pop("w"), state.pop("w"))
    assert content["state"] == state


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    saved(tmp_path, 2, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "previous.pt"}
    assert epoch(tmp_path) == 3
    (tmp_path / "last.pt").unlink()
    assert epoch(tmp_path) == 2


def test_a_failure_while_saving_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1, 2)

    def fail(path: Path, content: bytes) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(module, "write", fail)
    with pytest.raises(OSError, match="space"):
        saved(tmp_path, 3)
    assert epoch(tmp_path) == 2


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken archive"])
def test_a_damaged_checkpoint_names_the_file_and_the_remedy(content: bytes, tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ArchgradError, match=r"last\.pt cannot be read .*; remove it to begin agai"):
        load_checkpoint(tmp_path, CPU)
    saved(tmp_path, 2)  # the damaged one becomes the previous one
    assert epoch(tmp_path) == 2
    saved(tmp_path, 3)
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ArchgradError, match=r"last\.pt .*remove it to continue from .*previous\.p"):
        load_checkpoint(tmp_path, CPU)
    (tmp_path / "last.pt").unlink()
    assert epoch(tmp_path) == 2
    (tmp_path / "previous.pt").write_bytes(content)
    with pytest.raises(ArchgradError, match=r"previous\.pt cannot be read .*remove it to begin a"):
        load_checkpoint(tmp_path, CPU)


def test_memory_that_runs_out_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a good checkpoint would be called unreadable, and its removal advised."""
    save_checkpoint(tmp_path, {"epoch": 1})

    def scarce(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "load", scarce)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA"):
        load_checkpoint(tmp_path, CPU)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA"), fitting(tmp_path):
        scarce()


def test_a_checkpoint_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArchgradError, match=r"last\.pt cannot be read") as caught:
        load_checkpoint(tmp_path, CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"format": "archgrad-checkpoint/0"}, {"epoch": 3}, [1], 7])
def test_a_file_of_another_format_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(ArchgradError, match=r"last\.pt cannot be read"):
        load_checkpoint(tmp_path, CPU)


def test_another_format_is_told_with_the_expected_one(tmp_path: Path) -> None:
    torch.save({"format": "archgrad-checkpoint/0"}, tmp_path / "last.pt")
    with pytest.raises(
        ArchgradError, match="format archgrad-checkpoint/0, expected archgrad-checkpoint/1"
    ):
        load_checkpoint(tmp_path, CPU)


class Trap:
    """Unpickling it creates a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["archive", "plain"])
def test_a_malicious_checkpoint_is_refused_and_does_nothing(form: str, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    content = {"format": "archgrad-checkpoint/1", "trap": Trap(proof)}
    path = tmp_path / "last.pt"
    if form == "archive":
        torch.save(content, path)
        assert zipfile.is_zipfile(path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    reason = "asks for posix" if form == "archive" else "is no zip file"
    with pytest.raises(ArchgradError, match=rf"last\.pt cannot be read .*{reason}"):
        load_checkpoint(tmp_path, CPU)
    assert not proof.exists()
    torch.load(path, weights_only=False) if form == "archive" else pickle.loads(path.read_bytes())
    assert proof.exists()  # the trap works where it is read carelessly


# --- environment -------------------------------------------------------------------------------


def test_the_environment_has_what_is_needed_to_repeat_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/archgrad", "search", "--epochs", "3"])
    found = environment()
    assert list(found) == [
        *("started", "process", "command", "archgrad", "commit", "python", "torch", "numpy"),
        *("device", "cpu_cores", "cpu_instructions", "platform"),
    ]
    assert found["command"] == "archgrad search --epochs 3"
    assert found["torch"] == torch.__version__
    assert found["cpu_cores"] == os.cpu_count()
    age = datetime.now(UTC) - datetime.fromisoformat(found["started"])
    assert timedelta(seconds=-2) < age < timedelta(minutes=1)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["/lib/archgrad/__main__.py", "run", "--out", "runs/a"], "archgrad run --out runs/a"),
        (["/bin/archgrad", "run", "--out", "my runs/$a"], "archgrad run --out 'my runs/$a'"),
        (["mine/search.py"], "search.py"),
    ],
)
def test_the_command_is_kept_as_it_can_be_given_again(
    given: list[str], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", given)
    assert environment()["command"] == kept


def test_the_commit_is_that_of_the_checkout() -> None:
    root = Path(archgrad.__file__).resolve().parents[2]
    if not (root / ".git").exists():
        assert environment()["commit"] is None
        return
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert environment()["commit"] == done.stdout.strip()


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **options: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert environment()["commit"] is None


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"3\n", b"{}\n", b"[1]\n"])
def test_damaged_lines_are_one_clear_error(tmp_path: Path, content: bytes) -> None:
    run = Run.create(tmp_path / "run", RunConfig(search=SearchConfig()))
    (run.path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(ArchgradError, match=r"metrics\.jsonl is damaged"):
        read_lines(run.path / "metrics.jsonl", epochs=1)


def test_what_a_killed_process_left_beside_goes_and_what_goes_on_stays(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    sides = [f".file.{pid}.part" for pid in (gone.pid, os.getppid(), "x")]
    for name in [*sides, f".other.{gone.pid}.part"]:
        (tmp_path / name).write_text("")
    write(tmp_path / "file", "whole")
    left = {*sides[1:], f".other.{gone.pid}.part", "file"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_what_a_killed_beginning_left_may_be_taken_and_nothing_else(tmp_path: Path) -> None:
    files = {"architecture.json": "{}"}
    (tmp_path / "architecture.json").write_text("{}")
    (tmp_path / ".config.yaml.77.part").write_text("for")
    with pytest.raises(ArchgradError, match="not empty"):
        Run.create(tmp_path, CONFIG)
    with pytest.raises(ArchgradError, match="not empty"):
        Run.create(tmp_path, CONFIG, {"architecture.json": "[]"})
    assert Run.create(tmp_path, CONFIG, files).config == CONFIG


def test_a_failed_write_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archgrad.storage.folder.os.replace", full)
    with pytest.raises(OSError, match="No space") as raised:
        write(tmp_path / "file", "text")
    assert raised.value.filename == str(tmp_path / "file"), "not of the file beside it"
    assert list(tmp_path.iterdir()) == []

"""Documents of several folders, and of folders in which anything may stand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import run_folders as folders
from archgrad.reporting.document import document

TEXTS = st.text(st.characters(codec=None), max_size=6) | st.sampled_from(
    ["<script>alert(1)</script>", "</script>", "\ud800", "epoch", "normal", "archgrad-groups/1"]
)
NUMBERS = (
    st.integers(-3, 3) | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, 1e308, -0.0])
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
PLACES = (
    *folders.PLACES, "evaluations.jsonl", "results.json", "summary.txt", "limit.json", "test.json",
    "failed.json", "train/found/seed-0/result.json", "train/found/seed-0/metrics.jsonl",
    "train/found/architecture.json",
)  # fmt: skip
NETWORK = {"label", "architecture", "parameters", "multiply_adds", "seeds"}
KEYS = {
    "id", "name", "path", "kind", "state", "written", "problems", "facts", "method", "space",
    "data", "seed", "measure", "groups", "epochs", "marks", "replay", "evaluations", "found",
    "networks", "outcome", "reproduce",
}  # fmt: skip


def checked(*paths: Path) -> dict[str, Any]:
    """The document, which is valid JSON, valid UTF-8, and has every key of the contract."""
    made = document(paths)
    text = json.dumps(made, allow_nan=False, ensure_ascii=False).encode()
    assert json.loads(text) == made
    assert made.keys() == {
        "format", "archgrad", "made", "title", "live", "runs", "comparisons", "distances",
    }  # fmt: skip
    for run in made["runs"]:
        assert run.keys() == KEYS
        assert all(isinstance(problem, str) for problem in run["problems"])
        assert all(isinstance(part, str) for fact in run["facts"] for part in fact)
        for mark in run["marks"]:
            assert mark.keys() == {"epoch", "kind", "text", "finding"}
        for network in run["networks"]:
            assert {
                "label",
                "architecture",
                "parameters",
                "multiply_adds",
                "seeds",
            } <= network.keys()
        lengths = {len(column) for column in run["epochs"]["columns"].values()}
        assert len(lengths) <= 1
        if (replay := run["replay"]) is not None:
            assert len(replay["epochs"]) == len(replay["at"])
            assert replay["alpha"].keys() == replay["strength"].keys()
            assert all(-1 <= i < len(replay["architectures"]) for i in replay["at"])
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has every file."""
    path = tmp_path_factory.mktemp("whole") / "run"
    options = folders.config(train={"epochs": 2, "seeds": 1, "seed": 0}, random_cells=2)
    folders.search(path, config=options)
    folders.retrained(path / "train" / "found")
    folders.write(path / "train/found/architecture.json", folders.architecture())
    line = {"evaluation": 1, "architecture": folders.architecture(), "score": 0.5, "failed": False}
    folders.write(path / "evaluations.jsonl", [line])
    folders.write(path / "results.json", {})
    folders.write(path / "summary.txt", "a      b\nfound  1\n\nGood.\n")
    folders.write(path / "limit.json", {"kind": "parameters", "limit": 1, "met": True})
    folders.write(path / "test.json", {"values": [0.5]})
    folders.write(path / "failed.json", {"error": "none"})
    return path


def test_a_whole_folder_has_no_problems(whole: Path) -> None:
    (run,) = checked(whole)["runs"]
    assert run["problems"] == []


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all subtrees of a value."""
    found = [path]
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, part in value.items() if isinstance(value, dict) else ():
        found += spots(part, (*path, key))
    return found


def put(value: Any, spot: tuple[Any, ...], other: Any) -> Any:
    if not spot:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[spot[0]] = put(copy[spot[0]], spot[1:], other)
    return copy


@pytest.mark.no_cover
@settings(max_examples=150)
@given(place=st.sampled_from(PLACES), drawn=st.data())
def test_anything_in_place_of_any_part_of_a_file_is_survived(
    place: str, drawn: st.DataObject, whole: Path
) -> None:
    kept = (whole / place).read_bytes()
    other = drawn.draw(VALUES)
    if place.endswith(".jsonl"):
        lines = [json.loads(line) for line in kept.splitlines()]
    else:
        lines = [yaml.safe_load(kept)]  # of which JSON is a part, and a text is one
    lines = put(lines, drawn.draw(st.sampled_from(spots(lines)[1:])), other)
    content = "\n".join(json.dumps(line) for line in lines).encode()
    try:
        (whole / place).write_bytes(content)
        checked(whole)
    finally:
        (whole / place).write_bytes(kept)


@settings(max_examples=60)
@given(place=st.sampled_from(PLACES), content=st.binary(max_size=40), cut=st.integers(0, 200))
def test_bytes_and_cut_files_are_survived(
    place: str, content: bytes, cut: int, whole: Path
) -> None:
    kept = (whole / place).read_bytes()
    try:
        (whole / place).write_bytes(kept[:cut] + content)
        checked(whole)
    finally:
        (whole / place).write_bytes(kept)


@pytest.mark.parametrize("place", [place for place in PLACES if place != "results.json"])
def test_folders_in_place_of_files_are_survived(place: str, whole: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(whole, tmp_path / "copy")
    (copy / place).unlink()
    (copy / place).mkdir()
    (run,) = checked(copy)["runs"]
    assert any("is a folder, expected a file" in problem for problem in run["problems"])


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    name = "<script>alert(1)"
    made = checked(folders.search(tmp_path / name))
    assert made["runs"][0]["name"] == made["title"] == name
    strange = tmp_path / "\udcff"
    assert checked(strange)["title"] == "?"


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [folders.search(tmp_path / place / "run") for place in ("a", "b")]
    assert [run["name"] for run in checked(*paths)["runs"]] == ["a/run", "b/run"]


def test_distances_are_those_of_the_found_cells(tmp_path: Path) -> None:
    one = folders.search(tmp_path / "one")
    other = folders.search(tmp_path / "other", architecture=folders.architecture("conv", "conv"))
    text = folders.search(tmp_path / "text", architecture=folders.architecture(space="darts-rnn"))
    empty = tmp_path / "empty"
    empty.mkdir()
    found = checked(one, empty, other, text)["distances"]
    assert found["ids"] == ["run-0", "run-2", "run-3"]
    assert found["values"] == [[0.0, 0.5, None], [0.5, 0.0, None], [None, None, 0.0]]
    assert checked(one, empty)["distances"] is None


def test_several_runs_share_the_room(tmp_path: Path) -> None:
    paths = [folders.search(tmp_path / str(i), range(1, 501)) for i in range(2)]
    assert len(checked(paths[0])["runs"][0]["replay"]["epochs"]) == 500
    shared = checked(*paths)["runs"]
    assert [len(run["replay"]["epochs"]) for run in shared] == [400, 400]


def test_no_torch_is_imported() -> None:
    code = (
        "import archgrad.reporting.document, archgrad.reporting.page, sys; "
        "print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"

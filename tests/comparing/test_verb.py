"""The verb in Python: what it refuses before anything is written, and its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import archgrad
from archgrad.comparing import engine
from archgrad.data import as_data
from archgrad.errors import ArchgradError
from archgrad.storage.files import read_lines
from small import OPTIONS, arrays, data


def compare(folder: Path, given: Any = None, methods: Any = "darts,random", **options: Any) -> Any:
    chosen = {**OPTIONS, **options}
    kept = {name: value for name, value in chosen.items() if value is not None}
    return archgrad.compare(methods, data() if given is None else given, out=folder, **kept)


@pytest.mark.parametrize(
    ("methods", "options", "message"),
    [
        ("darts,randon", {}, 'method "randon" is not known; did you mean "random"'),
        ("darts,random,darts", {}, 'found "darts" twice in "darts,random,darts"'),
        ("darts,,random", {}, "expected names with commas between"),
        ("darts", {"method": "random"}, "found method random.*say what is compared with methods"),
        ("darts", {"method_options": {"k": 2}}, "method_options .*published options"),
        ("darts", {"train_seed": 3}, "found train_seed 3.*follow from those of the searches"),
        ("darts", {"train_jobs": 2}, "found train_jobs 2.*say with parallel"),
        ("darts", {"seeds": 0}, "seeds: found 0, expected greater than or equal to 1"),
        ("darts", {"selection_fraction": 1.0}, "selection_fraction: found 1.0"),
        ("darts", {"seed": 2**32 - 1, "seeds": 2}, "seed 4294967295 with 2 searches.*smaller seed"),
        ("random", {"budget": "1k", "epochs": None}, "budget of 1,000 .* too small for one run"),
        ("darts", {"budget": "1k", "epochs": None}, "budget 1k is too small: the shortest search"),
        ("random", {"evaluations": 3}, "evaluations go with a table, and there is none"),
        (
            "random",
            {"train_warm_up_epochs": 1, "short_epochs": 1},
            "short retraining: train: warm_up",
        ),
        ("random", {"train_batch_size": 40}, "40"),
        ("random", {"nonsense": 1}, 'option "nonsense" is not known'),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    methods: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchgradError, match=message):
        compare(tmp_path / "c", methods=methods, **options)
    assert not list(tmp_path.iterdir())


def test_data_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    whole = data()
    x, y = arrays()["x"], arrays()["y"]
    few = replace(
        whole, train=whole.train.subset(np.r_[(y == 0).nonzero()[0][:2], (y == 1).nonzero()[0][:8]])
    )
    for given, message in (
        (replace(whole, test=None), "has no test part, and a comparison tests at its end"),
        ((x, y), "has no test part"),
        (replace(whole, valid=whole.test), "brings its own validation part"),
        (few, 'class "0" has 1 training images; a split needs 2'),  # the other one selects
    ):
        with pytest.raises(ArchgradError, match=message):
            compare(tmp_path / "c", given, batch_size=2, train_batch_size=2)
    assert not list(tmp_path.iterdir())


def test_a_part_without_images_is_refused_where_labels_are_not_known(tmp_path: Path) -> None:
    class Pairs(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> Any:
            return torch.full((1, 8, 8), index / 20), index % 2

    given = as_data(Pairs(), test=Pairs(), classes=2)
    with pytest.raises(ArchgradError, match=r"selection_fraction 0.01 of 20 .* one part empty"):
        compare(tmp_path / "c", given, selection_fraction=0.01)


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ArchgradError, match="already exists and is not empty"):
        compare(tmp_path / "full", methods="random")
    assert len(list(tmp_path.rglob("*"))) == 2
    for place in ("full", "gone"):
        with pytest.raises(ArchgradError, match="holds no comparison"):
            archgrad.compare(resume=tmp_path / place)
    kept = tmp_path / "full" / "comparison.yaml"
    for text, message in (
        ("compare: {}\n", "field runs is missing"),
        ("", "expected a valid dictionary"),
        ("a: [\n", "cannot be read.*restore it"),
        ("compare: {}\nruns: [{data: {}, train: {}}]\n", "without search or train section"),
    ):
        kept.write_text(text, encoding="utf-8")
        with pytest.raises(ArchgradError, match=f"comparison.yaml.*{message}"):
            archgrad.compare(resume=tmp_path / "full")


def test_a_resumed_comparison_takes_no_options_but_data_from_python(tmp_path: Path) -> None:
    for given in ({"seeds": 3}, {"methods": "darts"}, {"out": tmp_path}, {"data": "cifar10"}):
        with pytest.raises(
            ArchgradError, match=f"keeps its options; leave out {next(iter(given))}"
        ):
            archgrad.compare(resume=tmp_path, **given)  # type: ignore[arg-type]


def test_data_from_python_are_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine.Comparison, "run", lambda *_: None)
        compare(tmp_path / "c", methods="random")
    with pytest.raises(ArchgradError, match=r"came from Python.*compare\(data=..., resume=...\)"):
        archgrad.compare(resume=tmp_path / "c")


def test_a_method_from_python_is_compared_and_asked_for_again(tmp_path: Path) -> None:
    mine, other = archgrad.Method(warm_up=0.5), archgrad.Method(interval=2)
    results = compare(tmp_path / "c", methods=["darts", mine], seeds=2)
    assert [entry.status for entry in results.entries] == ["done"] * 4
    assert results.settings.methods == ("darts", "own")
    assert len(results.of("own", results.settings.data[0])) == 2
    folder = next((tmp_path / "c" / "searches").glob("*/own/seed-0"))
    assert (
        read_lines(folder / "alphas.jsonl")[0]["alpha"]
        != read_lines(folder.parents[1] / "darts" / "seed-0" / "alphas.jsonl")[0]["alpha"]
    )  # alpha rests in its first epoch
    again = archgrad.compare(["darts", mine], data(), resume=tmp_path / "c")
    assert again.to_json() == results.to_json()
    for methods in (None, [other, "darts"]):
        with pytest.raises(ArchgradError, match=r"other methods; .*compare\(methods=\[...\], re"):
            archgrad.compare(methods, data(), resume=tmp_path / "c")
    with pytest.raises(ArchgradError, match="keeps its options; leave out methods own,darts"):
        archgrad.compare([mine, "darts"], data(), resume=tmp_path / "c")


def test_methods_from_python_that_cannot_be_compared_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArchgradError, match="found 2 methods from Python, expected one"):
        compare(tmp_path / "c", methods=[archgrad.Method(), archgrad.Method(interval=2)])
    with pytest.raises(ArchgradError, match="methods: found 7, expected names and one archgrad.M"):
        compare(tmp_path / "c", methods=["darts", 7])
    with pytest.raises(ArchgradError, match='method "own" is not known'):
        compare(tmp_path / "c", methods="darts,own")
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(engine.Comparison, "run", lambda *_: None)
        compare(tmp_path / "c", methods="random")
    with pytest.raises(ArchgradError, match=r"other methods; .*compare\(resume=...\)"):
        archgrad.compare(archgrad.Method(), data(), resume=tmp_path / "c")


def test_several_data_sets_stand_with_commas_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comma in a path stays one; what needs one budget for all says so."""
    monkeypatch.chdir(tmp_path)
    first = arrays()
    np.savez("one.npz", **first)
    np.savez("an,other.npz", **{**first, "x": 1 - first["x"]})
    text = "npz:one.npz,npz:an,other.npz"
    with pytest.raises(ArchgradError, match="found 2 data sets and no budget"):
        compare(tmp_path / "c", text, methods="random")
    with pytest.raises(ArchgradError, match="data npz:one.npz is there twice"):
        compare(tmp_path / "c", f"{text}, npz:one.npz", methods="random")
    with pytest.raises(ArchgradError, match=r"gone.npz"):
        compare(tmp_path / "c", "digits,npz:gone.npz", "random", budget="1G", epochs=None)
    assert not (tmp_path / "c").exists()
    results = compare(tmp_path / "c", text, "random", budget="10M", epochs=None)
    assert results.settings.data == ("npz:one.npz", "npz:an,other.npz")
    one, other = results.entries
    assert (one.status, other.status) == ("done", "done")
    assert one.conditions["data"] != other.conditions["data"]
    assert one.conditions["full"] == other.conditions["full"]

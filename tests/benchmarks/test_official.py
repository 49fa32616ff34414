"""Small files of the official structure, written here; and pickles that want to run something."""

from __future__ import annotations

import bz2
import copy
import gzip
import os
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archgrad.benchmarks import convert, nas_bench_201
from archgrad.benchmarks.numbering import string
from archgrad.errors import ArchgradError

ARCHS = [string(7), string(3)]  # in the order of the file, which is another one


def training(epochs: int, *parts: tuple[str, float], latency: object = (0.02, 0.04)) -> Any:
    """The results of one seed; accuracies of earlier epochs are 1."""
    accuracies = {f"{part}@{e}": 1.0 for part, _ in parts for e in range(epochs)}
    accuracies.update({f"{part}@{epochs - 1}": last for part, last in parts})
    return {
        "name": "infer.tiny", "net_state_dict": None, "epochs": epochs, "params": 0.5,
        "flop": 7.25, "latency": list(latency) if isinstance(latency, tuple) else latency,
        "train_acc1es": {e: 2.0 for e in range(epochs)}, "eval_names": [p for p, _ in parts],
        "eval_acc1es": accuracies, "seed": 777, "arch_config": {"channel": 16, "num_cells": 5},
    }  # fmt: skip


def results(**trainings: Any) -> dict[str, Any]:
    """Of one length of training; names as ``cifar10_777``, the data set and the seed."""
    keys = {name: tuple(name.replace("__", "-").rsplit("_", 1)) for name in trainings}
    return {
        "arch_index": 0,
        "arch_str": "",
        "all_results": {(data, int(seed)): trainings[name] for name, (data, seed) in keys.items()},
        "dataset_seed": {data: [int(seed)] for data, seed in keys.values()},
    }


def official(short: str = "less", full: str = "full", add: float = 0.0) -> dict[str, Any]:
    """Two cells; ``add``: to the accuracies of the first."""
    infos = OrderedDict()
    for index, more in enumerate((add, 0.0)):
        infos[index] = {
            short: results(
                cifar10__valid_777=training(12, ("x-valid", 60 + more), ("ori-test", 3.0)),
                cifar10__valid_888=training(12, ("x-valid", 70 + more), ("ori-test", 3.0)),
                cifar10_777=training(12, ("ori-test", 55 + more)),
            ),
            full: results(
                cifar10__valid_777=training(200, ("x-valid", 88 + more), ("ori-test", 3.0)),
                cifar10_777=training(200, ("ori-test", 90 + more)),
                cifar10_888=training(200, ("ori-test", 92 + more), latency=(0.06,)),
                cifar10_999=training(200, ("ori-test", 94 + more), latency=None),
                ImageNet16__120_777=training(200, ("x-valid", 40.0), ("x-test", 41.0)),
                cifar100_777=training(200, ("x-valid", 70.0), ("x-test", 71.0), ("ori-test", 3.0)),
            ),
        }
    return {"meta_archs": ARCHS, "arch2infos": infos, "evaluated_indexes": {0, 1}, "total": 2}


def dumped(content: object, protocol: int = 4) -> bytes:
    return pickle.dumps(content, protocol)


def saved(path: Path, content: object, zipped: bool) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


WRITERS: dict[str, Callable[[Path, object], object]] = {
    "pickle 2": lambda path, content: path.write_bytes(dumped(content, 2)),
    "pickle 4": lambda path, content: path.write_bytes(dumped(content)),
    "gzip": lambda path, content: path.write_bytes(gzip.compress(dumped(content))),
    "bzip2": lambda path, content: path.write_bytes(bz2.compress(dumped(content))),
    "torch": lambda path, content: saved(path, content, True),
    "torch before 1.6": lambda path, content: saved(path, content, False),
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("keys", [("less", "full"), ("12", "200")], ids=["NB201", "NATS"])
def test_means_over_seeds_of_the_last_epoch(
    tmp_path: Path, form: str, keys: tuple[str, str]
) -> None:
    WRITERS[form](tmp_path / "official", official(*keys, add=1.0))
    conversion = convert(tmp_path / "official", tmp_path / "small.csv.gz", partial=True)
    assert conversion.left_out == {}
    table = nas_bench_201(tmp_path / "small.csv.gz", partial=True)
    assert table[ARCHS[1]].values == {
        "c10_test": 92.0, "c10_val": 88.0, "c10_val_12ep": 65.0, "c10_test_12ep": 55.0,
        "c100_val": 70.0, "c100_test": 71.0, "in16_val": 40.0, "in16_test": 41.0,
        "c10_params_M": 0.5, "c10_flops_M": 7.25, "lat_ms": pytest.approx(45.0),
    }  # fmt: skip
    first = table[ARCHS[0]]
    assert (first.test_accuracy, first["c10_val"], first.validation_accuracy) == (93, 89, 66)
    assert table.best().cells == next(cell for cell in table if table.rank(cell) == 1).cells


def test_columns_that_not_all_cells_have_are_left_out_and_told(tmp_path: Path) -> None:
    content = official()
    del content["arch2infos"][1]["full"]["all_results"]["cifar100", 777]
    for (data, _), one in content["arch2infos"][0]["full"]["all_results"].items():
        one["latency"] = [-1.0] if data == "cifar10" else one["latency"]
    (tmp_path / "official").write_bytes(dumped(content))
    conversion = convert(tmp_path / "official", tmp_path / "small.csv", partial=True)
    assert conversion.left_out == {"c100_val": 1, "c100_test": 1, "lat_ms": 1}
    assert "c100_val" not in conversion.table.columns
    assert str(conversion).endswith(
        "left out, since not all cells have them: c100_val (1 cells), c100_test (1 cells), "
        "lat_ms (1 cells)"
    )


@pytest.mark.parametrize("form", WRITERS)
def test_arrays_scalars_and_weights_are_admitted(tmp_path: Path, form: str) -> None:
    content = official()
    one = content["arch2infos"][0]["full"]["all_results"]["cifar10", 777]
    one["eval_acc1es"]["ori-test@199"] = np.float64(60)
    one["params"] = np.float32(0.5)
    one["train_losses"] = np.arange(3.0)
    if form.startswith("torch"):
        weight = torch.nn.Parameter(torch.ones(2))
        one["net_state_dict"] = OrderedDict(weight=weight, count=torch.tensor(3))
    WRITERS[form](tmp_path / "official", content)
    table = convert(tmp_path / "official", tmp_path / "small.csv", partial=True).table
    assert table[ARCHS[0]].test_accuracy == (60 + 92 + 94) / 3


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", WRITERS)
def test_a_malicious_file_is_refused_by_name_and_does_not_run(tmp_path: Path, form: str) -> None:
    content = {**official(), "total": Runs(tmp_path / "ran")}
    WRITERS[form](tmp_path / "official", content)
    with pytest.raises(ArchgradError) as caught:
        convert(tmp_path / "official", tmp_path / "small.csv", partial=True)
    expected = f"official: the pickle asks for {os.system.__module__}.system, which a table does"
    assert expected in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["official"]
    if form == "pickle 4":  # the file is what it says: the usual reader runs it
        pickle.loads((tmp_path / "official").read_bytes())
        assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "value", [defaultdict(list), Path("x"), getattr, eval, torch.load, np.load, Exception("x")]
)
def test_nothing_else_is_admitted(tmp_path: Path, value: object) -> None:
    (tmp_path / "official").write_bytes(dumped({**official(), "total": value}))
    with pytest.raises(ArchgradError, match="the pickle asks for .*; it was not run, so get the"):
        convert(tmp_path / "official", tmp_path / "small.csv", partial=True)


def test_codecs_other_than_that_of_bytes_are_refused(tmp_path: Path) -> None:
    asking = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    (tmp_path / "official").write_bytes(asking)
    with pytest.raises(ArchgradError, match="asks for the codec rot13; expected latin1"):
        convert(tmp_path / "official", tmp_path / "small.csv", partial=True)


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = copy.deepcopy(official())
    change(content)
    return content


def first(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["arch2infos"][0]["full"]["all_results"]["cifar10", 777]
    return found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], r"official holds \[1\], expected a dict with meta_archs; take an official file"),
        ({"meta_archs": []}, r"holds \['meta_archs'\], expected a dict with arch2infos"),
        ({"meta_archs": 1, "arch2infos": {}}, "meta_archs and arch2infos holds .*a list and a"),
        ({"meta_archs": [], "arch2infos": {}}, "found the columns arch; expected"),
        (changed(lambda c: c["meta_archs"].pop()), r"arch2infos\[1\] holds 1, expected a number b"),
        (changed(lambda c: c["meta_archs"].__setitem__(0, "|x|")), r"arch2infos\[0\]: archit.*|x|"),
        (
            changed(lambda c: c["meta_archs"].__setitem__(0, ARCHS[1])),
            r"\[1\]: cell .* second time",
        ),
        (
            changed(lambda c: c["arch2infos"].__setitem__(0, 5)),
            r"\[0\] holds 5, expected a dict of",
        ),
        (
            changed(lambda c: c["arch2infos"][0]["full"].pop("all_results")),
            r"\['full'\] holds \['arch_index', .* expected a dict with all_results",
        ),
        (
            changed(lambda c: c["arch2infos"][0]["less"].update(all_results=[])),
            r"\['less'\]\['all_results'\] holds \[\], expected a dict by",
        ),
        (
            changed(lambda c: first(c).pop("epochs")),
            r"\[\('cifar10', 777\)\], ori-test holds KeyError\('epochs'\), expected the results",
        ),
        (changed(lambda c: first(c).update(params="x")), "params holds ValueError"),
        (changed(lambda c: first(c).update(latency=0.5)), "latency holds TypeError"),
        (
            changed(lambda c: first(c)["eval_acc1es"].update({"ori-test@199": 400.0})),
            r"arch2infos\[0\]: found 195.3.* in column c10_test, expected a number from 0 to 100",
        ),
    ],
)
def test_another_structure_is_named(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "official").write_bytes(dumped(content))
    with pytest.raises(ArchgradError, match=message) as caught:
        convert(tmp_path / "official", tmp_path / "small.csv", partial=True)
    assert str(tmp_path / "official") in str(caught.value)


@pytest.mark.parametrize("form", WRITERS)
def test_a_cut_file_is_named(tmp_path: Path, form: str) -> None:
    path = tmp_path / "official"
    WRITERS[form](path, official())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArchgradError, match="official cannot be read: .*; expected a whole"):
        convert(path, tmp_path / "small.csv", partial=True)


def test_a_zip_file_of_something_else_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    with pytest.raises(ArchgradError, match="arrays.npz cannot be read: .*expected a whole offic"):
        convert(tmp_path / "arrays.npz", tmp_path / "small.csv")

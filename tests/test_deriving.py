"""Another architecture from a search that is done: of another epoch, by another rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad.errors import ArchgradError
from archgrad.parts.stage import Stage
from archgrad.preparing.prepared import prepare
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.searching.groups import Groups
from archgrad.settings import config as configuration
from archgrad.spaces.nas_bench_201 import NasBench201
from archgrad.storage.folder import Run
from archgrad.verbs.deriving import RULES, derive, derive_by_perturbation

TINY = dict(
    space="nas-bench-201", data="digits", subset=60, channels=2, cells=1, epochs=2, batch_size=10,
    guard="off",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "run"
    archgrad.search(**TINY, out=path)  # type: ignore[arg-type]
    return path


def test_the_methods_own_rule_is_the_default(folder: Path) -> None:
    found = archgrad.derive(folder)
    assert found == archgrad.Architecture.load(folder / "architecture.json")
    assert found == archgrad.derive(folder, 2) == archgrad.derive(folder, rule="strongest")


def test_perturbation_judges_the_supernet_and_leaves_the_run_as_it_was(folder: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    found = archgrad.derive(folder, rule="perturbation", tuning_epochs=1)
    prepare(configuration.load(folder / "config.yaml")).space.validate(found)
    assert found == archgrad.derive(folder, rule="perturbation", tuning_epochs=1)
    after = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    assert after == before


def test_tuning_between_the_decisions_counts(folder: Path) -> None:
    found = {
        str(archgrad.derive(folder, rule="perturbation", tuning_epochs=epochs))
        for epochs in (0, 1, 4)
    }
    assert len(found) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "weakest"}, 'rule "weakest" is not known; .*Known: perturbation, skip_limit'),
        ({"rule": "threshold"}, "a threshold judges each candidate by itself"),
        ({"rule": "perturbation", "epoch": 1}, "kept of the last epoch alone; leave out the epoch"),
        ({"rule": "perturbation", "tuning_epochs": -1}, "epochs -1 must be at least 0"),
    ],
)
def test_what_a_rule_cannot_do_is_refused(
    folder: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ArchgradError, match=message):
        archgrad.derive(folder, **arguments)  # type: ignore[arg-type]


def test_a_search_that_is_not_done_is_finished_first(tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    class Once(Callback):
        def epoch_end(self, event: EpochEnd) -> None:
            raise Stop

    with pytest.raises(Stop):
        archgrad.search(**TINY, out=tmp_path / "run", callbacks=[Once()])
    run = Run.open(tmp_path / "run")
    with pytest.raises(ArchgradError, match="done 1 of 2 epochs; finish it with archgrad search"):
        derive_by_perturbation(run, prepare(run.config), 1)


def test_every_rule_by_name_is_a_part() -> None:
    assert set(RULES) == {"strongest", "skip_limit", "threshold"}


# --- of what came from Python --------------------------------------------------------------------


class Net(nn.Module):
    """One choice of every kind, of which one keeps two candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.block = archgrad.Choice(
            {"wide": nn.Sequential(nn.Linear(4, 64), nn.Linear(64, 4)), "skip": nn.Identity(),
             "linear": nn.Linear(4, 4)}
        )  # fmt: skip
        self.depth = archgrad.Repeat(lambda: nn.Linear(4, 4), [0, 1, 2])
        self.width = archgrad.Width([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)], [2, 8])
        self.merge = archgrad.InputChoice(3, picks=2, name="merge")
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.block(x)
        output: Tensor = self.head(self.merge([x, first, self.width(self.depth(first))]))
        return output


OWN: dict[str, Any] = {"epochs": 3, "batch_size": 6, "guard": "off", "device": "cpu"}


def searched(path: Path, **options: Any) -> archgrad.SearchResult:
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(24, 4, generator=generator), torch.arange(24) % 3
    return archgrad.search(Net(), train=train, out=path, **{**OWN, **options})


def tell(folder: Path, epoch: int, **alpha: list[float]) -> None:
    """Write other alpha of an epoch into the folder."""
    path = folder / "alphas.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[epoch - 1]["alpha"] |= {name: [[*map(float, row)]] for name, row in alpha.items()}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def operations(architecture: archgrad.Architecture) -> dict[str, tuple[str, ...]]:
    return {cell.name: cell.operations for cell in architecture.cells}


def test_every_epoch_of_an_own_model_is_derived_without_the_model(tmp_path: Path) -> None:
    result = searched(tmp_path / "run")
    assert archgrad.derive(tmp_path / "run") == result.architecture
    assert archgrad.derive(tmp_path / "run", 3) == result.architecture
    tell(tmp_path / "run", 1, block=[0, 2, 1], depth=[0, 0, 1], width=[1, 0], merge=[1, 0, 3])
    tell(tmp_path / "run", 2, block=[3, 2, 1], depth=[1, 0, 0], width=[0, 1], merge=[0, 2, 3])
    found = [archgrad.derive(tmp_path / "run", epoch) for epoch in (1, 2)]
    assert operations(found[0]) == {
        "block": ("skip",), "depth": ("2",), "width": ("2",), "merge": ("0", "2")
    }  # fmt: skip
    assert operations(found[1]) == {
        "block": ("wide",), "depth": ("0",), "width": ("8",), "merge": ("1", "2")
    }  # fmt: skip
    assert archgrad.build(Net, found[0])(torch.ones(2, 4)).shape == (2, 3)


def test_an_own_model_with_a_limit_meets_it_in_every_epoch(tmp_path: Path) -> None:
    strong = {"block": [9.0, 0.0, 0.0], "depth": [0.0, 0.0, 9.0], "width": [0.0, 9.0]}
    searched(tmp_path / "run", max_params="200")
    tell(tmp_path / "run", 1, **strong)
    found = archgrad.derive(tmp_path / "run", 1)
    network = archgrad.build(Net, found)
    assert sum(p.numel() for p in network.parameters()) <= 200
    assert operations(found)["block"] != ("wide",)


def test_a_stage_with_fewer_candidates_is_derived_of_these(tmp_path: Path) -> None:
    method = archgrad.Method(stages=(Stage(1 / 3), Stage(2 / 3, 2, inherit=True)))
    result = searched(tmp_path / "run", method=method)
    run = Run.open(tmp_path / "run")
    assert derive(run, method) == result.architecture
    assert len(result.alpha["block"][0]) == 2
    tell(tmp_path / "run", 1, block=[0, 2, 1])
    assert operations(derive(run, method, 1))["block"] == ("skip",)
    line = json.loads((tmp_path / "run" / "alphas.jsonl").read_text().splitlines()[1])
    tell(tmp_path / "run", 2, block=[0, 1])
    assert operations(derive(run, method, 2))["block"] == (line["candidates"]["block"][0][1],)
    tell(tmp_path / "run", 2, block=[0, 2, 1])
    with pytest.raises(ArchgradError, match="other groups than the search"):
        derive(run, method, 2)


def test_a_space_from_python_is_derived_without_it(tmp_path: Path) -> None:
    space = NasBench201(channels=2, cells=1, in_channels=1, image_size=(8, 8), classes=10)
    options = {k: v for k, v in TINY.items() if k not in ("space", "data", "channels", "cells")}
    run = tmp_path / "run"
    result = archgrad.search(space, data="digits", out=run, method="fair_darts", **options)
    assert archgrad.derive(run, 2) == result.architecture
    assert Groups.load(run) == Groups.of(space, archgrad.method("fair_darts"))


def test_folders_without_groups_and_damaged_ones_say_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    searched(folder)
    whole = json.loads((folder / "groups.json").read_text())
    for damaged in ("{", "[]", json.dumps({**whole, "format": "other/1"}), '{"format": 1}',
                    json.dumps({**whole, "groups": [{"name": "block"}]})):  # fmt: skip
        (folder / "groups.json").write_text(damaged)
        with pytest.raises(ArchgradError, match="groups.json does not fit this run"):
            archgrad.derive(folder, 1)
    fewer = {**whole, "groups": [{**whole["groups"][0], "candidates": [["wide", "skip"]]}]}
    (folder / "groups.json").write_text(json.dumps(fewer))
    with pytest.raises(ArchgradError, match="other groups than the search"):
        archgrad.derive(folder, 1)
    (folder / "groups.json").unlink()
    said = "space of this run .* last epoch's architecture, result.architecture or architecture.jso"
    for epoch in (None, 1):
        with pytest.raises(ArchgradError, match=f"{said}n in the folder: that of another epoch "):
            archgrad.derive(folder, epoch)


def test_an_own_method_is_asked_for(tmp_path: Path) -> None:
    searched(tmp_path / "run", method=archgrad.Method())
    with pytest.raises(ArchgradError, match="the method of this run came from Python"):
        archgrad.derive(tmp_path / "run", 1)

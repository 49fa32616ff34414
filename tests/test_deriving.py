"""Another architecture from a search that is done: of another epoch, by another rule."""

from __future__ import annotations

from pathlib import Path

import pytest

import archgrad
from archgrad import config as configuration
from archgrad.deriving import RULES, derive_by_perturbation
from archgrad.errors import ArchgradError
from archgrad.folder import Run
from archgrad.loops import Silent
from archgrad.prepared import prepare

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
    class Stop(Exception):
        pass

    class Once(Silent):
        def epoch(self, metrics: object, epochs: int) -> None:
            raise Stop

    with pytest.raises(Stop):
        archgrad.search(**TINY, out=tmp_path / "run", listener=Once())  # type: ignore[arg-type]
    run = Run.open(tmp_path / "run")
    with pytest.raises(ArchgradError, match="done 1 of 2 epochs; finish it with archgrad search"):
        derive_by_perturbation(run, prepare(run.config), 1)


def test_every_rule_by_name_is_a_part() -> None:
    assert set(RULES) == {"strongest", "skip_limit", "threshold"}

"""What is said where the packages of an extra are missing: one line that names the extra."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import archgrad
from archgrad.cli import main as cli
from smoke import EXTRAS, photographs

ROOT = Path(__file__).parents[2]


class Without:
    """Finds all modules but those of some packages."""

    def __init__(self, packages: list[str]) -> None:
        self.packages, self.finders = packages, [*sys.meta_path]

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self.packages:
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders)  # type: ignore[arg-type]
        return next((spec for spec in found if spec is not None), None)


@pytest.fixture
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An extra whose packages are not there, whatever was imported before."""
    extra: str = request.param
    packages = EXTRAS[extra][0]
    monkeypatch.setattr(sys, "meta_path", [Without(packages)])
    for name in [*sys.modules]:
        if {name.partition(".")[0], name.rpartition(".")[2]} & {*packages}:
            package, _, last = name.rpartition(".")
            if package in sys.modules:  # which would keep the module that is imported meanwhile
                monkeypatch.setattr(sys.modules[package], last, sys.modules[name], raising=False)
            monkeypatch.delitem(sys.modules, name)
    return extra


def test_every_extra_has_its_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*EXTRAS, "all", "browser", "dev", "docs"} == {*project["optional-dependencies"]}
    for extra, (packages, _) in EXTRAS.items():
        named = {re.split("[>=]", line)[0] for line in project["optional-dependencies"][extra]}
        assert {"PIL": "pillow"}.get(packages[0], packages[0]) in named
        assert len(packages) == len(named)


CALLS: dict[str, Callable[[], object]] = {
    "export": lambda: archgrad.export(nn.Linear(3, 2), "onnx", ".", example=torch.zeros(1, 3)),
    "plot": lambda: archgrad.published("DARTS_V2").plot(),
    "track": lambda: archgrad.TensorBoard("events"),
}


@pytest.mark.parametrize("missing", EXTRAS, indirect=True)
def test_commands_and_calls_name_the_extra_and_write_nothing(
    missing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = f'pip install "archgrad[{missing}]"'
    monkeypatch.chdir(tmp_path)
    photographs()
    before = sorted(tmp_path.rglob("*"))
    if missing in CALLS:
        with pytest.raises(archgrad.ArchgradError, match=re.escape(expected)):
            CALLS[missing]()
    for command in EXTRAS[missing][1]:
        if command.startswith("export"):  # of a finished run: see smoke.py
            continue
        with pytest.raises(SystemExit) as ended:
            cli.main(command.split())
        told = capsys.readouterr()
        assert ended.value.code == 2 and expected in told.err
        assert (told.out, told.err.count("\n")) == ("", 1)
    assert sorted(tmp_path.rglob("*")) == before

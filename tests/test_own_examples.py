"""The examples of own models: each learns, and what it saves can be built and loaded again."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import archgrad
from archgrad.networks.choices import Picked
from archgrad.networks.operations import Zero

FOLDER = Path(__file__).parent.parent / "examples" / "own_models"
FACTORIES = {
    "image_classification": "network",
    "dense_prediction": "UNet",
    "time_series": "network",
    "tabular": "network",
    "transformer": "Transformer",
    "shrink_trained": "choosable",
}
MARGINS = {  # above the trivial baseline, at --quick
    "image_classification": 0.4,
    "dense_prediction": 0.05,
    "time_series": 0.2,
    "tabular": 0.2,
    "transformer": 0.3,
    "shrink_trained": 0.5,
}


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_there_is_a_test_for_every_example() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == FACTORIES.keys() == MARGINS.keys()


@pytest.mark.parametrize("name", FACTORIES)
def test_it_learns_and_its_weights_fit_into_the_built_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load(name, monkeypatch)
    architecture, network, baseline = example.main(quick=True)
    score = example.evaluate(network)
    assert score > baseline + MARGINS[name]
    assert str(architecture) in capsys.readouterr().out
    left = {type(m) for m in network.modules() if type(m).__module__.startswith("archgrad")}
    assert left <= {Picked, Zero}
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    kept = archgrad.Architecture.from_json(architecture.to_json())
    built = archgrad.build(getattr(example, FACTORIES[name]), kept)
    assert example.evaluate(built) != score
    built.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert example.evaluate(built) == score


def test_the_five_tasks_are_short_and_need_no_other_library() -> None:
    for path in FOLDER.glob("*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= (150 if path.stem == "shrink_trained" else 110), path
        roots = {
            line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))
        }
        assert roots - sys.stdlib_module_names <= {"torch", "sklearn", "archgrad"}, path

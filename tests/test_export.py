"""The verb export: every format as its user would load it, checks that catch, refusals."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

import archgrad
from archgrad.architecture import Architecture, Cell, published
from archgrad.cli import main as cli
from archgrad.errors import ArchgradError
from archgrad.exporting import formats as exporting
from archgrad.exporting.formats import FORMATS, Exported
from archgrad.exporting.trained import TrainResult, of_folder, rebuilt
from archgrad.networks.network import Classifier
from archgrad.settings.config import SearchConfig
from archgrad.spaces import space
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.storage.folder import Run
from archgrad.verbs.experiment import main_job, prepare_main_job
from exports import FILES, difference, imported, score, scrambled, trained

SMALL = {
    "channels": 2, "cells": 3, "nodes": 1, "epochs": 1, "batch_size": 20, "guard": "off",
    "train_channels": 2, "train_cells": 3, "train_epochs": 1, "train_batch_size": 20,
    "train_cutout": 0, "train_drop_path": 0.0, "train_auxiliary_weight": 0.0, "train_seeds": 2,
    "train_jobs": 1, "random_cells": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A main job on 60 digits of a file, with an absolute path."""
    place = tmp_path_factory.mktemp("export")
    images, labels = load_digits(return_X_y=True)
    some = np.flatnonzero(labels < 3)[:75]
    x = (images[some].reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    np.savez(place / "three.npz", x=x, y=labels[some])
    archgrad.run(f"npz:{place / 'three.npz'}", out=place / "run", max_params="100k", **SMALL)
    return place / "run"


def images(batch: int = 4) -> Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def loaded(format: str, folder: Path) -> Callable[[Tensor], Tensor]:
    """The export as its user would load it."""
    if format == "source":
        network: nn.Module = imported(folder / "model.py").load()
        return network
    if format == "torch":
        return torch.export.load(folder / "model.pt2").module()
    if format == "safetensors":
        return rebuilt(folder)
    import onnxruntime

    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    return lambda x: torch.from_numpy(session.run(["logits"], {"images": x.numpy()})[0])


# --- a run folder ------------------------------------------------------------------------------


def test_the_main_job_ends_with_a_checked_source_of_its_first_seed(job: Path) -> None:
    found = of_folder(job)
    assert found.score["seed"] == 0
    assert difference(found.network, imported(job / "model.py").load(), images()) <= 1e-6
    summary = (job / "summary.txt").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(
        r"The found network needs no archgrad: model\.py with model\.safetensors \(checked: "
        r"outputs differ by \d\.\de[-+]\d\d at most\)\.",
        summary[-1],
    )


def test_a_resumed_main_job_writes_the_same_again(job: Path) -> None:
    before = (job / "model.py").read_bytes(), (job / "model.safetensors").read_bytes()
    (job / "model.py").unlink()
    report = archgrad.run(resume=job)
    assert ((job / "model.py").read_bytes(), (job / "model.safetensors").read_bytes()) == before
    assert "model.py" in report.model


def test_the_docstring_tells_how_it_was_found(job: Path) -> None:
    text = imported(job / "model.py").__doc__ or ""
    results = json.loads((job / "results.json").read_text())
    first, second = (100 * s["accuracy"] for s in results["scores"]["found"])
    cost = results["costs"]["found"]
    words = " ".join(text.split())
    for expected in (
        f"written by archgrad {archgrad.__version__}",
        "data npz:three.npz",
        "space darts-cnn",
        "method darts (alpha_learning_rate=0.0003",
        "search seed 0, 1 epoch in ",
        "limit max_params 100k training",
        "training from scratch, 1 epoch, seed 0",
        f"cost {cost['parameters']:,} parameters, {cost['multiply_adds']:,} multiply-adds for an",
        f"accuracy {(first + second) / 2:.2f} % ± {abs(first - second) / 2**0.5:.2f} (mean and ",
        f"deviation of 2 seeds); with these weights {first:.2f} %, on 15 test images",
    ):
        assert expected in words, (expected, words)
    assert str(job.parent) not in (job / "model.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_outputs_of_the_network(
    format: str, job: Path, tmp_path: Path
) -> None:
    exported = archgrad.export(job, format, tmp_path, seed=1)
    assert exported == Exported(
        format, tuple(tmp_path / name for name in FILES[format]), exported.difference
    )
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == sorted(FILES[format])
    limit = FORMATS[format].limit
    assert 0 <= exported.difference <= limit
    network, compute = of_folder(job, seed=1).network, loaded(format, tmp_path)
    for batch in (1, 4, 7):  # any but those it was checked with
        x = images(batch)
        with torch.no_grad():
            expected, found = network(x), compute(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=10 * limit)
    kept = load_file(job / "train/found/seed-1/weights.safetensors")
    assert torch.equal(kept["classifier.weight"], network.state_dict()["classifier.weight"])


def test_the_command_prints_files_and_difference(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["export", str(job), "--format", "safetensors"])
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r".*/weights\.safetensors and .*/model\.json: checked, the outputs differ by 0\.0e\+00 at "
        "most",
        line,
    )


def test_a_retraining_is_exported_from_its_folder(job: Path, tmp_path: Path) -> None:
    """The folder of ``archgrad train`` holds no search; results of older versions no shape."""
    options = {name[6:]: value for name, value in SMALL.items() if name.startswith("train_")}
    config = archgrad.settings.config.build(
        {"data": {"subset": 80}, "train": {**options, "seeds": 1}}
    )  # type: ignore[attr-defined]
    made = space("darts-cnn", channels=2, cells=3, in_channels=1, image_size=(8, 8))
    text = published("DARTS_V1").to_json()
    Run.create(tmp_path / "run", config, {"architecture.json": text})
    place = tmp_path / "run/found/seed-0"
    place.mkdir(parents=True)
    found = trained(made, published("DARTS_V1"))  # type: ignore[arg-type]
    old = {k: v for k, v in score(made).items() if k != "input_shape"}  # type: ignore[arg-type]
    (place / "result.json").write_text(json.dumps(old))
    content = exporting._packed(found.network.state_dict())
    (place / "weights.safetensors").write_bytes(content)
    archgrad.export(tmp_path / "run")
    module = imported(tmp_path / "run/model.py")
    assert type(module.load()).__name__ == "DartsV1"
    assert difference(found.network, module.load(), images()) <= 1e-6
    assert "digits, 80 training images" in module.__doc__
    (place / "weights.safetensors").write_bytes(content[:-50])
    with pytest.raises(ArchgradError, match=r"weights .*safetensors cannot be read"):
        archgrad.export(tmp_path / "run")


def test_results_survive_where_there_is_no_source(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main job of an own space ends with its table, and says why there is no model.py."""
    monkeypatch.setattr("archgrad.exporting.trained.Sizes.of", lambda *_: None)
    (job / "model.py").unlink(missing_ok=True)
    run = Run.open(job)
    report = main_job(run, prepare_main_job(run.config))
    assert report.model.startswith("No model.py: the network of ")
    assert "not of a space of the library" in (job / "summary.txt").read_text(encoding="utf-8")
    assert not (job / "model.py").exists()


# --- a result of archgrad.train ----------------------------------------------------------------


def result(*seeds: int, auxiliary: bool = False) -> TrainResult:
    made = DartsCNN(channels=2, cells=3, image_size=(32, 32), classes=3)
    cell = published("DARTS_V2")
    networks = [scrambled(made.derive(cell, auxiliary=auxiliary), seed) for seed in seeds]
    return TrainResult(cell, [score(made, seed) for seed in seeds], networks)  # type: ignore[arg-type]


def test_the_auxiliary_head_is_left_out(tmp_path: Path) -> None:
    found = result(0, auxiliary=True)
    archgrad.export(found, "safetensors", tmp_path)
    archgrad.export(found, "source", tmp_path)
    for name in ("weights.safetensors", "model.safetensors"):
        assert not any("auxiliary" in key for key in load_file(tmp_path / name))
    x = torch.randn(2, 3, 32, 32)
    network = found.networks[0].eval()
    assert difference(network, imported(tmp_path / "model.py").load(), x) <= 1e-6


def test_the_seed_chooses_the_network(tmp_path: Path) -> None:
    found = result(4, 5)
    archgrad.export(found, out=tmp_path, seed=5)
    network, x = imported(tmp_path / "model.py").load(), torch.randn(2, 3, 32, 32)
    assert difference(found.networks[1].eval(), network, x) <= 1e-6
    assert difference(found.networks[0].eval(), network, x) > 1e-3
    with pytest.raises(ArchgradError, match=r"no retraining with seed 9; there are \[4, 5\]"):
        archgrad.export(found, out=tmp_path, seed=9)


def test_noise_is_exported_where_it_can_be_checked(tmp_path: Path) -> None:
    made = space("s4", channels=2, cells=3, image_size=(8, 8))
    nodes = ((("noise", 0), ("sep_conv_3x3", 1)),)
    cells = (Cell(name=n, inputs=2, nodes=nodes, output=(2,)) for n in ("normal", "reduce"))
    cell = Architecture(space="s4", cells=tuple(cells))
    network = scrambled(made.derive(cell))
    found = TrainResult(cell, [score(made)], [network])  # type: ignore[arg-type, list-item]
    archgrad.export(found, "torch", tmp_path)
    program = torch.export.load(tmp_path / "model.pt2").module()
    assert difference(network.eval(), program, torch.randn(2, 3, 8, 8)) <= 1e-6
    with pytest.raises(ArchgradError, match="other outputs in every pass.*choose the format"):
        archgrad.export(found, "onnx", tmp_path)


def test_a_network_of_an_own_space_has_every_format_but_source(tmp_path: Path) -> None:
    class Own(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3 * 32 * 32, 2)

        def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, None]:
            return self.linear(x.flatten(1)), None

    usual, network = result(0), Own().eval()
    found = TrainResult(usual.architecture, usual.scores, [network])
    with pytest.raises(
        ArchgradError, match="a network of an own space, whose source archgrad cann"
    ):
        archgrad.export(found, "source", tmp_path)
    archgrad.export(found, "torch", tmp_path)
    archgrad.export(found, "safetensors", tmp_path)
    program, x = torch.export.load(tmp_path / "model.pt2").module(), torch.randn(5, 3, 32, 32)
    assert difference(network, program, x) <= 1e-6
    assert json.loads((tmp_path / "model.json").read_text())["sizes"] is None


# --- the check and other refusals --------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "error"),
    [*((format, 3e-3) for format in FORMATS), ("source", math.nan), ("torch", math.nan)],
)
def test_an_export_that_computes_something_else_is_not_kept(
    format: str, error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight of what is written is a little off, or not a number."""
    write = FORMATS[format].write

    def off(subject: exporting.Subject) -> exporting.Files:
        bias = [*subject.network.state_dict().values()][-1]
        kept = bias.clone()
        bias[1] += error
        files = write(subject)
        bias.copy_(kept)
        return files

    monkeypatch.setitem(FORMATS, format, FORMATS[format]._replace(write=off))
    with pytest.raises(ArchgradError, match=r"not the same network: its outputs differ by") as told:
        if format == "source":
            archgrad.export(result(0), format, tmp_path)
        else:
            archgrad.export(nn.Linear(3, 2), format, tmp_path, example=torch.zeros(1, 3))
    assert list(tmp_path.iterdir()) == []
    number = re.search(r"differ by (\S+), expected", str(told.value))
    assert number is not None
    assert not float(number[1]) <= FORMATS[format].limit


def test_a_network_that_gives_no_numbers_is_told(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    with torch.no_grad():
        network.bias[0] = math.nan
    with pytest.raises(ArchgradError, match="outputs that are not finite.*look at its weights"):
        archgrad.export(network, "safetensors", tmp_path, example=torch.zeros(1, 3))


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("mine")
    with pytest.raises(ArchgradError, match=r"model\.py already exists; choose another folder"):
        archgrad.export(result(0), "source", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.py"]
    assert (tmp_path / "model.py").read_text() == "mine"


def test_what_cannot_be_exported_is_named(job: Path, tmp_path: Path) -> None:
    search = Run.create(
        tmp_path / "search", archgrad.settings.config.RunConfig(search=SearchConfig())
    )  # type: ignore[attr-defined]
    with pytest.raises(ArchgradError, match="no trained network; retrain with archgrad train"):
        archgrad.export(search.path)
    with pytest.raises(ArchgradError, match=r"no retraining with seed 7 in .*; it holds \[0, 1\]"):
        archgrad.export(job, seed=7)
    with pytest.raises(ArchgradError, match="holds no run"):
        archgrad.export(tmp_path / "nothing")
    with pytest.raises(ArchgradError, match="no folder to write to; give one as out="):
        archgrad.export(result(0))
    with pytest.raises(ArchgradError, match="found a dict, expected a run folder"):
        archgrad.export({})  # type: ignore[arg-type]

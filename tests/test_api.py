"""The verbs in Python: own arrays, Datasets, loaders, methods and spaces; resume; refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import archgrad
from archgrad.errors import ArchgradError
from archgrad.measure import ACCURACY, PERPLEXITY
from archgrad.methods.darts import darts
from archgrad.networks.operations import Factory
from archgrad.parts.discretization import StrongestEdges
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.spaces.darts_cnn import DartsCNN

TINY: dict[str, Any] = {"channels": 2, "cells": 3, "nodes": 1, "epochs": 2, "batch_size": 8}
TINY_TRAIN = {
    "channels": 2, "cells": 3, "epochs": 1, "batch_size": 8, "seeds": 2, "cutout": 0,
    "auxiliary_weight": 0.0,
}  # fmt: skip


def images(count: int = 48, channels: int = 1, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, channels, size, size, generator=generator)
    return x, torch.arange(count) % 3


@pytest.mark.no_cover
def test_the_readme_example_in_small() -> None:
    result = archgrad.search("darts-cnn", data="digits", method="darts", subset=80, **TINY)
    network = result.derive()
    assert isinstance(network, nn.Module)
    assert network.eval()(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    score = archgrad.train(result.architecture, data="digits", subset=80, **TINY_TRAIN)
    assert len(score.accuracies) == len(score.networks) == 2
    assert score.mean == pytest.approx(sum(score.accuracies) / 2)
    assert score.spread >= 0


def test_results_of_text_are_perplexities() -> None:
    cell = archgrad.published("DARTS_RNN_V1")
    scores = [{"perplexity": value, "test_tokens": 100} for value in (60.0, 63.0)]
    found = archgrad.TrainResult(cell, scores, [])
    assert (found.measure, found.values) == (PERPLEXITY, [60.0, 63.0])
    assert (found.mean, found.spread) == (61.5, pytest.approx(4.5**0.5))
    with pytest.raises(ArchgradError, match=r"found scores of perplexity, .* take \.values"):
        _ = found.accuracies
    images = archgrad.TrainResult(cell, [{"accuracy": 0.5}], [])
    assert (images.measure, images.values, images.accuracies) == (ACCURACY, [0.5], [0.5])


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 7), (4, 12)])
def test_own_arrays_of_any_shape(channels: int, size: int) -> None:
    x, y = images(channels=channels, size=size)
    data = (x.numpy(), y.numpy(), x[:9].numpy(), y[:9].numpy())
    result = archgrad.search(data=data, **{**TINY, "epochs": 1})
    network = result.derive().eval()
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 3)
    score = archgrad.train(result, data=data, **TINY_TRAIN)
    assert score.scores[0]["test_images"] == 9


def test_a_dataset_and_resume(tmp_path: Path) -> None:
    dataset = TensorDataset(*images())
    whole = archgrad.search(data=dataset, out=tmp_path / "a", **TINY)
    half = archgrad.search(data=dataset, out=tmp_path / "b", **{**TINY, "epochs": 1})
    assert half.path is not None
    text = (half.path / "config.yaml").read_text()
    assert "data: own" in text
    again = archgrad.search(data=dataset, resume=tmp_path / "a")
    assert all(torch.equal(again.alpha[name], whole.alpha[name]) for name in whole.alpha)
    with pytest.raises(ArchgradError, match="data of this run came from Python"):
        archgrad.search(resume=tmp_path / "a")


def test_loaders_bring_their_own_validation_part() -> None:
    train = DataLoader(TensorDataset(*images()), batch_size=8)
    valid = DataLoader(TensorDataset(*images(24)), batch_size=8)
    result = archgrad.search(data=train, valid=valid, classes=3, **{**TINY, "epochs": 1})
    assert result.metrics[0]["epoch"] == 1
    with pytest.raises(ArchgradError, match="valid"):
        archgrad.search(data=train, classes=3, **TINY)


class Killed(BaseException):
    pass


class KillAfter(Callback):
    """A callback that ends the search after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.after = epoch

    def epoch_end(self, event: EpochEnd) -> None:
        if event.epoch == self.after:
            raise Killed


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", ["arrays", "dataset", "loader"])
def test_own_data_killed_and_resumed_equals_uninterrupted(kind: str, tmp_path: Path) -> None:
    def data() -> dict[str, Any]:
        if kind == "arrays":
            return {"data": images()}
        if kind == "dataset":
            return {"data": TensorDataset(*images())}
        halves = [TensorDataset(*images()), TensorDataset(*images(24))]
        loaders = [DataLoader(half, batch_size=8, shuffle=True) for half in halves]
        return {"data": loaders[0], "valid": loaders[1], "classes": 3}

    whole = archgrad.search(**data(), **TINY)
    with pytest.raises(Killed):
        archgrad.search(**data(), out=tmp_path / "run", callbacks=[KillAfter(1)], **TINY)
    said = pytest.warns(UserWarning, match="may differ") if kind == "loader" else nullcontext()
    with said:
        resumed = archgrad.search(**data(), resume=tmp_path / "run")
    assert all(torch.equal(resumed.alpha[name], whole.alpha[name]) for name in whole.alpha)


def test_an_own_method_and_space() -> None:
    method = replace(darts(), discretization=StrongestEdges(k=1))
    space = DartsCNN(channels=2, cells=3, nodes=2, in_channels=1, image_size=(8, 8), classes=3)
    result = archgrad.search(space, images(), method=method, epochs=1, batch_size=8)
    assert [len(edges) for cell in result.architecture.cells for edges in cell.nodes] == [1] * 4
    with pytest.raises(ArchgradError, match=r"takes examples of shape \(1, 8, 8\) in 3 classes"):
        archgrad.search(space, images(channels=3), epochs=1, batch_size=8)


def test_resume_takes_no_options(tmp_path: Path) -> None:
    archgrad.search(data=images(), out=tmp_path / "a", **{**TINY, "epochs": 1})
    with pytest.raises(ArchgradError, match="keeps its options; leave out.*epochs"):
        archgrad.search(data=images(), resume=tmp_path / "a", epochs=3)
    with pytest.raises(ArchgradError, match="not empty"):
        archgrad.search(data=images(), out=tmp_path / "a", **TINY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epoch": 3}, 'option "epoch" is not known; did you mean "epochs"'),
        ({"epochs": 0}, "search.epochs: found 0"),
        ({"method": "dartz"}, 'did you mean "darts"'),
        ({"space": "darts_cnn"}, 'did you mean "darts-cnn"'),
        ({"device": "cudda"}, 'device "cudda" is not known'),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        archgrad.search(**{"data": images(), **TINY, **arguments})


def test_the_wrong_channel_count_between_train_and_test() -> None:
    x, y = images()
    with pytest.raises(ArchgradError, match="3.*1|1.*3"):
        archgrad.train("DARTS_V2", data=(x, y, x.repeat(1, 3, 1, 1), y), **TINY_TRAIN)


def test_labels_out_of_range_and_an_empty_class() -> None:
    x, y = images()
    with pytest.raises(ArchgradError, match="-1"):
        archgrad.search(data=(x, torch.where(y == 2, -1, y)), **TINY)
    with pytest.raises(ArchgradError, match="class"):
        archgrad.search(data=(x, torch.where(y == 1, 2, y)), **TINY)
    with pytest.raises(ArchgradError, match="batch"):
        archgrad.search(data=(x[:9], y[:9]), **TINY)
    with pytest.raises(ArchgradError, match=r"finite|nan|inf"):
        archgrad.search(data=(np.where(np.arange(8) == 3, np.nan, x.numpy()), y), **TINY)


def test_public_names_are_those_of_all() -> None:
    assert sorted(archgrad.__all__) == archgrad.__all__
    for name in archgrad.__all__:
        assert getattr(archgrad, name) is not None
    assert set(archgrad.__all__) <= set(dir(archgrad))
    with pytest.raises(AttributeError, match="serach"):
        archgrad.serach  # noqa: B018
    code = "import archgrad, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_main_job_in_python(tmp_path: Path) -> None:
    x, y = images()
    options = {**TINY, "epochs": 1, **{f"train_{k}": v for k, v in TINY_TRAIN.items()}}
    own = {"data": (x, y), "test": (x[:9], y[:9])}
    report = archgrad.run(**own, random_cells=2, out=tmp_path / "run", **options)
    assert set(report.scores) == {"found", "random-1", "random-2"}
    assert report.scores["found"][0]["test_images"] == 9
    assert (tmp_path / "run" / "summary.txt").is_file()
    again = archgrad.run(**own, resume=tmp_path / "run")
    assert again.scores == report.scores
    assert archgrad.derive(tmp_path / "run") == report.search.architecture
    with pytest.raises(ArchgradError, match="keeps its options; leave out.*random_cells"):
        archgrad.run(**own, resume=tmp_path / "run", random_cells=3)


@pytest.mark.no_cover
@pytest.mark.parametrize("count", [0, 1])
def test_too_few_random_cells_are_refused_not_replaced(count: int, tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match=f"random_cells: found {count}, expected greater"):
        archgrad.run(random_cells=count, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_retraining_of_other_options_is_not_taken_over(tmp_path: Path) -> None:
    x, y = images()
    options = {**TINY, "epochs": 1, **{f"train_{k}": v for k, v in TINY_TRAIN.items()}}
    archgrad.run((x, y, x, y), random_cells=2, out=tmp_path / "run", **options)
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("weight_decay: 0.0003", "weight_decay: 0.1"))
    text = config.read_text().replace("weight_decay: 0.1", "weight_decay: 0.0003", 1)
    config.write_text(text)  # the search as it was, the retraining changed
    with pytest.raises(ArchgradError, match=r"result\.json was begun with other options"):
        archgrad.run((x, y, x, y), resume=tmp_path / "run")


class OwnCells(DartsCNN):
    @property
    def factories(self) -> Mapping[str, Factory]:
        def convolution(channels: int, stride: int, search: bool) -> nn.Module:
            return nn.Conv2d(channels, channels, 3, stride, padding=1)

        return {**super().factories, "own": convolution}


@pytest.mark.parametrize("name", ["darts-cnn", "own-cells"])
def test_cells_with_an_operation_of_ones_own_are_retrained_and_exported(
    name: str, tmp_path: Path
) -> None:
    shape: dict[str, Any] = {"channels": 2, "cells": 3, "nodes": 1, "image_size": (8, 8)}
    space = OwnCells(
        name=name, operations=("own", "max_pool_3x3"), in_channels=1, classes=3, **shape
    )
    result = archgrad.search(space, images(), epochs=1, batch_size=8, guard="off")
    assert "own" in {o for cell in result.architecture.cells for o in cell.operations}
    found = archgrad.train(result, images(), test=images(), **TINY_TRAIN)
    archgrad.export(found, "torch", tmp_path / "torch")
    with pytest.raises(ArchgradError, match="an own space, whose source archgrad cannot write"):
        archgrad.export(found, "source", tmp_path / "source")


def test_train_keeps_the_searched_space() -> None:
    space = DartsCNN(channels=2, cells=3, nodes=1, in_channels=1, image_size=(40, 40), classes=3,
                     imagenet=True)  # fmt: skip
    x, y = images(24, size=40)
    result = archgrad.search(space, (x, y), epochs=1, batch_size=6)
    score = archgrad.train(result, data=(x, y, x, y), **TINY_TRAIN)
    assert isinstance(score.networks[0].stem1, nn.Sequential)  # the ImageNet stem


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    x, y = images()
    with pytest.raises(ArchgradError, match='"digits" brings its own'):
        archgrad.search(data="digits", valid=(x, y), **TINY)
    with pytest.raises(ArchgradError, match='"digits" brings its own'):
        archgrad.train("DARTS_V1", data="digits", test=(x, y), **TINY_TRAIN)
    archgrad.search(data="digits", subset=80, out=tmp_path / "a", **{**TINY, "epochs": 1})
    with pytest.raises(ArchgradError, match='has the method "darts" and keeps it'):
        archgrad.search(resume=tmp_path / "a", method="darts_2nd")
    with pytest.raises(ArchgradError, match="found a NoneType, expected an architecture"):
        archgrad.train(None)  # type: ignore[arg-type]
    with pytest.raises(ArchgradError, match="has no run folder; say on which data"):
        archgrad.train(archgrad.search(data=(x, y), **{**TINY, "epochs": 1}), **TINY_TRAIN)


def test_an_architecture_file_beside_its_run_brings_its_data(tmp_path: Path) -> None:
    x, y = images()
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=y.numpy())
    data = f"npz:{tmp_path / 'd.npz'}"
    archgrad.search(data=data, out=tmp_path / "a", **{**TINY, "epochs": 1})
    score = archgrad.train(tmp_path / "a" / "architecture.json", **TINY_TRAIN)
    assert score.scores[0]["test_images"] == 10  # a fifth of 48; digits have 359
    changed = np.roll(x.numpy(), 1, axis=0)
    np.savez(tmp_path / "d.npz", x=changed, y=y.numpy())
    with pytest.raises(ArchgradError, match="begun with other data"):
        archgrad.search(resume=tmp_path / "a")


def test_batches_of_a_single_image_are_left_out() -> None:
    """On maps of one pixel BatchNorm cannot take them."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(33, 1, 3, 3, generator=generator), torch.arange(33) % 3
    loaders = [DataLoader(TensorDataset(x, y), batch_size=8) for _ in range(2)]
    result = archgrad.search(data=loaders[0], valid=loaders[1], classes=3, **TINY)
    assert result.metrics[-1]["epoch"] == 2
    single = [DataLoader(TensorDataset(x, y), batch_size=1) for _ in range(2)]
    with pytest.raises(ArchgradError, match="every batch held a single example"):
        archgrad.search(data=single[0], valid=single[1], classes=3, **TINY)

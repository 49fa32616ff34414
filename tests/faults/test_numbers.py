"""Values that are not finite in one batch, and memory that runs out in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import archgrad
from archgrad.baselines.children import Children
from archgrad.data import as_data
from archgrad.errors import ArchgradError, Diverged
from archgrad.retraining.image_learning import ImageLearning
from archgrad.retraining.learning import Pass
from archgrad.retraining.scratch import retrain
from archgrad.retraining.training import Retraining
from archgrad.storage.files import read_lines
from breaking import SEARCH, At, Model, searched
from helpers import digits, job, same


class Digits(Dataset[tuple[Tensor, int]]):
    """Zeros and ones, of which one image is not a number as long as it is ``bad``."""

    def __init__(self, image: Callable[[Tensor], Tensor] = lambda image: image) -> None:
        self.x, self.y = digits()
        self.targets, self.image, self.bad = self.y, image, False

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.x[index] * float("nan" if self.bad and index == 7 else 1)
        return self.image(image), int(self.y[index])

    def become(self, bad: bool) -> None:
        self.bad = bad


def test_a_bad_image_in_the_second_epoch_is_named_and_the_first_is_kept(tmp_path: Path) -> None:
    dataset, path = Digits(), tmp_path / "run"
    with pytest.raises(
        ArchgradError, match="^train: batch ., image 7 of the Digits: found nan, expected finite"
    ):
        searched(path, At(1, lambda: dataset.become(True)), data=dataset)
    assert [line["epoch"] for line in read_lines(path / "metrics.jsonl")] == [1]
    dataset.become(False)
    whole = archgrad.search(data=Digits(), **SEARCH)
    assert same(searched(path, data=dataset).alpha, whole.alpha)


def test_an_own_models_bad_batch_is_located_and_the_search_goes_on_once_it_is_mended(
    tmp_path: Path,
) -> None:
    dataset, path = Digits(), tmp_path / "run"
    options: dict[str, Any] = {"epochs": 2, "guard": "off", "batch_size": 12, "device": "cpu"}

    def found(data: Digits, **more: Any) -> Any:
        torch.manual_seed(0)
        return archgrad.search(Model(), train=data, **more)

    with pytest.raises(Diverged) as told:
        callbacks = [At(1, lambda: dataset.become(True))]
        found(dataset, out=path, callbacks=callbacks, **options)
    text = str(told.value)
    assert "became infinite or not a number in epoch 2, step" in text
    assert f"epoch 1 is the last good one, kept in {path / 'checkpoints' / 'last.pt'}" in text
    assert "look for extreme values in the data" in text
    dataset.become(False)
    resumed, whole = found(dataset, resume=path), found(Digits(), **options)
    assert same(resumed.alpha, whole.alpha) and len(resumed.metrics) == 2


@contextmanager
def failing(fault: Callable[[Pass], Pass], at: int) -> Iterator[None]:
    """The ``at``-th step of retrainings goes wrong, counted from 1."""
    real, steps = ImageLearning.forward, 0

    def forward(self: ImageLearning, batch: Any) -> Pass:
        nonlocal steps
        steps += 1
        found = real(self, batch)
        return fault(found) if steps == at else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageLearning, "forward", forward)
        yield


def not_a_number(found: Pass) -> Pass:
    bad = found.total * float("nan")
    return found._replace(total=bad, reported={**found.reported, "train_loss": bad})


def out_of_memory(found: Pass) -> Pass:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            not_a_number,
            "retraining found, seed 0: train_loss became infinite or not a number in epoch 2, step "
            "3; finished retrainings and whole epochs are kept. Try a learning rate below 0.1",
        ),
        (
            out_of_memory,
            "retraining found, seed 0 ran out of memory (CUDA out of memory. Tried to allocate "
            "2.00 GiB.); whole epochs are kept: resume it once memory is free, or begin a new one "
            "with a smaller batch_size, fewer channels or cells",
        ),
    ],
)
def test_a_retraining_keeps_its_epochs_and_resumes_to_the_same(
    fault: Callable[[Pass], Pass], told: str, tmp_path: Path
) -> None:
    data, path = as_data((*digits(), *digits())), tmp_path / "a"
    broken: Retraining = job(path, batch_size=12)
    with failing(fault, at=4 + 3), pytest.raises(ArchgradError) as error:
        retrain(broken, data)
    assert str(error.value) == told
    assert [line["epoch"] for line in read_lines(path / "metrics.jsonl")] == [1]
    score, network = retrain(broken, data)
    whole, other = retrain(job(batch_size=12), data)
    assert {**score, "seconds": 0} == {**whole, "seconds": 0}
    assert same(dict(network.state_dict()), dict(other.state_dict()))


def test_a_baseline_keeps_its_evaluations_and_resumes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**SEARCH, "method": "random", "child_epochs": 1}
    del options["epochs"]
    options["budget"] = "6M"
    real, path = Children._outputs, tmp_path / "run"

    def outputs(self: Children, network: nn.Module, batch: Any) -> Any:
        if len(read_lines(path / "evaluations.jsonl")) == 2:
            out_of_memory(Pass(torch.zeros(()), {}))
        return real(self, network, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Children, "_outputs", outputs)
        with pytest.raises(ArchgradError) as told:
            archgrad.search(data=digits(), out=path, **options)
    assert str(told.value) == (
        "a training of the search ran out of memory (CUDA out of memory. Tried to allocate 2.00 "
        "GiB.); finished evaluations are kept; resume it once memory is free, or begin a new one "
        "with a smaller batch_size, fewer channels or cells"
    )
    resumed = archgrad.search(data=digits(), resume=path)
    whole = archgrad.search(data=digits(), **options)
    assert len(whole.metrics) > 2
    scores = [[line["score"] for line in found.metrics] for found in (resumed, whole)]
    assert scores[0] == scores[1]

"""Processes that read data and die, hang or fail; what is no file in a folder of images."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import archgrad
from archgrad.data.loading import as_data, load
from archgrad.data.stream import StreamSource
from archgrad.data.torchdata import DatasetSource
from archgrad.errors import ArchgradError
from breaking import SEARCH, At, Model, searched
from helpers import digits, same

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


class Digits(Dataset[tuple[Tensor, int]]):
    """Zeros and ones; one of them does ``harm``, where the file ``armed`` is there."""

    def __init__(self, armed: Path, harm: str) -> None:
        self.x, self.y = digits()
        self.targets = self.y
        self.armed, self.harm = armed, harm

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 7 and self.armed.exists():
            if self.harm == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.harm == "hang":
                time.sleep(60)
            return torch.zeros(1, 9, 9), 0
        return self.x[index], int(self.y[index])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that hang are waited for five seconds when they are ended."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
    yield
    gc.collect()
    for child in multiprocessing.active_children():
        child.join(10)
    assert not multiprocessing.active_children()


# torch may meet the other one's death in the middle of ending it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dead_process_costs_no_epoch_and_the_search_resumes_to_the_same(tmp_path: Path) -> None:
    armed, path = tmp_path / "armed", tmp_path / "run"
    data = as_data(DatasetSource(Digits(armed, "die"), 1))
    with pytest.raises(ArchgradError) as told:
        searched(path, At(1, armed.touch), data=data)
    text = str(told.value)
    assert armed.exists(), text
    assert text.startswith("a process that reads the data (pid ") and "\n" not in text
    assert re.search(r"was ended( by the signal Killed)?, perhaps for want of memory", text)
    assert text.endswith(f"finished epochs and evaluations are kept: go on with --resume {path}")
    armed.unlink()
    resumed = searched(path, data=data)
    whole = archgrad.search(data=as_data(DatasetSource(Digits(armed, "die"))), **SEARCH)
    assert same(resumed.alpha, whole.alpha) and len(resumed.metrics) == SEARCH["epochs"]


def test_a_hanging_loader_of_a_user_ends_after_its_own_timeout(tmp_path: Path) -> None:
    (armed := tmp_path / "armed").touch()
    loader = DataLoader(Digits(armed, "hang"), batch_size=4, num_workers=1, timeout=2.0)
    batches = as_data(loader, classes=2).train.batches(4, normalization=None)
    passed = batches.epoch(0)
    next(passed)
    with pytest.raises(ArchgradError) as told:
        next(passed)
    assert str(told.value).startswith(
        "no batch came within 2 seconds, while waiting for batch 2 of train; is a disk"
    )
    assert "timeout=" in str(told.value)
    del told, passed  # which hold the process


def test_a_process_of_an_own_models_loader_is_told_likewise(tmp_path: Path) -> None:
    (armed := tmp_path / "armed").touch()

    good = DataLoader(Digits(tmp_path / "none", ""), batch_size=12)
    with pytest.raises(ArchgradError, match="the data .pid .*was ended"):
        bad = DataLoader(Digits(armed, "die"), batch_size=12, num_workers=1)
        archgrad.search(Model(), train=good, valid=bad, epochs=1, guard="off", device="cpu")


def test_what_a_process_finds_wrong_is_told_without_its_traceback(tmp_path: Path) -> None:
    (armed := tmp_path / "armed").touch()
    data = as_data(DatasetSource(Digits(armed, "wrong shape"), 1))
    with pytest.raises(ArchgradError, match="^the data set yields images that are") as told:
        list(data.train.batches(48, normalization=None).epoch(0))
    assert "\n" not in str(told.value)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two classes of three images each."""
    for index in range(6):
        place = tmp_path / "images" / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8, 3), 40 * index, np.uint8)
        Image.fromarray(pixels).save(place / f"{index}.png")
    return tmp_path / "images"


def test_a_process_that_hangs_at_a_file_is_given_up_after_a_time(photographs: Path) -> None:
    source = StreamSource.of(photographs, 8, workers=1, timeout=2.0)
    (photographs / "b" / "3.png").unlink()
    os.mkfifo(photographs / "b" / "3.png")
    batches = source.batches(2, normalization=None).epoch(0)
    assert next(batches)[0].shape == (2, 3, 8, 8)
    with pytest.raises(ArchgradError) as told:
        list(batches)
    text = str(told.value)
    assert text.startswith("no batch came within 2 seconds, while waiting for 2 images")
    assert f"the first of them {photographs / 'b' / '3.png'}" in text
    assert "data_timeout" in text and "\n" not in text
    del told, batches  # which hold the process


def test_the_time_is_an_option_and_0_waits_for_ever(photographs: Path) -> None:
    def source(**options: Any) -> Any:
        name = f"folder:{photographs}"
        return load(name, image_size=8, stream="on", workers=1, **options).train

    assert source().timeout == 600
    assert source(data_timeout=2.5).timeout == 2.5
    assert len(list(source(data_timeout=0).batches(3, normalization=None).epoch(0))) == 2


@pytest.mark.parametrize("place", ["a/pipe.png", "pipe"])
def test_pipes_in_a_folder_of_images_are_refused(photographs: Path, place: str) -> None:
    os.mkfifo(photographs / place)
    with pytest.raises(ArchgradError, match=f"{place} is a pipe, a socket or a device; expected"):
        load(f"folder:{photographs}", image_size=8)

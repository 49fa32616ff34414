"""Many epochs: memory, open files, and what an epoch costs beside its steps do not grow."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import pytest
import torch

import archgrad
import long_run
from archgrad.searching.callbacks import EpochEnd
from archgrad.searching.timeleft import Left, Outlook, SearchTime
from breaking import Model
from helpers import digits

EPOCHS, LEAK = 60, 65536  # bytes an epoch: a tensor of 128 x 128 floats


class Information(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]


def allocated() -> int:
    """Bytes in use: a process of many tests has free memory in which a leak would not be seen."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Information
    found = mallinfo()
    return int(found.e + found.h)  # in separate mappings, and in others


class Watch(long_run.Watch):
    """Keeps a tensor of every epoch where it ``leaks``."""

    def __init__(self, folder: Path, leaks: bool) -> None:
        super().__init__(folder, EPOCHS, allocated)
        self.leaks, self.held = leaks, list[torch.Tensor]()

    def epoch_end(self, event: EpochEnd) -> None:
        super().epoch_end(event)
        if self.leaks:
            self.held.append(torch.ones(LEAK // 4))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="this is not glibc")
@pytest.mark.parametrize("leaks", [False, True])
def test_memory_and_files_of_sixty_epochs(leaks: bool, tmp_path: Path) -> None:
    path = tmp_path / "run"
    watch = Watch(path, leaks)
    result = archgrad.search(
        Model(), train=digits(), epochs=EPOCHS, batch_size=12, guard="off", device="cpu",
        out=path, callbacks=[watch],
    )  # fmt: skip
    figures = long_run.figures(watch)
    assert (figures["bytes_an_epoch"] > LEAK / 2) == leaks
    assert figures["open_files_at_the_end"] == figures["open_files_after_warm_up"]
    assert figures["checkpoint_bytes_at_the_end"] == figures["checkpoint_bytes_after_warm_up"]
    assert [line["epoch"] for line in result.replay] == list(range(1, EPOCHS + 1))
    assert (path / "report.html").is_file()


def test_time_left_looks_at_what_was_measured_once_however_many_epochs_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, real = 0, archgrad.searching.timeleft.median_low

    def median_low(values: list[float]) -> float:
        nonlocal calls
        calls += 1
        return real(values)

    monkeypatch.setattr("archgrad.searching.timeleft.median_low", median_low)
    clock = iter(range(10_000))
    search = SearchTime(Outlook((0, 2000)), lambda: float(next(clock)))
    for epoch in range(1000):
        search.step(epoch, 1, 2)
        search.step(epoch, 2, 2)
        search.epoch_end(epoch)
    assert search.left() == Left(3000.0, 3000.0)
    assert calls <= 4


def test_the_long_run_that_was_measured_grew_by_less_than_a_hundredth() -> None:
    kept = Path(long_run.HERE, "results", "long_run.json").read_text(encoding="utf-8")
    measured = json.loads(kept)
    figures = measured["figures"]
    assert measured["options"]["search"]["epochs"] == measured["lines"] == long_run.EPOCHS
    assert figures["memory_mb_at_the_end"] < 1.01 * figures["memory_mb_after_warm_up"]
    assert figures["open_files_at_the_end"] == figures["open_files_after_warm_up"]
    assert figures["checkpoint_bytes_at_the_end"] == figures["checkpoint_bytes_after_warm_up"]
    assert figures["seconds_ratio"] < 1.1
    assert measured["report_bytes"] > 0

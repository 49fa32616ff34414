"""What worker processes are given in tests: they import it, so it imports no torch by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def power(base: int, exponent: int) -> tuple[int, float]:
    """A result of which every bit matters."""
    return base**exponent, base**0.5


def stumbles(what: str) -> str:
    raise KeyError(what)


def leaves(status: int) -> None:
    """As a program that its worker cannot import."""
    os._exit(status)


def killed_once(marker: Path, times: int = 1) -> tuple[int, str]:
    """Killed with SIGKILL the first ``times``; then its process, and how often it was begun."""
    with marker.open("a") as file:
        file.write("x")
    if len(marker.read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), marker.read_text()


def outlives(marker: Path, other: Path, times: int) -> str:
    """How often it was begun, once another call was begun so many times."""
    with marker.open("a") as file:
        file.write("x")
    while not other.exists() or len(other.read_text()) < times:
        time.sleep(0.01)
    return marker.read_text()


def gpu(barrier: Path, others: int) -> str:
    """The GPU that this worker may see, once so many workers look."""
    (barrier / str(os.getpid())).touch()
    while len(list(barrier.iterdir())) < others:
        pass
    return os.environ["CUDA_VISIBLE_DEVICES"]


def searched_and_killed(trial: Any, log: Path) -> None:
    """A trial of a sweep whose process is killed in its 2nd epoch; notes every epoch that ends."""
    from archgrad.searching.callbacks import Callback, EpochEnd
    from archgrad.sweeping.trial import worked

    class Watch(Callback):
        ended: Mapping[str, Any] = {}

        def step(self, done: int, steps: int) -> None:
            with log.open("a") as file:
                file.write(f"{len(self.ended)}.{done} ")
            if self.ended and done == 2 and "killed" not in log.read_text():
                with log.open("a") as file:
                    file.write("killed ")
                os.kill(os.getpid(), signal.SIGKILL)

        def epoch_end(self, event: EpochEnd) -> None:
            self.ended = {**self.ended, str(event.epoch): event.metrics}
            with log.open("a") as file:
                file.write(f"epoch-{event.epoch} ")

    worked(trial, None, Watch())

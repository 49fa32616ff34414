"""Worker processes of this machine: each dies with its parent, and alone."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self

from archgrad.errors import ArchgradError
from archgrad.system.allocation import keep_freed_memory
from archgrad.system.interruption import held_back
from archgrad.workers.calls import done, failed

CONTEXT = get_context("spawn")
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    line: Connection
    device: str | None


class LocalCrew:
    """Processes that stay from call to call; one that is killed takes no other with it.

    `devices`: a GPU for each call that may go on at a time, as CUDA_VISIBLE_DEVICES names it, one
    several times where it is shared; none: workers see what this process sees.
    """

    def __init__(self, devices: Sequence[str] = ()) -> None:
        self.devices = list(devices)
        self.idle: list[_Worker] = []
        self.busy: dict[int, _Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        workers = [*self.idle, *self.busy.values()]
        for worker in workers:
            worker.process.terminate()  # what it was at has its checkpoint
        for worker in workers:
            worker.process.join()
            worker.line.close()

    def begin(self, number: int, work: Callable[..., Any], call: tuple[Any, ...]) -> None:
        """As `Crew.begin` says."""
        while self.idle:
            worker = self.idle.pop()
            try:
                worker.line.send((work, call))
            except OSError:
                self._buried(worker)  # killed while it had nothing to do
            else:
                self.busy[number] = worker
                return
        resource_tracker.ensure_running()  # which lets Ctrl-C through again
        with held_back():
            self.busy[number] = worker = self._hired()
        with suppress(OSError):  # killed as it began, which `ended` will tell
            worker.line.send((work, call))

    def ended(self, timeout: float) -> list[tuple[int, Future[Any] | None]]:
        """As `Crew.ended` says."""
        ready = connection.wait([worker.line for worker in self.busy.values()], timeout)
        numbers = [number for number, worker in self.busy.items() if worker.line in ready]
        return [(number, self._heard(self.busy.pop(number))) for number in numbers]

    def _heard(self, worker: _Worker) -> Future[Any] | None:
        try:
            result, error = worker.line.recv()
        except (EOFError, OSError):
            self._buried(worker)
            status = worker.process.exitcode or 0
            return failed(_broken(status)) if status > 0 else None
        except Exception as unreadable:  # of a class that cannot be made from what was sent
            result, error = None, unreadable
        self.idle.append(worker)
        return done(result) if error is None else failed(error)

    def _buried(self, worker: _Worker) -> None:
        worker.process.join()
        worker.line.close()
        self.devices += [] if worker.device is None else [worker.device]

    def _hired(self) -> _Worker:
        device = self.devices.pop(0) if self.devices else None
        here, there = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_serve, args=(there, device), daemon=False)
        process.start()
        there.close()  # then the line ends with the worker
        return _Worker(process, here, device)


def _broken(status: int) -> ArchgradError:
    """Of a worker that nobody killed."""
    return ArchgradError(
        f"a worker process ended with status {status} and said why above; expected one that can "
        'import the program that began it, so a script works under if __name__ == "__main__":'
    )


def _serve(line: Connection, device: str | None) -> None:
    """The life of a worker: a call after the other, until its parent ends it."""
    if device is not None:
        os.environ[VISIBLE] = device  # before torch looks for GPUs
    keep_freed_memory()
    end_with_parent()
    while True:
        try:
            work, call = line.recv()
        except EOFError:  # who began this worker was interrupted, or is gone
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = work(*call), None
        except Exception as error:
            error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
            answer = None, error
        _send(line, answer)


def _send(line: Connection, answer: tuple[Any, Exception | None]) -> None:
    try:
        line.send(answer)
    except Exception as error:  # what cannot be sent is told in words
        line.send((None, RuntimeError(f"what a worker gave cannot be sent ({error}): {answer}")))


def end_with_parent() -> None:
    """Let this worker die with the process that started it, however that one dies."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

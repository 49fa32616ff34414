"""The loop that hands out calls and takes in what they give; knows no kind of worker."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from archgrad.errors import ArchgradError

Result = TypeVar("Result")
PATIENCE = 1.0  # seconds between two looks at what goes on


class WorkerKilled(ArchgradError):
    """The process of a call was killed, as often as it could be begun."""


class Crew(Protocol):
    """Processes that work; left, whatever was begun and is not done ends with them."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def begin(self, number: int, work: Callable[..., Any], call: tuple[Any, ...]) -> None:
        """Let a worker make a call; it is known by its number."""

    def ended(self, timeout: float) -> list[tuple[int, Future[Any] | None]]:
        """The calls that have ended, waited for at most so many seconds; None: it was killed."""


def made(
    crew: Crew,
    work: Callable[..., Result],
    calls: Sequence[tuple[Any, ...]],
    at_a_time: int,
    *,
    retries: int,
    meanwhile: Callable[[], None] = lambda: None,
    deadline: float = math.inf,
) -> Iterator[tuple[int, Future[Result]]]:
    """Make the calls; yields the number of each and what it gave as it is done, or cancelled.

    `work` is a function of a module. A call whose process is killed is made again, first of all,
    up to `retries` times; then its future holds `WorkerKilled`. `meanwhile` is called about
    every second; after `deadline` (`time.monotonic`) nothing is begun any more.
    """
    waiting, running, kills = deque(range(len(calls))), set[int](), Counter[int]()
    with crew:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                number = waiting.popleft()
                crew.begin(number, work, calls[number])
                running.add(number)
            for number, future in crew.ended(PATIENCE):
                running.remove(number)
                if future is None:
                    kills[number] += 1
                    if kills[number] <= retries:
                        waiting.appendleft(number)
                        continue
                    future = failed(_killed(kills[number]))
                meanwhile()
                yield number, future
            meanwhile()
            while waiting and time.monotonic() > deadline:
                left: Future[Result] = Future()
                left.cancel()
                yield waiting.popleft(), left


def done(result: Result) -> Future[Result]:
    """A future that holds a result."""
    future: Future[Result] = Future()
    future.set_result(result)
    return future


def failed(error: BaseException) -> Future[Any]:
    """A future that holds an error."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _killed(times: int) -> WorkerKilled:
    often = "was killed" if times == 1 else f"was killed {times} times"
    return WorkerKilled(
        f"its worker process {often}, perhaps for want of memory; what was finished is kept: go on "
        "with --resume, if need be with fewer at a time (parallel, of retrainings jobs)"
    )

"""Workers of Ray: on a laptop, or on the machines of a cluster."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from archgrad.errors import ArchgradError
from archgrad.system.allocation import keep_freed_memory
from archgrad.workers.calls import done, failed

ANSWER = 10.0  # seconds
QUIET = {  # as Ray reads them where it starts
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def installed() -> bool:
    """Whether Ray is; a folder of that name is not."""
    found = find_spec("ray")
    return found is not None and found.origin is not None


def connect(address: str | None) -> tuple[dict[str, float], bool]:
    """Begin Ray on this machine, or join the cluster at `address`.

    Returns its resources by name, and whether the connection is new: a program that uses Ray
    already keeps its own.
    """
    import ray

    if new := not ray.is_initialized():
        _refuse_silent(address)
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ArchgradError(
                f"Ray cannot be reached at {address or 'this machine'} ({reason}); begin it with: "
                "ray start --head, set RAY_AUTH_MODE=token where it asks for one, or use the pool "
                "processes"
            ) from None
    found: dict[str, float] = ray.cluster_resources()
    return found, new


def _refuse_silent(address: str | None) -> None:
    """Ray itself tries for minutes to reach a machine that does not answer."""
    found = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address or "")
    try:
        if found is not None:
            socket.create_connection((found[1], int(found[2])), timeout=ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ArchgradError(
            f"no Ray cluster answers at {address} ({error}); give the address that ray start "
            "--head has printed"
        ) from None


class RayCrew:
    """Tasks of Ray, which finds a machine for each; `threads` CPUs and `gpus` a call.

    `leave`: end the connection with the work.
    """

    def __init__(self, threads: int, gpus: float, leave: bool) -> None:
        self.needs = {"num_cpus": threads, "num_gpus": gpus}
        self.leave = leave
        self.running: dict[Any, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import ray

        for task in self.running:
            ray.cancel(task, force=True)  # what it was at has its checkpoint
        if self.leave:
            _end_autoscaler()
            ray.shutdown()

    def begin(self, number: int, work: Callable[..., Any], call: tuple[Any, ...]) -> None:
        """As `Crew.begin` says."""
        import ray

        task = ray.remote(**self.needs, max_retries=0)(_worked)
        self.running[task.remote(str(Path.cwd()), work, call)] = number

    def ended(self, timeout: float) -> list[tuple[int, Future[Any] | None]]:
        """As `Crew.ended` says."""
        import ray

        ready, _ = ray.wait(list(self.running), timeout=timeout)
        return [(self.running.pop(task), _heard(task)) for task in ready]


def _end_autoscaler() -> None:
    """Kill the process, of a Ray that began here, for whose end its shutdown waits a second."""
    with suppress(ImportError, AttributeError):  # no public name of Ray ends it
        from ray._private import worker

        if worker._global_node is not None:
            worker._global_node.kill_monitor(check_alive=False)


def _heard(task: Any) -> Future[Any] | None:
    import ray
    from ray import exceptions

    try:
        return done(ray.get(task))
    except exceptions.RayTaskError as error:
        return failed(error.cause)
    except (
        exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError,
        exceptions.LocalRayletDiedError,
    ):  # fmt: skip
        return None


def _worked(folder: str, work: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    """A call in the folder of the command, which its paths may start from."""
    try:
        os.chdir(folder)
    except OSError:
        raise ArchgradError(
            f"folder {folder} of the command is not on the machine {os.uname().nodename}; a "
            "cluster needs a file system that all its machines share"
        ) from None
    keep_freed_memory()
    return work(*call)

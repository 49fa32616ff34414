"""From options to where calls run, how many at a time, and which GPU each of them sees."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from archgrad.errors import ArchgradError
from archgrad.settings.pool_config import PoolConfig
from archgrad.workers.calls import Crew
from archgrad.workers.local import VISIBLE, LocalCrew
from archgrad.workers.on_ray import RayCrew, connect, installed

EXTRA = 'pip install "archgrad[ray]"'


@dataclass(frozen=True)
class Place:
    """Where calls run: `at_a_time` of them in processes of the `crew`; None: in this one."""

    at_a_time: int
    crew: Callable[[], Crew] | None = None


HERE = Place(1)


def place(config: PoolConfig, calls: int, *, parallel: int, threads: int, device: str) -> Place:
    """Where `calls` of searches run, each with CPU `threads` on a `device`.

    `parallel`: how many at a time; 0: as many as there is room for. With Ray this begins it.
    Raises `ArchgradError` where the options ask for what is not there.
    """
    check_pool(config, device)
    on_gpu = device == "cuda"  # one that is named stays the one that it is
    address = config.address or os.environ.get("RAY_ADDRESS")
    kind = _kind(config, address, _local(config, calls, parallel, threads, device)[0])
    if kind == "here":
        return HERE
    if kind == "processes":
        count, given = _local(config, calls, parallel, threads, device)
        return Place(count, lambda: LocalCrew(given))
    found, new = connect(address)
    if device.startswith("cuda:"):
        raise ArchgradError(
            f"found device {device}, and Ray gives each search a GPU of its own; use device cuda"
        )
    gpus = found.get("GPU", 0.0)
    if on_gpu and not gpus:
        raise ArchgradError(
            f"found device {device} and no GPU in the Ray cluster; add machines that have some, or "
            "use device cpu"
        )
    part = share(config.gpus, parallel, gpus) if on_gpu else 0.0
    room = [int(found.get("CPU", 1.0)) // threads, *([slots(gpus, part)] if on_gpu else [])]
    count = max(1, min(parallel or calls, calls, *([] if parallel else room)))
    return Place(count, lambda: RayCrew(threads, part, new))


def share(gpus: float | None, parallel: int, count: float) -> float:
    """The part of a GPU that each call gets where there are `count` of them."""
    return gpus or min(1.0, count / parallel if parallel else 1.0)


def slots(count: float, part: float) -> int:
    """How many calls get such a part at a time; a call has all of it on one GPU."""
    return int(count) * int(1 / part + 1e-9)


def devices(visible: list[str], part: float) -> list[str]:
    """The GPU of each call that may go on at a time: all GPUs before any is shared."""
    return visible * int(1 / part + 1e-9)


def visible_gpus(chosen: str | None, count: int) -> list[str]:
    """The names of this process's GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    if chosen is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in chosen.split(",")][:count]


def cores() -> int:
    """CPU cores that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1


def check_pool(config: PoolConfig, device: str, own: bool = False) -> None:
    """Refuse options that ask for what is not there; `own`: data or a method came from Python."""
    if own and (config.pool, config.address, config.gpus) != ("auto", None, None):
        raise ArchgradError(
            "found data or a method from Python, which stay in this process, one search after the "
            "other; leave out pool, address and gpus, or give them by name, such as npz:FILE"
        )
    asked = "pool ray" if config.pool == "ray" else f"address {config.address}"
    if asked != "address None" and config.pool != "processes" and not installed():
        raise ArchgradError(
            f"found {asked} and Ray is not installed; expected the extra packages, so run: {EXTRA}"
        )
    if config.pool == "processes" and config.address is not None:
        raise ArchgradError(
            f"found address {config.address} with pool processes, which are of this machine; leave "
            "out one of them"
        )
    if config.gpus is not None and device != "cuda":
        raise ArchgradError(
            f"found gpus {config.gpus:g} with device {device}; a GPU is shared by searches with "
            "device cuda, each of which sees the one it is given: leave gpus out, or use cuda"
        )


def _kind(
    config: PoolConfig, address: str | None, at_a_time: int
) -> Literal["here", "processes", "ray"]:
    """Ray where it is installed: who installs it wants it. One call at a time needs no process."""
    if config.pool != "auto":
        return config.pool
    if installed() and (address or at_a_time > 1):
        return "ray"
    return "processes" if at_a_time > 1 else "here"


def _local(
    config: PoolConfig, calls: int, parallel: int, threads: int, device: str
) -> tuple[int, list[str]]:
    """How many go on at a time on this machine, and the GPU of each."""
    if device != "cuda":
        room = cores() // threads if device == "cpu" else 1
        return max(1, min(parallel or room, calls)), []
    import torch

    visible = visible_gpus(os.environ.get(VISIBLE), torch.cuda.device_count())
    part = share(config.gpus, parallel, len(visible))
    given = devices(visible, part)
    return max(1, min(parallel or len(given), len(given), calls)), given

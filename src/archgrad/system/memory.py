"""Memory of this process and its device: what is in use, what is left, where it was largest."""

from __future__ import annotations

import ctypes
import re
import resource
from contextlib import suppress
from math import inf
from pathlib import Path

import torch

from archgrad.system.loops import peak_memory_mb


def forget_peak(device: torch.device) -> float:
    """Begin a new peak for `archgrad.system.loops.peak_memory_mb`; the MB in use now.

    On a CPU memory that is free goes back to the system first (glibc). Only Linux can forget the
    peak of a process: elsewhere the old one stays, and is what is returned.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    return peak_memory_mb(device)


def available_mb(device: torch.device) -> float | None:
    """MB that this process may have in all: what it has and what is free; None: not known.

    On a GPU of its memory, without what others hold; on Linux of the machine's, or less where a
    control group (a container, a batch system) or `ulimit -v` sets a limit.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device)) / 1e6
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        pages = Path("/proc/self/statm").read_text().split()
    except OSError:
        return None
    if found is None:
        return None
    mapped, own = (int(number) * resource.getpagesize() for number in pages[:2])
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    mappable = inf if most == resource.RLIM_INFINITY else most - mapped
    return (min(int(found[1]) * 1024, mappable, _left_by_groups()) + own) / 1e6


def _left_by_groups(files: Path = Path("/")) -> float:
    """Bytes that the control groups of this process leave it; infinite without a limit."""
    left = inf
    with suppress(OSError):
        for line in (files / "proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if not controllers:
                root, limit, used = files / "sys/fs/cgroup", "memory.max", "memory.current"
            elif "memory" in controllers.split(","):
                root = files / "sys/fs/cgroup/memory"
                limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
            else:
                continue
            group = Path(name.lstrip("/"))
            for place in (group, *group.parents):
                with suppress(OSError, ValueError):  # not mounted here, or "max": no limit
                    most = int((root / place / limit).read_text())
                    kept = int((root / place / used).read_text()) - _reclaimable(root / place)
                    left = min(left, most - kept)
    return left


def _reclaimable(group: Path) -> int:
    """Bytes of files that the system would give up for a group that needs memory."""
    found = re.search(r"^(?:total_)?inactive_file (\d+)", (group / "memory.stat").read_text(), re.M)
    return int(found[1]) if found else 0

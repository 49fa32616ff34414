"""Memory of the process and of the system: peaks, what is free, limits."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
import torch

from archgrad.system import memory
from archgrad.system.loops import peak_memory_mb

CPU = torch.device("cpu")
CLEAR = Path("/proc/self/clear_refs")


@pytest.mark.skipif(not CLEAR.exists(), reason="this system cannot forget a peak")
def test_a_peak_can_be_forgotten() -> None:
    block = torch.ones(25_000_000)
    high = peak_memory_mb(CPU)
    del block
    now = memory.forget_peak(CPU)
    assert now < high - 80
    torch.ones(10_000_000)
    assert peak_memory_mb(CPU) == pytest.approx(now + 40, abs=10)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_a_limit_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    free = memory.available_mb(CPU)
    assert free is not None and free > 100
    mapped, own = (
        int(pages) * resource.getpagesize()
        for pages in Path("/proc/self/statm").read_text().split()[:2]
    )
    limit = mapped + 50_000_000
    monkeypatch.setattr(memory.resource, "getrlimit", lambda which: (limit, limit))
    assert memory.available_mb(CPU) == pytest.approx(50 + own / 1e6, abs=20)


@pytest.mark.parametrize(
    ("group", "files", "left"),
    [
        ("0::/a/b", {"a/b/memory.max": "max", "a/b/memory.current": "5",
                     "a/memory.max": "900", "a/memory.current": "500",
                     "a/memory.stat": "anon 300\ninactive_file 200\n"}, 600),
        ("0::/elsewhere", {"memory.max": "90", "memory.current": "50",
                           "memory.stat": "anon 50\n"}, 40),
        ("4:cpu,memory:/a", {"memory/a/memory.limit_in_bytes": "70",
                             "memory/a/memory.usage_in_bytes": "60",
                             "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 2\n"},
         11),
        ("3:cpuset:/a", {"memory.max": "1", "memory.current": "1", "memory.stat": ""}, None),
    ],
)  # fmt: skip
def test_limits_of_control_groups(
    group: str, files: dict[str, str], left: int | None, tmp_path: Path
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(group + "\n")
    for name, text in files.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory._left_by_groups(tmp_path) == (float("inf") if left is None else left)

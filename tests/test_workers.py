"""Independent calls side by side: results, killed workers, errors, GPUs, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from archgrad.errors import ArchgradError
from archgrad.settings.pool_config import PoolConfig
from archgrad.workers import HERE, Crew, LocalCrew, WorkerKilled, choosing, made, place
from archgrad.workers.choosing import devices, share, slots, visible_gpus
from archgrad.workers.on_ray import RayCrew, _refuse_silent, connect, installed
from pool_calls import gpu, killed_once, leaves, outlives, power, stumbles

with_ray = pytest.mark.skipif(not installed(), reason='Ray is not installed: "archgrad[ray]"')
CALLS = [(base, 40) for base in range(5)]


def found(crew: Crew, work: Callable[..., Any], calls: Any, retries: int = 0) -> dict[int, Any]:
    """Number of the call -> its result or its error."""

    def of(future: Future[Any]) -> Any:
        return future.exception() or future.result()

    return {n: of(future) for n, future in made(crew, work, calls, 2, retries=retries)}


def all_of(crew: Callable[[], Crew], place: Path) -> None:
    """What is the same in every pool."""
    assert found(crew(), power, CALLS) == {n: power(*call) for n, call in enumerate(CALLS)}
    lost = place / "lost"
    calls = [(lost, 9), (place / "once", 1), (place / "whole", 0)]
    got = found(crew(), killed_once, calls, retries=1)
    assert isinstance(got[0], WorkerKilled)
    assert "was killed 2 times" in str(got[0])
    assert (lost.read_text(), got[1][1], got[2][1]) == ("xx", "xx", "x")
    error = found(crew(), stumbles, [("a step",)], retries=3)[0]
    assert (type(error), error.args) == (KeyError, ("a step",))


def test_processes_give_what_this_process_gives_and_a_killed_one_is_begun_again(
    tmp_path: Path,
) -> None:
    before = set(active_children())
    all_of(LocalCrew, tmp_path)
    assert set(active_children()) == before


@with_ray
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
def test_ray_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 4, "GPU": 2}')  # as if they were there
    resources, new = connect(None)
    assert new
    try:
        assert (resources["CPU"], resources["GPU"]) == (4, 2)
        assert connect(None)[1] is False  # a program's own connection is kept
        all_of(lambda: RayCrew(1, 0.0, False), tmp_path)
        (tmp_path / "x").mkdir()
        halves = made(RayCrew(1, 0.5, False), gpu, [(tmp_path / "x", 4)] * 4, 4, retries=0)
        assert sorted(future.result() for _, future in halves) == ["0", "0", "1", "1"]
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_a_cluster_that_does_not_answer_is_refused_at_once() -> None:
    with pytest.raises(ArchgradError, match="no Ray cluster answers at 127.0.0.1:1 "):
        _refuse_silent("127.0.0.1:1")


def test_a_worker_that_is_killed_takes_no_other_with_it(tmp_path: Path) -> None:
    """The second call goes on through both kills of the first one's process."""
    (tmp_path / "other").write_text("")
    crew, first = LocalCrew(), (tmp_path / "first", 2)
    crew.begin(1, outlives, (tmp_path / "other", first[0], 3))
    with crew:
        for expected in (None, None, "xxx"):
            crew.begin(0, killed_once, first)
            while not (ended := dict(crew.ended(10))):
                pass
            future = ended[0]
            assert (future and future.result()[1]) == expected
        while 1 not in ended:
            ended = dict(crew.ended(10))
        assert ended[1] is not None
        assert ended[1].result() == "x"


def test_a_worker_that_ends_by_itself_is_not_begun_again() -> None:
    ((_, future),) = made(LocalCrew(), leaves, [(3,)], 1, retries=3)
    with pytest.raises(ArchgradError, match='ended with status 3 .* __name__ == "__main__"'):
        future.result()


def test_after_the_deadline_nothing_is_begun() -> None:
    futures = dict(made(LocalCrew(), power, CALLS, 1, retries=0, deadline=time.monotonic()))
    assert [n for n, future in sorted(futures.items()) if not future.cancelled()] == [0]


def test_what_goes_on_ends_with_who_stops_listening(tmp_path: Path) -> None:
    """As Ctrl-C does: the generator is closed, and every worker has ended before the next line."""
    before, begun = set(active_children()), time.monotonic()
    results = made(LocalCrew(), time.sleep, [(0.0,), (600.0,)], 2, retries=0)
    assert next(results)[0] == 0
    results.close()
    assert set(active_children()) == before
    assert time.monotonic() - begun < 60


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    code = (
        "from archgrad.workers import LocalCrew, made\nfrom pool_calls import killed_once\n"
        "from pathlib import Path\nimport os, time\n"
        "crew = LocalCrew()\n"
        "crew.begin(0, time.sleep, (600.0,))\n"
        "print(crew.busy[0].process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    child, until = Path("/proc") / done.stdout.strip(), time.monotonic() + 30
    while child.exists() and "Z" not in (child / "stat").read_text().split()[2]:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_each_worker_sees_the_gpu_it_is_given(tmp_path: Path) -> None:
    given = [(tmp_path, 3)] * 3
    (tmp_path / "x").mkdir()
    crew = LocalCrew(devices(["2", "GPU-7"], 0.5))
    results = made(crew, gpu, [(tmp_path / "x", 3)] * len(given), 3, retries=0)
    assert sorted(future.result() for _, future in results) == ["2", "2", "GPU-7"]


def test_gpus_are_all_taken_before_one_is_shared() -> None:
    assert devices(["0", "1"], 0.5) == ["0", "1", "0", "1"]
    assert devices(["0", "1"], 1.0) == ["0", "1"]
    assert devices(["0"], 0.3) == ["0"] * 3
    assert devices(["0"], 0.1) == ["0"] * 10
    assert devices(["0", "1"], 0.6) == ["0", "1"]
    assert [slots(4.0, part) for part in (1.0, 0.5, 0.6, 0.25)] == [4, 8, 4, 16]


def test_the_share_of_a_gpu_follows_from_how_many_go_on() -> None:
    assert share(None, 0, 2) == 1.0
    assert share(None, 2, 4) == 1.0
    assert share(None, 8, 2) == 0.25
    assert share(0.5, 8, 2) == 0.5


def test_the_gpus_of_a_batch_system_are_kept() -> None:
    assert visible_gpus(None, 2) == ["0", "1"]
    assert visible_gpus("3,5", 2) == ["3", "5"]
    assert visible_gpus("GPU-a, GPU-b,-1,0", 2) == ["GPU-a", "GPU-b"]


def placed(calls: int = 4, device: str = "cpu", **options: Any) -> tuple[int, str]:
    """How many at a time, and in what."""
    parallel = options.pop("parallel", 0)
    threads = options.pop("threads", 1)
    where = place(PoolConfig(**options), calls, parallel=parallel, threads=threads, device=device)
    return where.at_a_time, "here" if where.crew is None else type(where.crew()).__name__


def test_where_calls_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "installed", lambda: False)
    monkeypatch.setattr(choosing, "cores", lambda: 3)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert placed() == (3, "LocalCrew")
    assert placed(calls=2) == (2, "LocalCrew")
    assert placed(threads=2) == (1, "here")
    assert placed(threads=2, pool="processes") == (1, "LocalCrew")
    assert placed(parallel=1) == (1, "here")
    assert placed(parallel=8, calls=6) == (6, "LocalCrew")
    assert placed(device="cuda:1") == (1, "here")
    assert HERE.at_a_time == 1
    joined: list[str | None] = []
    resources = {"CPU": 16.0, "GPU": 2.0}
    monkeypatch.setattr(choosing, "installed", lambda: True)
    monkeypatch.setattr(
        choosing, "connect", lambda address: (joined.append(address), (resources, True))[1]
    )
    assert placed(calls=20) == (16, "RayCrew")
    assert placed(calls=20, threads=3, pool="ray") == (5, "RayCrew")
    assert placed(parallel=1) == (1, "here")
    assert placed(pool="processes") == (3, "LocalCrew")
    assert joined == [None, None]
    assert placed(calls=20, device="cuda", gpus=0.25, address="head:6379") == (8, "RayCrew")
    monkeypatch.setenv("RAY_ADDRESS", "other:6379")
    assert placed(parallel=1) == (1, "RayCrew")
    assert joined == [None, None, "head:6379", "other:6379"]
    with pytest.raises(ArchgradError, match="gives each search a GPU of its own; use device cuda"):
        placed(device="cuda:1")
    del resources["GPU"]
    with pytest.raises(ArchgradError, match="no GPU in the Ray cluster"):
        placed(device="cuda")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "ray"}, 'found pool ray and Ray is not installed.*"archgrad.ray."'),
        ({"address": "head:6379"}, "found address head:6379 and Ray is not installed"),
        ({"pool": "processes", "address": "head:6379"}, "leave out one of them"),
        ({"gpus": 0.5}, "found gpus 0.5 with device cpu"),
    ],
)
def test_what_is_not_there_is_refused(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "installed", lambda: False)
    with pytest.raises(ArchgradError, match=message):
        placed(**options)

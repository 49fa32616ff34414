"""Fixtures shared by all tests: one thread, real data by environment variable, tiny data."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from archgrad.data import Data, as_data
from archgrad.searching import monitor
from helpers import digits

torch.set_num_threads(1)
# time limits on shared cores would fail by chance
hypothesis.settings.register_profile("archgrad", deadline=None)
hypothesis.settings.load_profile("archgrad")


@pytest.fixture(scope="session", autouse=True)
def small_diagnostics() -> Iterator[None]:
    """Else they take most of the time of so short searches; `test_monitor` sees their real size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitor, "ITERATIONS", 3)
        patch.setattr(monitor, "RANDOM_CELLS", 4)
        yield


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or skip."""
    folder = os.environ.get("ARCHGRAD_DATA")
    if not folder:
        pytest.skip("ARCHGRAD_DATA is not set: it names the folder that holds cifar10/")
    if not (Path(folder) / "cifar10").is_dir():
        pytest.skip(f"ARCHGRAD_DATA={folder} holds no folder cifar10")
    return Path(folder)


@pytest.fixture(scope="session")
def two_digits() -> Data:
    """48 images of zeros and ones, 8x8, for training: a search learns them in a second."""
    return as_data(digits())


UNWATCHED = {
    f"test_{name}"
    for name in (
        "api beginning bench bilevel budget callbacks combinations cost costs counting darts_cnn "
        "data_workers deriving determinism disk distributed distributed_jobs engine estimators "
        "estimators_check export figures files fitting graphs hypergradient kill language_search "
        "long_run methods mixed monitor own own_examples pages planning precision recompute "
        "records retraining signals site spaces sweep texts transfer"
    ).split()
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what reads real data, and what need not be watched by coverage.

    Watching doubles the time of a search of seconds. So of each table of cases the first alone is
    watched, and nothing that reads real data, which not every machine has, nor the files that
    repeat whole searches. The figure that is told, and has to reach `fail_under`, is a lower bound.
    """
    tables = set()
    for item in items:
        if item.path.stem in UNWATCHED:
            item.add_marker("no_cover")
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")
            item.add_marker("no_cover")
        if hasattr(item, "callspec"):
            table = item.nodeid.partition("[")[0]
            if table in tables:
                item.add_marker("no_cover")
            tables.add(table)


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not go through it again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many of the tests on real data ran."""
    outcomes: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if "real_data" in getattr(report, "keywords", {}):
                outcomes[outcome] += 1
    ran = outcomes["passed"] + outcomes["failed"]
    terminalreporter.write_line(
        f"tests on real data: {ran} ran, {outcomes['skipped']} skipped"
        + (" (ARCHGRAD_DATA is not set)" if not os.environ.get("ARCHGRAD_DATA") else "")
    )

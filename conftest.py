"""Examples in docstrings run in a temporary folder of their own, with a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def place_of_an_example(request: pytest.FixtureRequest) -> Iterator[None]:
    """So that an example may write to `runs/first`, as a reader would."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    folder: Path = request.getfixturevalue("tmp_path")
    with chdir(folder), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield

"""The single-file example and the library are the same algorithm: equal alphas from one start."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch

from archgrad.data import Batch, Batches
from archgrad.preparing.prepared import prepare
from archgrad.searching.bilevel import BilevelSearch
from archgrad.searching.callbacks import Callback
from archgrad.searching.loaders import Loaders
from archgrad.settings import config as configuration

EXAMPLE = Path(__file__).parent.parent / "examples" / "darts_in_one_file.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("darts_in_one_file", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short_and_stands_alone() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 250
    assert "import archgrad" not in text
    assert "from archgrad" not in text


@pytest.fixture
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@dataclass(frozen=True)
class Double:
    """The same batches in float64."""

    batches: Batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, index: int) -> Iterator[Batch]:
        return ((x.double(), y) for x, y in self.batches.epoch(index))

    @property
    def exact_resume(self) -> bool:
        return True


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("order", "method", "options"),
    [(1, "darts", {}), (2, "darts_2nd", {"estimator": "finite_difference"})],
)
def test_alphas_equal_the_librarys(
    example: ModuleType, order: int, method: str, options: dict[str, str]
) -> None:
    # random images: equal pixels make ties in max-pooling, which rounding then breaks either way;
    # float64: a unit that switches by rounding would grow to a visible difference in a few steps
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(160, 1, 8, 8, generator=generator), torch.arange(160) % 10
    config = configuration.build(
        {
            "data": {"data": "own"},
            "search": {
                "method": method, "method_options": options, "channels": 4, "cells": 4, "nodes": 2,
                "epochs": 1, "batch_size": 16, "guard": "off", "watch_fraction": 0.0,
            },
        }
    )  # fmt: skip
    prepared = prepare(config, data=images)
    torch.manual_seed(0)
    library = BilevelSearch(
        prepared.space, prepared.data, prepared.method, prepared.config.search,
        prepared.augmentation, torch.device("cpu"), run=None,
    )  # fmt: skip
    loaders = library.loaders
    library.loaders = Loaders(Double(loaders.train), Double(loaders.valid), Double(loaders.check))
    network = example.Network(4, 4, 2, 1, 10)
    ours, theirs = list(library.leg.net.model.parameters()), list(network.parameters())
    assert [p.shape for p in ours] == [p.shape for p in theirs]
    with torch.no_grad():
        for mine, its in zip(ours, theirs):
            its.copy_(mine)
    alpha = {n: a.detach().clone().requires_grad_() for n, a in library.leg.net.alpha.items()}
    start = {name: value.detach().clone() for name, value in alpha.items()}
    sgd = torch.optim.SGD(network.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alpha.values(), 3e-4, (0.5, 0.999), weight_decay=1e-3)
    batches = list(library.loaders.epoch(0))
    assert len(batches) == 5
    for train, valid in batches:
        example.search_step(network, alpha, train, valid, sgd, adam, order)
    library.epoch(Callback())
    for name, value in library.result().alpha.items():
        moved = float((value - start[name]).abs().max())
        assert moved > 5e-4
        torch.testing.assert_close(value, alpha[name].detach(), rtol=0, atol=moved * 1e-6)
    for mine, its in zip(ours, theirs):
        torch.testing.assert_close(mine, its, rtol=1e-8, atol=1e-10)
    derived = example.derive({name: value.detach() for name, value in alpha.items()})
    for cell in library.result().architecture.cells:
        assert [set(edges) for edges in cell.nodes] == [set(edges) for edges in derived[cell.name]]

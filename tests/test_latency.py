"""Latency tables: with a clock that is known, and once with the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import archgrad
from archgrad.costing import latency
from archgrad.costing.cost import count_parameters
from archgrad.costing.costs import CostTable, cost_table
from archgrad.costing.latency import Call, measure_latency, network_latency, summary, timings
from archgrad.errors import ArchgradError
from archgrad.spaces import space

TINY = {"channels": 2, "cells": 1, "image_size": (4, 4), "in_channels": 1}
SPACE = space("nas-bench-201", **TINY)


def by_parameters(call: Call, times: int) -> float:
    """A clock by which a parameter takes a microsecond, and everything a nanosecond more."""
    return 1e-3 * count_parameters(call.module) + 1e-6


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_sample", by_parameters)


@pytest.mark.usefixtures("known")
def test_a_sum_that_is_exact_is_found_exactly(tmp_path: Path) -> None:
    table, parameters = measure_latency(SPACE, device="cpu"), cost_table(SPACE, "parameters")
    for found, exact in zip(table.places, parameters.places, strict=True):
        assert (found.place, found.group, found.edge) == (exact.place, exact.group, exact.edge)
        expected = {name: 1e-3 * value + 1e-6 for name, value in exact.costs.items()}
        assert found.costs == pytest.approx(expected)
        assert set(found.spread.values()) == {0.0} and found.spread.keys() == found.costs.keys()
    assert table.fixed == pytest.approx(1e-3 * parameters.fixed, abs=2e-5)
    assert table.error < 1e-6
    drawn = SPACE.random_architecture(torch.Generator().manual_seed(9))
    measured = network_latency(SPACE, drawn, "cpu").median
    assert table.predict(drawn) == pytest.approx(measured)
    (tmp_path / "t.json").write_text(table.to_json())
    assert CostTable.load(tmp_path / "t.json").groups == table.groups


@pytest.mark.usefixtures("known")
def test_a_table_says_how_it_was_measured() -> None:
    told: list[str] = []
    table = measure_latency("nas-bench-201", **TINY, device="cpu", batch=3, tell=told.append)
    about = table.about
    assert (about["device"], about["batch"], about["threads"]) == ("cpu", 3, 1)
    assert about["torch"] == torch.__version__ and about["device_name"] and about["date"]
    assert table.places[0].shape == (3, 2, 4, 4)
    assert told == ["timing 15 different operations at 18 places"]  # 5 in each stage
    text = summary(table)
    assert "batch 3" in text and "18 places" in text and "error      0.0%" in text
    assert text.count("predicted,") == len(about["checked_ms"]) and "quiet" not in text
    table.check_fits(SPACE, "t.json")


def test_the_real_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "SAMPLES", 3)
    small, large = nn.Linear(4, 4), nn.Sequential(*(nn.Linear(700, 700) for _ in range(4)))
    device = torch.device("cpu")
    short, long = timings(
        [
            Call(small, device, lambda: small(torch.ones(1, 4))),
            Call(large, device, lambda: large(torch.ones(64, 700))),
        ]
    )
    assert 0 < 3 * short.median < long.median
    assert not small.training


@pytest.mark.usefixtures("known")
def test_numbers_neither_underflow_nor_overflow_in_a_deep_network() -> None:
    deep = space("nas-bench-201", **{**TINY, "cells": 12})
    drawn = deep.random_architecture(torch.Generator().manual_seed(1))
    call = latency._network(deep, drawn, torch.device("cpu"), batch=2)
    sizes = []
    for module in call.module.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda m, i, out: sizes.append(float(out.abs().max())))
    with torch.inference_mode():
        call.run()
    assert 1e-3 < min(s for s in sizes if s > 0) and max(sizes) < 1e3


def test_wrong_arguments() -> None:
    with pytest.raises(ArchgradError, match="batch 0 and threads 1, expected at least 1"):
        measure_latency(SPACE, batch=0)
    with pytest.raises(ArchgradError, match=r"options \['cells'\] go with the name of a space"):
        measure_latency(SPACE, cells=3)
    with pytest.raises(ArchgradError, match='device "tpu" is not known'):
        measure_latency(SPACE, device="tpu")
    assert archgrad.measure_latency is measure_latency

"""benchmarks/bench.py: both sides take the same step, and the table says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

import bench
import bench_cases
import bench_report
import floor
import growth
from archgrad import methods
from archgrad.kernels import native
from archgrad.kernels.branches import Branch, branches
from archgrad.kernels.weighted_sum import Term, weighted_sum
from archgrad.spaces import space
from bench_cases import COLD
from bench_report import BOOK_1, EXACT, FIRST, SECOND, Row, cells
from steps import batches, library, textbook

CPU = torch.device("cpu")
QUICK = ["--quick", "--channels", "2"]


@pytest.fixture
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("second_order", "method"),
    [(False, "darts"), (True, "darts_2nd")],
)
def test_the_textbook_takes_the_steps_of_the_library(second_order: bool, method: str) -> None:
    options = {"estimator": "finite_difference"} if second_order else {}
    made = space("darts-cnn", channels=2, cells=3, image_size=(8, 8))
    ours = library(made, methods.method(method, **options), CPU)
    theirs = textbook(2, 3, second_order, CPU)
    pairs = list(zip(ours.tables.values(), theirs.tables.values(), strict=True))
    weights = list(zip(ours.network.parameters(), theirs.network.parameters(), strict=True))
    with torch.no_grad():
        for mine, its in pairs + weights:
            its.copy_(mine)
    start = [mine.detach().clone() for mine, _ in pairs]
    train, valid = batches(6, (3, 8, 8), CPU)
    for _ in range(2):
        ours.both(train, valid)
        theirs.both(train, valid)
    for (mine, its), before in zip(pairs, start, strict=True):
        moved = float((mine - before).detach().abs().max())
        assert moved > 4e-4
        torch.testing.assert_close(its, mine, rtol=0, atol=1e-6 * moved)
    for mine, its in weights:
        torch.testing.assert_close(its, mine, rtol=1e-7, atol=1e-9)


def test_a_case_measures_every_step_and_more_memory_than_at_first() -> None:
    options = bench.parsed([*QUICK, "--steps", "2"])
    found = bench_cases.measure("PyTorch kernels, first order", options)
    assert len(found["alpha_seconds"]) == len(found["weight_seconds"]) == 2
    assert min(*found["alpha_seconds"], *found["weight_seconds"]) > 0
    assert found["peak_mb"] >= found["base_mb"] > 50
    assert found["kernels"] == "PyTorch kernels"


def test_a_profile_groups_what_happens_within_the_kernels() -> None:
    x = torch.randn(2, 4, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    taps, matrix = torch.randn(4, 1, 3, 3), torch.randn(4, 4, 1, 1)
    wanted = [Branch("separable", 1, 1, taps, matrix), Branch("max_pool", 1)]
    with native.use("torch"), profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
        one, two = branches(x, wanted)
        weights = torch.ones(2, requires_grad=True)
        y = weighted_sum([Term(w, r.value) for w, r in zip(weights, (one, two))])
        y.sum().backward()
    kernels = bench_cases.grouped(seen.events())
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
        F.conv2d(F.relu(x), matrix).sum().backward()
    plain = bench_cases.grouped(seen.events())
    used = {"convolutions", "ReLU", "pooling"}
    assert {name for name in used if kernels[name]} == set()  # all of them within the branches
    assert {name for name in used if plain[name]} == {"convolutions", "ReLU"}
    names = [name for name in kernels if name.startswith(("branches", "weighted sum"))]
    assert len(names) == 4
    assert all(kernels[name] > 0 and plain[name] == 0 for name in names)


def found(alpha: float, weights: float, peak: float, base: float = 100) -> dict[str, Any]:
    return {
        "alpha_seconds": [alpha],
        "weight_seconds": [weights],
        "base_mb": base,
        "peak_mb": peak,
        "kernels": "native kernels",
    }


TURNS: list[dict[str, dict[str, Any]]] = [
    {
        COLD: {"seconds": 21.5},
        BOOK_1: found(15, 15, 4100),
        FIRST: found(2, 4, 1100),
        SECOND: found(8, 4, 1300),
        EXACT: found(14, 4, 3300),
    },
    {BOOK_1: found(20, 20, 4100), FIRST: found(1, 4, 1100), SECOND: {"error": "out of memory"}},
]


def test_rows_compare_within_a_turn_and_say_what_is_reached() -> None:
    rows = {row.text: cells(row, TURNS)[1:] for row in bench_report.CPU}
    assert rows["step, first order: textbook / library"] == (
        ["6.50", "5.00, 8.00", "-", "at least 2.5", "6", "the aim"]
    )
    assert rows["step, second order: exact / finite difference"] == (
        ["1.50", "1.50", "-", "at most 1.5", "1.2", "yes"]
    )
    assert rows["memory, first order: library / textbook"] == (
        ["0.27", "0.27, 0.27", "0.25", "at most 0.5", "0.25", "yes"]
    )
    assert rows["memory: exact / first order"] == ["3.00", "3.00", "3.20", "at most 2", "1.3", "no"]
    for text, row in rows.items():
        if text.startswith("no compiler") or text.endswith("textbook / finite difference"):
            assert row[0] == row[-1] == "not measured"
    seconds = Row("step, seconds", "step", FIRST, None, "at most", 5.5)
    assert cells(seconds, TURNS)[1:] == ["5.50", "6.00, 5.00", "-", "at most 5.5", "-", "yes"]


def test_the_report_is_written_between_its_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = {"channels": 16, "cells": 8, "batch_size": 64, "image_size": 32, "steps": 1}
    machine = {"device": "a processor", "cpu_cores": 2, "load": 0.1, "torch": "2", "python": "3"}
    about = {**machine, "commit": None, "started": "2026-01-02T03:04:05"}
    content = {"settings": {**size, "device": "cpu"}, "environment": about, "turns": TURNS}
    (tmp_path / "bench-cpu.json").write_text(json.dumps(content))
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- begin: benchmarks/bench.py --report, bench-cuda -->\nnone\n<!-- end -->\n"
        "<!-- begin: benchmarks/bench.py --report, bench-cpu -->\nold\n<!-- end -->\nend\n"
    )
    bench.main(["--report", "--out", str(tmp_path), "--page", str(page)])
    text = page.read_text()
    assert "cuda -->\nnone\n" in text and "-->\nold" not in text and text.endswith("-->\nend\n")
    assert capsys.readouterr().out.strip() in text
    assert "| first order | 1.5 s | 4 s | 5.5 s | 1100 MB | 100 MB | native kernels |" in text
    assert "| textbook, second order | not measured |" in text
    assert "once a machine: 21.5 s" in text
    assert "Not measured, finite difference: out of memory" in text


def test_a_case_that_would_not_end_in_time_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cost, clock = {BOOK_1: 30.0, FIRST: 4.0}, [0.0]

    def in_process(case: str, *_: Any) -> dict[str, Any]:
        clock[0] += cost.get(case, 10.0)
        return {}

    monkeypatch.setattr(bench, "CASES", cost)
    monkeypatch.setattr(bench, "in_process", in_process)
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    options = bench.parsed(["--turns", "4", "--seconds", "52"])
    order = [(turn, case) for turn, case, _ in bench.turns(options, [])]
    assert order == [(0, COLD), (0, BOOK_1), (0, FIRST), (1, FIRST), (2, FIRST)]


@pytest.mark.slow
def test_all_of_it_at_a_tiny_size(tmp_path: Path) -> None:
    command = [sys.executable, bench.__file__, "--quick", "--turns", "1", "--out", str(tmp_path)]
    kinds = {"bench": ([], bench_cases.CASES), "profile": (["--profile"], bench_cases.PROFILED)}
    for kind, (more, names) in kinds.items():
        done = subprocess.run([*command, *more], check=True, capture_output=True, text=True)
        (turn,) = json.loads((tmp_path / f"{kind}-cpu.json").read_text())["turns"]
        assert set(turn) == {COLD, *names}
        assert "not measured" not in done.stdout or "error" in turn[COLD]


def test_a_ratio_to_nothing_is_left_out() -> None:
    """At a tiny size a case may take no memory beyond what was there at first."""
    turn = {FIRST: found(1, 1, 100), EXACT: found(1, 1, 150)}
    row = Row("memory: exact / first order", "peak", EXACT, FIRST, "at most", 2, 1.3)
    assert cells(row, [turn])[1:4] == ["1.50", "1.50", "-"]


def test_the_floor_is_counted_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin: benchmarks/floor.py --report -->\n<!-- end -->\nz\n")
    options = ["--quick", "--out", str(tmp_path), "--page", str(page)]
    with native.use("torch"):
        floor.main(options)
    measured = capsys.readouterr().out
    floor.main([*options, "--report"])
    assert capsys.readouterr().out == measured and measured.strip() in page.read_text()
    content = json.loads((tmp_path / "floor-cpu.json").read_text())
    last = measured.splitlines()[-1].split(" | ")
    assert last[0] == "| measured" and last[-1] == "1.00 |"
    # a stem of 3 to 24 channels (3x3) on 8x8 pixels is part of what is counted
    point = growth.Point(**content["size"])
    assert content["multiply_adds"] == 5 * floor.multiply_adds(point) > 5 * 4 * 3 * 24 * 9 * 64

"""Memory of a search step as counted by benchmarks/growth.py, against what it must be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import growth
from archgrad.kernels import native
from growth import Point, memory

SMALL = Point(nodes=1, batch=16, image_size=8)


@pytest.fixture(autouse=True)
def without_compiler() -> Iterator[None]:
    """What is kept is the same with either kernel; this one needs no build."""
    with native.use("torch"):
        yield


def of_candidates(point: Point, *numbers: int) -> list[int]:
    return [memory(replace(point, candidates=n)) for n in numbers]


def test_saved_tensors_are_counted_once_and_while_they_are_held() -> None:
    x, other = torch.ones(1000, requires_grad=True), torch.ones(1000)
    saved = growth.Saved([other])
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda held: held.tensor):
        y = x.exp()  # keeps its output
        z = y * y.view(10, 100).view(-1)  # keeps it twice more
        assert (saved.bytes, saved.peak) == (4000, 4000)
        loss = (z.sin() * other).sum()  # keeps z, and what is not counted
        assert (saved.bytes, saved.peak) == (8000, 8000)
        loss.backward()
    assert (saved.bytes, saved.peak) == (0, 8000)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * torch.exp(2 * x) * torch.cos(torch.exp(2 * x)))


def test_darts_keeps_two_tensors_a_convolution() -> None:
    two, four, eight = of_candidates(SMALL, 2, 4, 8)
    assert eight - four == pytest.approx(2 * (four - two), rel=0.01)
    pixels = [8 * 8 * 8, 16 * 4 * 4, 32 * 2 * 2]  # outputs of an edge, cell by cell, one image
    expected = 2 * 2 * 16 * 4 * sum(pixels)  # tensors, edges, images, bytes
    assert expected < (eight - two) / 6 < 1.06 * expected  # and statistics, channel by channel


@pytest.mark.parametrize("method", ["gdas", "proxyless"])
def test_one_path_is_kept_of_any_number(method: str) -> None:
    two, eight = of_candidates(replace(SMALL, method=method), 2, 8)
    (darts,) = of_candidates(SMALL, 2)
    assert eight == pytest.approx(two, rel=0.02)
    assert eight < darts


def test_partial_channels_keep_one_part_in_k_of_each_candidate() -> None:
    slopes = []
    for k in (1, 2, 4):
        two, eight = of_candidates(replace(SMALL, method="pc_darts", k=k), 2, 8)
        slopes.append(eight - two)
    assert slopes == pytest.approx([slopes[0], slopes[0] / 2, slopes[0] / 4], rel=0.02)


def test_the_table_says_how_each_curve_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    curves = (growth.Curve("gdas", "candidates", (2, 4)), growth.Curve("darts", "batch", (4, 8)))
    monkeypatch.setattr(growth, "CURVES", curves)
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- begin: benchmarks/growth.py --report, growth-cpu -->\n<!-- end -->\nz\n"
    )
    options = ["--quick", "--out", str(tmp_path), "--page", str(page)]
    growth.main([*options, "--steps", "1", "--turns", "1"])
    measured = capsys.readouterr().out
    growth.main([*options, "--report"])
    assert capsys.readouterr().out == measured
    assert measured.strip() in page.read_text()
    assert page.read_text().startswith("a\n") and page.read_text().endswith("-->\nz\n")
    gdas, darts = (line.split(" | ") for line in measured.splitlines()[-2:])
    assert gdas[:2] == ["| gdas", "candidates 2, 4"] and gdas[4] == "2.00"
    assert float(gdas[6].rstrip(" |")) == pytest.approx(1.0, abs=0.02)
    assert float(darts[6].rstrip(" |")) == pytest.approx(2.0, abs=0.1)

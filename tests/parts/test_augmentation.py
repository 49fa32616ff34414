"""Random cutout: squares of zeros where they should be, as often as they should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.parts.augmentation import RandomCutout
from archgrad.parts.relaxation import Softmax
from archgrad.parts.schedule import Linear
from archgrad.parts.state import State


def state(progress: float = 0.0, seed: int = 0) -> State:
    return State(None, Softmax(), progress=progress, seed=seed)  # type: ignore[arg-type]


def holes(side: int, shape: tuple[int, int], seed: int = 0, count: int = 200) -> Tensor:
    """True where an image of ones became 0, (count, height, width)."""
    ones = torch.ones(count, 3, *shape)
    cut = RandomCutout(side, 1.0)(ones, state(seed=seed))
    assert torch.equal(cut[:, 0], cut[:, 1]) and torch.equal(cut[:, 0], cut[:, 2])
    assert ones.all()
    return cut[:, 0] == 0


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_holes_are_squares_clipped_at_the_border(
    side: int, height: int, width: int, seed: int
) -> None:
    for hole in holes(side, (height, width), seed, count=20):
        for length, inside in ((height, hole.any(1)), (width, hole.any(0))):
            found = inside.nonzero().flatten()
            assert 1 <= len(found) <= min(side, length)
            assert int(found[-1] - found[0]) == len(found) - 1
            assert len(found) == min(side, length) or 0 in found or length - 1 in found
        assert hole.sum() == hole.any(1).sum() * hole.any(0).sum()


def test_centers_are_uniform_over_the_image() -> None:
    """With a side of 1 the center alone is cut."""
    centers = holes(1, (4, 6), count=6000)
    assert (centers.sum((1, 2)) == 1).all()
    frequency = centers.double().mean(0)
    assert ((frequency - 1 / 24).abs() < 4 * (1 / 24 / 6000) ** 0.5).all()


def test_the_probability_rises() -> None:
    part, images = RandomCutout(4, Linear(0.0, 0.2)), torch.ones(5000, 1, 8, 8)
    assert torch.equal(part(images, state(0.0)), images)
    for progress, expected in ((0.5, 0.1), (1.0, 0.2)):
        cut = part(images, state(progress)).flatten(1).amin(1) == 0
        assert float(cut.double().mean()) == pytest.approx(expected, abs=0.02)


def test_a_seed_is_a_cut() -> None:
    part, images = RandomCutout(4, 0.5), torch.randn(50, 1, 8, 8)
    first, again, other = (part(images, state(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert ((first == images) | (first == 0)).all()


@pytest.mark.parametrize(
    "knob", [{"side": 0}, {"probability": 1.5}, {"probability": Linear(-0.1, 0.2)}]
)
def test_values_out_of_range_are_refused(knob: dict[str, Any]) -> None:
    with pytest.raises(ArchgradError, match=r"cutout: side .* at least 1 pixel, .* from 0 to 1"):
        RandomCutout(**knob)

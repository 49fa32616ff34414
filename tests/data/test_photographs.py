"""Random numbers, resized crops and color jitter against answers known from elsewhere."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archgrad.data import ArraySource, Augmentation
from archgrad.data import photographs as photo
from archgrad.data.transform import Transform, epoch_generator
from archgrad.errors import ArchgradError

KEYS = torch.arange(4000) * 7919 + 13
MASK = 2**64 - 1


def splitmix(seed: int, count: int) -> list[float]:
    """The generator as its paper writes it, in whole numbers of any size."""
    found = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        found.append(((z ^ (z >> 31)) >> 11) / 2**53)
    return found


def test_uniform_numbers_are_those_of_splitmix64() -> None:
    keys = torch.tensor([0, 1234567, 2**62 - 1])
    expected = [splitmix(int(key), 12) for key in keys]
    assert photo.uniforms(keys, 12).tolist() == expected
    assert photo.uniforms(keys, 5, skip=7).tolist() == [row[7:] for row in expected]
    # the first output of the reference implementation for this seed is 6457827717110365317
    assert splitmix(1234567, 1)[0] == (6457827717110365317 >> 11) / 2**53


def test_boxes_have_the_stated_areas_and_ratios_and_lie_anywhere() -> None:
    top, left, height, width = photo.crop_boxes(KEYS, 200, 200).double().T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 200).all() and (left + width <= 200).all()
    area, ratio = height * width / 200**2, width / height
    assert area.min() > 0.078 and area.max() <= 1
    assert ratio.min() > 0.74 and ratio.max() < 1.35
    small = area < 0.4  # nearly none of these is drawn again
    assert float(area[small].mean()) == pytest.approx(0.24, abs=0.01)
    assert float(ratio.log().mean()) == pytest.approx(0, abs=0.02)
    for start, length in ((top, height), (left, width)):
        place = (start / (200 - length).clamp(min=1))[length < 150]
        assert float(place.mean()) == pytest.approx(0.5, abs=0.02)
        assert place.min() < 0.02 and place.max() > 0.98


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300))
def test_boxes_lie_in_images_of_any_size(height: int, width: int) -> None:
    boxes = photo.crop_boxes(KEYS[:50], height, width)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= torch.tensor([height, width])).all()


def test_where_no_box_fits_it_is_the_largest_in_the_middle() -> None:
    assert photo.crop_boxes(KEYS[:1], 10, 1000).tolist() == [[0, 493, 10, 13]]
    assert photo.crop_boxes(KEYS[:1], 1000, 10).tolist() == [[493, 0, 13, 10]]


def test_a_crop_is_the_box_resized_from_its_own_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    whole, part = [0, 0, 6, 8], [1, 4, 3, 4]
    monkeypatch.setattr(photo, "crop_boxes", lambda keys, h, w: torch.tensor([whole, part]))
    out = photo.crop(images, KEYS[:2])
    torch.testing.assert_close(out[0], images[0], atol=1e-5, rtol=0)
    cut = images[1:, :, 1:4, 4:8]
    expected = torch.nn.functional.interpolate(cut, (6, 8), mode="bilinear")
    torch.testing.assert_close(out[1], expected[0], atol=1e-5, rtol=0)


def factor(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value)


PIXELS = torch.tensor([[0.2, 0.4, 0.6], [1.0, 0.5, 0.0]]).T[None, :, :, None]  # two pixels


def test_brightness_contrast_and_saturation_by_hand() -> None:
    out = photo.brightness(PIXELS, factor(1.5))[0, :, :, 0].T
    np.testing.assert_allclose(out, [[0.3, 0.6, 0.9], [1, 0.75, 0]], atol=1e-6)
    grays = [0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6, 0.299 + 0.587 * 0.5]
    mean = sum(grays) / 2
    assert photo.contrast(PIXELS, factor(0)).flatten().tolist() == pytest.approx([mean] * 6)
    half = photo.contrast(PIXELS, factor(0.5))[0, :, 0, 0]
    assert half.tolist() == pytest.approx([mean + (v - mean) / 2 for v in (0.2, 0.4, 0.6)])
    out = photo.saturation(PIXELS, factor(0))[0, 0, :, 0]
    assert out.tolist() == pytest.approx(grays)
    out = photo.saturation(PIXELS, factor(2))[0, :, 0, 0]
    assert out.tolist() == pytest.approx([2 * v - grays[0] for v in (0.2, 0.4, 0.6)])


@settings(max_examples=60)
@given(st.tuples(*[st.integers(0, 20)] * 3), st.sampled_from([-0.5, -0.2, 0.0, 0.1, 1 / 3, 0.5]))
def test_hue_is_that_of_hsv(color: tuple[int, int, int], turns: float) -> None:
    rgb = [value / 20 for value in color]
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    image = torch.tensor(rgb, dtype=torch.float64)[None, :, None, None]
    out = photo.hue(image, torch.tensor([[[turns]]]))
    expected = colorsys.hsv_to_rgb((h + turns) % 1, s, v)
    assert out.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_jitter_draws_its_factors_in_the_stated_ranges() -> None:
    gray = torch.full((len(KEYS), 3, 1, 1), 0.4)  # brightness alone changes it
    out = photo.jitter(gray, KEYS, 0.5)[:, 0, 0, 0] / 0.4
    assert out.min() == pytest.approx(0.5, abs=0.01) and out.max() == pytest.approx(1.5, abs=0.01)
    assert float(out.mean()) == pytest.approx(1, abs=0.02)
    red = torch.tensor([0.5, 0.25, 0.25])[None, :, None, None].expand(len(KEYS), -1, 2, 2)
    hues = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in photo.jitter(red, KEYS, 0.4)[:, :, 0, 0]]
    turns = [(h + 0.5) % 1 - 0.5 for h in hues]
    assert min(turns) == pytest.approx(-0.2, abs=0.01)
    assert max(turns) == pytest.approx(0.2, abs=0.01)
    same = photo.jitter(red, KEYS, 0.0)
    torch.testing.assert_close(same, red, atol=1e-5, rtol=0)


def test_jitter_changes_in_all_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        monkeypatch.setattr(photo, name, lambda x, f, step=place: x * 10 + step)
    out = photo.jitter(torch.zeros(1000, 3, 1, 1, dtype=torch.float64), KEYS[:1000], 0.4)
    seen = {f"{int(value):04d}" for value in out[:, 0, 0, 0]}
    assert len(seen) == 24 and all(sorted(order) == list("0123") for order in seen)


def batch(source: ArraySource, **augmentation: object) -> Tensor:
    """The images in stored order, after the augmentation of epoch 0."""
    made = source.batches(
        4,
        augmentation=Augmentation(**augmentation),
        normalization=None,
        seed=3,  # type: ignore[arg-type]
    )
    return torch.cat([x for x, _ in made.epoch(0)])


def test_any_color_images_can_be_cropped_and_jittered() -> None:
    x = (torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 255).byte()
    source = ArraySource(x, torch.arange(10) % 2)
    plain, keys = batch(source), Transform(Augmentation(), None, "cpu").noise(
        10, (8, 8), epoch_generator(3, 0)
    )[:, -1]  # fmt: skip
    assert torch.equal(batch(source, resized_crop=True), photo.crop(plain, keys))
    assert torch.equal(batch(source, color_jitter=0.4), photo.jitter(plain, keys, 0.4))
    both = batch(source, resized_crop=True, color_jitter=0.4)
    assert torch.equal(both, photo.jitter(photo.crop(plain, keys), keys, 0.4))
    flipped = batch(source, flip=True)
    again = batch(source, flip=True, color_jitter=0.2)
    torch.testing.assert_close(again, photo.jitter(flipped, keys, 0.2))


def test_keys_leave_order_and_other_draws_alone() -> None:
    generator, other = epoch_generator(0, 0), epoch_generator(0, 0)
    Transform(Augmentation(), None, "cpu").noise(9, (4, 4), generator)
    for high in (1, 1, 2, 4, 4):
        torch.randint(high, (9,), generator=other)
    assert torch.equal(generator.get_state(), other.get_state())
    keys = Transform(Augmentation(), None, "cpu").noise(99, (4, 4), generator)[:, -1]
    assert len(keys.unique()) == 99


def test_what_makes_no_sense_is_refused() -> None:
    for strength in (-0.1, 1.1):
        with pytest.raises(ArchgradError, match=f"color_jitter is {strength}; expected a number"):
            Augmentation(color_jitter=strength)
    for shape in ((1, 8, 8), (3, 8)):
        transform = Transform(Augmentation(color_jitter=0.4), None, "cpu")
        with pytest.raises(ArchgradError, match=r"color_jitter is 0.4 for .*expected color images"):
            transform.check(shape)
    with pytest.raises(ArchgradError, match="resized_crop is on for data of shape .3, 8."):
        Transform(Augmentation(resized_crop=True), None, "cpu").check((3, 8))
    assert math.isclose(photo.RATIO[0] * photo.RATIO[1], 1)

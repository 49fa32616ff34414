"""Augmentation, normalization and order against answers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from archgrad.data import Augmentation, Normalization
from archgrad.data.transform import Schedule, Transform, epoch_generator
from archgrad.errors import ArchgradError


def noise(*rows: tuple[int, int, int, int, int]) -> torch.Tensor:
    return torch.tensor(rows)


def test_crop_and_flip_take_the_drawn_window() -> None:
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    transform = Transform(Augmentation(crop_padding=2, flip=True), None, "cpu")
    out = transform(images, noise((0, 3, 0, 0, 0), (4, 1, 1, 0, 0)))
    assert out.dtype == torch.float32
    np.testing.assert_array_equal(out[0] * 255, padded[0, :, 0:4, 3:8])
    np.testing.assert_array_equal(out[1] * 255, padded[1, :, 4:8, 1:6][:, :, ::-1])


def test_flip_alone_mirrors_columns_where_drawn() -> None:
    images = torch.tensor([[[[0.1, 0.2, 0.3]]], [[[0.4, 0.5, 0.6]]]])
    out = Transform(Augmentation(flip=True), None, "cpu")(
        images, noise((0, 0, 1, 0, 0), (0, 0, 0, 0, 0))
    )
    assert torch.equal(out, torch.tensor([[[[0.3, 0.2, 0.1]]], [[[0.4, 0.5, 0.6]]]]))


@pytest.mark.parametrize(
    ("side", "center", "rows", "columns"),
    [
        (4, (3, 3), (1, 5), (1, 5)),
        (4, (0, 0), (0, 2), (0, 2)),
        (4, (5, 2), (3, 6), (0, 4)),
        (3, (2, 4), (1, 4), (3, 6)),
        (1, (5, 0), (5, 6), (0, 1)),
        (6, (3, 3), (0, 6), (0, 6)),
    ],
)
def test_cutout_zeroes_its_square_clipped_at_the_border(
    side: int, center: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    expected = torch.ones(1, 2, 6, 6)
    expected[:, :, slice(*rows), slice(*columns)] = 0
    out = Transform(Augmentation(cutout=side), None, "cpu")(
        torch.ones(1, 2, 6, 6), noise((0, 0, 0, *center))
    )
    assert torch.equal(out, expected)


def test_padding_is_black_before_and_cutout_zero_after_normalization() -> None:
    normalization = Normalization((0.5, 0.25), (0.5, 0.25))
    transform = Transform(Augmentation(crop_padding=1, cutout=1), normalization, "cpu")
    out = transform(torch.full((1, 2, 3, 3), 255, dtype=torch.uint8), noise((0, 1, 0, 2, 2)))
    black, white = -1.0, torch.tensor([1.0, 3.0])
    assert torch.equal(out[0, :, 0], torch.full((2, 3), black))
    assert torch.equal(out[0, :, 1], white[:, None].expand(2, 3))
    assert torch.equal(out[0, :, 2], torch.stack([white, white, torch.zeros(2)], dim=1))


def test_noise_covers_its_ranges_evenly_and_each_kind_leaves_the_others_alone() -> None:
    plain = Transform(Augmentation(), None, "cpu")
    full = Transform(Augmentation(crop_padding=2, flip=True, cutout=3), None, "cpu")
    drawn = full.noise(4000, (6, 3), epoch_generator(0, 0))
    for column, choices in enumerate((5, 5, 2, 6, 3)):
        counts = torch.bincount(drawn[:, column], minlength=choices)
        assert len(counts) == choices
        assert (counts / 4000 - 1 / choices).abs().max() < 0.04
    other = plain.noise(4000, (6, 3), epoch_generator(0, 0))
    assert torch.equal(other[:, 2:], drawn[:, 2:])
    assert not other[:, :2].any()


def test_generator_depends_on_seed_and_epoch_and_not_on_their_sum() -> None:
    def first(seed: int, epoch: int) -> list[int]:
        generator = epoch_generator(seed, epoch)
        return torch.randint(2**40, (3,), generator=generator).tolist()

    assert first(1, 2) == first(1, 2)
    pairs = [(0, 3), (3, 0), (1, 2), (2, 1), (12, 3), (1, 23), (-1, 0)]
    assert len({tuple(first(*pair)) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize(
    ("count", "size", "shuffle", "sizes"),
    [
        (7, 3, False, [3, 3, 1]),
        (7, 3, True, [3, 3]),
        (8, 3, True, [3, 3, 2]),
        (6, 3, True, [3, 3]),
        (2, 5, False, [2]),
        (1, 1, True, [1]),
        (3, 1, True, [1, 1, 1]),
    ],
)
def test_schedule_keeps_all_but_a_lone_last_training_image(
    count: int, size: int, shuffle: bool, sizes: list[int]
) -> None:
    schedule = Schedule(count, size, 0, shuffle)
    batches = schedule.batches(epoch_generator(0, 0))
    assert [len(batch) for batch in batches] == sizes
    assert len(schedule) == len(sizes)
    seen = torch.cat(batches).tolist()
    assert len(set(seen)) == len(seen)
    assert shuffle or seen == list(range(count))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((3, 4, 0, True), "found 3 images.*batch size 4"), ((3, 0, 0, False), "batch size is 0")],
)
def test_schedule_refuses(arguments: tuple[int, int, int, bool], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        Schedule(*arguments)


def test_values_refuse_nonsense() -> None:
    with pytest.raises(ArchgradError, match="crop_padding is -1"):
        Augmentation(crop_padding=-1)
    with pytest.raises(ArchgradError, match="cutout is -2"):
        Augmentation(cutout=-2)
    for mean, std in (((), ()), ((0.0,), (1.0, 1.0)), ((0.0,), (0.0,))):
        with pytest.raises(ArchgradError, match="one mean and one positive std"):
            Normalization(mean, std)


@pytest.mark.parametrize(
    ("good", "bad", "name"),
    [
        (Augmentation(crop_padding=3), Augmentation(crop_padding=4), "crop_padding"),
        (Augmentation(cutout=3), Augmentation(cutout=4), "cutout"),
    ],
)
def test_augmentation_must_leave_something_of_the_image(
    good: Augmentation, bad: Augmentation, name: str
) -> None:
    Transform(good, None, "cpu").check((1, 9, 4))
    message = (
        f"{name} is 4, which can blank whole images of 9x4 pixels; expected at most 3, so give a "
        f"smaller {name} .0 turns it off."
    )
    for shape in ((1, 9, 4), (1, 4, 9)):
        with pytest.raises(ArchgradError, match=message.replace("9x4", f"{shape[1]}x{shape[2]}")):
            Transform(bad, None, "cpu").check(shape)


def test_normalization_must_have_the_channels_of_the_images() -> None:
    with pytest.raises(ArchgradError, match="has 1 channels, the images have 3"):
        Transform(Augmentation(), Normalization((0.5,), (0.5,)), "cpu").check((3, 8, 8))

"""ArraySource: reproducible batches, resizing, statistics and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archgrad.data import ArraySource, Augmentation, Normalization
from archgrad.data.arrays import array_source
from archgrad.errors import ArchgradError

FULL = Augmentation(crop_padding=2, flip=True, cutout=3)
HALF = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def random_source(count: int, size: int = 6, seed: int = 0) -> ArraySource:
    """Random images whose label is their index."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(1, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    return ArraySource(x, torch.arange(count))


def by_label(source: ArraySource, batch_size: int, epoch: int, **options: Any) -> torch.Tensor:
    """All images of one epoch, in the order of their labels."""
    batches = source.batches(batch_size, augmentation=FULL, normalization=HALF, **options)
    x, y = (torch.cat(part) for part in zip(*batches.epoch(epoch), strict=True))
    return x[y.argsort()]


def test_plain_pass_yields_the_images_scaled_in_order() -> None:
    source = random_source(5)
    batches = source.batches(2, normalization=HALF)
    out = list(batches.epoch(0))
    assert [tuple(x.shape) for x, _ in out] == [(2, 3, 6, 6), (2, 3, 6, 6), (1, 3, 6, 6)]
    assert len(batches) == 3
    assert batches.exact_resume
    x, y = (torch.cat(part) for part in zip(*out, strict=True))
    assert y.dtype == torch.int64
    assert y.tolist() == [0, 1, 2, 3, 4]
    assert torch.allclose(x, (source.x / 255 - 0.5) / 0.25)


def test_float_images_are_used_as_they_are() -> None:
    x = torch.tensor([[[[-3.0, 700.0]]]], dtype=torch.float64)
    ((out, _),) = ArraySource(x, torch.tensor([0])).batches(1, normalization=None).epoch(0)
    assert out.dtype == torch.float32
    assert out.tolist() == x.tolist()


def test_every_crop_is_a_window_of_its_padded_image_and_all_windows_come() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    padded = np.pad(image[0, 0].numpy(), 1)
    windows = [
        padded[row : row + 3, column : column + 3].tobytes()
        for row in range(3)
        for column in range(3)
    ]
    source = ArraySource(image.expand(300, 1, 3, 3), torch.zeros(300, dtype=torch.int64))
    batches = source.batches(
        300, shuffle=True, augmentation=Augmentation(crop_padding=1), normalization=None
    )
    ((x, _),) = batches.epoch(0)
    seen = {crop.numpy().tobytes() for crop in (x[:, 0] * 255).round().to(torch.uint8)}
    assert seen == set(windows)


def test_an_epoch_is_bit_equal_whatever_ran_before_and_differs_from_others() -> None:
    source = random_source(20)
    batches = source.batches(6, seed=3, shuffle=True, augmentation=FULL, normalization=HALF)
    again = source.batches(6, seed=3, shuffle=True, augmentation=FULL, normalization=HALF)
    first = list(batches.epoch(4))
    list(again.epoch(0))
    torch.rand(7)
    interrupted = again.epoch(1)
    next(interrupted)
    for (x, y), (x2, y2) in zip(first, again.epoch(4), strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)
    orders = {tuple(torch.cat([y for _, y in batches.epoch(epoch)]).tolist()) for epoch in range(5)}
    assert len(orders) == 5
    other = source.batches(6, seed=4, shuffle=True, normalization=None)
    assert not torch.equal(
        torch.cat([y for _, y in other.epoch(4)]), torch.cat([y for _, y in first])
    )


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    by_label(random_source(9), 4, 0, shuffle=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_belongs_to_the_image_not_to_its_place() -> None:
    source = random_source(24)
    reference = by_label(source, 24, 1)
    for batch_size in (5, 6, 24):
        assert torch.equal(by_label(source, batch_size, 1), reference)
    for batch_size in (6, 8, 24):
        assert torch.equal(by_label(source, batch_size, 1, shuffle=True), reference)
    assert not torch.equal(by_label(source, 24, 2), reference)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 30),
    batch_size=st.integers(1, 40),
    shuffle=st.booleans(),
    padding=st.integers(0, 3),
    epoch=st.integers(0, 10**6),
)
def test_any_epoch_holds_each_image_once(
    count: int, batch_size: int, shuffle: bool, padding: int, epoch: int
) -> None:
    source = random_source(count, size=4)
    augmentation = Augmentation(crop_padding=padding, flip=True, cutout=2)
    if shuffle and batch_size > count:
        with pytest.raises(ArchgradError, match=f"found {count} images"):
            source.batches(batch_size, shuffle=True, normalization=None)
        return
    batches = source.batches(
        batch_size, shuffle=shuffle, augmentation=augmentation, normalization=HALF
    )
    out = list(batches.epoch(epoch))
    assert len(out) == len(batches)
    assert all(x.shape == (len(y), 3, 4, 4) for x, y in out)
    labels = torch.cat([y for _, y in out]).tolist()
    dropped = shuffle and batch_size > 1 and count % batch_size == 1
    assert len(set(labels)) == len(labels) == count - dropped


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_batches_of_the_cpu() -> None:
    source = random_source(10)
    device = by_label(source, 4, 0, device="cuda")
    assert device.device.type == "cuda"
    assert torch.allclose(device.cpu(), by_label(source, 4, 0), atol=1e-5)


def test_arrays_of_the_user_are_never_written() -> None:
    x = torch.rand(4, 1, 4, 4)
    y = np.array([0, 1, 0, 1], dtype=np.uint8)
    before = x.clone()
    source = array_source(x, y, "train")
    for images, labels in source.batches(2, normalization=None).epoch(0):
        images.zero_()
        labels.fill_(9)
    assert torch.equal(x, before)
    assert y.tolist() == source.labels.tolist() == [0, 1, 0, 1]


def test_subset_keeps_the_given_order() -> None:
    source = random_source(6)
    for indices in ([4, 1], np.array([4, 1]), torch.tensor([4, 1])):
        part = source.subset(indices)
        assert part.labels.tolist() == [4, 1]
        assert torch.equal(part.x, source.x[[4, 1]])


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 6], "run from 0 to 6; expected 0..5"),
        ([-1], "run from -1 to -1"),
        ([], "one or more integers"),
        ([True, False], "one or more integers"),
        ([[0]], "one or more integers"),
    ],
)
def test_subset_refuses(indices: list[Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        random_source(6).subset(indices)


def test_resizing_averages_areas_and_keeps_the_type() -> None:
    x = torch.tensor([[[[0, 1, 10, 10], [1, 1, 10, 20], [4, 4, 0, 0], [4, 5, 0, 255]]]])
    labels = torch.tensor([0])
    small = ArraySource(x.to(torch.uint8), labels).resized(2)
    assert small.x.dtype == torch.uint8
    assert small.x.tolist() == [[[[1, 12], [4, 64]]]]
    exact = ArraySource(x.float(), labels).resized(2)
    assert exact.x.tolist() == [[[[0.75, 12.5], [4.25, 63.75]]]]
    large = ArraySource(x.to(torch.uint8), labels).resized(8)
    assert torch.equal(large.x, x.to(torch.uint8).repeat_interleave(2, 2).repeat_interleave(2, 3))
    wide = ArraySource(x[:, :, :2].float(), labels).resized(2)
    assert wide.x.tolist() == [[[[0.5, 10.0], [1.0, 15.0]]]]


def test_normalization_is_the_mean_and_std_of_each_channel() -> None:
    source = random_source(1500)
    found = source.normalization()
    pixels = source.x.numpy() / 255
    np.testing.assert_allclose(found.mean, pixels.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(found.std, pixels.std((0, 2, 3)), rtol=1e-9)
    flat = ArraySource(torch.full((2, 1, 3, 3), 0.5), torch.tensor([0, 1])).normalization()
    assert flat == Normalization((0.5,), (1e-6,))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((5, 4, 6), None), ((5, 1, 4, 6), (0, 1, 2, 3)), ((5, 4, 6, 3), (0, 3, 1, 2))],
)
def test_layouts_become_channels_first(shape: tuple[int, ...], axes: Any) -> None:
    x = np.random.default_rng(0).random(shape)
    source = array_source(x, np.zeros(5, dtype=np.int16), "train")
    expected = x[:, None] if axes is None else x.transpose(axes)
    np.testing.assert_array_equal(source.x, expected.astype(np.float32))
    torch_source = array_source(torch.from_numpy(x), [0] * 5, "train")
    assert torch.equal(torch_source.x, source.x)


def test_arrays_that_torch_cannot_share_are_converted() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    x.flags.writeable = False
    assert array_source(x, np.array([0, 1]), "train").x[:, 0].tolist() == x.tolist()
    turned = x[:, ::-1]
    assert array_source(turned, np.array([0, 1]), "train").x[:, 0].tolist() == turned.tolist()
    swapped = x.astype(">f8")
    source = array_source(swapped, np.array([0, 1], dtype=">i4"), "train")
    assert source.x[:, 0].tolist() == x.tolist()
    assert source.labels.tolist() == [0, 1]


X = np.zeros((4, 5, 5), dtype=np.float32)
Y = np.array([0, 1, 0, 1])
NAN = X.copy()
NAN[2, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:3], Y, "train: x has 3 images and y has 4 labels"),
        (X[:0], Y[:0], "train: x has shape .0, 1, 5, 5.; expected images"),
        (X[0], Y, r"train: x has 5 images|x has shape"),
        (X[:, 0, 0], Y, r"x has shape \(4,\); expected \(N, H, W\)"),
        (X[..., None, None], Y, r"x has shape \(4, 5, 5, 1, 1\)"),
        (np.zeros((4, 5, 5, 5)), Y, "size 1 or 3, the channels"),
        (np.zeros((4, 3, 5, 3)), Y, "size 1 or 3, the channels"),
        (X.astype(np.int64), Y, "x has type torch.int64; expected uint8"),
        (X.astype(bool), Y, "x is a ndarray of type bool"),
        (X.astype(str), Y, "x is a ndarray of type <U"),
        (object(), Y, "x is a object"),
        (X.astype(object), Y, "train: x is a ndarray of type object; expected a numpy array or a"),
        (X, Y.astype(object), "train: y is a ndarray of type object; expected a numpy array or a"),
        (
            [[[1.0, 2.0]], [[3.0]]],
            [0, 1],
            "train: x is a list that makes no array .*; expected a numpy array or a torch tensor",
        ),
        (X, [[0, 1], [2]], "train: y is a list that makes no array .*; expected a numpy array"),
        (
            [torch.zeros(2, 2), torch.zeros(3, 3)],
            [0, 1],
            "train: x is a list that makes no array .*; expected a numpy array",
        ),
        (
            torch.from_numpy(X).to_sparse(),
            Y,
            r"train: x is a tensor of layout torch.sparse_coo of shape \(4, 5, 5\) .*; expected a "
            "numpy array or a dense torch tensor",
        ),
        (X, torch.from_numpy(Y).to_sparse(), "train: y is a tensor of layout torch.sparse_coo"),
        (
            torch.zeros(4, 5, 5, device="meta"),
            Y,
            r"train: x is a tensor of shape \(4, 5, 5\) and type torch.float32 on the meta device, "
            "without values; expected a numpy array or a dense",
        ),
        (X, torch.zeros(4, dtype=torch.int64, device="meta"), "train: y is .* on the meta device"),
        (X, Y.astype(float), "and type torch.float32; expected one integer label"),
        (X, Y[:, None], r"y has shape \(4, 1\)"),
        (X, np.array([0, 1, -1, 0]), "label -1 at index 2 is out of range"),
        (X, torch.tensor([True] * 4), "type torch.bool"),
        (NAN, Y, "image 2 holds a value that is not finite"),
        (X.astype(np.float64) + 1e300, Y, "image 0 holds a value that is not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_bad_arrays_are_refused(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        array_source(x, y, "train")


def test_a_source_takes_no_tensors_without_values() -> None:
    dense, labels = torch.zeros(2, 1, 4, 4), torch.tensor([0, 1])
    with pytest.raises(ArchgradError, match="images: x is a tensor of layout torch.sparse_coo"):
        ArraySource(dense.to_sparse(), labels)
    with pytest.raises(ArchgradError, match="images: y is .* on the meta device"):
        ArraySource(dense, labels.to("meta"))
    nested = torch.nested.nested_tensor([dense[0], dense[1, :, :2]], layout=torch.jagged)
    with pytest.raises(ArchgradError, match="images: x is a nested tensor; expected"):
        ArraySource(nested, labels)


def test_the_index_of_a_value_not_finite_is_right_past_the_first_chunk() -> None:
    x = torch.zeros(3000, 1, 2, 2)
    x[2500, 0, 1, 1] = torch.inf
    with pytest.raises(ArchgradError, match="image 2500 holds"):
        ArraySource(x, torch.zeros(3000, dtype=torch.int64))


@pytest.mark.parametrize(
    ("shape", "channels_first"),
    [
        ((2, 4, 6, 6), (4, 6, 6)),
        ((2, 6, 6, 4), (4, 6, 6)),
        ((2, 5, 3, 3), (5, 3, 3)),
        ((2, 3, 5, 7), (3, 5, 7)),
        ((2, 5, 7, 3), (3, 5, 7)),
        ((2, 5, 7), (1, 5, 7)),
    ],
)
def test_the_channel_axis_is_found(shape: tuple[int, ...], channels_first: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    source = array_source(x, np.zeros(2, dtype=int), "train")
    assert source.shape == channels_first
    assert sorted(source.x.flatten().tolist()) == sorted(x.flatten().tolist())

"""Signals and volumes: layouts, augmentation, normalization, and the sources that hold them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from archgrad.data import ArraySource, Augmentation, Normalization, as_data, load
from archgrad.data.arrays import array_source
from archgrad.data.transform import Transform, epoch_generator
from archgrad.errors import ArchgradError
from archgrad.parts.augmentation import RandomCutout

Y = torch.arange(6) % 2


def values(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "given", "shape"),
    [
        (1, (6, 9), (1, 9)),
        (1, (6, 2, 9), (2, 9)),
        (1, (6, 9, 2), (9, 2)),  # channels are the second axis, whatever their number
        (2, (6, 9, 4), (1, 9, 4)),  # without a word, as ever
        (3, (6, 5, 4, 3), (1, 5, 4, 3)),
        (3, (6, 2, 5, 4, 3), (2, 5, 4, 3)),
    ],
)
def test_the_channels_are_the_second_axis(
    dims: int, given: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    x = values(*given)
    source = array_source(x.numpy(), Y.numpy(), "train", dims)
    assert source.shape == shape
    assert torch.equal(source.x.flatten(), x.flatten())
    for part in (source.subset([0, 3]), source.resized(2)):
        assert part.dims == dims
    data = as_data((x, Y), dims=dims)
    assert data.shape == data.train.shape == shape  # type: ignore[attr-defined]
    assert data.augmentation == Augmentation(crop_padding=shape[1] // 8 if dims == 2 else 0)


def test_data_of_one_shape_and_other_dims_have_other_fingerprints() -> None:
    x = values(6, 5, 4)
    assert as_data((x, Y)).fingerprint() != as_data((x, Y), dims=1).fingerprint()
    assert as_data((x, Y), dims=1).fingerprint() == as_data((x, Y), dims=1).fingerprint()


@pytest.mark.parametrize(
    ("dims", "shape", "message"),
    [
        (1, (6, 2, 9, 9), r"\(6, 2, 9, 9\); expected \(N, C, L\), or \(N, L\) .* as dims is 1"),
        (3, (6, 9, 9), r"expected \(N, C, D, H, W\), or \(N, D, H, W\) of a single channel"),
        (4, (6, 9), "dims is 4; expected 1 for signals, 2 for images or 3 for volumes"),
        (True, (6, 9), "dims is True, a bool; expected a whole number"),
    ],
)
def test_arrays_that_do_not_fit_are_named(dims: int, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        as_data((values(*shape), Y), dims=dims)


def test_a_source_takes_no_signals_unasked() -> None:
    with pytest.raises(ArchgradError, match=r"expected images \(N, C, H, W\), at least one"):
        ArraySource(values(6, 2, 9), Y)
    assert ArraySource(values(6, 2, 9), Y, dims=1).shape == (2, 9)


def test_normalization_is_by_channel() -> None:
    for shape in ((6, 2, 9), (6, 2, 3, 4, 5)):
        x = values(*shape) * 3 - 1
        data = as_data((x, Y), dims=len(shape) - 2)
        by_channel = x.double().transpose(0, 1).flatten(1)
        assert data.normalization is not None
        assert data.normalization.mean == pytest.approx(by_channel.mean(1).tolist())
        assert data.normalization.std == pytest.approx(by_channel.std(1, correction=0).tolist())
        batches = data.train.batches(6, normalization=data.normalization)
        ((out, labels),) = batches.epoch(0)
        assert out.shape == shape and torch.equal(labels, Y)
        flat = out.transpose(0, 1).flatten(1)
        torch.testing.assert_close(flat.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(flat.std(1, correction=0), torch.ones(2))


def test_resizing_averages() -> None:
    x = torch.tensor([[[0.0, 2.0, 4.0, 8.0]]] * 2)
    data = as_data((x, torch.tensor([0, 1])), dims=1, image_size=2)
    assert data.train.x.tolist() == [[[1.0, 6.0]]] * 2  # type: ignore[attr-defined]
    volumes = as_data((values(6, 1, 4, 4, 6), Y), dims=3, image_size=2)
    assert volumes.shape == (1, 2, 2, 2)


# --- augmentation --------------------------------------------------------------------------------


def test_signals_are_cropped_flipped_and_cut_out() -> None:
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]).expand(3, 2, 4)
    transform = Transform(Augmentation(crop_padding=1, flip=True), None, "cpu")
    out = transform(x, torch.tensor([[0, 0, 0], [2, 0, 0], [1, 1, 0]]))
    expected = [[0, 1, 2, 3], [2, 3, 4, 0], [4, 3, 2, 1]]
    assert out[:, 0].tolist() == out[:, 1].tolist() == expected
    hidden = Transform(Augmentation(cutout=2), Normalization((1.0, 1.0), (1.0, 2.0)), "cpu")
    out = hidden(x, torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 3]]))
    assert out[:, 0].tolist() == [[0, 1, 2, 3], [0, 0, 2, 3], [0, 1, 0, 0]]
    assert out[:, 1].tolist() == [[0, 0.5, 1, 1.5], [0, 0, 1, 1.5], [0, 0.5, 0, 0]]


def test_volumes_are_cropped_flipped_and_cut_out() -> None:
    x = values(2, 2, 4, 5, 6)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1), (1, 1)))
    transform = Transform(Augmentation(crop_padding=1, flip=True), None, "cpu")
    out = transform(x, torch.tensor([[0, 2, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0]]))
    np.testing.assert_array_equal(out[0], padded[0, :, 0:4, 2:7, 1:7])
    np.testing.assert_array_equal(out[1], padded[1, :, 1:5, 1:6, 0:6][..., ::-1])
    cut = Transform(Augmentation(cutout=3), None, "cpu")
    out = cut(torch.ones(1, 2, 4, 5, 6), torch.tensor([[0, 0, 0, 0, 3, 2, 0]]))
    expected = torch.ones(1, 2, 4, 5, 6)
    expected[:, :, 2:4, 1:4, 0:2] = 0
    assert torch.equal(out, expected)


def test_noise_has_a_column_for_every_draw() -> None:
    transform = Transform(Augmentation(crop_padding=1), None, "cpu")
    for size in ((7,), (7, 3, 5)):
        drawn = transform.noise(500, size, epoch_generator(0, 0))[:, :-1]  # without the keys
        ranges = [*[3] * len(size), 2, *size]
        assert (drawn.amax(0) + 1).tolist() == ranges and not drawn.amin(0).any()


def test_too_large_an_augmentation_is_refused() -> None:
    transform = Transform(Augmentation(cutout=4), None, "cpu")
    with pytest.raises(ArchgradError, match="cutout is 4, .* whole images of 4 pixels; .* most 3"):
        transform.check((2, 4))
    with pytest.raises(ArchgradError, match="whole images of 9x4x9 pixels"):
        transform.check((1, 9, 4, 9))
    transform.check((2, 5))


def test_random_cutout_hides_an_interval_of_a_signal() -> None:
    generator = torch.Generator().manual_seed(0)
    state: Any = SimpleNamespace(generator=lambda: generator, progress=0.0)
    out = RandomCutout(3, 1.0)(torch.ones(200, 2, 9), state)
    hidden = out[:, 0] == 0
    assert torch.equal(out[:, 0], out[:, 1])
    assert set(hidden.sum(1).tolist()) == {2, 3}  # clipped at a border or not
    edges = hidden.int().diff(dim=1).abs().sum(1) + hidden[:, 0].int() + hidden[:, -1].int()
    assert set(edges.tolist()) == {2}  # a single interval
    some = RandomCutout(3, 0.5)(torch.ones(200, 2, 4, 4, 4), state)[:, 0].flatten(1)
    assert 60 < int((some == 0).any(1).sum()) < 140


# --- other sources -------------------------------------------------------------------------------


def test_npz_files_hold_signals(tmp_path: Path) -> None:
    x = values(20, 2, 9).numpy()
    np.savez(tmp_path / "s.npz", x=x, y=np.arange(20) % 2, x_test=x[:4], y_test=[0, 1, 0, 1])
    data = load("npz:s.npz", tmp_path, dims=1)
    assert data.shape == (2, 9) and data.test is not None and len(data.test) == 4
    assert as_data(tmp_path / "s.npz", dims=1).shape == (2, 9)
    assert load("npz:s.npz", tmp_path).shape == (1, 2, 9)


@pytest.mark.parametrize("name", ["digits", "cifar10", "folder:x"])
def test_named_data_sets_are_images(name: str) -> None:
    with pytest.raises(ArchgradError, match=f"dims is 1 for {name}, which holds images; expected"):
        load(name, "nowhere", dims=1)


@pytest.mark.parametrize(("dims", "shape"), [(1, (2, 9)), (1, (9,)), (3, (2, 3, 4, 5))])
def test_datasets_and_loaders_hold_them_too(dims: int, shape: tuple[int, ...]) -> None:
    x = values(6, *shape)
    full = shape if len(shape) == dims + 1 else (1, *shape)
    data = as_data(TensorDataset(x, Y), dims=dims, valid=TensorDataset(x, Y))
    assert data.shape == full and len(data.fingerprint()) == 16
    ((out, _),) = data.train.subset(range(4)).batches(4, normalization=None).epoch(0)
    assert torch.equal(out, x[:4].view(4, *full))
    loader = DataLoader(TensorDataset(x.view(6, *full), Y), 3)
    data = as_data(loader, dims=dims, valid=loader, classes=2)
    assert data.shape == full
    assert [tuple(out.shape) for out, _ in data.train.batches(3, normalization=None).epoch(0)] == [
        (3, *full)
    ] * 2
    with pytest.raises(
        ArchgradError, match=r"expected a float or uint8 tensor \(B, C, (L|D, H, W)"
    ):
        as_data(DataLoader(TensorDataset(values(6, 3, 4, 4), Y), 3), dims=dims, classes=2)


def test_a_dataset_of_another_rank_is_named() -> None:
    with pytest.raises(ArchgradError, match=r"uint8 tensor \(C, L\) or \(L\), so add"):
        as_data(TensorDataset(values(6, 3, 4, 4), Y), dims=1)


def test_data_settle_their_dims() -> None:
    data = as_data((values(6, 2, 9), Y), dims=1)
    assert as_data(data) is as_data(data, dims=1) is data
    with pytest.raises(ArchgradError, match=r"dims is 3 for data of shape \(2, 9\); expected 1"):
        as_data(data, dims=3)

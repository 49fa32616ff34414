"""Datasets and DataLoaders of the user."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from archgrad.data import ArraySource, Augmentation, DatasetSource, LoaderSource, Normalization
from archgrad.data.torchdata import known_labels
from archgrad.errors import ArchgradError

FULL = Augmentation(crop_padding=1, flip=True, cutout=2)
NORMALIZATION = Normalization((0.4,), (0.3,))


class Items(Dataset[Any]):
    """A data set of the given items."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


class Stream(IterableDataset[Any]):
    """A data set without length."""

    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.zeros(1, 4, 4), 0)])


def images(count: int = 10) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=generator)


def items(count: int = 10) -> list[tuple[Tensor, int]]:
    return [(image, index) for index, image in enumerate(images(count))]


def one(image: Any = None, label: Any = 0) -> list[tuple[Any, Any]]:
    return [(torch.zeros(1, 4, 4) if image is None else image, label)]


# Coverage warns of this in the worker as it exits; as an error it would end the worker with 1.
@pytest.mark.filterwarnings("ignore:Module .* was previously imported, but not measured")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_gives_the_very_batches_of_its_arrays(workers: int) -> None:
    options: dict[str, Any] = {
        "seed": 5, "shuffle": True, "augmentation": FULL, "normalization": NORMALIZATION,
    }  # fmt: skip
    arrays = ArraySource(images(), torch.arange(10)).batches(3, **options)
    batches = DatasetSource(Items(items()), workers).batches(3, **options)
    assert len(batches) == len(arrays) == 3
    assert batches.exact_resume
    state = torch.get_rng_state()
    found = list(batches.epoch(2))
    assert torch.equal(torch.get_rng_state(), state)
    for (x, y), (x2, y2) in zip(found, arrays.epoch(2), strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_dataset_items_may_be_flat_floats_and_numpy_labels() -> None:
    source = DatasetSource(Items([(torch.full((2, 3), 7.5), np.int64(1))] * 2))
    assert source.shape == (1, 2, 3)
    ((x, y),) = source.batches(2, normalization=None).epoch(0)
    assert torch.equal(x, torch.full((2, 1, 2, 3), 7.5))
    assert y.tolist() == [1, 1]
    scalar = DatasetSource(Items(one(label=torch.tensor(3)))).batches(1, normalization=None)
    assert next(scalar.epoch(0))[1].tolist() == [3]


def test_dataset_subset_keeps_order_and_labels() -> None:
    part = DatasetSource(TensorDataset(images(), torch.arange(10) + 5)).subset([7, 2])
    assert part.labels is not None
    assert part.labels.tolist() == [12, 7]
    ((x, y),) = part.batches(4, normalization=None).epoch(0)
    assert y.tolist() == [12, 7]
    assert torch.equal(x, images()[[7, 2]] / 255)


def test_labels_are_known_only_where_they_can_be_trusted() -> None:
    def with_targets(targets: Any, **more: Any) -> Any:
        dataset = Items(items(3))
        vars(dataset).update(targets=targets, **more)
        return dataset

    for targets in ([2, 0, 1], np.array([2, 0, 1]), torch.tensor([2, 0, 1])):
        labels = known_labels(with_targets(targets))
        assert labels is not None
        assert labels.tolist() == [2, 0, 1]
    nested = known_labels(Subset(with_targets([2, 0, 1]), [1, 0]))
    assert nested is not None
    assert nested.tolist() == [0, 2]
    for targets in (None, [1, 2], [0.5, 1.0, 2.0], [{}, {}, {}], [[1], [2, 3], [4]], "abc"):
        assert known_labels(with_targets(targets)) is None
    assert known_labels(with_targets([2, 0, 1], target_transform=lambda label: 0)) is None
    assert known_labels(Items(items(3))) is None


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "is a Stream, an IterableDataset; expected a map-style Dataset"),
        (Items([]), "dataset is empty"),
        (Items([torch.zeros(1, 4, 4)]), "yields a Tensor; expected pairs"),
        (Items(one(image=SimpleNamespace())), "images that are a SimpleNamespace.*ToTensor"),
        (Items(one(image=torch.zeros(4, dtype=torch.int64))), "type torch.int64"),
        (Items(one(label="cat")), "labels that are a str; expected an integer"),
        (Items(one(label=0.5)), "labels that are a float"),
        (Items(one(label=torch.tensor([1]))), r"a tensor of shape \(1,\)"),
        (Items(one() + one(image=torch.zeros(1, 5, 4))), "one shape and one type"),
        (Items(one() + one(image=torch.zeros(1, 4, 4).byte())), "one shape and one type"),
        (Items(one() * 2 + one(torch.zeros(1, 5, 4)) * 2), r"shape \(1, 5, 4\); expected \(1, 4"),
        (Items(one(label=2)), "label 2 at index 0 is out of range; expected 0..1"),
        (TensorDataset(images(1), torch.tensor([3])), "label 3 at index 0 is out of range"),
    ],
)
def test_bad_datasets_are_refused(dataset: Dataset[Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        list(DatasetSource(dataset, classes=2).batches(2, normalization=None).epoch(0))


def test_dataset_training_needs_a_full_batch() -> None:
    with pytest.raises(ArchgradError, match=r"found 3 images.*batch size 4"):
        DatasetSource(Items(items(3))).batches(4, shuffle=True, normalization=None)


def test_a_loader_is_used_as_it_comes() -> None:
    loader = DataLoader(Items(items()), batch_size=4)
    source = LoaderSource(loader)
    batches = source.batches(2, shuffle=True, normalization=None)
    out = list(batches.epoch(0))
    assert [y.tolist() for _, y in out] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert torch.equal(torch.cat([x for x, _ in out]), images() / 255)
    assert (len(source), len(batches), source.shape) == (10, 3, (1, 4, 4))
    assert source.labels is None
    assert not batches.exact_resume


def test_a_loader_is_augmented_where_asked_for() -> None:
    loader = DataLoader(TensorDataset(torch.ones(6, 1, 4, 4), torch.arange(6)), batch_size=3)
    batches = LoaderSource(loader).batches(
        3, augmentation=Augmentation(cutout=1), normalization=Normalization((0.5,), (0.25,))
    )
    x = torch.cat([x for x, _ in batches.epoch(0)])
    assert ((x == 0).flatten(1).sum(1) == 1).all()
    assert (x[x != 0] == 2).all()
    too_large = LoaderSource(loader).batches(
        3, augmentation=Augmentation(cutout=9), normalization=None
    )
    with pytest.raises(ArchgradError, match="can blank whole images"):
        next(too_large.epoch(0))


def test_reading_the_shape_leaves_the_global_random_state_alone() -> None:
    source = LoaderSource(DataLoader(Items(items()), batch_size=4, shuffle=True))
    state = torch.get_rng_state()
    assert source.shape == (1, 4, 4)
    assert torch.equal(torch.get_rng_state(), state)


PIXELS = torch.zeros(2, 1, 4, 4)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"x": PIXELS}, "a batch is a dict; expected a pair"),
        (PIXELS, "a batch is a Tensor"),
        ((PIXELS, LABELS, LABELS), "a batch is a tuple of length 3"),
        ((PIXELS[0], LABELS), r"images are a tensor of shape \(1, 4, 4\)"),
        ((PIXELS.long(), LABELS), "type torch.int64; expected a float or uint8"),
        (("a", LABELS), "images are a str"),
        ((PIXELS, LABELS.float()), "labels are a tensor.*torch.float32; expected an integer"),
        ((PIXELS, LABELS[:1]), "expected an integer tensor of 2 labels"),
        ((PIXELS, LABELS[:, None]), r"labels are a tensor of shape \(2, 1\)"),
        ((PIXELS, [0, 1]), "labels are a list"),
        ((PIXELS, LABELS + 1), "label 2 at index 1 is out of range; expected 0..1"),
    ],
)
def test_bad_batches_of_a_loader_are_refused(batch: Any, message: str) -> None:
    loader = DataLoader(Items([batch]), batch_size=None, collate_fn=lambda item: item)
    with pytest.raises(ArchgradError, match=message):
        list(LoaderSource(loader, classes=2).batches(2, normalization=None).epoch(0))


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_images_that_are_not_finite_are_told(value: str) -> None:
    x = torch.zeros(10, 1, 4, 4)
    x[7, 0, 3, 1] = float(value)
    tensors = TensorDataset(x, torch.arange(10) % 2)
    end = f"found {value}, expected finite values in float32, so mend or remove it"
    source = DatasetSource(tensors, name="test")
    for batches, message in (
        (
            source.batches(3, normalization=None),
            f"test: batch 2, image 7 of the TensorDataset: {end}",
        ),
        (
            source.subset([0, 1, 8, 7]).subset([0, 3]).batches(1, normalization=None),
            f"test: batch 1, image 7 of the TensorDataset: {end}",
        ),
        (
            LoaderSource(DataLoader(tensors, 4), name="valid").batches(4, normalization=None),
            f"valid: batch 1, image 3 of the batch: {end}",
        ),
    ):
        with pytest.raises(ArchgradError, match=message):
            list(batches.epoch(0))
    shuffled = source.batches(5, shuffle=True, seed=1, normalization=None)
    with pytest.raises(ArchgradError, match="image 7 of the TensorDataset"):
        list(shuffled.epoch(3))


def test_values_too_large_for_float32_are_not_finite() -> None:
    large = Items(one(torch.full((1, 4, 4), 1e300, dtype=torch.float64)))
    with pytest.raises(ArchgradError, match="batch 0, image 0 of the Items: found inf"):
        list(DatasetSource(large).batches(1, normalization=None).epoch(0))


def test_sparse_and_meta_tensors_are_told() -> None:
    sparse = Items(one(torch.zeros(1, 4, 4).to_sparse()))
    with pytest.raises(ArchgradError, match="images that are a tensor of layout torch.sparse_coo"):
        _ = DatasetSource(sparse).shape
    batch = (torch.zeros(2, 1, 4, 4, device="meta"), LABELS)
    loader = DataLoader(Items([batch]), batch_size=None, collate_fn=lambda item: item)
    with pytest.raises(ArchgradError, match="images are a tensor of .* on the meta device"):
        _ = LoaderSource(loader).shape


def test_a_loader_without_length_images_or_split_is_refused() -> None:
    stream = LoaderSource(DataLoader(Stream(), batch_size=1))
    with pytest.raises(ArchgradError, match="the data set of loader has no length"):
        len(stream)
    with pytest.raises(ArchgradError, match="loader has no length"):
        len(stream.batches(1, normalization=None))
    with pytest.raises(ArchgradError, match="cannot be split; give a second one as valid="):
        stream.subset([0])
    with pytest.raises(ArchgradError, match="loader is empty"):
        _ = LoaderSource(DataLoader(Items([]))).shape

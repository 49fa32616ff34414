"""`load` and `as_data` on every kind of value, and the splits of Data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, TensorDataset

from archgrad.data import (
    DATASETS,
    ArraySource,
    Augmentation,
    DatasetSource,
    LoaderSource,
    as_data,
    load,
)
from archgrad.data.splits import balanced, stratified
from archgrad.errors import ArchgradError

X = np.random.default_rng(0).random((12, 16, 16)).astype(np.float32)
Y = np.arange(12) % 3
TENSORS = TensorDataset(torch.from_numpy(X)[:, None], torch.from_numpy(Y))


class Bare(Dataset[Any]):
    """A data set that tells no labels."""

    def __getitem__(self, index: int) -> Any:
        return TENSORS[index]

    def __len__(self) -> int:
        return 12


def labels(source: Any) -> list[int]:
    assert source.labels is not None
    return list(source.labels.tolist())


def test_names_are_listed_and_a_wrong_one_is_told() -> None:
    images = ["digits", "cifar10", "cifar100", "npz:FILE", "folder:DIR"]
    assert list(DATASETS) == [*images, "ptb", "text:DIR", "text:TRAIN,VALID,TEST", "grammar"]
    for name in ("digit", "npz:", "imagenet"):
        with pytest.raises(ArchgradError, match=f'data set "{name}" is not known.*Known: cifar10'):
            load(name)
    with pytest.raises(ArchgradError, match='did you mean "digits"'):
        load("digit")


def test_image_size_and_subset_are_checked() -> None:
    with pytest.raises(ArchgradError, match="image_size is 0"):
        load("digits", image_size=0)
    for subset in (0, 1439):
        with pytest.raises(ArchgradError, match=f"subset is {subset}; expected 1..1438"):
            load("digits", subset=subset)
    with pytest.raises(ArchgradError, match='class "9" has no image in the subset of 9 images'):
        load("digits", subset=9)
    data = load("digits", image_size=4, subset=30)
    assert data.shape == (1, 4, 4)
    assert data.test is not None
    assert len(data.test) == 359
    assert np.bincount(labels(data.train)).tolist() == [3] * 10


def test_a_data_and_a_name_pass_through() -> None:
    data = as_data("digits", subset=50, classes=10)
    assert len(data.train) == 50
    assert as_data(data) is data
    with pytest.raises(ArchgradError, match="classes is 3; expected 10, as digits has"):
        as_data(data, classes=3)
    with pytest.raises(ArchgradError, match="subset was given with a Data"):
        as_data(data, subset=20)
    with pytest.raises(ArchgradError, match="test was given with a str"):
        as_data("digits", test=(X, Y))


def test_arrays_become_data() -> None:
    data = as_data((X, Y))
    assert (data.name, data.shape, data.classes) == ("arrays", (1, 16, 16), ("0", "1", "2"))
    assert data.test is None
    assert data.valid is None
    assert data.augmentation == Augmentation(crop_padding=2)
    assert data.normalization is not None
    assert data.normalization.mean[0] == pytest.approx(float(X.mean()), abs=1e-6)
    tensors = as_data([torch.from_numpy(X), torch.from_numpy(Y)], image_size=8, subset=6)
    assert tensors.shape == (1, 8, 8)
    assert np.bincount(labels(tensors.train)).tolist() == [2, 2, 2]
    assert isinstance(tensors.train, ArraySource)


def test_arrays_with_test_and_valid() -> None:
    four = as_data((X, Y, X[:4], Y[:4]))
    named = as_data((X, Y), test=(X[:4], Y[:4]), valid=(X[:5], Y[:5]), image_size=8)
    assert four.test is not None
    assert named.test is not None
    assert labels(four.test) == labels(named.test) == [0, 1, 2, 0]
    weights, alphas = named.split(0.9)
    assert weights is named.train
    assert alphas is named.valid
    assert isinstance(alphas, ArraySource)
    assert alphas.shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        ((X, Y, X), {}, "data is a tuple of 3 items; expected"),
        ((X, Y, X, Y), {"test": (X, Y)}, "a tuple of 4 items with test= besides"),
        ((X, Y), {"test": X}, "test is a ndarray; expected a pair"),
        ((X, Y), {"valid": (X, Y, Y)}, "valid is a tuple; expected a pair"),
        ((X, Y), {"test": (X[:0], Y[:0])}, "test: x has shape"),
        ((X, Y), {"test": (X[:, :8], Y)}, r"test images have shape \(1, 8, 16\)"),
        ((X, Y), {"valid": (np.stack([X] * 3, 1), Y)}, r"valid images have shape \(3, 16, 16\)"),
        ((X, Y), {"test": (X, Y + 1)}, "test: label 3 at index 2 is out of range; expected 0..2"),
        ((X, Y), {"classes": 2}, "train: label 2 at index 2 is out of range; expected 0..1"),
        ((X, Y), {"classes": 4}, 'class "3" has no image in the training set'),
        ((X, Y), {"classes": 0}, "classes is 0"),
        ((X, Y * 2), {}, 'class "1" has no image in the training set of 12 images'),
        ((X, Y), {"image_size": -1}, "image_size is -1"),
        ((X, Y), {"subset": 13}, "subset is 13; expected 1..12"),
        ({"x": X}, {}, "data is a dict; expected a name"),
        (X, {}, "data is a ndarray; expected a name"),
        *(
            (
                value,
                {"image_size": 8},
                f"data is a {kind}; expected a name, a path, a pair .x, y. of arrays, a torch "
                "Dataset or a DataLoader",
            )
            for value, kind in ((3, "int"), (None, "NoneType"), ({}, "dict"))
        ),
        *(
            (
                (X, Y),
                {name: value},
                f"{name} is {value!r}, a {type(value).__name__}; expected a whole number, so give "
                "an int",
            )
            for name in ("classes", "image_size", "subset")
            for value in ("3", 3.0, True)
        ),
        ("digits", {"root": 3}, "root is a int; expected the path of a folder"),
        ("digits", {"subset": "50"}, "subset is '50', a str; expected a whole number"),
        (TENSORS, {"image_size": 8}, "image_size was given with a TensorDataset"),
        (TENSORS, {"test": (X, Y)}, "test is a tuple; expected a torch Dataset"),
        (TENSORS, {"classes": 4}, 'class "3" has no image'),
        (TENSORS, {"subset": 2}, 'class "2" has no image in the subset'),
        (Bare(), {}, "the number of classes of a Bare is not known.*give classes="),
        (Bare(), {"classes": 3, "subset": 6}, "subset was given with a Bare whose labels"),
        (DataLoader(TENSORS), {"valid": TENSORS}, "valid is a TensorDataset; expected a DataLoa"),
        (DataLoader(TENSORS), {"valid": DataLoader(TENSORS), "test": 3}, "test is a int"),
        (DataLoader(TENSORS), {"valid": DataLoader(TENSORS), "subset": 3}, "subset was given"),
        (DataLoader(TENSORS), {"image_size": 8}, "image_size was given with a DataLoader"),
        (DataLoader(Bare()), {"valid": DataLoader(Bare())}, "number of classes of a Bare"),
    ],
)
def test_wrong_values_are_refused(value: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        as_data(value, **options)


def test_a_dataset_becomes_data() -> None:
    data = as_data(TENSORS, test=TENSORS, subset=9)
    assert isinstance(data.train, DatasetSource)
    assert (data.name, data.shape, data.classes) == ("TensorDataset", (1, 16, 16), tuple("012"))
    assert data.normalization is None
    assert data.augmentation == Augmentation()
    assert np.bincount(labels(data.train)).tolist() == [3, 3, 3]
    assert data.test is not None
    assert len(data.test) == 12
    own = as_data(DatasetSource(TENSORS, workers=2), valid=TENSORS)
    assert isinstance(own.train, DatasetSource)
    assert own.train.workers == 2
    assert own.split()[1] is own.valid


def test_a_dataset_may_name_its_classes_and_hide_its_labels() -> None:
    bare = Bare()
    vars(bare)["classes"] = ["ant", "bee", "cow"]
    data = as_data(bare)
    assert data.classes == ("ant", "bee", "cow")
    assert as_data(bare, classes=5).classes == tuple("01234")
    weights, alphas = data.split(0.25)
    assert (len(weights), len(alphas)) == (3, 9)
    seen = [
        y for part in (weights, alphas) for _, batch in part.batches(
            12, normalization=None
        ).epoch(0) for y in batch.tolist()
    ]  # fmt: skip
    assert sorted(seen) == sorted(Y.tolist())
    narrow = as_data(Bare(), classes=2).train.batches(12, normalization=None)
    with pytest.raises(ArchgradError, match="train: label 2 at index 2 is out of range"):
        next(narrow.epoch(0))


def test_loaders_become_data() -> None:
    loader = DataLoader(TENSORS, batch_size=4)
    data = as_data(loader, valid=loader, test=loader)
    assert isinstance(data.train, LoaderSource)
    assert (data.name, data.shape, data.classes) == ("loader", (1, 16, 16), tuple("012"))
    assert data.normalization is None
    assert data.split() == (data.train, data.valid)
    single = DataLoader(Bare())
    narrow = as_data(single, valid=single, classes=2)
    with pytest.raises(ArchgradError, match="train: label 2 at index 0"):
        list(narrow.train.batches(1, normalization=None).epoch(0))
    other = DataLoader(TensorDataset(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])))
    with pytest.raises(ArchgradError, match=r"valid images have shape \(1, 8, 8\)"):
        as_data(loader, valid=other)


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5])
def test_a_split_needs_a_fraction_between_0_and_1(fraction: float) -> None:
    with pytest.raises(ArchgradError, match="split fraction is"):
        as_data((X, Y)).split(fraction)


def test_a_split_holds_every_class_in_both_parts() -> None:
    data = as_data((X, Y))
    weights, alphas = data.split(0.5)
    assert np.bincount(labels(weights)).tolist() == np.bincount(labels(alphas)).tolist() == [2] * 3
    assert sorted(labels(data.split(0.01)[0])) == [0, 1, 2]
    lone = as_data((X[:4], np.array([0, 0, 0, 1])))
    with pytest.raises(ArchgradError, match='class "1" has 1 training images; a split needs 2'):
        lone.split()


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=8),
    fraction=st.floats(0.01, 0.99),
)
def test_stratified_parts_are_disjoint_complete_and_even(
    counts: list[int], fraction: float
) -> None:
    values = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    names = tuple(map(str, range(len(counts))))
    first, rest = stratified(torch.from_numpy(values), fraction, names)
    assert sorted([*first, *rest]) == list(range(len(values)))
    assert (np.diff(first) > 0).all()
    assert (np.diff(rest) > 0).all()
    taken = np.bincount(values[first], minlength=len(counts))
    assert (np.abs(taken - np.array(counts) * fraction) < 1.001).all()
    assert (taken >= 1).all()
    assert (taken < counts).all()


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    share=st.floats(0.01, 1),
)
def test_balanced_subsets_differ_by_one_unless_a_class_runs_out(
    counts: list[int], share: float
) -> None:
    values = np.random.default_rng(2).permutation(np.repeat(np.arange(len(counts)), counts))
    size = max(1, int(share * len(values)))
    chosen = balanced(torch.from_numpy(values), size)
    assert len(set(chosen.tolist())) == size
    taken = np.bincount(values[chosen], minlength=len(counts))
    unfinished = taken[taken < np.array(counts)]
    assert not len(unfinished) or taken.max() - unfinished.min() <= 1


def test_numpy_integers_are_whole_numbers() -> None:
    assert as_data((X, Y), classes=np.int64(3), subset=np.int32(6)).classes == tuple("012")


def test_a_loader_without_valid_can_only_be_retrained() -> None:
    loader = DataLoader(Bare(), batch_size=4)
    data = as_data(loader, test=loader, classes=3)
    assert data.valid is None
    assert data.test is not None
    assert len(list(data.test.batches(4, normalization=None).epoch(0))) == 3
    with pytest.raises(
        ArchgradError,
        match="valid is None; expected a DataLoader as for training, since a DataLoader cannot be "
        "split, so give a second one as valid=, or give its data set instead",
    ):
        data.split()


@pytest.mark.parametrize("large", [12, 2**32 - 1, 2**40])
def test_a_label_too_large_for_the_images_is_refused_before_classes_are_made(large: int) -> None:
    y = Y.copy()
    y[5] = large
    tensors = TensorDataset(TENSORS.tensors[0], torch.from_numpy(y))
    loader = DataLoader(tensors)
    for make in (
        lambda: as_data((X, y)),
        lambda: as_data(tensors),
        lambda: as_data(loader, valid=loader),
    ):
        with pytest.raises(
            ArchgradError,
            match=f"train: label {large} at index 5 is too large for 12 images, as each class "
            r"below it needs one; expected 0..11, so number the classes from 0 without gaps",
        ):
            make()
    assert len(as_data((X, np.arange(12))).classes) == 12


def test_an_empty_loader_is_told_as_such() -> None:
    empty = DataLoader(TensorDataset(torch.zeros(0, 1, 4, 4), torch.zeros(0, dtype=torch.int64)))
    with pytest.raises(ArchgradError, match="train is empty; expected at least one batch"):
        as_data(empty, valid=empty)


def test_data_that_came_from_python_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    for read in (load, as_data):
        with pytest.raises(
            ArchgradError,
            match="the data of this run came from Python and is not in its folder; give it again "
            r"with archgrad.search\(data=..., resume=...\) or archgrad.train\(..., data=...\)",
        ):
            read("own", root=tmp_path, image_size=8)


def test_a_path_object_is_a_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    assert len(as_data(tmp_path / "a.npz").train) == 9
    assert len(as_data("a.npz", root=tmp_path, subset=6).train) == 6

"""Data.fingerprint: equal for equal data in any process, another one for any change it covers."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from archgrad.data import ArraySource, Data, as_data

X = np.arange(200 * 16, dtype=np.float32).reshape(200, 4, 4)
Y = np.arange(200) % 3


def changed(array: np.ndarray[Any, Any], index: int, value: float) -> np.ndarray[Any, Any]:
    copy = array.copy()
    copy[index] = value
    return copy


def tensors(x: np.ndarray[Any, Any] = X, y: np.ndarray[Any, Any] = Y) -> TensorDataset:
    return TensorDataset(torch.from_numpy(x)[:, None], torch.from_numpy(y))


class Drawn(Dataset[Any]):
    """Known labels, and images that `draw` makes."""

    def __init__(self, draw: Callable[[], float], count: int = 6) -> None:
        self.draw = draw
        self.targets = [index % 2 for index in range(count)]

    def __getitem__(self, index: int) -> Any:
        return torch.full((1, 4, 4), float(self.draw())), self.targets[index]

    def __len__(self) -> int:
        return len(self.targets)


def distinct(*data: Data) -> bool:
    return len({one.fingerprint() for one in data}) == len(data)


def test_it_is_the_same_in_another_process() -> None:
    script = (
        "import numpy as np; from archgrad.data import as_data; "
        "x = np.arange(200 * 16, dtype=np.float32).reshape(200, 4, 4); "
        "print(as_data((x, np.arange(200) % 3)).fingerprint())"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert found == as_data((X.copy(), Y.tolist())).fingerprint()
    assert len(found) == 16
    assert int(found, 16) >= 0


def test_arrays_of_other_labels_images_count_shape_or_valid_differ() -> None:
    assert distinct(
        as_data((X, Y)),
        as_data((X, changed(Y, 57, 1))),
        as_data((changed(X, 0, -1), Y)),
        as_data((changed(X, 199, -1), Y)),
        as_data((X[:199], Y[:199])),
        as_data((X.astype(np.uint8), Y)),
        as_data((X.reshape(200, 2, 8), Y)),
        as_data((X, Y), valid=(X, Y)),
        as_data((X, Y), valid=(X, changed(Y, 57, 1))),
    )
    assert as_data((X, Y)).fingerprint() == as_data((X, Y), test=(X, Y)).fingerprint()


def test_64_evenly_spaced_images_are_looked_at() -> None:
    same = as_data((X, Y)).fingerprint()
    noticed = [as_data((changed(X, i, -1), Y)).fingerprint() != same for i in range(200)]
    assert sum(noticed) == 64
    assert max(np.diff(np.flatnonzero(noticed))) <= 4
    few = X[:9], Y[:9]
    assert all(distinct(as_data(few), as_data((changed(X, i, -1)[:9], Y[:9]))) for i in range(9))


def test_class_names_count() -> None:
    dataset, named = tensors(), tensors()
    vars(named)["classes"] = ["ant", "bee", "cow"]
    assert distinct(as_data(dataset), as_data(named))


def test_datasets_by_length_labels_and_both_ends() -> None:
    assert as_data(tensors()).fingerprint() == as_data(tensors(X.copy())).fingerprint()
    assert distinct(
        as_data(tensors()),
        as_data(tensors(y=changed(Y, 57, 1))),
        as_data(tensors(changed(X, 0, -1))),
        as_data(tensors(changed(X, 199, -1))),
        as_data(tensors(), subset=150),
        as_data(tensors(), valid=tensors()),
    )
    assert as_data(tensors()).fingerprint() == as_data(tensors(changed(X, 9, -1))).fingerprint()


@pytest.mark.parametrize(
    "draw",
    [random.random, np.random.random, lambda: torch.rand(()), np.random.default_rng().random],
)
def test_random_images_are_left_out_and_random_state_is_put_back(
    draw: Callable[[], float],
) -> None:
    data = as_data(Drawn(draw), classes=2)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.random(), float(torch.rand(()))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    first = data.fingerprint()
    assert (random.random(), np.random.random(), float(torch.rand(()))) == expected
    assert data.fingerprint() == first
    assert first != as_data(Drawn(draw, 8), classes=2).fingerprint()
    assert first != as_data(Drawn(lambda: 0.5), classes=2).fingerprint()


def test_a_loader_is_known_by_shape_and_classes_alone() -> None:
    loader = DataLoader(tensors(), 50)
    data = as_data(loader, test=loader)
    other = DataLoader(tensors(X[:90] * 0, Y[:90]), 30)
    assert data.fingerprint() == as_data(other).fingerprint()
    assert distinct(data, as_data(loader, classes=4), as_data(loader, valid=loader))


def test_a_bfloat16_data_set_has_one() -> None:
    x = torch.ones(4, 1, 4, 4, dtype=torch.bfloat16)
    zero = TensorDataset(x * 0, torch.tensor([0, 1, 0, 1]))
    assert distinct(as_data(TensorDataset(x, torch.tensor([0, 1, 0, 1]))), as_data(zero))


def test_the_images_of_the_user_are_not_changed() -> None:
    data = as_data((X, Y))
    assert isinstance(data.train, ArraySource)
    before = data.train.x.clone()
    data.fingerprint()
    assert torch.equal(data.train.x, before)

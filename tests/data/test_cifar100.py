"""CIFAR-100 in its forms, written small, and every way they can be broken."""

from __future__ import annotations

import os
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archgrad.data import ArraySource, Augmentation, Data, load
from archgrad.data.cifar100 import NORMALIZATION
from archgrad.errors import ArchgradError

NAMES = ("apple", "aquarium_fish", "baby", "bear")  # of the fine labels; the real file has 100
COUNTS = {"train": 16, "test": 8}
GENERATOR = np.random.default_rng(1)
X = {part: GENERATOR.integers(0, 256, (n, 3, 32, 32), np.uint8) for part, n in COUNTS.items()}
Y = {part: (np.arange(n) % 4).tolist() for part, n in COUNTS.items()}


def write_python(root: Path) -> Path:
    """Dicts with keys of bytes, as Python 3 reads the strings of Python 2."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for part, count in COUNTS.items():
        content = {
            b"filenames": [b"a.png"] * count,
            b"batch_label": b"a batch",
            b"fine_labels": Y[part],
            b"coarse_labels": [label // 2 for label in Y[part]],
            b"data": X[part].reshape(count, -1),
        }
        (folder / part).write_bytes(pickle.dumps(content, protocol=2))
    meta = {
        b"fine_label_names": [name.encode() for name in NAMES],
        b"coarse_label_names": [b"one", b"two"],
    }
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    return folder


def check(root: Path) -> Data:
    data = load("cifar100", root)
    for part, found in (("train", data.train), ("test", data.test)):
        assert isinstance(found, ArraySource)
        np.testing.assert_array_equal(found.x, X[part])
        assert found.labels.tolist() == Y[part]
    return data


def test_the_folder_and_the_archive_give_the_same_data(tmp_path: Path) -> None:
    folder = write_python(tmp_path)
    data = check(tmp_path)
    check(folder)
    assert data.name == "cifar100"
    assert data.classes == NAMES
    assert data.normalization == NORMALIZATION
    assert NORMALIZATION.mean == (0.5071, 0.4865, 0.4409)
    assert NORMALIZATION.std == (0.2673, 0.2564, 0.2762)
    assert data.augmentation == Augmentation(crop_padding=4, flip=True)
    weights, alphas = data.split(0.5)
    assert isinstance(weights, ArraySource)
    assert isinstance(alphas, ArraySource)
    np.testing.assert_array_equal(weights.x, X["train"][:8])
    np.testing.assert_array_equal(alphas.x, X["train"][8:])
    nested = tmp_path / "above" / "cifar100"
    nested.mkdir(parents=True)
    with tarfile.open(nested / "cifar-100-python.tar.gz", "w:gz") as file:
        file.add(folder, folder.name)
    shutil.rmtree(folder)
    assert check(nested.parent).fingerprint() == data.fingerprint()


def test_npz_parts_join_and_may_name_the_classes(tmp_path: Path) -> None:
    x = {part: images.transpose(0, 2, 3, 1) for part, images in X.items()}
    first, last = tmp_path / "cifar100_part2.npz", tmp_path / "cifar100_part10.npz"
    named = {"classes": np.array(NAMES)}
    np.savez(first, x=x["train"][:6], y=Y["train"][:6], **named)
    rest = {"x": x["train"][6:], "y": Y["train"][6:], "x_test": x["test"], "y_test": Y["test"]}
    np.savez(last, **rest, **named)
    assert check(tmp_path).classes == NAMES
    last.unlink()
    with pytest.raises(ArchgradError, match=r"none of cifar100_part2.npz in .* holds x_test"):
        load("cifar100", tmp_path)
    hundred = {"x": np.zeros((100, 32, 32, 3), np.uint8), "y": np.arange(100)}
    np.savez(first, **hundred, x_test=hundred["x"], y_test=hundred["y"])
    assert load("cifar100", tmp_path).classes == tuple(map(str, range(100)))


def test_root_is_needed_and_must_hold_something(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match=r"cifar100 needs root.*cifar-100-python.tar.gz"):
        load("cifar100")
    with pytest.raises(ArchgradError, match="no CIFAR-100 found in"):
        load("cifar100", tmp_path)
    (write_python(tmp_path) / "train").unlink()
    with pytest.raises(ArchgradError, match="train is missing; expected all of train, test, meta"):
        load("cifar100", tmp_path)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_a_malicious_pickle_is_refused_and_not_run(name: str, tmp_path: Path) -> None:
    path, marker = write_python(tmp_path) / name, tmp_path / "marker"
    path.write_bytes(pickle.dumps({b"data": Malicious(marker)}, 2))
    with pytest.raises(ArchgradError, match=f"{name}: the pickle asks for posix.mkdir"):
        load("cifar100", tmp_path)
    assert not marker.exists()


FLAT = X["train"][:2].reshape(2, -1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train", b"", "cannot be read"),
        ("test", [1, 2], "holds no data and fine_labels"),
        ("train", {b"data": FLAT, b"labels": [0, 1]}, "holds no data and fine_labels"),
        ("train", {b"data": FLAT, b"fine_labels": [0]}, r"shape \(2, 3072\).* 1 labels"),
        ("meta", {b"label_names": [b"a"]}, "holds no fine_label_names"),
        ("meta", {b"fine_label_names": 3}, "has fine_label_names of another form"),
        ("meta", {b"fine_label_names": [1]}, "has fine_label_names of another form"),
    ],
)
def test_broken_files_are_told(name: str, content: Any, message: str, tmp_path: Path) -> None:
    made = content if isinstance(content, bytes) else pickle.dumps(content, 2)
    (write_python(tmp_path) / name).write_bytes(made)
    with pytest.raises(ArchgradError, match=f"{name} .*{message}"):
        load("cifar100", tmp_path)


def test_labels_that_have_no_name_are_told(tmp_path: Path) -> None:
    meta = {b"fine_label_names": [b"apple", b"baby"]}
    (write_python(tmp_path) / "meta").write_bytes(pickle.dumps(meta, 2))
    with pytest.raises(ArchgradError, match=r"train: label 2 at index 2 .* expected 0..1"):
        load("cifar100", tmp_path)

"""CIFAR-10 in its three forms, written small, and every way they can be broken."""

from __future__ import annotations

import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archgrad.data import ArraySource, Augmentation, Data, load
from archgrad.data.cifar import CLASSES, NORMALIZATION
from archgrad.errors import ArchgradError

COUNT = 12
GENERATOR = np.random.default_rng(1)
X = GENERATOR.integers(0, 256, (6 * COUNT, 3, 32, 32), dtype=np.uint8)
Y = np.arange(6 * COUNT, dtype=np.uint8) % 10
BATCHES = [slice(COUNT * index, COUNT * (index + 1)) for index in range(6)]
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def write_binary(root: Path) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, batch in zip(NAMES, BATCHES, strict=True):
        rows = np.concatenate([Y[batch, None], X[batch].reshape(COUNT, -1)], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    return folder


def write_python(root: Path) -> Path:
    """Dicts with keys of bytes, which is how Python 3 reads the strings of Python 2."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, batch in zip(NAMES, BATCHES, strict=True):
        content = {
            b"batch_label": b"a batch",
            b"labels": Y[batch].tolist(),
            b"data": X[batch].reshape(COUNT, -1),
            b"filenames": [b"a.png"] * COUNT,
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder


def write_npz(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    x = X.transpose(0, 2, 3, 1)
    common = {"classes": np.array(CLASSES)}
    cuts = [slice(0, 24), slice(24, 40)]
    for number, cut in enumerate(cuts):
        np.savez(root / f"cifar10_part{number}.npz", x=x[cut], y=Y[cut], **common)
    np.savez(
        root / "cifar10_part10.npz",
        x=x[40:60], y=Y[40:60], x_test=x[60:], y_test=Y[60:], **common,
    )  # fmt: skip
    return root


def pack(folder: Path, archive: str) -> None:
    with tarfile.open(folder.parent / archive, "w:gz") as file:
        file.add(folder, folder.name)
    shutil.rmtree(folder)


def arrays(data: Data) -> list[np.ndarray[Any, Any]]:
    assert isinstance(data.train, ArraySource)
    assert isinstance(data.test, ArraySource)
    sources = (data.train, data.test)
    return [part.numpy() for source in sources for part in (source.x, source.labels)]


def check(root: Path) -> Data:
    data = load("cifar10", root)
    for found, expected in zip(arrays(data), (X[:60], Y[:60], X[60:], Y[60:]), strict=True):
        np.testing.assert_array_equal(found, expected)
    return data


@pytest.mark.parametrize(
    ("write", "archive"),
    [(write_binary, "cifar-10-binary.tar.gz"), (write_python, "cifar-10-python.tar.gz")],
)
def test_folders_and_archives_give_the_same_data(
    write: Callable[[Path], Path], archive: str, tmp_path: Path
) -> None:
    folder = write(tmp_path)
    check(tmp_path)
    check(folder)
    pack(folder, archive)
    check(tmp_path)
    nested = tmp_path / "above" / "cifar10"
    nested.mkdir(parents=True)
    os.rename(tmp_path / archive, nested / archive)
    check(nested.parent)


def test_npz_parts_join_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_npz(tmp_path / "cifar10")
    data = check(tmp_path)
    check(tmp_path / "cifar10")
    assert data.name == "cifar10"
    assert data.classes == CLASSES
    assert data.shape == (3, 32, 32)
    assert data.normalization == NORMALIZATION
    assert data.augmentation == Augmentation(crop_padding=4, flip=True)
    assert data.paper_split


def test_the_last_npz_part_alone_is_a_set_and_the_first_alone_is_not(tmp_path: Path) -> None:
    write_npz(tmp_path)
    (tmp_path / "cifar10_part1.npz").unlink()
    assert len(load("cifar10", tmp_path).train) == 44
    (tmp_path / "cifar10_part0.npz").unlink()
    data = load("cifar10", tmp_path)
    np.testing.assert_array_equal(arrays(data)[0], X[40:60])
    write_npz(tmp_path)
    (tmp_path / "cifar10_part10.npz").unlink()
    with pytest.raises(ArchgradError, match=r"cifar10_part0.npz, cifar10_part1.npz.* x_test"):
        load("cifar10", tmp_path)


def test_the_halves_are_the_first_and_the_last_images_in_stored_order(tmp_path: Path) -> None:
    write_binary(tmp_path)
    data = load("cifar10", tmp_path)
    for fraction, cut in ((0.5, 30), (0.7, 42)):
        weights, alphas = data.split(fraction)
        assert isinstance(weights, ArraySource)
        assert isinstance(alphas, ArraySource)
        np.testing.assert_array_equal(weights.x, X[:cut])
        np.testing.assert_array_equal(alphas.x, X[cut:60])
    with pytest.raises(ArchgradError, match='class "airplane" has no image in a split part'):
        data.split(0.9)


def test_a_subset_and_a_size_are_balanced_and_averaged(tmp_path: Path) -> None:
    write_binary(tmp_path)
    data = load("cifar10", tmp_path, image_size=16, subset=20)
    assert data.train.labels is not None
    assert torch.bincount(data.train.labels).tolist() == [2] * 10
    assert not data.paper_split
    assert data.shape == (3, 16, 16)
    assert data.augmentation == Augmentation(crop_padding=2, flip=True)
    weights, alphas = data.split()
    for half in (weights, alphas):
        assert half.labels is not None
        assert torch.bincount(half.labels).tolist() == [1] * 10
    test = arrays(data)[2]
    mean = X[60:].reshape(12, 3, 16, 2, 16, 2).astype(np.float64).mean((3, 5))
    assert np.abs(test - mean).max() <= 0.5


def test_root_is_needed_and_must_hold_something(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match="cifar10 needs root"):
        load("cifar10")
    with pytest.raises(ArchgradError, match="no CIFAR-10 found in"):
        load("cifar10", tmp_path)


def test_binary_files_missing_or_truncated_are_named(tmp_path: Path) -> None:
    folder = write_binary(tmp_path)
    path = folder / "data_batch_3.bin"
    content = path.read_bytes()
    for size in (0, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ArchgradError, match=f"data_batch_3.bin has {size} bytes.*3073"):
            load("cifar10", tmp_path)
    path.unlink()
    with pytest.raises(ArchgradError, match=r"data_batch_3.bin is missing"):
        load("cifar10", tmp_path)
    pack(folder, "cifar-10-binary.tar.gz")
    with pytest.raises(ArchgradError, match=r"tar.gz holds no data_batch_3.bin"):
        load("cifar10", tmp_path)


def test_a_label_out_of_range_is_told(tmp_path: Path) -> None:
    path = write_binary(tmp_path) / "data_batch_1.bin"
    content = bytearray(path.read_bytes())
    content[3073] = 10
    path.write_bytes(content)
    with pytest.raises(ArchgradError, match=r"train: label 10 at index 1 .* expected 0..9"):
        load("cifar10", tmp_path)


def test_broken_archives_are_told(tmp_path: Path) -> None:
    pack(write_binary(tmp_path), "cifar-10-binary.tar.gz")
    path = tmp_path / "cifar-10-binary.tar.gz"
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for broken in (b"", b"text", content[:100], content[:-2000], content[:-8], bytes(flipped)):
        path.write_bytes(broken)
        with pytest.raises(ArchgradError, match=r"cifar-10-binary.tar.gz cannot be read"):
            load("cifar10", tmp_path)


class Malicious:
    """Would leave a file behind if it were unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    path = write_python(tmp_path) / "data_batch_2"
    marker = tmp_path / "marker"
    path.write_bytes(pickle.dumps({b"data": Malicious(marker), b"labels": []}, protocol))
    with pytest.raises(ArchgradError, match=r"data_batch_2: the pickle asks for posix.mkdir"):
        load("cifar10", tmp_path)
    assert not marker.exists()


def test_other_codecs_are_refused(tmp_path: Path) -> None:
    path = write_python(tmp_path) / "data_batch_1"
    path.write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
    with pytest.raises(ArchgradError, match="asks for the codec rot13"):
        load("cifar10", tmp_path)


def test_names_of_the_older_and_the_newer_numpy_are_admitted(tmp_path: Path) -> None:
    folder = write_python(tmp_path)
    for path in folder.iterdir():
        content = path.read_bytes()
        newer = b"cnumpy._core.multiarray\n"
        older = b"cnumpy.core.multiarray\n"
        assert newer in content or older in content
        path.write_bytes(content.replace(newer, older))
    check(tmp_path)


FLAT = X[:2].reshape(2, -1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (pickle.dumps({b"data": FLAT}, 2)[:-300], "cannot be read"),
        (pickle.dumps([1, 2], 2), "holds no data and labels"),
        (pickle.dumps({b"data": FLAT}, 2), "holds no data and labels"),
        (pickle.dumps({b"data": FLAT, b"labels": [0]}, 2), r"shape \(2, 3072\).* 1 labels"),
        (pickle.dumps({b"data": FLAT[:, :9], b"labels": [0, 1]}, 2), r"shape \(2, 9\)"),
        (pickle.dumps({b"data": FLAT * 1.0, b"labels": [0, 1]}, 2), "type float64"),
        (pickle.dumps({b"data": 3, b"labels": 4}, 2), "shape None and type None and a int"),
    ],
)
def test_broken_python_batches_are_told(content: bytes, message: str, tmp_path: Path) -> None:
    (write_python(tmp_path) / "data_batch_4").write_bytes(content)
    with pytest.raises(ArchgradError, match=f"data_batch_4 .*{message}"):
        load("cifar10", tmp_path)


def test_npz_parts_must_fit_together(tmp_path: Path) -> None:
    write_npz(tmp_path)
    path = tmp_path / "cifar10_part0.npz"
    x, y = np.zeros((10, 32, 32, 3), dtype=np.uint8), np.arange(10)
    np.savez(path, x=x[:, :8], y=y)
    with pytest.raises(ArchgradError, match=r"cifar10_part0.npz has images of shape \(8, 32, 3\)"):
        load("cifar10", tmp_path)
    np.savez(path, x=x, y=y, classes=np.array([*"abcdefghij"]))
    with pytest.raises(ArchgradError, match="parts with different classes"):
        load("cifar10", tmp_path)
    np.savez(path, x=x)
    with pytest.raises(ArchgradError, match=r"cifar10_part0.npz holds x and no y"):
        load("cifar10", tmp_path)


@pytest.mark.real_data
def test_real_cifar10(real_data: Path) -> None:
    if not list((real_data / "cifar10").glob("cifar10_part*.npz")):
        pytest.skip("no cifar10_part*.npz in the folder of real data")
    data = load("cifar10", real_data)
    assert isinstance(data.train, ArraySource)
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert torch.bincount(data.train.labels).tolist() == [5000] * 10
    found = data.train.normalization()
    assert found.mean == pytest.approx(NORMALIZATION.mean, abs=5e-4)
    assert found.std == pytest.approx(NORMALIZATION.std, abs=5e-4)
    weights, alphas = data.split()
    assert len(weights) == len(alphas) == 25_000

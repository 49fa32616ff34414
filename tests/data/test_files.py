"""Digits, npz files and folders of images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from archgrad.data import ArraySource, Augmentation, Data, files, load
from archgrad.errors import ArchgradError


def pixels(source: Any) -> torch.Tensor:
    assert isinstance(source, ArraySource)
    return source.x


def test_digits_are_scaled_and_a_fixed_fifth_is_held_out() -> None:
    data = load("digits")
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert data.shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    assert data.augmentation == Augmentation(crop_padding=1)
    values = torch.cat([pixels(data.train), pixels(data.test)])
    assert torch.equal(values.unique(), torch.arange(17) / 16)
    assert data.normalization is not None
    assert data.normalization.mean[0] == pytest.approx(float(pixels(data.train).mean()), abs=1e-6)
    train, test = data.train.labels, data.test.labels
    assert train is not None
    assert test is not None
    share = torch.bincount(test) / (torch.bincount(test) + torch.bincount(train))
    assert (share - 0.2).abs().max() < 0.006
    again = load("digits")
    assert torch.equal(pixels(again.train), pixels(data.train))


def test_digits_without_scikit_learn_tell_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    files._digits.cache_clear()
    with pytest.raises(ArchgradError, match=r'needs sklearn.*pip install "archgrad\[data\]"'):
        load("digits")


X = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
Y = np.arange(20) % 2


def npz(tmp_path: Path, **arrays: Any) -> Data:
    np.savez(tmp_path / "a.npz", **arrays)
    return load(f"npz:{tmp_path / 'a.npz'}")


def test_npz_with_a_test_part_and_names(tmp_path: Path) -> None:
    data = npz(tmp_path, x=X, y=Y, x_test=X[:3], y_test=Y[:3], classes=np.array(["cat", "dog"]))
    assert data.classes == ("cat", "dog")
    assert data.shape == (3, 8, 8)
    assert data.augmentation == Augmentation(crop_padding=1)
    np.testing.assert_array_equal(pixels(data.train), X.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(pixels(data.test), X[:3].transpose(0, 3, 1, 2))
    assert data.normalization is not None
    np.testing.assert_allclose(data.normalization.mean, X.mean((0, 1, 2)) / 255)
    np.testing.assert_allclose(data.normalization.std, X.std((0, 1, 2)) / 255)


def test_npz_without_a_test_part_holds_out_a_fifth_of_each_class(tmp_path: Path) -> None:
    data = npz(tmp_path, x=X, y=Y)
    assert data.test is not None
    assert data.train.labels is not None
    assert data.test.labels is not None
    assert torch.bincount(data.train.labels).tolist() == [8, 8]
    assert torch.bincount(data.test.labels).tolist() == [2, 2]
    rows = {image.numpy().tobytes() for part in (data.train, data.test) for image in pixels(part)}
    assert len(rows) == 20


def test_a_path_is_a_name_and_may_start_from_root(tmp_path: Path) -> None:
    first = npz(tmp_path, x=X, y=Y)
    for name, root in (("a.npz", tmp_path), ("npz:a.npz", tmp_path), (tmp_path / "a.npz", None)):
        assert torch.equal(pixels(load(name, root).train), pixels(first.train))
    with pytest.raises(ArchgradError, match=r"a.npy is missing; expected an npz file"):
        load(f"npz:{tmp_path / 'a.npy'}")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "holds x and no y"),
        ({"y": Y}, "holds y and no x"),
        ({"x": X, "y": Y, "x_test": X}, "and no y_test"),
        ({"x": X, "y": Y, "y_test": Y}, "and no x_test"),
        ({"x": X, "y": Y, "classes": np.array(2)}, r"holds classes of shape \(\)"),
        ({"x": X, "y": Y, "classes": np.array(["a"])}, "train: label 1 at index 1 .* 0..0"),
        ({"x": X, "y": Y, "classes": np.array(["a", "b", "c"])}, 'class "c" has no image'),
        ({"x": X, "y": Y, "x_test": X[:, 1:], "y_test": Y}, r"test images have shape \(3, 7, 8\)"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y + 1}, "test: label 2 at index 1"),
        ({"x": X, "y": np.r_[2, Y[1:]]}, 'class "2" has 1 training images; a split needs 2'),
        ({"x": np.array([{}] * 20), "y": Y}, "cannot be read .*allow_pickle"),
    ],
)
def test_bad_npz_files_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match=message):
        npz(tmp_path, **arrays)


def test_broken_npz_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=X, y=Y)
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[200:260] = bytes(60)
    for broken in (content[:-40], bytes(damaged)):
        path.write_bytes(broken)
        with pytest.raises(ArchgradError, match=r"a.npz cannot be read"):
            load(f"npz:{path}")


def test_a_file_that_is_no_npz_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "notz.npz"
    for content, told in (
        (b"", "0 bytes beginning with b''"),
        (b"no zip at all", r"13 bytes beginning with b'no zip a'"),
        (b"\x80\x04K\x01.", r"5 bytes beginning with b'.x80.x04K.x01.'"),
        (b"\x93NUMPY\x01\x00rest", r"12 bytes beginning with b'.x93NUMPY.x01.x00'"),
    ):
        path.write_bytes(content)
        with pytest.raises(
            ArchgradError,
            match=rf"notz.npz is not an npz file: found {told}; expected what numpy.savez writes, "
            "so save the arrays with it",
        ) as caught:
            load(f"npz:{path}")
        assert "pickle" not in str(caught.value)
    np.savez(path)
    with pytest.raises(ArchgradError, match="holds nothing and no x"):
        load(f"npz:{path}")


def write_images(root: Path, counts: dict[str, int]) -> Path:
    """Images of one color a class: the class's number times 50, in every channel."""
    for number, (name, count) in enumerate(sorted(counts.items())):
        (root / name).mkdir(parents=True)
        for index in range(count):
            image = Image.new("RGB", (6 + index, 4), (50 * number,) * 3)
            image.save(root / name / f"{index}.png")
    return root


def test_a_folder_is_read_sorted_converted_and_resized(tmp_path: Path) -> None:
    write_images(tmp_path, {"dog": 5, "cat": 5})
    Image.new("L", (9, 9), 77).save(tmp_path / "cat" / "gray.png")
    (tmp_path / "cat" / ".hidden").write_text("not an image")
    data = load(f"folder:{tmp_path}", image_size=4)
    assert data.classes == ("cat", "dog")
    assert data.shape == (3, 4, 4)
    assert data.augmentation == Augmentation()
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (9, 2)
    x = torch.cat([pixels(data.train), pixels(data.test)])
    labels = [part.labels for part in (data.train, data.test)]
    y = torch.cat([part for part in labels if part is not None])
    assert x.dtype == torch.uint8
    assert sorted(x[y == 0][:, 2, 3, 3].tolist()) == [0, 0, 0, 0, 0, 77]
    assert (x[y == 1] == 50).all()
    again = load(tmp_path, image_size=4)
    assert torch.equal(pixels(again.train), pixels(data.train))


def test_bilinear_resizing_of_a_folder(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 2, "b": 2})
    ramp = np.repeat(np.array([[0, 100]], dtype=np.uint8), 2, axis=0)
    for name in ("0.png", "1.png"):
        Image.fromarray(ramp).save(tmp_path / "a" / name)
    data = load(f"folder:{tmp_path}", image_size=4)
    assert pixels(data.train)[0, 0].tolist() == [[0, 25, 75, 100]] * 4


def test_train_and_test_folders_are_used(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"cat": 2, "dog": 3})
    write_images(tmp_path / "test", {"cat": 1, "dog": 2})
    data = load(f"folder:{tmp_path}", image_size=5)
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (5, 3)
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "wolf")
    with pytest.raises(ArchgradError, match='class "dog" is in only one of the train and test'):
        load(f"folder:{tmp_path}", image_size=5)


def test_a_train_folder_alone_has_a_test_part_held_out(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"cat": 5, "dog": 10})
    (tmp_path / "notes.txt").write_text("not a folder")
    data = load(f"folder:{tmp_path}", image_size=4)
    assert data.classes == ("cat", "dog")
    assert data.test is not None
    counts = [
        torch.bincount(part.labels).tolist()
        for part in (data.train, data.test)
        if part.labels is not None
    ]
    assert counts == [[4, 8], [1, 2]]
    write_images(tmp_path, {"bird": 3})
    with pytest.raises(ArchgradError, match="class folder .*train is empty"):
        load(f"folder:{tmp_path}", image_size=4)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    name = f"folder:{tmp_path}"
    with pytest.raises(ArchgradError, match=r"image_size is None.*such as 32"):
        load(name)
    with pytest.raises(ArchgradError, match="image_size is 0"):
        load(name, image_size=0)
    with pytest.raises(ArchgradError, match="nothing is not a folder"):
        load(f"folder:{tmp_path / 'nothing'}", image_size=4)
    with pytest.raises(ArchgradError, match="holds no subfolder"):
        load(name, image_size=4)
    write_images(tmp_path, {"cat": 2, "dog": 0})
    with pytest.raises(ArchgradError, match='dog is empty; expected images of the class "dog"'):
        load(name, image_size=4)
    content = (tmp_path / "cat" / "0.png").read_bytes()
    for broken in (b"", b"text", content[:-30]):
        (tmp_path / "dog" / "bad.png").write_bytes(broken)
        with pytest.raises(ArchgradError, match=r"bad.png cannot be read as an image"):
            load(name, image_size=4)

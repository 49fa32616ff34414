"""Readers of digits, npz files and folders of images."""

from __future__ import annotations

import importlib
import os
import zipfile
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch

from archgrad.data.arrays import ArraySource, array_source
from archgrad.data.dataset import Parts
from archgrad.errors import ArchgradError

Array: TypeAlias = "np.ndarray[Any, Any]"


def read_digits() -> Parts:
    """The 1,797 handwritten digits of scikit-learn, 8x8 in 16 gray levels scaled to [0, 1]."""
    bunch = _needed("sklearn.datasets").load_digits()
    images = (bunch.images / 16).astype(np.float32)
    return Parts(array_source(images, bunch.target, "train"))


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an npz file, which holds x and y, and y_test where it holds x_test."""
    try:
        with path.open("rb") as stream:
            _check_zip(stream, path)
            with np.load(stream, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
    except ArchgradError:
        raise
    except FileNotFoundError:
        raise ArchgradError(f"{path} is missing; expected an npz file, so check the path") from None
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ArchgradError(
            f"{path} cannot be read ({error}); expected a whole npz file of plain arrays, so save "
            "or get it again"
        ) from error
    needed = ["x", "y", *(["x_test", "y_test"] if {"x_test", "y_test"} & arrays.keys() else [])]
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise ArchgradError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'} and no {missing[0]}; expected "
            "x and y, and x_test and y_test together or not at all"
        )
    if "classes" in arrays and arrays["classes"].ndim != 1:
        raise ArchgradError(
            f"{path} holds classes of shape {arrays['classes'].shape}; expected a list of names, "
            "one a class"
        )
    return arrays


def _check_zip(stream: BinaryIO, path: Path) -> None:
    start = stream.read(8)
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if not start.startswith(b"PK"):
        raise ArchgradError(
            f"{path} is not an npz file: found {size} bytes beginning with {start!r}; expected "
            "what numpy.savez writes, so save the arrays with it"
        )


def npz_parts(path: Path, dims: int = 2) -> Parts:
    """The parts of an npz file: x, y and, where it holds them, x_test, y_test and classes."""
    arrays = read_npz(path)
    train, test = array_source(arrays["x"], arrays["y"], "train", dims), None
    if "x_test" in arrays:
        test = array_source(arrays["x_test"], arrays["y_test"], "test", dims)
    names = arrays.get("classes")
    return Parts(train, test, classes=None if names is None else tuple(map(str, names)))


def read_folder(path: Path, image_size: int | None) -> Parts:
    """The images of a folder with one subfolder a class, or of its `train` and `test` folders.

    A folder that holds `train` alone has no test part.
    """
    if not path.is_dir():
        raise ArchgradError(f"{path} is not a folder; expected one subfolder of images a class")
    if image_size is None or image_size < 1:
        raise ArchgradError(
            f"image_size is {image_size} for the images of {path}; expected a side in pixels, so "
            "give image_size, such as 32"
        )
    if not ((path / "train").is_dir() and (path / "test").is_dir()):
        alone = [folder.name for folder in _subfolders(path)] == ["train"]
        train, classes = _read_classes(path / "train" if alone else path, image_size, "train")
        return Parts(train, classes=classes)
    train, classes = _read_classes(path / "train", image_size, "train")
    test, test_classes = _read_classes(path / "test", image_size, "test")
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))[0]
        raise ArchgradError(
            f'class "{odd}" is in only one of the train and test folders of {path}; expected the '
            "same subfolders in both"
        )
    return Parts(train, test, classes=classes)


def _read_classes(path: Path, side: int, part: str) -> tuple[ArraySource, tuple[str, ...]]:
    folders = _subfolders(path)
    if not folders:
        raise ArchgradError(f"{path} holds no subfolder; expected one subfolder of images a class")
    images: list[Array] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = [entry for entry in _visible(folder) if entry.is_file()]
        if not files:
            raise ArchgradError(
                f'class folder {folder} is empty; expected images of the class "{folder.name}", '
                "so add some or remove the folder"
            )
        images += [_read_image(file, side) for file in files]
        labels += [label] * len(files)
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return ArraySource(x, torch.tensor(labels), part), tuple(folder.name for folder in folders)


def _subfolders(path: Path) -> list[Path]:
    return [entry for entry in _visible(path) if entry.is_dir()]


def _visible(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))


def _read_image(path: Path, side: int) -> Array:
    image = _needed("PIL.Image")
    try:
        with image.open(path) as file:
            resized = file.convert("RGB").resize((side, side), image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:
        raise ArchgradError(
            f"{path} cannot be read as an image ({error}); expected a whole image file, so mend "
            "or remove it"
        ) from error
    return np.array(resized)


def _needed(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ArchgradError(
            f"this data set needs {module.split('.')[0]}, which is not installed; expected the "
            'extra packages, so run: pip install "archgrad[data]"'
        ) from None

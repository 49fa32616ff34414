"""Readers of digits, npz files and folders of images."""

from __future__ import annotations

import math
import os
import zipfile
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch

from archgrad.data.arrays import ArraySource, array_source
from archgrad.data.dataset import Parts
from archgrad.data.images import needed, read_image, squeezed, subfolders
from archgrad.data.stream import StreamSource
from archgrad.data.workers import TIMEOUT
from archgrad.errors import ArchgradError, out_of_memory
from archgrad.untrusted import most_unpacked

Array: TypeAlias = "np.ndarray[Any, Any]"
_IN_MEMORY = 2**30  # bytes of images that are read at once, not streamed


def read_digits() -> Parts:
    """The 1,797 handwritten digits of scikit-learn, 8x8 in 16 gray levels scaled to [0, 1]."""
    images, labels = _digits()
    return Parts(array_source((images / 16).astype(np.float32), labels, "train"))


@cache
def _digits() -> tuple[Array, Array]:
    """Unpacked once a process: a comparison reads them for each of its searches."""
    bunch = needed("sklearn.datasets").load_digits()
    return bunch.images, bunch.target


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an npz file, which holds x and y, and y_test where it holds x_test."""
    try:
        with path.open("rb") as stream:
            _check_zip(stream, path)
            _check_sizes(stream, os.path.getsize(path))
            with np.load(stream, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
    except ArchgradError:
        raise
    except FileNotFoundError:
        raise ArchgradError(f"{path} is missing; expected an npz file, so check the path") from None
    except Exception as error:  # broken files raise errors of many types
        if out_of_memory(error):
            raise
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


def _check_sizes(stream: BinaryIO, packed: int) -> None:
    """Compare what the arrays claim to take with what is there, before memory is taken."""
    with zipfile.ZipFile(stream) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > most_unpacked(packed):
            raise ValueError("it unpacks to more than 100 times its size")
        for entry in archive.infolist():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0
                read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                claimed, held = math.prod(shape) * dtype.itemsize, entry.file_size - file.tell()
            if not dtype.hasobject and (min(shape, default=0) < 0 or claimed != held):
                raise ValueError(f"{entry.filename}: {dtype} {shape} in {held:,} bytes")
    stream.seek(0)


def npz_parts(path: Path, dims: int = 2) -> Parts:
    """The parts of an npz file: x, y and, where it holds them, x_test, y_test and classes."""
    arrays = read_npz(path)
    train, test = array_source(arrays["x"], arrays["y"], "train", dims), None
    if "x_test" in arrays:
        test = array_source(arrays["x_test"], arrays["y_test"], "test", dims)
    names = arrays.get("classes")
    return Parts(train, test, classes=None if names is None else tuple(map(str, names)))


def read_folder(
    path: Path,
    image_size: int | None,
    stream: str = "auto",
    workers: int = 0,
    timeout: float = TIMEOUT,
) -> Parts:
    """The images of a folder with one subfolder a class, or of its `train` and `test` folders.

    `val` serves as `test` where there is none. A folder that holds `train` alone has no test part.
    `stream`: "off" reads all images at once, each squeezed to a square; "on" reads them when they
    are needed, in `workers` processes (see `StreamSource`, which keeps their ratio); "auto" streams
    where the images would take more than 1 GiB of memory. `timeout`: seconds to wait for a batch of
    these processes (0: any time).
    """
    if not path.is_dir():
        raise ArchgradError(f"{path} is not a folder; expected one subfolder of images a class")
    if image_size is None or image_size < 1:
        raise ArchgradError(
            f"image_size is {image_size} for the images of {path}; expected a side in pixels, so "
            "give image_size, such as 32"
        )
    folders = subfolders(path)
    held = next((name for name in ("test", "val") if {"train", name} <= set(folders)), None)
    inside = held is not None or folders == ["train"]
    train = StreamSource.of(
        path / "train" if inside else path, image_size, workers, "train", timeout
    )
    test = None
    if held is not None:
        test = StreamSource.of(path / held, image_size, workers, "test", timeout)
    if test is not None and train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))[0]
        raise ArchgradError(
            f'class "{odd}" is in only one of the train and {held} folders of {path}; expected the '
            "same subfolders in both"
        )
    bytes_needed = 3 * image_size**2 * (len(train) + (0 if test is None else len(test)))
    if stream == "on" or (stream == "auto" and bytes_needed > _IN_MEMORY):
        return Parts(train, test, classes=train.classes)
    return Parts(_read(train), None if test is None else _read(test), classes=train.classes)


def _read(source: StreamSource) -> ArraySource:
    """All images at once."""
    treat = partial(squeezed, side=source.side)
    x = np.stack([read_image(source.path(index), treat) for index in range(len(source))])
    images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
    return ArraySource(images, source.labels, source.name)

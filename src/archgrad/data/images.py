"""Image files in one folder a class: what there is, and how one is read."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from archgrad.data.photographs import crop_boxes
from archgrad.errors import ArchgradError, out_of_memory

if TYPE_CHECKING:
    from PIL.Image import Image

Array: TypeAlias = "np.ndarray[Any, Any]"
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # EPS runs code
MOST_PIXELS, MOST_RATIO = 2**26, 100  # of an image, before it is decoded
_MARGIN = 256 / 224  # the short side before the central crop, in sides of the crop


def class_files(path: Path) -> dict[str, list[str]]:
    """The names of the files of each class folder, both sorted; hidden ones are left out."""
    folders = subfolders(path)
    if not folders:
        raise ArchgradError(f"{path} holds no subfolder; expected one subfolder of images a class")
    found = {folder: _names(path / folder, os.DirEntry.is_file) for folder in folders}
    for folder, files in found.items():
        if not files:
            raise ArchgradError(
                f'class folder {path / folder} is empty; expected images of the class "{folder}", '
                "so add some or remove the folder"
            )
    return found


def subfolders(path: Path) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones are left out."""
    return _names(path, os.DirEntry.is_dir)


def _names(path: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    with os.scandir(path) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in seen:
        if not entry.is_file() and not entry.is_dir() and os.path.exists(entry):
            raise ArchgradError(
                f"{entry.path} is a pipe, a socket or a device; expected plain files and folders, "
                "so remove it"
            )
    return sorted(entry.name for entry in seen if wanted(entry))


def read_image(path: Path, treat: Callable[[Image], Image]) -> Array:
    """An image file in colors, treated: (height, width, 3) uint8."""
    image = needed("PIL.Image")
    try:
        with warnings.catch_warnings(action="ignore"), image.open(path, formats=FORMATS) as file:
            _check_size(*file.size)
            treated = treat(file.convert("RGB"))
    except Exception as error:  # broken files raise errors of many types
        if out_of_memory(error):
            raise
        raise ArchgradError(
            f"{path} cannot be read as an image ({error}); expected a whole image file, so mend "
            "or remove it"
        ) from error
    return np.array(treated)


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS or max(width, height) > MOST_RATIO * min(width, height):
        raise ValueError(
            f"{width:,} x {height:,} pixels, more than {MOST_PIXELS:,} or of a ratio above "
            f"{MOST_RATIO}"
        )


def squeezed(image: Image, side: int) -> Image:
    """The whole image as a square, whatever its ratio."""
    return image.resize((side, side), needed("PIL.Image").Resampling.BILINEAR)


def centered(image: Image, side: int) -> Image:
    """The short side resized to 256/224 of `side`, of which the middle is cut out."""
    short = min(image.size)
    larger = [max(side, round(length * side * _MARGIN / short)) for length in image.size]
    left, top = ((length - side) // 2 for length in larger)
    resized = image.resize((larger[0], larger[1]), needed("PIL.Image").Resampling.BILINEAR)
    return resized.crop((left, top, left + side, top + side))


def randomly_cropped(image: Image, side: int, key: int) -> Image:
    """The box that the key draws, resized to `side`; see `archgrad.data.photographs.crop_boxes`."""
    top, left, rows, columns = crop_boxes(torch.tensor([key]), image.height, image.width)[
        0
    ].tolist()
    return squeezed(image.crop((left, top, left + columns, top + rows)), side)


def needed(module: str) -> ModuleType:
    """A module of the extra packages, or an error that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ArchgradError(
            f"this data set needs {module.split('.')[0]}, which is not installed; expected the "
            'extra packages, so run: pip install "archgrad[data]"'
        ) from None

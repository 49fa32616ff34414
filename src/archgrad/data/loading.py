"""Data sets by name, and data sets made of what the user brings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from archgrad.data import cifar, cifar100
from archgrad.data.arrays import ArraySource, array_source
from archgrad.data.base import Augmentation
from archgrad.data.dataset import (
    Data,
    Parts,
    assemble,
    check_parts,
    check_subset,
    numbered,
    numbered_by,
)
from archgrad.data.files import npz_parts, read_digits, read_folder
from archgrad.data.splits import balanced
from archgrad.data.textdata import is_text, load_text
from archgrad.data.torchdata import DatasetSource, LoaderSource, known_labels
from archgrad.data.workers import TIMEOUT
from archgrad.errors import ArchgradError, unknown
from archgrad.tensors.dimensions import SIDES

DATASETS: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8x8 gray (scikit-learn; nothing to download)",
    "cifar10": "CIFAR-10, 60,000 color images of 32x32, read from a folder given as root",
    "cifar100": "CIFAR-100, 60,000 color images of 32x32 in 100 classes, read likewise",
    "npz:FILE": "arrays x, y and optionally x_test, y_test, classes of an npz file",
    "folder:DIR": "image files in one subfolder a class, or in train/ and test/ (or val/) of such "
    "(train/ alone: a test part is held out); needs image_size; streams from disk where large",
    "ptb": "text: the Penn Treebank, read from a folder given as root (ptb.train.txt, ...)",
    "text:DIR": "text: files of train, valid and test in a folder, or a single one, which is cut",
    "text:TRAIN,VALID,TEST": "text: three files, .txt, .tokens, .xz or .gz",
    "grammar": "text: 25,000 words of a small grammar of known entropy (nothing to download)",
}
"""The names `load` takes, and a line on each."""

STREAM = ("auto", "on", "off")
_OF_IMAGES = {
    "image_size": None,
    "dims": 2,
    "stream": "auto",
    "workers": 0,
    "data_timeout": TIMEOUT,
}
_OF_TEXT = {"level": "word", "vocabulary": None, "encoding": "utf-8"}
_CIFAR = {
    "cifar10": (
        cifar.read_cifar10,
        cifar.NORMALIZATION,
        "cifar-10-binary.tar.gz, cifar-10-python.tar.gz or cifar10_part*.npz",
    ),
    "cifar100": (
        cifar100.read_cifar100,
        cifar100.NORMALIZATION,
        "cifar-100-python.tar.gz or cifar100_part*.npz",
    ),
}


def load(
    name: str | Path,
    root: str | Path | None = None,
    *,
    image_size: int | None = None,
    subset: int | None = None,
    dims: int = 2,
    stream: str = "auto",
    workers: int = 0,
    data_timeout: float = TIMEOUT,
    level: str = "word",
    vocabulary: int | None = None,
    encoding: str = "utf-8",
) -> Data:
    """A data set by its name in `DATASETS`, or by the path of an npz file or a folder.

    - `name`: one of `DATASETS`, or a path.
    - `root`: where CIFAR-10 or CIFAR-100 lies; relative paths of files and folders start from it
      too.
    - `image_size`: side in pixels to resize the images to, by area averaging (folders: bilinear).
    - `subset`: how many training images to keep, class-balanced; test images are never cut.
    - `dims`: 1 where an npz file holds signals (N, C, L), 3 where it holds volumes (N, C, D, H, W).
    - `stream`: whether the images of a folder are read when they are needed, "on", "off" or "auto":
      where they would take more than 1 GiB; `workers`: how many processes read them then (0: this
      one), and `data_timeout` how many seconds a batch of theirs may take (0: any time); see
      `archgrad.data.StreamSource`.
    - `level`, `vocabulary`, `encoding`: of text, see `archgrad.data.text_data`.

    Of text `root` is the folder of ptb and `subset` the number of first training tokens to keep.
    Options of images with text, and of text with images, are refused. The same arguments always
    give the same data. Raises `ArchgradError` for all that is wrong.

    >>> import archgrad
    >>> data = archgrad.data.load("digits")
    >>> len(data.train), data.shape
    (1438, (1, 8, 8))
    """
    _check_whole(image_size=image_size, subset=subset, dims=dims, workers=workers)
    _check_dims(dims)
    if stream not in STREAM:
        raise unknown("stream", stream, STREAM)
    if not isinstance(root, str | Path | None):
        raise ArchgradError(f"root is a {type(root).__name__}; expected the path of a folder")
    text = str(name)
    if text == "own":
        raise ArchgradError(
            "the data of this run came from Python and is not in its folder; give it again with "
            "archgrad.search(data=..., resume=...) or archgrad.train(..., data=...)"
        )
    options: dict[str, Any] = {"level": level, "vocabulary": vocabulary, "encoding": encoding}
    if is_text(text):
        given: dict[str, Any] = {"image_size": image_size, "dims": dims, "stream": stream}
        given |= {"workers": workers, "data_timeout": data_timeout}
        _refuse_options(text, "text", "images", given, _OF_IMAGES)
        folder = None if root is None else Path(root).expanduser()
        return load_text(text, folder, subset=subset, **options)
    _refuse_options(text, "images", "text", options, _OF_TEXT)
    kind, _, rest = text.partition(":")
    base = Path() if root is None else Path(root).expanduser()
    if dims != 2 and (kind == "folder" or text in DATASETS):
        raise ArchgradError(
            f"dims is {dims} for {text}, which holds images; expected 2, so leave it out"
        )
    if text in ("digits", *_CIFAR):
        _check_stream(text, False, stream)
    if text == "digits":
        return assemble(text, read_digits(), image_size=image_size, subset=subset, hold_out=True)
    if text in _CIFAR:
        read, normalization, files = _CIFAR[text]
        if root is None:
            raise ArchgradError(
                f"{text} needs root; expected the folder that holds {files}, so give it"
            )
        return assemble(
            text,
            read(base),
            image_size=image_size,
            subset=subset,
            flip=True,
            normalization=normalization,
            paper_split=True,
        )
    prefixed = kind in ("npz", "folder") and bool(rest)
    path = base / Path(rest if prefixed else text).expanduser()
    if not prefixed and not path.exists():
        raise unknown("data set", text, DATASETS)
    is_folder = kind == "folder" if prefixed else path.is_dir()
    _check_stream(text, is_folder, stream)
    if is_folder:
        parts = read_folder(path, image_size, stream, workers, data_timeout)
    else:
        parts = npz_parts(path, dims)
    return assemble(text, parts, image_size=image_size, subset=subset, hold_out=True)


def as_data(
    value: Any,
    *,
    valid: Any = None,
    test: Any = None,
    root: str | Path | None = None,
    image_size: int | None = None,
    subset: int | None = None,
    classes: int | None = None,
    dims: int = 2,
    level: str = "word",
    vocabulary: int | None = None,
    encoding: str = "utf-8",
) -> Data:
    """Data from whatever holds images: a name, arrays, a Dataset, a DataLoader.

    `value` is any of: a name or path (see `load`, also for `root`, `image_size` and `subset`); a
    Data, returned as it is; arrays or tensors (x, y) or (x, y, x_test, y_test); a map-style torch
    Dataset of (image, label); a DataLoader.

    `valid` and `test` are of the same kind as `value`: a pair (x, y), a Dataset or a DataLoader.
    A DataLoader needs a `valid` for a search, as it cannot be split. `classes`: how many there
    are, where the training labels do not tell. Images of a Dataset or a DataLoader are used as they
    come, without normalization or augmentation; those of arrays are normalized by the training
    images and cropped with a padding of an eighth of their height. `dims`: 1 where they are signals
    (N, C, L), 3 where they are volumes (N, C, D, H, W); these are not cropped. `level`,
    `vocabulary` and `encoding` go with the name of a text alone; text from Python is made by
    `archgrad.data.text_data`. Raises `ArchgradError` for all that is wrong.

    >>> import archgrad, torch
    >>> data = archgrad.data.as_data((torch.rand(20, 3, 8, 8), torch.arange(20) % 2))
    >>> data.shape, data.classes, data.augmentation.crop_padding
    ((3, 8, 8), ('0', '1'), 1)
    """
    _check_whole(image_size=image_size, subset=subset, classes=classes, dims=dims)
    _check_dims(dims)
    if classes is not None and classes < 1:
        raise ArchgradError(f"classes is {classes}; expected 1 or more")
    options: dict[str, Any] = {"level": level, "vocabulary": vocabulary, "encoding": encoding}
    if not isinstance(value, str | Path):
        what = f"a {type(value).__name__}"
        _refuse_options(what, "data that is made", "the name of a text", options, _OF_TEXT)
    if isinstance(value, Data):
        _refuse(value, valid=valid, test=test, root=root, image_size=image_size, subset=subset)
        if not value.shape:
            _refuse_options(value.name, "text", "images", {"dims": dims}, _OF_IMAGES)
        elif dims not in (2, len(value.shape) - 1):
            raise ArchgradError(
                f"dims is {dims} for data of shape {value.shape}; expected {len(value.shape) - 1}, "
                "so leave it out"
            )
        return _with_classes(value, classes)
    if isinstance(value, str | Path):
        _refuse(value, valid=valid, test=test)
        sizes: dict[str, Any] = {"image_size": image_size, "subset": subset, "dims": dims}
        loaded = load(value, root, **sizes, **options)
        return _with_classes(loaded, classes)
    if isinstance(value, tuple | list):
        return _from_arrays(value, valid, test, image_size, subset, classes, dims)
    if not isinstance(value, Dataset | DatasetSource | DataLoader):
        raise ArchgradError(
            f"data is a {type(value).__name__}; expected a name, a path, a pair (x, y) of arrays, "
            "a torch Dataset or a DataLoader"
        )
    if image_size is not None:
        raise ArchgradError(
            f"image_size was given with a {type(value).__name__}; expected arrays, a file or a "
            "folder with it, so resize in the data set's own transform"
        )
    if isinstance(value, DataLoader):
        return _from_loaders(value, valid, test, subset, classes, dims)
    return _from_datasets(value, valid, test, subset, classes, dims)


def _check_whole(**options: Any) -> None:
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer | None):
            raise ArchgradError(
                f"{name} is {value!r}, a {type(value).__name__}; expected a whole number, so give "
                "an int"
            )


def _refuse_options(
    name: str, held: str, wanted: str, given: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    """Refuse options that are not of this kind of data."""
    for option, value in given.items():
        if value != defaults[option]:
            raise ArchgradError(
                f"{option} is {value} for {name}, which is {held}; expected {wanted} with it, so "
                "leave it out"
            )


def _check_stream(name: str, is_folder: bool, stream: str) -> None:
    if stream == "on" and not is_folder:
        raise ArchgradError(
            f"stream is on for {name}, which is read at once; expected a folder of images with it, "
            "so leave it out"
        )


def _check_dims(dims: int) -> None:
    if dims not in SIDES:
        raise ArchgradError(
            f"dims is {dims}; expected 1 for signals, 2 for images or 3 for volumes: give one"
        )


def _refuse(value: Any, **options: Any) -> None:
    given = [name for name, option in options.items() if option is not None]
    if given:
        raise ArchgradError(
            f"{given[0]} was given with a {type(value).__name__}, which settles that itself; "
            "expected arrays, a Dataset or a DataLoader with it, so leave it out"
        )


def _with_classes(data: Data, classes: int | None) -> Data:
    if classes not in (None, len(data.classes)):
        raise ArchgradError(
            f"classes is {classes}; expected {len(data.classes)}, as {data.name} has, so leave it "
            "out"
        )
    return data


def _from_arrays(
    value: Any,
    valid: Any,
    test: Any,
    image_size: int | None,
    subset: int | None,
    classes: int | None,
    dims: int,
) -> Data:
    if len(value) == 4 and test is None:
        test = value[2:]
    elif len(value) != 2:
        also = " with test= besides" if len(value) == 4 else ""
        raise ArchgradError(
            f"data is a {type(value).__name__} of {len(value)} items{also}; expected (x, y), or "
            "(x, y, x_test, y_test) without test="
        )
    parts = Parts(
        array_source(value[0], value[1], "train", dims),
        _pair(test, "test", dims),
        _pair(valid, "valid", dims),
        None if classes is None else numbered(classes),
    )
    return assemble("arrays", parts, image_size=image_size, subset=subset)


def _pair(value: Any, part: str, dims: int) -> ArraySource | None:
    if value is None:
        return None
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ArchgradError(
            f"{part} is a {type(value).__name__}; expected a pair (x, y) of arrays as for training"
        )
    return array_source(value[0], value[1], part, dims)


def _from_datasets(
    value: Any, valid: Any, test: Any, subset: int | None, classes: int | None, dims: int
) -> Data:
    def make(dataset: Any, part: str) -> DatasetSource:
        if isinstance(dataset, DatasetSource):
            dataset, workers = dataset.dataset, dataset.workers
            return DatasetSource(dataset, workers, classes=count, name=part, dims=dims)
        if not isinstance(dataset, Dataset):
            raise ArchgradError(
                f"{part} is a {type(dataset).__name__}; expected a torch Dataset as for training"
            )
        return DatasetSource(dataset, classes=count, name=part, dims=dims)

    count = classes
    train = make(value, "train")
    names = _class_names(train.dataset, train.labels, classes)
    count = len(names)
    train = make(value, "train")
    held = make(test, "test") if test is not None else None
    own = make(valid, "valid") if valid is not None else None
    check_parts(train, {"valid": own, "test": held}, names)
    if subset is not None:
        if train.labels is None:
            raise ArchgradError(
                f"subset was given with a {type(train.dataset).__name__} whose labels are not "
                "known; expected an attribute targets, so add it or give a torch Subset"
            )
        train = train.subset(balanced(train.labels, subset))
        check_subset(train.labels, names)
    return Data(type(value).__name__, train, held, train.shape, names, None, Augmentation(), own)


def _from_loaders(
    value: Any, valid: Any, test: Any, subset: int | None, classes: int | None, dims: int
) -> Data:
    def make(loader: Any, part: str) -> LoaderSource:
        return LoaderSource(loader, classes=len(names), name=part, dims=dims)

    for part, loader in (("valid", valid), ("test", test)):
        if not isinstance(loader, DataLoader | None):
            raise ArchgradError(
                f"{part} is a {type(loader).__name__}; expected a DataLoader as for training"
            )
    if subset is not None:
        raise ArchgradError(
            "subset was given with a DataLoader, which cannot be cut; give its data set instead"
        )
    names = _class_names(value.dataset, known_labels(value.dataset), classes)
    train = make(value, "train")
    own = None if valid is None else make(valid, "valid")
    held = None if test is None else make(test, "test")
    check_parts(train, {"valid": own, "test": held}, names)
    return Data("loader", train, held, train.shape, names, None, Augmentation(), own)


def _class_names(dataset: Any, labels: Tensor | None, classes: int | None) -> tuple[str, ...]:
    """The data set's own class names where they fit, else numbers up to `classes` or its labels."""
    names = getattr(dataset, "classes", None)
    if isinstance(names, tuple | list) and names and classes in (None, len(names)):
        return tuple(map(str, names))
    if classes is not None:
        return numbered(classes)
    if labels is None:
        raise ArchgradError(
            f"the number of classes of a {type(dataset).__name__} is not known; expected classes "
            "or targets on the data set, so give classes="
        )
    return numbered_by(labels, "train")

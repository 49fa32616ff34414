"""CIFAR-10 from any of its usual forms: binary, python pickles (read safely) or npz parts.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from archgrad import untrusted
from archgrad.data.arrays import array_source
from archgrad.data.base import Normalization
from archgrad.data.dataset import Parts
from archgrad.data.files import read_npz
from archgrad.errors import ArchgradError, out_of_memory
from archgrad.storage.plain_pickle import ARRAYS, Reader

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
NORMALIZATION = Normalization(
    (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
)

Array: TypeAlias = "np.ndarray[Any, Any]"
Labeled: TypeAlias = tuple[Array, Array]

_PIXELS = 3 * 32 * 32
_BINARY = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
_PYTHON = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def read_cifar10(root: Path) -> Parts:
    """CIFAR-10 from `root` or `root/cifar10`, in the first form found there.

    Looked for in this order: `cifar10_part*.npz`, the files of `cifar-10-batches-bin` or
    `cifar-10-batches-py` (there or in a folder of that name), `cifar-10-binary.tar.gz`,
    `cifar-10-python.tar.gz`. Raises ArchgradError naming the file that is missing or broken.
    """
    for folder in (root, root / "cifar10"):
        if (parts := read_npz_parts(folder, "cifar10", CLASSES)) is not None:
            return parts
        for names, decode, extracted, archive in (
            (_BINARY, _decode_binary, "cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
            (_PYTHON, decode_python, "cifar-10-batches-py", "cifar-10-python.tar.gz"),
        ):
            for place in (folder, folder / extracted):
                if any((place / name).is_file() for name in names):
                    return _join(read_files(place, names), decode)
            if (folder / archive).is_file():
                return _join(read_archive(folder / archive, names), decode)
    raise ArchgradError(
        f"no CIFAR-10 found in {root}; expected cifar-10-binary.tar.gz, cifar-10-python.tar.gz, "
        "either one extracted, or cifar10_part*.npz, so give the folder that holds one as root"
    )


def read_files(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The bytes of each named file, by its path."""
    contents = {}
    for name in names:
        path = folder / name
        if not path.is_file():
            raise ArchgradError(
                f"{path} is missing; expected all of {', '.join(names)}, so extract them again"
            )
        contents[str(path)] = untrusted.content(path)
    return contents


def read_archive(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The bytes of each named file of a .tar.gz archive, by archive and name."""
    found: dict[str, bytes] = {}
    try:
        with gzip.open(path) as packed, untrusted.limited(packed, path) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = Path(member.name).name
                    if name in names and member.isfile():
                        found[name] = _member(archive, member)
            while stream.read(2**20):  # the checksum is compared at the very end
                pass
    except Exception as error:  # broken archives raise errors of many types
        if out_of_memory(error):
            raise
        raise ArchgradError(
            f"{path} cannot be read ({error}); expected a whole .tar.gz archive, so get it again"
        ) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise ArchgradError(
            f"{path} holds no {missing[0]}; expected all of {', '.join(names)}, so get it again"
        )
    return {f"{path}:{name}": found[name] for name in names}


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Into memory: no file of an archive is ever written."""
    if member.size > untrusted.LIMIT or member.issparse():
        raise ValueError(f"{member.name} says that it has {member.size:,} bytes")
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _join(contents: dict[str, bytes], decode: Callable[[bytes, str], Labeled]) -> Parts:
    """The parts of the files' bytes, of which the last one is the test batch."""
    *batches, test = (decode(content, name) for name, content in contents.items())
    x, y = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return Parts(array_source(x, y, "train"), array_source(*test, "test"), classes=CLASSES)


def _decode_binary(content: bytes, name: str) -> Labeled:
    record = 1 + _PIXELS
    if not content or len(content) % record:
        raise ArchgradError(
            f"{name} has {len(content)} bytes; expected a multiple of {record} (a label and "
            f"{_PIXELS} pixels an image), so get it again"
        )
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


def unpickled(content: bytes, name: str, *keys: str) -> list[Any]:
    """What a pickled dict of the CIFAR sets holds under each key; nothing in it is run."""
    try:
        batch = Reader(io.BytesIO(content), ARRAYS, "CIFAR", text=bytes).load()
    except ArchgradError as error:
        raise ArchgradError(f"{name}: {error}") from None
    except Exception as error:  # broken pickles raise errors of almost every type
        raise ArchgradError(
            f"{name} cannot be read ({error}); expected a python file of CIFAR, so get it again"
        ) from error
    wanted = [key.encode() for key in keys]
    if not isinstance(batch, dict) or not set(wanted) <= batch.keys():
        raise ArchgradError(
            f"{name} holds no {' and '.join(keys)}; expected a python file of CIFAR, so get it "
            "again"
        )
    return [batch[key] for key in wanted]


def decode_python(content: bytes, name: str, of_labels: str = "labels") -> Labeled:
    """Images (N, 3, 32, 32) uint8 and labels (N,) of a pickled batch."""
    data, labels = unpickled(content, name, "data", of_labels)
    shape, kind = getattr(data, "shape", None), getattr(data, "dtype", None)
    if kind != np.uint8 or not isinstance(labels, list) or shape != (len(labels), _PIXELS):
        count = len(labels) if isinstance(labels, list) else f"a {type(labels).__name__} of"
        raise ArchgradError(
            f"{name} has data of shape {shape} and type {kind} and {count} labels; expected uint8 "
            f"(N, {_PIXELS}) and a list of N labels, so get it again"
        )
    return data.reshape(-1, 3, 32, 32), np.array(labels)


def read_npz_parts(folder: Path, stem: str, classes: tuple[str, ...]) -> Parts | None:
    """The parts `stem`_part*.npz of a folder in the order of their numbers; None without any.

    `classes`: their names where the files do not tell.
    """
    numbers = {
        int(match[1]): path
        for path in folder.glob(f"{stem}_part*.npz")
        if (match := re.fullmatch(rf"{stem}_part(\d+)\.npz", path.name))
    }
    if not numbers:
        return None
    paths = [numbers[number] for number in sorted(numbers)]
    contents = [read_npz(path) for path in paths]
    for path, arrays in zip(paths, contents, strict=True):
        shapes = [arrays[key].shape[1:] for key in ("x", "x_test") if key in arrays]
        if any(shape != (32, 32, 3) for shape in shapes):
            raise ArchgradError(
                f"{path} has images of shape {shapes[0]}; expected (32, 32, 3), so get it again"
            )
    names = [tuple(map(str, arrays.get("classes", classes))) for arrays in contents]
    if len(set(names)) > 1:
        raise ArchgradError(
            f"{paths[0].parent} has parts with different classes; expected those of one data set"
        )
    tests = [arrays for arrays in contents if "x_test" in arrays]
    if not tests:
        raise ArchgradError(
            f"none of {', '.join(path.name for path in paths)} in {paths[0].parent} holds x_test; "
            "expected the test images in the last part, so add that part"
        )
    return Parts(
        array_source(
            np.concatenate([arrays["x"] for arrays in contents]),
            np.concatenate([arrays["y"] for arrays in contents]),
            "train",
        ),
        array_source(tests[-1]["x_test"], tests[-1]["y_test"], "test"),
        classes=names[0],
    )

"""CIFAR-100 from its python pickles (read safely), packed or unpacked, or from npz parts.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Its binary form is not
read.
"""

from __future__ import annotations

from pathlib import Path

from archgrad.data.arrays import array_source
from archgrad.data.base import Normalization
from archgrad.data.cifar import (
    decode_python,
    read_archive,
    read_files,
    read_npz_parts,
    unpickled,
)
from archgrad.data.dataset import Parts, numbered
from archgrad.errors import ArchgradError

# As code that searches on CIFAR-100 has them (RobustDARTS, arXiv:1909.09656, and others).
NORMALIZATION = Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))

_FILES = ("train", "test", "meta")
_EXTRACTED, _ARCHIVE = "cifar-100-python", "cifar-100-python.tar.gz"


def read_cifar100(root: Path) -> Parts:
    """CIFAR-100 with its fine labels from `root` or `root/cifar100`, in the first form found there.

    Looked for in this order: `cifar100_part*.npz` (classes by number where they do not name them),
    the files `train`, `test` and `meta` there or in `cifar-100-python`, `cifar-100-python.tar.gz`.
    Raises ArchgradError naming the file that is missing or broken.
    """
    for folder in (root, root / "cifar100"):
        if (parts := read_npz_parts(folder, "cifar100", numbered(100))) is not None:
            return parts
        for place in (folder, folder / _EXTRACTED):
            if (place / "meta").is_file():
                return _join(read_files(place, _FILES))
        if (folder / _ARCHIVE).is_file():
            return _join(read_archive(folder / _ARCHIVE, _FILES))
    raise ArchgradError(
        f"no CIFAR-100 found in {root}; expected {_ARCHIVE}, {_EXTRACTED} as extracted from it, or "
        "cifar100_part*.npz, so give the folder that holds one as root"
    )


def _join(contents: dict[str, bytes]) -> Parts:
    (train, train_name), (test, test_name), (meta, meta_name) = (
        (content, name) for name, content in contents.items()
    )
    (names,) = unpickled(meta, meta_name, "fine_label_names")
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise ArchgradError(
            f"{meta_name} has fine_label_names of another form; expected a list of the names of "
            "the classes, so get it again"
        )
    return Parts(
        array_source(*decode_python(train, train_name, "fine_labels"), "train"),
        array_source(*decode_python(test, test_name, "fine_labels"), "test"),
        classes=tuple(name.decode("utf-8", "replace") for name in names),
    )

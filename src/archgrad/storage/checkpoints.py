"""Reading a checkpoint: what it claims is compared with what it holds before torch reads it.

`torch.load` takes the number of elements of a tensor from the pickle, not from the bytes that are
there, and unpacks what is compressed: here both are refused. Files of torch before 1.6 are, too,
since they claim sizes as well and archgrad never wrote any.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from archgrad.storage.plain_pickle import DATA, Name, Reader, nothing

_SIZES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1,
    "Byte": 1, "Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8,
}  # fmt: skip
_NAMES = {
    **DATA,
    "collections.Counter": nothing,
    "collections.defaultdict": nothing,
    "torch.Size": nothing,
    "torch.device": nothing,
    "torch._utils._rebuild_parameter": nothing,
    "torch._utils._rebuild_tensor": nothing,
    "torch._utils._rebuild_tensor_v2": nothing,
    **{f"torch.{kind}Storage": nothing for kind in _SIZES},
}


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """The tensors and plain values of a checkpoint; nothing in it is run.

    Raises ValueError where it claims other sizes than it has, and what `torch.load` raises.
    """
    _check(path)
    found = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(found, dict):
        raise ValueError(f"found a {type(found).__name__}, expected a dict")
    return found


def _check(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError("it is no zip file, as archgrad writes them")
        with zipfile.ZipFile(file) as archive:
            entries = {entry.filename.lower(): entry for entry in archive.infolist()}
            if len(entries) < len(archive.infolist()):
                raise ValueError("two of its entries have one name")
            if any(e.compress_type or e.compress_size != e.file_size for e in entries.values()):
                raise ValueError("it is compressed, which torch does not do")
            (pickled,) = (e for name, e in entries.items() if name.endswith("/data.pkl"))
            folder = pickled.filename.removesuffix("data.pkl")

            def stored(claimed: Any) -> None:
                _, kind, key, _, count = claimed
                entry = entries[f"{folder}data/{key}".lower()]
                if not isinstance(kind, Name) or type(count) is not int:
                    raise TypeError("a tensor without a size")
                expected = count * _SIZES[kind.name[6:-7]]
                if expected != entry.file_size:
                    raise ValueError(f"a tensor of {expected} bytes in {entry.file_size}")

            with archive.open(pickled) as stream:
                Reader(stream, _NAMES, "a checkpoint", stored=stored, most=2**24).load()

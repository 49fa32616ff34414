"""A short digest of labeled images, to tell whether a run goes on with the data it began with."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archgrad.data.arrays import ArraySource
from archgrad.data.base import Shape, Source
from archgrad.data.stream import StreamSource
from archgrad.data.text import TextSource
from archgrad.data.torchdata import DatasetSource, LoaderSource, collate

_SAMPLES = 64


def fingerprint(
    shape: Shape, classes: Sequence[str], train: Source, valid: Source | None = None
) -> str:
    """16 hexadecimal digits of SHA-256 over the shape, the class names and each source.

    Of a source: its length, all labels that are known and some images: about 64 evenly spaced ones
    of an ArraySource; the names of all files of a StreamSource and the contents of some; the first
    and the last one of a DatasetSource, unless reading them draws from a global random generator
    (whose state is put back) or gives other images each time; all tokens of a text. A DataLoader is
    not read.
    """
    digest = hashlib.sha256(repr((shape, tuple(classes), valid is None)).encode())
    for source in (train, valid):
        for part in () if source is None else _parts(source):
            digest.update(f"{len(part)}:".encode() + part)
    return digest.hexdigest()[:16]


def _parts(source: Source) -> Iterator[bytes]:
    if isinstance(source, LoaderSource):
        return
    yield str(len(source)).encode()
    if source.labels is not None:
        yield _bytes(source.labels)
    if isinstance(source, ArraySource):
        yield some_rows(source.x)
    if isinstance(source, StreamSource):
        yield source.sample()
    if isinstance(source, TextSource):
        yield _bytes(source.tokens)
    if isinstance(source, DatasetSource):
        yield from _ends(source.dataset, source.dims)


def some_rows(tensor: Tensor) -> bytes:
    """About 64 evenly spaced rows of a tensor."""
    count = len(tensor)
    return _bytes(tensor[np.linspace(0, count - 1, min(count, _SAMPLES)).astype(int)])


def _ends(dataset: Any, dims: int) -> list[bytes]:
    """The first and the last image, or nothing where they are not the same each time."""
    before = _random_state()
    try:
        first, again = (
            [_bytes(collate([dataset[index]], dims)[0]) for index in (0, len(dataset) - 1)]
            for _ in range(2)
        )
        drawn = _random_state() != before
    finally:
        _restore(before)
    return [] if drawn or first != again else first


def _random_state() -> tuple[Any, ...]:
    """The state of each global generator, in values that compare."""
    legacy: Any = np.random.get_state()
    name, keys, *rest = legacy
    return random.getstate(), (name, keys.tolist(), *rest), torch.get_rng_state().tolist()


def _restore(state: tuple[Any, ...]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(torch.tensor(state[2], dtype=torch.uint8))


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    return str(plain.dtype).encode() + plain.view(torch.uint8).numpy().tobytes()

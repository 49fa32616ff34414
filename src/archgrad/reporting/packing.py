"""Numbers of every epoch in little room: 16 bits each, as the page unpacks them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

STEPS = 65534  # 65535 stands for no value


def pack(values: ArrayLike) -> dict[str, Any]:
    """An array (epochs, ...) of any shape; what is not finite has no value on the page.

    A number is `low + (high - low) * q / 65534` of an unsigned 16-bit `q`, so it differs by at
    most 1/131068 of the range. What is kept of each series over the epochs is how `q` changes,
    modulo 65536 and with the sign in the lowest bit, first all high bytes and then all low ones:
    most high bytes are 0 then, which leaves gzip little to keep.
    """
    array = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(array)
    low, high = (float(f(array[finite])) if finite.any() else 0.0 for f in (np.min, np.max))
    scale = STEPS / (high - low) if high > low else 0.0
    steps = np.where(finite, np.rint((np.where(finite, array, low) - low) * scale), STEPS + 1)
    series = np.moveaxis(steps.astype(np.uint16), 0, -1)
    change = np.diff(series, axis=-1, prepend=np.uint16(0)).view(np.int16)
    kept = ((change << 1) ^ (change >> 15)).view(np.uint16)
    halves = [(kept >> 8).astype(np.uint8), kept.astype(np.uint8)]
    data = base64.b64encode(b"".join(half.tobytes() for half in halves)).decode()
    return {"shape": list(array.shape), "low": low, "high": high, "data": data}

"""Numbers of every epoch in little room: 16 bits each, as the page unpacks them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

STEPS = 65534  # 65535 stands for no value


def pack(values: ArrayLike) -> dict[str, Any]:
    """An array of any shape; what is not finite has no value on the page.

    A number is ``low + (high - low) * q / 65534`` of the little-endian unsigned 16-bit ``q``, so it
    differs by at most 1/131068 of the range.
    """
    array = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(array)
    low, high = (float(f(array[finite])) if finite.any() else 0.0 for f in (np.min, np.max))
    scale = STEPS / (high - low) if high > low else 0.0
    steps = np.where(finite, np.rint((np.where(finite, array, low) - low) * scale), STEPS + 1)
    data = base64.b64encode(steps.astype("<u2").tobytes()).decode()
    return {"shape": list(array.shape), "low": low, "high": high, "data": data}

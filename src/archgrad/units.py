"""Amounts with units as people write them: 5ms, 200us, 2M, 300M. Imports no torch."""

from __future__ import annotations

import math
import re

TIME = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
COUNT = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
NUMBER = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-zµ]*)")


def milliseconds(text: str) -> float:
    """A time such as 5ms, 0.8 ms, 200us or 1s, in milliseconds."""
    return _amount(text, TIME, "a time above 0 with its unit, such as 5ms, 200us or 0.1s")


def count(text: str) -> float:
    """A number such as 2M, 300M, 1.5k, 2e6 or 2000000."""
    return _amount(text, COUNT, "a number above 0, such as 500k, 2M or 300000")


def _amount(text: str, units: dict[str, float], expected: str) -> float:
    match = NUMBER.fullmatch(text.strip().lower().replace(",", "").replace("_", ""))
    try:
        if match is None:
            raise ValueError
        value = float(match[1]) * units[match[2]]
    except (ValueError, KeyError):
        value = 0.0
    if not 0 < value < math.inf:
        raise ValueError(f'found "{text}", expected {expected}')
    return value


def shown(kind: str, value: float) -> str:
    """An amount of parameters, multiply_adds or latency (ms) for people."""
    if kind == "latency":
        return f"{value:.4g} ms"
    return f"{value:,.0f} {kind.replace('_', '-')}"

"""Amounts with units as people write them: 5ms, 200us, 2M, 300M. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

TIME = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
COUNT = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
WORK = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
THOUSANDS = r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?"
NUMBER = re.compile(rf"((?:{THOUSANDS}|[0-9.]+)(?:e[+-]?[0-9]+)?)\s*([a-zµ]*)")


def milliseconds(text: str) -> float:
    """A time such as 5ms, 0.8 ms, 200us or 1s, in milliseconds."""
    return _amount(text, TIME, "a time above 0 with its unit, such as 5ms, 200us or 0.1s")


def count(text: str) -> float:
    """A number such as 2M, 300M, 1.5k, 2e6 or 2000000."""
    return _amount(text, COUNT, "a number above 0, such as 500k, 2M or 300000")


def work(text: str) -> float:
    """Multiply-adds of a whole search, such as 5T or 1.2P; see `archgrad.networks.counting`."""
    return _amount(text, WORK, "a number of multiply-adds above 0, such as 800G, 5T or 1.2P")


def _amount(text: str, units: dict[str, float], expected: str) -> float:
    match = NUMBER.fullmatch(text.strip().lower().replace("_", ""))
    try:
        if match is None:
            raise ValueError
        value = float(match[1].replace(",", "")) * units[match[2]]
    except (ValueError, KeyError):
        value = 0.0
    if not 0 < value < math.inf:
        commas = "; a comma separates thousands, decimals follow a point" if "," in text else ""
        raise ValueError(f'found "{text}", expected {expected}{commas}')
    return value


# option -> the kind of cost it limits, and how it is read
LIMITS = {
    "max_params": ("parameters", count),
    "max_madds": ("multiply_adds", count),
    "max_latency": ("latency", milliseconds),
}
OF_LATENCY = ("latency_table", "latency_device")
OF_LIMITS = (*OF_LATENCY, "cost_weight", "cost_form")


def check_limits(options: Mapping[str, Any]) -> None:
    """Refuse options of cost that do not go together."""
    given = [name for name in LIMITS if options[name] is not None]
    extra = [name for name in OF_LIMITS if options[name] not in (None, "limit")]
    if len(given) > 1:
        raise ValueError(
            f"found the limits {' and '.join(given)}, expected one; leave the others out, and look "
            "at what the run reports of them"
        )
    if extra and not given:
        raise ValueError(
            f"{extra[0]} goes with a limit, and there is none; add {', '.join(LIMITS)}"
        )
    if given == ["max_latency"] and options["latency_table"] is None:
        raise ValueError(
            "max_latency needs a table of this device: make one with archgrad measure-latency "
            "--out FILE and the same space, channels and cells, of an own model with "
            "archgrad.measure_latency(model, example=...), and give it as latency_table"
        )
    if given != ["max_latency"] and (wrong := [n for n in OF_LATENCY if n in extra]):
        raise ValueError(f"{wrong[0]} goes with max_latency, found {given[0]}; leave it out")


def shown(kind: str, value: float) -> str:
    """An amount of parameters, multiply_adds or latency (ms) for people."""
    if kind == "latency":
        return f"{value:.4g} ms"
    return f"{value:,.0f} {kind.replace('_', '-')}"

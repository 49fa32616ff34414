"""The cells of NAS-Bench-201 as numbers from 0 to 15,624: the operations of the edges in base 5."""

from __future__ import annotations

from itertools import product

from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError
from archgrad.networks.operations import NAS_BENCH_201
from archgrad.spaces.nas_bench_201 import NAME, NODES, from_string, to_string

# node by node, what its part of a cell's string may be
_PARTS = [
    [
        "|" + "|".join(f"{name}~{source}" for source, name in enumerate(names)) + "|"
        for names in product(NAS_BENCH_201, repeat=node)
    ]
    for node in NODES
]
_DIGITS = [{part: digit for digit, part in enumerate(parts)} for parts in _PARTS]
CELLS = len(NAS_BENCH_201) ** sum(NODES)


def number(cell: Architecture | str) -> int:
    """The number of a cell, in the order of `NasBench201.all_architectures`.

    >>> number("|skip_connect~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|")
    3127
    """
    if not isinstance(cell, Architecture | str):
        raise ArchgradError(
            f"found a {type(cell).__name__}, expected an architecture of space {NAME} or its "
            "string, as |none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
        )
    text = cell if isinstance(cell, str) else to_string(cell)
    found = 0
    for part, digits in zip(_split(text), _DIGITS, strict=True):
        found = found * len(digits) + digits[part]
    return found


def string(number: int) -> str:
    """The string of the cell with this number.

    >>> string(0)
    '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'
    """
    found = []
    for parts in reversed(_PARTS):
        number, digit = divmod(number, len(parts))
        found.append(parts[digit])
    return "+".join(reversed(found))


def _split(text: str) -> list[str]:
    parts = text.split("+")
    if len(parts) != len(_DIGITS) or any(p not in known for p, known in zip(parts, _DIGITS)):
        from_string(text)  # says what is wrong
    return parts

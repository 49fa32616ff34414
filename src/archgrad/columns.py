"""What the name of a column of a benchmark says: validation or test, accuracy or not."""

from __future__ import annotations

import re
import sys

ARCH = "arch"
TEST, VALIDATION = "c10_test", "c10_val_12ep"
PARAMETERS, FLOPS, LATENCY = "c10_params_M", "c10_flops_M", "lat_ms"

_VALIDATION = {"val", "valid", "validation"}
_ACCURACY = {"test", "train", "acc", "accuracy"} | _VALIDATION
_OTHER = {"loss", "time", "seconds"}


def is_accuracy(column: str) -> bool:
    """Whether a column holds accuracies, in percent: more is better.

    >>> [is_accuracy(name) for name in ("c10_test", "c100_valid", "c10_params_M", "train_loss")]
    [True, True, False, False]
    """
    words = _words(column)
    return bool(words & _ACCURACY) and not words & _OTHER


def is_validation(column: str) -> bool:
    """Whether a column holds accuracies on validation images, and nothing of a test."""
    return is_accuracy(column) and bool(_words(column) & _VALIDATION) and not names_test(column)


def names_test(column: str) -> bool:
    """Whether a name speaks of a test, wherever the word stands in it."""
    return "test" in column.lower()


def limit(column: str) -> float:
    """The largest value that a column may hold; the least is 0."""
    return 100.0 if is_accuracy(column) else sys.float_info.max


def _words(column: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", column.lower()))

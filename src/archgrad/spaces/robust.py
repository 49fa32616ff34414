"""The spaces S1 to S4 of RobustDARTS, on which DARTS collapses (arXiv:1909.09656)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from archgrad.spaces.darts_cnn import DartsCNN

SKIP, MAX, AVG = "skip_connect", "max_pool_3x3", "avg_pool_3x3"
SEP3, DIL3, DIL5 = "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"

S1_NORMAL = (
    *((SKIP, DIL3), (SKIP, DIL5)),
    *((SKIP, DIL5), (SKIP, SEP3), (SKIP, DIL3)),
    *((MAX, SKIP), (SKIP, SEP3), (SKIP, SEP3), (SKIP, DIL3)),
    *((SKIP, SEP3), (MAX, SKIP), (SKIP, DIL3), (DIL3, DIL5), (DIL3, DIL5)),
)
S1_REDUCE = (
    *((MAX, AVG), (MAX, DIL3)),
    *((MAX, AVG), (MAX, AVG), (SKIP, DIL5)),
    *((MAX, AVG), (MAX, SEP3), (SKIP, DIL3), (SKIP, DIL5)),
    *((MAX, AVG), (MAX, AVG), (SKIP, DIL5), (SKIP, DIL5), (SKIP, DIL5)),
)


def _recipe(line: str, **fixed: Any) -> Callable[..., DartsCNN]:
    recipe = partial(DartsCNN, **fixed)
    recipe.__doc__ = line
    return recipe


s1 = _recipe(
    "RobustDARTS S1: the two operations that pruning left on each edge (arXiv:1909.09656).",
    name="s1",
    candidates=(S1_NORMAL, S1_REDUCE),
)
s2 = _recipe(
    "RobustDARTS S2: skip or separable convolution on every edge (arXiv:1909.09656).",
    name="s2",
    operations=(SKIP, SEP3),
)
s3 = _recipe(
    "RobustDARTS S3: none, skip or separable convolution on every edge (arXiv:1909.09656).",
    name="s3",
    operations=("none", SKIP, SEP3),
)
s4 = _recipe(
    "RobustDARTS S4: noise or separable convolution on every edge (arXiv:1909.09656).",
    name="s4",
    operations=("noise", SEP3),
)

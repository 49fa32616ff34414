"""Random search with weight sharing: the baseline of every search that shares weights."""

from __future__ import annotations

from archgrad.parts.hypergradient import at_rest
from archgrad.parts.method import Method
from archgrad.parts.relaxation import UniformPath
from archgrad.parts.selection import RandomSearch


def random_ws(*, samples: int = 1000, top: int = 10, batches: int = 10) -> Method:
    """Random search with weight sharing (Li, Talwalkar, UAI 2019, arXiv:1902.07638).

    The weights train along one uniformly drawn architecture a step, and alpha never moves. Then
    `samples` architectures are drawn and evaluated with the shared weights on `batches` batches
    of alpha's half; the `top` ones are evaluated again on all of it, and the best is kept.

    The architecture, accuracy and diagnostics of an epoch are those of one architecture, drawn when
    the search begins.

    Differs from the original code: the drawn architectures have no `none` where the space does
    not keep it; all see the same batches, see `archgrad.parts.selection.RandomSearch`.
    """
    return Method(
        relaxation=UniformPath(),
        hypergradient=at_rest,
        selection=RandomSearch(samples, top, batches),
    )

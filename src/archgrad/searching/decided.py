"""When alpha has decided next to nothing, and the sentence that says so. Imports no torch."""

from __future__ import annotations

MOVED = (
    0.05  # `archgrad.searching.diagnostics.moved` of a search that has decided something, at least
)


def decided_nothing(moved: float) -> str | None:
    """The sentence, None where alpha has moved far enough.

    >>> decided_nothing(0.05) is None
    True
    >>> decided_nothing(0.012)[:35]
    'alpha has decided next to nothing: '
    """
    if moved >= MOVED:
        return None
    return (
        f"alpha has decided next to nothing: no candidate's weight is more than {moved:.1%} from "
        f"where it began, expected {MOVED:.0%} or more for at least one"
    )

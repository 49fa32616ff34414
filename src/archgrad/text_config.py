"""The options of text that a search and a retraining share. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from archgrad.section import PAPER, Section


class TextOptions(Section):
    """How text is cut into segments."""

    bptt: int = Field(35, ge=2, description=f"of text: tokens a segment ({PAPER})")
    bptt_spread: float = Field(
        0.0, ge=0, description="of text: standard deviation of the length of training segments"
    )

"""The options of a language model, in a search and in a retraining. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from archgrad.settings.section import PAPER, Section

AWD = "arXiv:1708.01009"
EVERY_STEP = "the same mask at every step"


class TextOptions(Section):
    """Of text alone (space darts-rnn). Defaults are the paper's for Penn Treebank."""

    hidden: int = Field(
        300, ge=1, description=f"text: units of the embedding and of every state ({PAPER}: 300 in "
        "the search, 850 after)"
    )  # fmt: skip
    bptt: int = Field(
        35, ge=2, description=f"text: steps through which gradients go back in time ({PAPER})"
    )
    bptt_spread: float = Field(
        0.0,
        ge=0,
        description=f"text: standard deviation of that, at least 5 steps ({AWD}; {PAPER}: 0 in the "
        "search, 5 after)",
    )
    dropout_output: float = Field(
        0.75, ge=0, lt=1, description=f"text: of what is decoded, {EVERY_STEP} ({PAPER})"
    )
    dropout_hidden: float = Field(
        0.25, ge=0, lt=1, description=f"text: of states within the cell, {EVERY_STEP} ({PAPER})"
    )
    dropout_input: float = Field(
        0.75, ge=0, lt=1, description=f"text: of what enters the cell, {EVERY_STEP} ({PAPER})"
    )
    dropout_embedding: float = Field(
        0.2, ge=0, lt=1, description=f"text: of embedded words, {EVERY_STEP} ({PAPER})"
    )
    dropout_words: float = Field(
        0.0, ge=0, lt=1, description=f"text: of whole words ({PAPER}: 0.1 after the search)"
    )
    activation: float = Field(
        0.0, ge=0, description=f"text: times the mean square of outputs, in the loss ({AWD})"
    )
    slowness: float = Field(
        1e-3, ge=0, description=f"text: times that of their change from step to step ({PAPER})"
    )

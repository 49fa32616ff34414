"""Whether torchrun began this process, and as which of how many. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence

from archgrad.errors import ArchgradError

DIVIDED = ("search", "train", "run")  # the commands that several processes do together


def launched() -> bool:
    """Whether torchrun began this process as one of several that are to be joined."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def local_rank() -> int:
    """This process's number on its machine: that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_size() -> int:
    """How many processes torchrun began on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def first() -> bool:
    """Whether this process is the one that tells."""
    return not launched() or os.environ.get("RANK", "0") == "0"


def refuse_others(arguments: Sequence[str]) -> None:
    """Refuse, in each of several processes, a command that they would all do by themselves."""
    command = next((word for word in arguments if not word.startswith("-")), None)
    if launched() and command is not None and command not in DIVIDED:
        raise ArchgradError(
            f"torchrun began {os.environ['WORLD_SIZE']} processes of archgrad {command}; expected "
            f"one, since several do {', '.join(DIVIDED)} together alone: begin it without "
            "torchrun (for many runs side by side: archgrad compare, archgrad sweep)"
        )

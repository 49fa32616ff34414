"""What is usual for a data set or a space, where nobody says otherwise. Imports no torch."""

from __future__ import annotations

from typing import Any

from archgrad.settings import recipes

DEFAULT_SPACE = "darts-cnn"
TEXTS = ("ptb", "grammar")  # named data sets that hold text
_DROPOUT = {
    "dropout_output": 0.2,
    "dropout_hidden": 0.2,
    "dropout_input": 0.2,
    "dropout_embedding": 0.2,
}
_GRAMMAR = {"hidden": 32, "epochs": 5, "batch_size": 16, "bptt": 20, **_DROPOUT}
_TEXT = {"hidden": 128, "batch_size": 20, **_DROPOUT}  # of an own text, which may be short
# By data set or space; those of the data set win. The default data set is small: the paper's sizes
# would be waste on 1,437 images of 8x8 pixels. NAS-Bench-201 (arXiv:2001.00326) and the chain of
# ProxylessNAS (arXiv:1812.00332) have own sizes, recurrent cells those of their recipes.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "digits": {
        "search": {"channels": 8, "cells": 4, "epochs": 10},
        "train": {
            "channels": 8,
            "cells": 4,
            "epochs": 15,
            "cutout": 0,
            "drop_path": 0.0,
            "auxiliary_weight": 0.0,
        },
    },
    "nas-bench-201": {
        "search": {"cells": 5},
        "train": {
            "channels": 16,
            "cells": 5,
            "epochs": 200,
            "cutout": 0,
            "drop_path": 0.0,
            "auxiliary_weight": 0.0,
        },
    },
    "mbconv": {
        "search": {"channels": 32, "cells": 4},
        "train": {
            "channels": 32,
            "cells": 4,
            "epochs": 300,
            "cutout": 0,
            "drop_path": 0.0,
            "auxiliary_weight": 0.0,
        },
    },
    "darts-rnn": {
        "search": recipes.values("darts-ptb-search", "search"),
        "train": recipes.values("darts-ptb-short", "train"),
    },
    "grammar": {"search": _GRAMMAR, "train": {**_GRAMMAR, "test_batch_size": 10}},
    "text": {
        "search": {**_TEXT, "epochs": 20},
        "train": {**_TEXT, "epochs": 40, "test_batch_size": 10},
    },
}


def preset(name: str, section: str) -> dict[str, Any]:
    """What is usual in a section for a data set or a space by its name, text:DIR too."""
    kind = "text" if name.startswith("text:") else name
    return PRESETS.get(kind, {}).get(section, {})


def usual_space(data: str) -> str:
    """The space for a data set by its name, where none is given."""
    return "darts-rnn" if data.startswith("text:") or data in TEXTS else DEFAULT_SPACE

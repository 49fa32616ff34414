"""What is fuzzed of other tools' files: small valid ones of every kind, and how they are read."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from archgrad.conversion import FORMS, WRITTEN, convert
from archgrad.errors import ArchgradError

CELLS = ("normal", "reduce")


def contents(string: str, canary: Path) -> list[bytes]:
    """Logs of DARTS and AutoDL-Projects, choices of NNI, what NASLib writes; one that runs code.

    ``string``: of a cell of NAS-Bench-201; ``canary``: the folder that the code would make.
    """
    edges = [("sep_conv_3x3", 0), ("skip_connect", 1)] * 2
    fields = f"normal={edges}, normal_concat=range(2, 4), reduce={edges}, reduce_concat=[2, 3]"
    epoch = f"lr 2.5e-02\ngenotype = Genotype({fields})\ntrain_acc 30.5\nvalid_acc 40.5\n"
    evaluated = "[000-250] evaluate  : loss=1.90, accuracy@1=30.25%\n"
    texts = [
        f"epoch 0 {epoch}epoch 1 {epoch}",
        "Genotype(recurrent=[('relu', 0)], concat=[1])\n| epoch   1 |\n",
        f"[Search the 000-250-th epoch]\n{evaluated}Structure(4 nodes with {string})\n",
        f"Genotype(normal=__import__('os').mkdir('{canary}'))",
        "(0, 1, 2, 3, 4, 0)",
    ]
    new = {f"{cell}/op_{node}_{slot}": "skip_connect" for cell in CELLS for node in range(2, 6)
           for slot in (0, 1)}  # fmt: skip
    new |= {key.replace("op", "input"): int(key[-1]) for key in new}  # type: ignore[misc]
    old = {f"{cell}_n2_p{source}": "skipconnect" for cell in CELLS for source in (0, 1)}
    old |= {f"{cell}_n2_switch": [0, 1] for cell in CELLS}  # type: ignore[misc]
    darts = {f"NetworkSelectorDatasetInfo:darts:edge_{cell}_{number}": "skip_connect"
             for cell in CELLS for number in (0, 1)}  # fmt: skip
    numbers = {"train_acc": [50.5], "valid_acc": [40.5], "valid_loss": [-1], "params": 1.5}
    values = (json.dumps(value) for value in (new, old, darts, numbers))
    return [text.encode() for text in (*texts, *values)]


def read(folder: Path) -> None:
    """In every form, and written in every form."""
    for form in FORMS:
        with suppress(ArchgradError):
            _read(folder, form)
    _read(folder, None)


def _read(folder: Path, form: str | None) -> None:
    found = convert(folder / "log.txt", form)
    found.table()
    for to in WRITTEN if found.found else ():
        with suppress(ArchgradError):
            found.text(to)

"""Texts and files as other tools write them, made here after their form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

NAMES = {
    "sep3": "sep_conv_3x3", "sep5": "sep_conv_5x5", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5",
    "skip": "skip_connect", "max": "max_pool_3x3", "avg": "avg_pool_3x3",
}  # fmt: skip
PUBLISHED = {  # operation:source, node by node, as the papers' code has them
    "DARTS_V1": (
        "sep3:1 sep3:0 | skip:0 sep3:1 | skip:0 sep3:1 | sep3:0 skip:2",
        "max:0 max:1 | skip:2 max:0 | max:0 skip:2 | skip:2 avg:0",
    ),
    "DARTS_V2": (
        "sep3:0 sep3:1 | sep3:0 sep3:1 | sep3:1 skip:0 | skip:0 dil3:2",
        "max:0 max:1 | skip:2 max:1 | max:0 skip:2 | skip:2 max:1",
    ),
    "PC_DARTS": (
        "sep3:1 skip:0 | sep3:0 dil3:1 | sep5:0 sep3:1 | avg:0 dil3:1",
        "sep5:1 max:0 | sep5:1 sep5:2 | sep3:0 sep3:3 | sep3:1 sep3:2",
    ),
    "PC_DARTS_IMAGENET": (
        "skip:1 sep3:0 | sep3:0 skip:1 | sep3:1 sep3:3 | sep3:1 dil5:4",
        "sep3:0 skip:1 | dil5:2 max:1 | sep3:2 sep3:1 | sep5:0 sep3:3",
    ),
    "PDARTS": (
        "skip:0 dil3:1 | skip:0 sep3:1 | sep3:1 sep3:3 | sep3:0 dil5:4",
        "avg:0 sep5:1 | sep3:0 dil5:2 | max:0 dil3:1 | dil3:1 dil5:3",
    ),
    "FAIR_DARTS_A": (
        "sep3:0 sep5:1 | | max:0 | sep3:0",
        "max:0 avg:1 | avg:0 dil5:1 | avg:0 sep5:1 | skip:0 skip:1",
    ),
    "FAIR_DARTS_B": (
        "sep3:0 sep3:1 | sep3:1 | dil3:0 sep5:1 | dil5:1",
        "skip:0 dil3:1 | skip:0 dil3:1 | max:0 sep3:1 | skip:2 max:0",
    ),
}
RECURRENT = {
    "DARTS_RNN_V1": "relu:0 relu:1 tanh:2 relu:3 relu:4 identity:1 relu:5 relu:1",
    "DARTS_RNN_V2": "sigmoid:0 relu:1 relu:1 identity:1 tanh:2 sigmoid:5 tanh:3 relu:5",
}

Nodes = list[list[tuple[str, int]]]


def nodes(short: str) -> Nodes:
    """The edges of each node."""
    return [
        [(NAMES.get(name, name), int(source)) for name, _, source in
         (edge.partition(":") for edge in node.split())]
        for node in short.split("|")
    ]  # fmt: skip


def genotype(name: str, concat: str = "range(2, 6)") -> str:
    """As DARTS prints it; FairDARTS' with the node of each edge."""
    if name in RECURRENT:
        edges = [edge for node in nodes(RECURRENT[name].replace(" ", "|")) for edge in node]
        return f"Genotype(recurrent={edges}, concat=range(1, 9))"
    return cells(*map(nodes, PUBLISHED[name]), placed=name.startswith("FAIR"), concat=concat)


def cells(normal: Nodes, reduce: Nodes, placed: bool = False, concat: str = "range(2, 6)") -> str:
    def edges(found: Nodes) -> list[Any]:
        if placed:
            return [(o, n, s) for n, node in enumerate(found, start=2) for o, s in node]
        return [edge for node in found for edge in node]

    return (
        f"Genotype(normal={edges(normal)}, normal_concat={concat}, "
        f"reduce={edges(reduce)}, reduce_concat={concat})"
    )


def darts_log(names: Sequence[str], last: str = "") -> str:
    """log.txt of a search by quark0/darts: the genotype stands before the training of its epoch."""
    lines = ["11/23 04:05:06 PM gpu device = 0", "11/23 04:05:06 PM param size = 1.930618MB"]
    for epoch, name in enumerate(names):
        lines += [
            f"epoch {epoch} lr {0.025 / (epoch + 1):e}",
            f"genotype = {genotype(name)}",
            "train 000 2.322448e+00 6.250000 42.187500",
            f"train_acc {30 + epoch}.500000",
            "valid 000 1.322448e+00 56.250000 92.187500",
            f"valid_acc {40 + epoch}.250000",
        ]
    return "\n".join(f"11/23 04:05:07 PM {line}" for line in lines) + "\n" + last


def recurrent_log() -> str:
    """log.txt of a search of recurrent cells: genotypes within epochs, whose end has the loss."""
    first, second = genotype("DARTS_RNN_V1"), genotype("DARTS_RNN_V2")
    batch = "| epoch {:3d} |  {:4d}/  103 batches | lr 20.00 | ms/batch 99.00 | loss 6.50 | ppl 9.0"
    end = "| end of epoch {:3d} | time: 99.00s | valid loss {:5.2f} | valid ppl {:8.2f}"
    lines = ["initial genotype:", first]
    for epoch in (1, 2):
        lines += [first, batch.format(epoch, 50), second if epoch == 2 else first]
        lines += [batch.format(epoch, 100), "-" * 89, end.format(epoch, 6.5 - epoch, 400.25)]
    return "\n".join(f"11/23 04:05:07 PM {line}" for line in lines)


def autodl_log(strings: Sequence[str]) -> str:
    """The log of a search of AutoDL-Projects in the space of NAS-Bench-201."""
    lines = []
    for epoch, string in enumerate(strings):
        where = f"{epoch:03d}-250"
        lines += [
            f"\n[Search the {where}-th epoch] Time Left: [00:00:00], LR=0.025",
            f"*SEARCH* [2026-11-23] [{where}][000/098] Base [Loss 2.3 (2.3)  Prec@1 9.38 (9.38)]",
            f"[{where}] searching : loss={2 - epoch}.20, accuracy@1={20 + epoch}.50%, "
            "accuracy@5=80.00%, time-cost=99.0 s",
            f"[{where}] evaluate  : loss=1.90, accuracy@1={30 + epoch}.25%, accuracy@5=90.00%",
            f"<<<--->>> The {where}-th epoch : Structure(4 nodes with {string})",
        ]
    return "\n".join(lines)


def nni_choices(name: str, listed: bool = True) -> dict[str, Any]:
    """What NNI 2 and 3 export of their space DARTS: inputs in lists or as numbers."""
    found: dict[str, Any] = {"width": 36, "depth": 20}
    for cell, short in zip(("normal", "reduce"), PUBLISHED[name], strict=True):
        for node, edges in enumerate(nodes(short), start=2):
            for slot, (operation, source) in enumerate(edges):
                found[f"{cell}/op_{node}_{slot}"] = operation
                found[f"{cell}/input_{node}_{slot}"] = [source] if listed else source
    return found


def nni_old(name: str, numbers: bool = False) -> dict[str, Any]:
    """What the example of NNI 1 exports: every choice, and which inputs of a node are taken."""
    order = [*"max avg skip sep3 sep5 dil3 dil5".split()]
    theirs = {NAMES[o]: NAMES[o].replace("_connect", "connect").replace("_conv_", "conv")
              .replace("_pool_3x3", "pool") for o in order}  # fmt: skip
    found: dict[str, Any] = {}
    for cell, short in zip(("normal", "reduce"), PUBLISHED[name], strict=True):
        for node, edges in enumerate(nodes(short), start=2):
            for source in range(node):
                found[f"{cell}_n{node}_p{source}"] = []
            for operation, source in edges:
                number = [NAMES[o] for o in order].index(operation)
                found[f"{cell}_n{node}_p{source}"] = number if numbers else theirs[operation]
            found[f"{cell}_n{node}_switch"] = [f"{cell}_n{node}_p{s}" for s in sorted(
                source for _, source in edges)]  # fmt: skip
    return found


def nas_bench_301(name: str) -> dict[str, str]:
    """The configuration of NAS-Bench-301."""
    found, base = {}, "NetworkSelectorDatasetInfo:darts:"
    for cell, short in zip(("normal", "reduce"), PUBLISHED[name], strict=True):
        first = 0
        for node, edges in enumerate(nodes(short), start=2):
            found |= {f"{base}edge_{cell}_{first + source}": op for op, source in edges}
            inputs = "_".join(str(source) for source in sorted(source for _, source in edges))
            found |= {f"{base}inputs_node_{cell}_{node}": inputs} if node > 2 else {}
            first += node
    return found


def errors_json(epochs: int = 3) -> str:
    """NASLib's errors.json of a search, in its full form."""
    accuracies = [50.0 + epoch for epoch in range(epochs)]
    return json.dumps(
        {
            "train_acc": accuracies, "train_loss": [1.5] * epochs,
            "valid_acc": [a - 10 for a in accuracies], "valid_loss": [-1] * epochs,
            "test_acc": [], "test_loss": [], "runtime": [9.5] * epochs, "train_time": [],
            "arch_eval": [], "params": 1.93,
        }
    )  # fmt: skip

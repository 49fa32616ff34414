"""A cell searched on Penn Treebank against random cells and an LSTM of as many parameters.

On the first --subset words of the training part (the vocabulary is then theirs). The search and all
trainings see the same words; every network is trained with the same epochs and options, --seeds
seeds each, and tested once, at the end, as it was at its best validation epoch. Two learning rates
are chosen beforehand, each among the same ones by the validation loss of one shorter training: one
for all cells, found with the first random cell, and one for the LSTM. The LSTM has one layer, an
embedding as wide as its state, tied to the decoder, and the hidden size whose parameters are
nearest to those of the cells; dropout is that of the cells at output, input and embedding, and
there is none within it.

What is done is kept in --work and not repeated: the same command goes on where it stopped.

    python benchmarks/ptb.py --data-root DIR      writes benchmarks/results/ptb.json
    python benchmarks/ptb.py --report             the table of what was measured
    python benchmarks/ptb.py --tiny               a small made-up language; writes where --out says
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archgrad
from archgrad.architecture import Architecture, Cell
from archgrad.data import Data
from archgrad.errors import ArchgradError
from archgrad.networks.recurrent import INITIAL, LanguageModel, Regularization, times
from archgrad.retraining.scratch import Paused, retrain
from archgrad.retraining.training import Retraining
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.statistics import spread
from archgrad.storage.files import RESULT, write
from archgrad.storage.folder import environment
from bench_report import markdown
from page import keep, load, made

HERE = Path(__file__).parent
FOUND, LSTM = "found", "LSTM"
SIZE = {"hidden": 64, "subset": 92_958, "batch_size": 20, "bptt": 35}
HOW = {"epochs": 15, "train_epochs": 40, "choice_epochs": 8, "seeds": 3, "random": 3, "seed": 0}
TINY = {"hidden": 4, "subset": 2000, "epochs": 1, "train_epochs": 2, "choice_epochs": 1}
RATES = [5.0, 10.0, 20.0]
DROPOUT = {"output": 0.2, "hidden": 0.1, "input": 0.2, "embedding": 0.1, "words": 0.0}
PENALTIES = {"activation": 0.0, "slowness": 1e-3}
SEARCH = {  # as in recipe darts-ptb-search
    "learning_rate": 20.0, "final_learning_rate": 20.0, "momentum": 0.0, "weight_decay": 5e-7,
    "clip": 0.25, "second_order_clip": 0.25, "watch_fraction": 0.0,
    "method_options": {"alpha_learning_rate": 3e-3, "alpha_momentum": 0.9},
}  # fmt: skip
TRAIN = {
    "momentum": 0.0, "weight_decay": 8e-7, "clip": 0.25, "schedule": "constant",
    "averaged": True, "keep": "best", "auxiliary_weight": 0.0, "drop_path": 0.0, "cutout": 0,
}  # fmt: skip


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, value in {**SIZE, **HOW}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="to choose from")
    parser.add_argument("--method", default="darts")
    parser.add_argument("--data", default="ptb")
    parser.add_argument("--data-root", default=os.environ.get("ARCHGRAD_DATA"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--piece-seconds", type=float, help="end a call after about so long")
    parser.add_argument("--tiny", action="store_true", help="a small made-up language")
    parser.add_argument("--report", action="store_true", help="the table of what was measured")
    parser.add_argument("--out", type=Path, help="the folder of results")
    parser.add_argument("--work", type=Path, help="the folder of all trainings [under runs/]")
    if parser.parse_known_args(arguments)[0].tiny:
        parser.set_defaults(**TINY, data="grammar", work=Path("runs") / "ptb-tiny")
    else:
        parser.set_defaults(out=HERE / "results", work=Path("runs") / "ptb")
    return parser.parse_args(arguments)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """All that decides a result."""
    names = [*SIZE, *HOW, "rates", "method", "data"]
    return {
        **{name: getattr(options, name) for name in names},
        "dropout": DROPOUT,
        "penalties": PENALTIES,
        "search": SEARCH,
        "train": TRAIN,
    }


# --- the LSTM -------------------------------------------------------------------------------------


class LSTMModel(LanguageModel):
    """`archgrad.networks.recurrent.LanguageModel` with an LSTM as its cell: the state is (h, c)."""

    def __init__(self, vocabulary: int, hidden: int, regularization: Regularization) -> None:
        nn.Module.__init__(self)
        self.embedding = nn.Parameter(torch.empty(vocabulary, hidden))
        nn.init.uniform_(self.embedding, -INITIAL, INITIAL)
        self.cell = nn.LSTM(hidden, hidden)  # type: ignore[assignment]
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.regularization = regularization

    def forward(  # type: ignore[override]
        self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None, penalized: bool = False
    ) -> tuple[Any, ...]:
        rates, batch = self.regularization, tokens.shape[1]
        words = F.embedding(tokens, times(self.embedding, self._words(rates.words)))
        for rate in (rates.embedding, rates.input):
            words = times(words, self._mask(rate, batch))
        outputs, state = self.cell(words, state)
        decoded = times(outputs, self._mask(rates.output, batch))
        logits = F.linear(decoded, self.embedding, self.bias)
        return (logits, state, self._penalty(outputs, decoded)) if penalized else (logits, state)


@dataclass(frozen=True)
class LSTMSpace(DartsRNN):
    """What a retraining asks of a space, with an LSTM for every architecture."""

    def derive(self, architecture: Architecture, auxiliary: bool = False) -> LanguageModel:
        return LSTMModel(self.classes, self.hidden, self.regularization)

    def validate(self, architecture: Architecture) -> None:
        """Any: there is nothing to choose."""


def lstm_hidden(parameters: int, vocabulary: int) -> int:
    """The hidden size whose LSTM has a number of parameters nearest to this one."""
    root = math.isqrt(parameters)
    sizes = range(1, root + 2)  # 8 H H weights in the cell alone
    return min(sizes, key=lambda h: abs(vocabulary * (h + 1) + 8 * h * h + 8 * h - parameters))


# --- what is trained ------------------------------------------------------------------------------


class Contestant(NamedTuple):
    """``chooses``: under which name its learning rate was chosen."""

    name: str
    space: SearchSpace
    architecture: Architecture
    chooses: str


class Work:
    """Search and trainings, each in a folder of its own; what is finished is read back."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.work
        self.deadline = math.inf
        if options.piece_seconds is not None:
            self.deadline = time.monotonic() + options.piece_seconds
        root = {"data_root": options.data_root} if options.data_root is not None else {}
        self.root = root if options.data != "grammar" else {}
        self._same()
        self.data: Data = archgrad.data.load(
            options.data, *self.root.values(), subset=options.subset
        )
        regularization = Regularization(**DROPOUT, **PENALTIES)
        self.space = DartsRNN(options.hidden, classes=len(self.data.classes),
                              regularization=regularization)  # fmt: skip
        generator = torch.Generator().manual_seed(options.seed)
        self.random = [self.space.random_architecture(generator) for _ in range(options.random)]
        parameters = sum(p.numel() for p in self.space.derive(self.random[0]).parameters())
        hidden = lstm_hidden(parameters, len(self.data.classes))
        self.lstm = LSTMSpace(hidden, classes=len(self.data.classes), regularization=regularization)

    def _same(self) -> None:
        """Refuse a folder of other settings."""
        path, now = self.folder / "settings.json", json.dumps(settings(self.options), indent=2)
        if path.is_file() and path.read_text(encoding="utf-8") != now:
            raise ArchgradError(
                f"{self.folder} holds work with other settings, see {path}; give the same ones, or "
                "another --work"
            )
        write(path, now)

    def searched(self) -> Architecture:
        options, run = self.options, self.folder / "search"
        if not (run / "architecture.json").is_file():
            self._in_time()
            if (run / "config.yaml").is_file():
                archgrad.search(resume=run)
            else:
                dropouts = {f"dropout_{name}": rate for name, rate in DROPOUT.items()}
                names = ("hidden", "subset", "batch_size", "bptt", "epochs", "seed", "device")
                archgrad.search(
                    "darts-rnn", options.data, method=options.method, out=run, guard="off",
                    nodes=self.space.nodes,
                    **{name: getattr(options, name) for name in names},
                    **self.root, **dropouts, **PENALTIES, **SEARCH,
                )  # fmt: skip
        return Architecture.load(run / "architecture.json")

    def contestants(self) -> Iterator[Contestant]:
        """The cells and the LSTM."""
        yield Contestant(FOUND, self.space, self.searched(), "cells")
        for number, cell in enumerate(self.random, start=1):
            yield Contestant(f"random {number}", self.space, cell, "cells")
        yield self.lstm_contestant()

    def lstm_contestant(self) -> Contestant:
        cell = Cell(name=LSTM, inputs=1, nodes=(((LSTM, 0),),), output=(1,))  # so that it has one
        return Contestant(LSTM, self.lstm, Architecture(space=LSTM, cells=(cell,)), LSTM)

    def trained(
        self, who: Contestant, folder: str, rate: float, epochs: int, seed: int, tested: bool
    ) -> dict[str, Any]:
        """The score of one training, read back if it is there."""
        place = self.folder / folder
        if not (place / RESULT).is_file():
            self._in_time()
            config = TrainConfig(
                learning_rate=rate, epochs=epochs, device=self.options.device, seed=seed,
                batch_size=self.options.batch_size, bptt=self.options.bptt,
                hidden=who.space.hidden, **{f"dropout_{n}": r for n, r in DROPOUT.items()},
                **PENALTIES, **TRAIN,
            )  # fmt: skip
            job = Retraining(who.name, who.architecture, who.space, config, seed, place)
            retrain(job, self.data, deadline=self.deadline, tested=tested)
        return load(place / RESULT)

    def chosen(self, who: Contestant) -> tuple[float, dict[str, float]]:
        """The learning rate of the smallest validation loss in a short training, and all losses."""
        found = {}
        for rate in self.options.rates:
            folder = f"choice/{who.chooses}/{rate:g}"
            epochs, seed = self.options.choice_epochs, self.options.seed
            found[rate] = self.trained(who, folder, rate, epochs, seed, False)["valid_loss"]
        return min(found, key=lambda rate: found[rate]), {f"{r:g}": v for r, v in found.items()}

    def _in_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise Paused


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, or as much as fits into the piece; what is found is written as it comes."""
    work = Work(options)
    content: dict[str, Any] = {
        "settings": settings(options),
        "environment": environment(options.device),
        "vocabulary": len(work.data.classes),
        "training_tokens": len(work.data.train),
        "choices": {},
        "networks": [],
    }
    first = Contestant("random 1", work.space, work.random[0], "cells")
    rates = {}
    for who in (first, work.lstm_contestant()):
        rates[who.chooses], losses = work.chosen(who)
        content["choices"][who.chooses] = {"chosen": rates[who.chooses], "valid_loss": losses}
    for who in work.contestants():
        row = {
            "name": who.name,
            "hidden": who.space.hidden,
            "learning_rate": rates[who.chooses],
            "architecture": None if who.name == LSTM else json.loads(who.architecture.to_json()),
            "scores": [],
        }
        content["networks"].append(row)
        for seed in range(options.seed, options.seed + options.seeds):
            folder = f"networks/{who.name.replace(' ', '-')}/seed-{seed}"
            rate = rates[who.chooses]
            score = work.trained(who, folder, rate, options.train_epochs, seed, True)
            names = ("seed", "perplexity", "valid_loss", "kept_epoch", "parameters", "seconds")
            row["scores"].append({name: score[name] for name in names})
            if options.out is not None:
                keep(options.out / "ptb.json", content)
            print(f"{who.name}, seed {seed}: {score['perplexity']:.2f}", flush=True)
    return content


def shown(values: Sequence[float]) -> str:
    mean = f"{fmean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {spread(values):.2f}"


def cells(name: str, networks: Sequence[Mapping[str, Any]], hidden: int, rate: float) -> list[str]:
    scores = [score for network in networks for score in network["scores"]]
    if not scores:
        return [name, str(hidden), "-", f"{rate:g}", "not measured", "not measured"]
    return [
        name,
        str(hidden),
        f"{scores[0]['parameters']:,}",
        f"{rate:g}",
        shown([math.exp(score["valid_loss"]) for score in scores]),
        shown([score["perplexity"] for score in scores]),
    ]


def table(content: Mapping[str, Any]) -> str:
    """A line a network, the random cells together as well."""
    s, env, networks = content["settings"], content["environment"], content["networks"]
    rows = [
        cells(network["name"], [network], network["hidden"], network["learning_rate"])
        for network in networks
    ]
    random = [network for network in networks if network["name"].startswith("random")]
    if len(random) > 1:
        one = random[0]
        rows.append(cells("random, all", random, one["hidden"], one["learning_rate"]))
    rates = ", ".join(f"{rate:g}" for rate in s["rates"])
    about = (
        f"{s['data']}, {content['training_tokens']:,} training words, vocabulary "
        f"{content['vocabulary']:,}; search by {s['method']}, {s['epochs']} epochs; trainings of "
        f"{s['train_epochs']} epochs, {s['seeds']} seeds, batch {s['batch_size']}, mean ± sample "
        f"standard deviation; learning rates of the cells and of the LSTM each chosen from "
        f"{rates} by validation in a training of {s['choice_epochs']} epochs; {env['device']}; "
        f"torch {env['torch']}, {made(env)}."
    )
    head = [
        "", "hidden", "parameters", "learning rate", "validation perplexity", "test perplexity",
    ]  # fmt: skip
    return "\n".join([about, "", *markdown(head, rows)])


def main(arguments: Sequence[str]) -> None:
    options = parsed(arguments)
    if options.report:
        path = (options.out or Path()) / "ptb.json"
        print(table(load(path)) if path.is_file() else "Not measured.")
        return
    try:
        print(f"\n{table(measure(options))}")
    except Paused:
        print("the piece is over; the same command goes on")


if __name__ == "__main__":
    main(sys.argv[1:])

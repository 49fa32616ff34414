"""Every method, retraining, text and the main job in two processes: those of one, bit-identical."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import archgrad
from archgrad.baselines import BASELINES
from archgrad.data import Data, as_data
from archgrad.data.textdata import text_data
from archgrad.methods import RECIPES, method
from archgrad.retraining.scratch import retrain, retrainings
from archgrad.searching.bilevel import bilevel_search
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.settings.config import SearchConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import space
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.system.distributed import world
from language_jobs import ARCHITECTURE
from pairs import Own, doubled, flat, float64, rows, together

IMAGES = ("pc_darts", "p_darts", "darts_minus")  # own models do not say what these must know
MORE: dict[str, dict[str, Any]] = {"robust_darts": {"epochs": 3}, "p_darts": {"epochs": 3}}
SPACE = DartsCNN(
    channels=8, cells=3, nodes=1, in_channels=1, image_size=(8, 8), classes=2,
    operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"),
)  # fmt: skip


class Heard(Callback):
    """Alpha and the derived choice after every epoch; ends the search after one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.alphas: list[Tensor] = []
        self.cells: list[str] = []
        self.last = last

    def epoch_end(self, event: EpochEnd) -> None:
        if event.alpha:
            self.alphas.append(flat(dict(event.alpha)))
        self.cells.append(event.architecture.to_json())
        if event.epoch == self.last:
            raise KeyboardInterrupt


def pictures() -> Data:
    """28 of 8x8 pixels in two classes, and 14 to test with."""
    generator = torch.Generator().manual_seed(6)
    x, y = torch.rand(42, 1, 8, 8, generator=generator), torch.arange(42) % 2
    x[y == 1, :, :4] += 0.5
    return doubled(as_data((x[:28], y[:28], x[28:], y[28:])))


def of_own(name: str, heard: Heard, count: int = 28, **options: Any) -> dict[str, Any]:
    torch.manual_seed(1)
    options = {"batch_size": 7, "epochs": 2, "guard": "off", "learning_rate": 0.1, **options}
    found = archgrad.search(Own(), train=rows(count), method=name, callbacks=[heard], **options)
    state = {} if found.model is None else found.model.state_dict()
    scores = [line["score"] for line in found.metrics if "score" in line]
    return {"weights": flat(state) if state else torch.tensor(scores), **said(heard)}


def of_images(name: str, heard: Heard, **options: Any) -> dict[str, Any]:
    torch.manual_seed(1)
    config = SearchConfig(
        epochs=2, batch_size=7, learning_rate=0.1, watch_fraction=0, guard="off", device="cpu"
    ).model_copy(update=options)
    chosen = method(name, **({"candidates_2": 3, "candidates_3": 2} if name == "p_darts" else {}))
    found = bilevel_search(SPACE, pictures(), chosen, config, callback=heard)
    return {"weights": flat(found.alpha), **said(heard)}


def said(heard: Heard) -> dict[str, Any]:
    return {"alphas": heard.alphas, "cells": heard.cells}


def every_method() -> dict[str, Any]:
    """Of each: weights and running statistics at the end (scores), alpha and cells by epoch."""
    with float64():
        return {
            name: (of_images if name in IMAGES else of_own)(name, Heard(), **MORE.get(name, {}))
            for name in (*RECIPES, *BASELINES)
        }


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """In the first process of two, in the second, and in one."""
    return [*together(every_method, tmp_path_factory.mktemp("pair")), every_method()]


def agree(first: Any, second: Any, alone: Any, rtol: float = 1e-9) -> None:
    """Bit-identical in both, and that of one process up to rounding."""
    for name, value in alone.items():
        if isinstance(value, Tensor):
            assert torch.equal(first[name], second[name]), name
            torch.testing.assert_close(first[name], value, rtol=rtol, atol=1e-12, msg=name)
        elif name == "alphas":
            assert len(value) == len(first[name]) == len(second[name])
            for both in zip(first[name], second[name], value, strict=True):
                agree(*({"alpha": alpha} for alpha in both), rtol)
        else:
            assert first[name] == second[name] == value, name


@pytest.mark.parametrize("name", [*RECIPES, *BASELINES])
def test_every_method_is_that_of_one_process(searches: list[dict[str, Any]], name: str) -> None:
    agree(*(found[name] for found in searches))


def after(steps: int) -> dict[str, Any]:
    """After as many steps, one an epoch."""
    with float64():
        options = {"epochs": steps, "batch_size": 7, "train_fraction": 0.5}
        return of_own("darts_2nd", Heard(), 14, **options)


@pytest.mark.parametrize("steps", [1, 10])
def test_alpha_weights_and_statistics_after_some_steps(tmp_path: Path, steps: int) -> None:
    first, second = together(after, tmp_path, steps)
    assert len(first["alphas"]) == steps
    agree(first, second, after(steps))


def once(recompute: str) -> dict[str, Any]:
    with float64():
        return of_images("darts_2nd", Heard(), epochs=1, recompute=recompute)


def test_recomputed_cells_have_the_statistics_of_the_batch(tmp_path: Path) -> None:
    agree(*together(once, tmp_path, "cells"), once("off"))


WORDS = torch.randint(5, (120,), generator=torch.Generator().manual_seed(2)).tolist()
TEXT = text_data(WORDS, WORDS[:80], WORDS[80:140])
WORDY: dict[str, Any] = {
    "hidden": 6, "bptt": 4, "bptt_spread": 1.0, "batch_size": 5, "clip": 0.5,
    "dropout_embedding": 0.3, "dropout_words": 0.3, "slowness": 0.1, "activation": 0.1,
}  # fmt: skip


def text(name: str) -> dict[str, Any]:
    """A search of a recurrent cell on texts side by side, which two processes cannot halve."""
    heard = Heard()
    with float64():
        torch.manual_seed(1)
        sizes = {"epochs": 1, "guard": "off", "nodes": 2, **WORDY}
        found = archgrad.search("darts-rnn", TEXT, method=name, callbacks=[heard], **sizes)
    losses = torch.tensor([line["valid_loss"] for line in found.metrics])
    return {"alpha": flat(found.alpha), "losses": losses, **said(heard)}


@pytest.mark.parametrize("name", [pytest.param("darts", marks=pytest.mark.slow), "darts_2nd"])
def test_a_recurrent_cell_is_that_of_one_process(tmp_path: Path, name: str) -> None:
    agree(*together(text, tmp_path, name), text(name), rtol=1e-7)  # the few states amplify


def retrained(kind: str, folder: str | None = None, last: int | None = None) -> Any:
    """The lines of a retraining's epochs, its weights, and what the test part said."""
    chosen: dict[str, Any]
    if kind == "text":
        data, cell = TEXT, ARCHITECTURE
        chosen = {**WORDY, "valid_batch_size": 3, "test_batch_size": 2, "averaged": True}
        made: Any = DartsRNN(nodes=2, hidden=6, classes=5)
    else:
        data, cell = pictures(), archgrad.published("DARTS_V2")
        chosen = {
            "channels": 4, "cells": 3, "batch_size": 7, "drop_path": 0.3, "ema": 0.9,
            "auxiliary_weight": 0.0, "cutout": 2,
        }  # fmt: skip
        made = space("darts-cnn", channels=4, cells=3, in_channels=1, image_size=(8, 8), classes=2)
    config = TrainConfig.model_validate({"epochs": 3, "seeds": 1, "learning_rate": 0.1, **chosen})
    place = Path(folder) if folder is not None and world().first else None
    (job,) = retrainings("found", cell, made, config, place)
    heard = Heard(last)
    with float64(), suppress(KeyboardInterrupt):
        score, network = retrain(job, data, callback=heard)
        return {
            "weights": flat(network.state_dict()),
            "losses": torch.tensor([score["loss"], score["train_loss"]]),
        }


@pytest.mark.parametrize("kind", ["images", "text"])
def test_a_retraining_is_that_of_one_process(tmp_path: Path, kind: str) -> None:
    agree(*together(retrained, tmp_path, kind), retrained(kind))


@pytest.mark.parametrize("began_with", [1, 2])
def test_a_retraining_goes_on_in_another_number_of_processes(
    tmp_path: Path, began_with: int
) -> None:
    out = str(tmp_path / "run")
    if began_with == 2:
        together(retrained, tmp_path, "images", out, 1)
        found = [retrained("images", out)] * 2
    else:
        retrained("images", out, 1)
        found = together(retrained, tmp_path, "images", out)
    agree(*found, retrained("images"))


def searched_and_retrained(out: str) -> list[float]:
    """The data of the retraining are those of the search, of which one process has the folder."""
    sizes: dict[str, Any] = {"channels": 2, "cells": 3, "batch_size": 10, "epochs": 1}
    found = archgrad.search(
        "darts-cnn", "digits", subset=20, nodes=1, guard="off", out=out, **sizes
    )
    trained = archgrad.train(found, seeds=1, auxiliary_weight=0.0, **sizes)
    return [trained.scores[0]["test_images"], trained.scores[0]["loss"]]


def test_what_was_searched_in_several_processes_is_retrained_in_them(tmp_path: Path) -> None:
    first, second = together(searched_and_retrained, tmp_path, str(tmp_path / "run"))
    assert first == second


def interrupted(out: str, last: int | None) -> Any:
    """A search that ends after an epoch, or goes on."""
    heard = Heard(last)
    with float64(), suppress(KeyboardInterrupt):
        if last is not None:
            of_own("darts_2nd", heard, out=out, epochs=4)
        else:
            found = archgrad.search(Own(), train=rows(28), callbacks=[heard], resume=out)
            assert found.model is not None
            return {"weights": flat(found.model.state_dict()), **said(heard)}


@pytest.mark.parametrize("began_with", [1, 2])
def test_a_search_goes_on_in_another_number_of_processes(tmp_path: Path, began_with: int) -> None:
    out = str(tmp_path / "run")
    if began_with == 2:
        together(interrupted, tmp_path, out, 2)
        found = [interrupted(out, None)] * 2
    else:
        interrupted(out, 2)
        found = together(interrupted, tmp_path, out, None)
    with float64():
        whole = of_own("darts_2nd", Heard(), epochs=4)
    whole = {name: value[2:] if name != "weights" else value for name, value in whole.items()}
    agree(*found, whole)
    for name in ("metrics.jsonl", "alphas.jsonl"):  # of one writer
        assert (tmp_path / "run" / name).read_text().count("\n") == 4

"""Accuracy and perplexity: what is shown of them, and where the lines of a search hold them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from archgrad.architecture import published
from archgrad.baselines.beginning import Baseline
from archgrad.baselines.random_search import RandomSearch
from archgrad.cli.train import _rows
from archgrad.data import Augmentation
from archgrad.exporting.trained import Trained
from archgrad.language import LANGUAGE
from archgrad.measure import ACCURACY, PERPLEXITY, of, perplexity, values
from archgrad.methods import method
from archgrad.progress.display import Display
from archgrad.progress.wording import sizes
from archgrad.searching.bilevel import bilevel_search
from archgrad.searching.callbacks import EpochEnd
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.storage.folder import Run
from archgrad.task import CLASSIFICATION
from texts import SPACE, config, text

BASE = {"train_loss": 4.75, "skip_share": 0.25, "entropy": 1.5, "epoch": 1}


@pytest.fixture(scope="module")
def searched() -> dict[str, Any]:
    (line,) = bilevel_search(SPACE, text(), method("darts"), config()).metrics
    return line


def test_each_is_shown_in_its_own_way() -> None:
    assert ACCURACY.title == "accuracy, %" and PERPLEXITY.title == "perplexity"
    assert (ACCURACY.shown(0.9725), PERPLEXITY.shown(58.125)) == ("97.25", "58.12")
    assert (ACCURACY.whole(0.5), PERPLEXITY.whole(58.5)) == ("50.00 %", "58.50")
    assert (ACCURACY.brief(0.5), PERPLEXITY.brief(58.5)) == ("50.0 %", "perplexity 58.5")
    assert (ACCURACY.gap(0.0125), PERPLEXITY.gap(-3.21)) == ("+1.25", "-3.21")
    assert ACCURACY.better(0.9, 0.8) and PERPLEXITY.better(58.0, 59.0)
    assert not ACCURACY.better(0.8, 0.8) and not PERPLEXITY.better(59.0, 58.0)
    assert (ACCURACY.best([0.8, 0.9, 0.7]), PERPLEXITY.best([60.0, 58.0, 59.0])) == (0.9, 58.0)
    assert (ACCURACY.gap(-1e-5), PERPLEXITY.with_unit("selected")) == ("+0.00", "selected")


def test_a_score_tells_its_measure() -> None:
    images, tokens = {"accuracy": 0.5, "test_images": 9}, {"perplexity": 7.0, "test_tokens": 50}
    assert (of(images), of(tokens)) == (ACCURACY, PERPLEXITY)
    assert (of(images).tested(images), of(tokens).tested(tokens)) == (9, 50)
    assert (of({"valid_perplexity": 3.0}, "valid_"), of({"perplexity": 3.0}, "valid_")) == (
        PERPLEXITY, ACCURACY,
    )  # fmt: skip
    assert values([tokens, {"perplexity": 8.0}]) == [7.0, 8.0]


def test_perplexity_of_a_loss() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(math.log(10_000)) == pytest.approx(10_000)
    assert perplexity(1e4) == math.inf


def test_what_a_task_writes_of_a_score() -> None:
    assert LANGUAGE.written(-math.log(123.0)) == pytest.approx(123.0)
    assert CLASSIFICATION.written(0.5) == 0.5


def test_a_search_of_text_writes_perplexities(searched: dict[str, Any]) -> None:
    assert searched["valid_perplexity"] == pytest.approx(math.exp(searched["valid_loss"]))
    for part in ("valid", "watch", "discrete"):
        assert 4 < searched[f"{part}_perplexity"] < 6, "of five random words 5 or so"
    assert searched["watch_tokens"] == 50 and "watch_images" not in searched
    assert not [name for name in searched if "accuracy" in name or "percentile" in name]
    assert searched["parameter_free_share"] == searched["skip_share"] == 0
    (ranked,) = searched["ranking"].values()
    assert all(sorted(edge) == [1, 2, 3, 4] for edge in ranked), "all but none"


def test_a_baseline_on_text_writes_the_perplexity_beside_the_score() -> None:
    given = text()
    wanted = config(method="random", budget="1M", child_epochs=1, guard="off")
    lines = Baseline.of(SPACE, RandomSearch(), wanted, given, Augmentation()).search().metrics
    assert lines and all(line["score"] < 0 for line in lines)
    for line in lines:
        assert line["perplexity"] == pytest.approx(math.exp(-line["score"]))


# --- progress ------------------------------------------------------------------------------------


CELLS = published("DARTS_V2")


def told(folder: Path, search: SearchConfig, capsys: Any, *calls: tuple[str, Any]) -> str:
    with Display(Run.create(folder, RunConfig(search=search))) as display:
        for name, arguments in calls:
            getattr(display, name)(*arguments)
    return str(capsys.readouterr().err)


def test_progress_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(
        tmp_path / "run", SearchConfig(epochs=2, kernel="torch", device="cpu"), capsys,
        ("epoch_end", (EpochEnd({**BASE, "valid_accuracy": 0.4713}, 2, CELLS),)),
        ("evaluated", ({"evaluation": 1, "failed": False, "score": 0.4713, "seconds": 9.0}, 0.5)),
        ("evaluated", ({"evaluation": 2, "failed": True, "score": None, "seconds": 9.0}, 1.0)),
    )  # fmt: skip
    header, *lines = shown.splitlines()
    assert "darts | darts-cnn 16 channels x 8 cells | " in header
    assert lines == [
        "search   1/2  train 4.750  valid 47.1 %  skips 25 %  entropy 1.500",
        "search   1  score 47.13  50% of the budget  time left not yet known",
        "search   2  failed  100% of the budget",
    ]


def test_progress_of_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = {"evaluation": 1, "failed": False, "score": -4.0, "perplexity": 54.598, "seconds": 9.0}
    shown = told(
        tmp_path / "run", config(nodes=8, device="cpu", kernel="torch"), capsys,
        ("epoch_end", (EpochEnd({**BASE, "valid_perplexity": 123.41}, 2, CELLS),)),
        ("evaluated", (line, 0.5)),
    )  # fmt: skip
    header, *lines = shown.splitlines()
    assert "darts | darts-rnn 300 hidden units x 8 nodes | " in header
    assert lines == [
        "search   1/2  train 4.750  valid perplexity 123.4  entropy 1.500",
        "search   1  perplexity 54.60  50% of the budget  time left not yet known",
    ]


def test_sizes_follow_the_space() -> None:
    assert sizes(config(hidden=7, nodes=3)) == ["7 hidden units", "3 nodes"]
    assert sizes(SearchConfig(space="own", channels=6, cells=2)) == ["6 channels", "2 cells"]


# --- retrainings ---------------------------------------------------------------------------------


def scores(*perplexities: float) -> list[dict[str, Any]]:
    common = {"begun_with": {"options": {"epochs": 5}}, "test_tokens": 82430, "parameters": 1234,
              "multiply_adds": 567, "input_shape": [], "loss": 4.0, "train_loss": 3.5,
              "seconds": 2.5}  # fmt: skip
    return [{**common, "seed": i, "perplexity": p} for i, p in enumerate(perplexities)]


def test_the_table_of_retrainings() -> None:
    assert _rows(scores(54.598, 60.0)) == [
        ["seed", "test perplexity", "test loss", "training loss", "seconds"],
        ["0", "54.60", "4.0000", "3.5000", "2.5"],
        ["1", "60.00", "4.0000", "3.5000", "2.5"],
    ]
    images = [{**scores(0)[0], "accuracy": 0.9725}]
    del images[0]["perplexity"]
    header, row = _rows(images)
    assert (header[1], row[1]) == ("test accuracy, %", "97.25")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([60.0], "60.00, on 82,430 test tokens"),
        (
            [60.0, 63.0],
            "61.50 ± 2.12 (mean and standard deviation of 2 seeds); with these weights 60.00, on "
            "82,430 test tokens",
        ),
    ],
)
def test_the_story_of_a_language_model(found: list[float], said: str) -> None:
    cell, options = SPACE.random_architecture(torch.Generator()), RunConfig(search=config(nodes=2))
    made = Trained(cell, SPACE.derive(cell), None, scores(*found)[0], scores(*found), options)
    story = made.story()
    assert story["perplexity"] == said
    assert "accuracy" not in story and "images" not in story
    assert story["search"] == "seed 0, 0 epochs in 0 s, 300 hidden units, 2 nodes"
    assert story["cost"] == "1,234 parameters, 567 multiply-adds"

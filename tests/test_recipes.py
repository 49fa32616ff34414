"""Recipes: their values, who wins over whom, what they refuse, and a network by each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import archgrad
from archgrad.architecture import Architecture, published
from archgrad.config import DataConfig, RunConfig, TrainConfig, build, load, validated
from archgrad.cost import cost, count_parameters
from archgrad.data import Data, as_data
from archgrad.errors import ArchgradError
from archgrad.experiment import prepare_main_job
from archgrad.network import Network
from archgrad.prepared import retraining_space
from archgrad.recipes import RECIPES, changed, check, describe, rows, values
from archgrad.spaces.nas_bench_201 import from_string
from archgrad.text_config import TextOptions
from exports import imported

MACHINE = {"seeds", "seed", "device", "threads", "precision", "memory_format", "compile", "jobs"}
ABOUT = {"recipe", "any_image_size"}
BENCH = from_string("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|avg_pool_3x3~2|")


def options(name: str, **others: Any) -> TrainConfig:
    found = build({"data": {}, "train": {"recipe": name, **others}}).train
    assert found is not None
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_all_that_changes_a_result_and_nothing_of_the_machine(name: str) -> None:
    of_images = set(TrainConfig.model_fields) - set(TextOptions.model_fields)
    assert set(RECIPES[name].train) == of_images - MACHINE - ABOUT
    assert set(RECIPES[name].data) <= set(DataConfig.model_fields)
    assert RECIPES[name].source.startswith("arXiv:")


def test_the_published_values() -> None:
    """Facts of the papers and their code; the rest of each recipe is in the closed forms."""
    v = {name: recipe.train for name, recipe in RECIPES.items()}
    darts = v["darts-cifar10"]
    assert (darts["epochs"], darts["cells"], darts["channels"], darts["batch_size"]) == (
        600, 20, 36, 96,
    )  # fmt: skip
    assert (darts["cutout"], darts["drop_path"], darts["auxiliary_weight"]) == (16, 0.2, 0.4)
    assert (darts["learning_rate"], darts["momentum"], darts["weight_decay"]) == (0.025, 0.9, 3e-4)
    assert v["pc-darts-cifar10"] == {**darts, "drop_path": 0.3}
    assert v["darts-cifar100"] == darts
    large = v["darts-imagenet"]
    assert (large["epochs"], large["cells"], large["channels"], large["batch_size"]) == (
        250, 14, 48, 128,
    )  # fmt: skip
    assert (large["learning_rate"], large["decay"], large["weight_decay"]) == (0.1, 0.97, 3e-5)
    assert (large["label_smoothing"], large["auxiliary_weight"]) == (0.1, 0.4)
    later = v["pc-darts-imagenet"]
    assert (later["batch_size"], later["learning_rate"], later["warm_up_epochs"]) == (1024, 0.5, 5)
    bench = v["nas-bench-201"]
    assert (bench["epochs"], bench["learning_rate"], bench["weight_decay"]) == (200, 0.1, 5e-4)
    assert (bench["batch_size"], bench["nesterov"]) == (256, True)


def test_the_recipe_wins_over_presets_and_explicit_options_over_the_recipe() -> None:
    found = options("nas-bench-201", epochs=3)
    assert found == TrainConfig(
        **{**RECIPES["nas-bench-201"].train, "epochs": 3}, recipe=found.recipe
    )
    assert (found.recipe, found.epochs, found.cells) == ("nas-bench-201", 3, 5)
    assert changed(found.model_dump()) == {"epochs": 3}
    assert changed(TrainConfig().model_dump()) == {}


def test_a_recipe_names_its_data_and_explicit_data_win() -> None:
    named: dict[str, Any] = {"recipe": "darts-cifar10"}
    plain = build({"data": {}, "train": named})
    assert plain.data == DataConfig(data="cifar10", crop_padding=4, flip=True)
    own = build({"data": {"data": "digits", "crop_padding": 1}, "train": named})
    assert own.data == DataConfig(data="digits", crop_padding=1, flip=True)
    assert own.train == plain.train  # no preset of the digits


def test_a_recipe_given_now_wins_over_a_base_and_one_in_the_base_stays_as_it_was() -> None:
    base = RunConfig(data=DataConfig(data="cifar10"), train=TrainConfig(epochs=7, seeds=2))
    found = build({"data": {}, "train": {"recipe": "pc-darts-cifar10"}}, base).train
    assert found is not None
    assert (found.epochs, found.drop_path, found.seeds) == (600, 0.3, 2)
    again = build({"data": {}, "train": {"cutout": 8}}, base.model_copy(update={"train": found}))
    assert again.train == found.model_copy(update={"cutout": 8})


def test_the_configuration_records_the_recipe_and_all_its_values(tmp_path: Path) -> None:
    config = build({"data": {}, "train": {"recipe": "pc-darts-imagenet", "epochs": 9}})
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load(path) == config
    kept = yaml.safe_load(path.read_text())["train"]
    assert kept["recipe"] == "pc-darts-imagenet"
    expected = {**RECIPES["pc-darts-imagenet"].train, "epochs": 9}
    assert {name: kept[name] for name in expected} == expected


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(ArchgradError, match='recipe "darts-cifar" is not known; did you mean'):
        build({"data": {}, "train": {"recipe": "darts-cifar"}})
    with pytest.raises(ArchgradError, match='recipe "darts-cifar" is not known; did you mean'):
        validated({"train": {"recipe": "darts-cifar"}}, "config.yaml")


# --- what a recipe was made for ----------------------------------------------------------------


def test_a_recipe_for_another_image_size_is_refused() -> None:
    def refused(name: str, *shape: int, **others: Any) -> str:
        with pytest.raises(ArchgradError) as caught:
            check(options(name, **others).model_dump(), "darts-cnn", shape)
        return str(caught.value)

    text = refused("darts-imagenet", 3, 32, 32)
    assert text.startswith(
        "recipe darts-imagenet is made for images of 224x224 pixels, found 32x32"
    )
    assert "use darts-cifar10 or" in text
    assert "use darts-imagenet or" in refused("darts-cifar10", 3, 224, 224)
    assert "found 8x8; give images of that size" in refused("darts-cifar10", 1, 8, 8)
    assert "found 32x30;" in refused("darts-cifar10", 3, 32, 30)
    assert "found 32;" in refused("darts-cifar10", 3, 32)
    refused("darts-imagenet", 3, 32, 32, stem="imagenet")  # as the recipe has it


def test_options_may_say_otherwise() -> None:
    def let_pass(name: str, *shape: int, **others: Any) -> None:
        check(options(name, **others).model_dump(), "darts-cnn", shape)

    let_pass("darts-cifar10", 3, 32, 32)
    let_pass("darts-imagenet", 3, 224, 224)
    let_pass("darts-imagenet", 3, 32, 32, stem="cifar")
    let_pass("darts-cifar10", 3, 64, 64, any_image_size=True)


def test_a_recipe_for_another_space_is_refused() -> None:
    with pytest.raises(ArchgradError, match="trains architectures of nas-bench-201, found one of"):
        check(options("nas-bench-201").model_dump(), "darts-cnn", (3, 32, 32))
    with pytest.raises(ArchgradError, match="found one of nas-bench-201; use nas-bench-201$"):
        check(options("darts-cifar10").model_dump(), "nas-bench-201", (3, 32, 32))
    with pytest.raises(ArchgradError, match="found one of mbconv; use the options one by one"):
        check(options("darts-cifar10").model_dump(), "mbconv", (3, 32, 32))


# --- networks and training ---------------------------------------------------------------------


def images(side: int, classes: int = 2) -> Data:
    x = torch.rand(6, 3, side, side, generator=torch.Generator().manual_seed(0))
    y = torch.arange(6) % classes
    return as_data((x, y, x, y))


@pytest.mark.parametrize(
    ("name", "side", "parameters"),
    [("darts-cifar10", 32, 3_349_342 - 8 * 577), ("darts-imagenet", 224, 4_718_752 - 998 * 769)],
)
def test_the_network_of_a_recipe(name: str, side: int, parameters: int) -> None:
    """Of two classes, not 10 and 1000: 577 and 769 parameters fewer for each that is missing."""
    data, config = images(side), options(name)
    made = retraining_space(config, data, "darts-cnn")
    assert cost(made, published("DARTS_V2")).parameters == parameters
    with torch.device("meta"):
        network = made.derive(published("DARTS_V2"), auxiliary=True)
    assert isinstance(network, Network)
    assert network.auxiliary is not None
    assert count_parameters(network) == parameters


SMALL = {
    "channels": 2, "cells": 3, "epochs": 1, "batch_size": 3, "auxiliary_weight": 0.0, "seeds": 1,
    "device": "cpu",
}  # fmt: skip


def test_training_takes_a_recipe(tmp_path: Path) -> None:
    found = archgrad.train("DARTS_V2", images(32), recipe="darts-cifar10", **SMALL)
    kept = found.scores[0]["begun_with"]["options"]
    assert (kept["recipe"], kept["cutout"], kept["epochs"]) == ("darts-cifar10", 16, 1)
    story = found.trained().story()["training"]
    assert story.startswith("from scratch, recipe darts-cifar10 with channels=2, cells=3, epochs=1")
    with pytest.raises(ArchgradError, match="made for images of 32x32 pixels, found 24x24"):
        archgrad.train("DARTS_V2", images(24), recipe="darts-cifar10", **SMALL)


def test_the_imagenet_stem_from_training_to_the_written_source(tmp_path: Path) -> None:
    found = archgrad.train("DARTS_V2", images(33), stem="imagenet", **SMALL, cutout=0)
    assert isinstance(found.networks[0].stem1, nn.Sequential)
    archgrad.export(found, "source", tmp_path)
    network = imported(tmp_path / "model.py").load()
    x = torch.rand(2, 3, 33, 33, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network(x), found.networks[0](x))


def test_the_stem_of_a_search_is_kept_or_changed() -> None:
    x = torch.rand(24, 1, 33, 33, generator=torch.Generator().manual_seed(0))
    y = torch.arange(24) % 2
    result = archgrad.search(
        "darts-cnn", (x, y), stem="imagenet", channels=2, cells=3, nodes=1, epochs=1, batch_size=6,
        guard="off",
    )  # fmt: skip
    assert result.space.imagenet is True  # type: ignore[attr-defined]
    for stem, kind in ((None, nn.Sequential), ("cifar", nn.Identity)):
        found = archgrad.train(result, (x, y, x, y), **SMALL, stem=stem, cutout=0)
        assert isinstance(found.networks[0].stem1, kind)


def test_a_main_job_retrains_with_its_own_stem() -> None:
    sections: dict[str, dict[str, Any]] = {
        "data": {"data": "own"},
        "search": {"channels": 2, "cells": 3, "nodes": 1, "batch_size": 2, "watch_fraction": 0.0},
        "train": {**SMALL, "stem": "imagenet", "cutout": 0},
    }
    x = torch.rand(24, 1, 33, 33, generator=torch.Generator().manual_seed(0))
    y = torch.arange(24) % 2
    found = prepare_main_job(build(sections, random_cells=2), data=(x, y), test=(x, y))
    assert found.space.imagenet is True  # type: ignore[attr-defined]
    assert found.search.space.imagenet is False  # type: ignore[attr-defined]


def test_a_space_without_that_stem_says_so() -> None:
    with pytest.raises(ArchgradError, match="space nas-bench-201 has no stem imagenet; leave out"):
        archgrad.train(BENCH, images(32), **SMALL, stem="imagenet", cutout=0)
    with pytest.raises(ArchgradError, match="space nas-bench-201 has no stem imagenet"):
        archgrad.search("nas-bench-201", images(32), stem="imagenet", channels=2, cells=1)
    fitting: Architecture = BENCH
    found = archgrad.train(fitting, images(32), recipe="nas-bench-201", **SMALL)
    assert found.scores[0]["begun_with"]["options"]["nesterov"] is True


# --- lists -------------------------------------------------------------------------------------


def test_recipes_are_listed_and_described() -> None:
    assert [row[0] for row in rows()[1:]] == list(RECIPES)
    told = yaml.safe_load(describe("darts-imagenet"))
    assert told["recipe"] == "darts-imagenet"
    assert {"train": told["train"], "data": told["data"]} == values("darts-imagenet")
    assert told["data"]["resized_crop"] is True and told["data"]["color_jitter"] == 0.4
    with pytest.raises(ArchgradError, match="is not known"):
        describe("darts")


def test_a_list_of_recipes_needs_no_torch() -> None:
    code = "import sys; from archgrad import recipes; recipes.rows(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.lower()) is False

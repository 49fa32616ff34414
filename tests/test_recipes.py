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
from archgrad.costing.cost import cost, count_parameters
from archgrad.data import Data, as_data
from archgrad.errors import ArchgradError
from archgrad.networks.network import Network
from archgrad.preparing.prepared import retraining_space
from archgrad.settings.config import RunConfig, SearchConfig, build, load, validated
from archgrad.settings.data_config import DataConfig
from archgrad.settings.recipes import RECIPES, changed, check, check_space, describe, rows, values
from archgrad.settings.train_config import OF_IMAGES, OF_TEXT, TrainConfig
from archgrad.settings.units import LIMITS, OF_LIMITS
from archgrad.spaces.nas_bench_201 import from_string
from archgrad.verbs.experiment import prepare_main_job
from exports import imported

MACHINE = {"seeds", "seed", "device", "threads", "precision", "memory_format", "compile", "jobs"}
MACHINE |= {"kernel", "graphs", "recompute"}
ABOUT = {"recipe", "any_image_size"}
# which method, and what follows from what it does: the recipe of a search leaves them open
OF_OTHER_SEARCHES = {
    "method", "child_epochs", "table", "evaluations", "guard", "budget", "budget_seconds",
    "budget_epochs", *LIMITS, *OF_LIMITS,
}  # fmt: skip
BENCH = from_string("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|avg_pool_3x3~2|")


def options(name: str, **others: Any) -> TrainConfig:
    found = build({"data": {}, "train": {"recipe": name, **others}}).train
    assert found is not None
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_all_that_changes_a_result_and_nothing_of_the_machine(name: str) -> None:
    found = RECIPES[name]
    if found.search:
        of_images = {"channels", "cells", "edges_per_node", "stem", "train_fraction"}
        named = {*SearchConfig.model_fields} - OF_OTHER_SEARCHES - MACHINE - ABOUT - of_images
        assert set(found.search) == named
    else:
        other = OF_TEXT if found.image_size else OF_IMAGES
        assert set(found.train) == {*TrainConfig.model_fields} - {*other} - MACHINE - ABOUT
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


def test_the_published_values_of_language_models() -> None:
    """As the code of arXiv:1806.09055 has them."""
    found = RECIPES["darts-ptb-search"].search
    assert (found["hidden"], found["nodes"], found["epochs"], found["batch_size"]) == (
        300, 8, 50, 256,
    )  # fmt: skip
    assert (found["learning_rate"], found["final_learning_rate"], found["momentum"]) == (20, 20, 0)
    assert (found["weight_decay"], found["clip"], found["second_order_clip"]) == (5e-7, 0.25, 0.25)
    assert (found["bptt"], found["bptt_spread"], found["dropout_words"]) == (35, 0, 0)
    assert found["method_options"] == {
        "alpha_learning_rate": 3e-3,
        "alpha_weight_decay": 1e-3,
        "alpha_momentum": 0.9,
    }
    train = RECIPES["darts-ptb"].train
    for each in (found, train):
        names = ("output", "hidden", "input", "embedding")
        assert tuple(each[f"dropout_{name}"] for name in names) == (0.75, 0.25, 0.75, 0.2)
        assert each["slowness"] == 1e-3
    assert (train["hidden"], train["batch_size"], train["epochs"]) == (850, 64, 8000)
    assert (train["learning_rate"], train["schedule"], train["momentum"]) == (20, "constant", 0)
    assert (train["weight_decay"], train["clip"], train["dropout_words"]) == (8e-7, 0.25, 0.1)
    assert (train["bptt"], train["bptt_spread"], train["test_batch_size"]) == (35, 5, 1)
    assert (train["averaged"], train["non_monotone"], train["keep"]) == (True, 5, "best")
    assert RECIPES["darts-ptb-short"].train == {**train, "epochs": 300}
    changed_ones = {"hidden": 700, "weight_decay": 5e-7, "dropout_hidden": 0.15}
    assert RECIPES["darts-wikitext2"].train == {**train, **changed_ones}


def test_a_search_takes_a_recipe_and_explicit_options_win() -> None:
    named = {"recipe": "darts-ptb-search", "epochs": 3}
    config = build({"data": {}, "search": named})
    published = RECIPES["darts-ptb-search"].search
    assert config.search == SearchConfig(**{**published, **named})
    assert config.data == DataConfig(data="ptb")
    again = build({"data": {}, "search": {"seed": 1}}, config)
    assert again.search == config.search.model_copy(update={"seed": 1})
    other = build({"data": {}, "search": {**named, "method": "gdas"}}).search
    assert other is not None
    assert (other.hidden, other.method_options) == (300, {})
    option = {"alpha_momentum": 0.1}
    given = build({"data": {}, "search": {**named, "method_options": option}}).search
    assert given is not None
    assert given.method_options == {**published["method_options"], **option}
    both = build({"data": {}, "search": named, "train": {"recipe": "darts-ptb", "hidden": 9}})
    assert both.train is not None
    assert (both.train.hidden, both.train.batch_size) == (9, 64)


def test_a_recipe_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ArchgradError, match="darts-ptb is one of a retraining, expected one of a "
                       "search; use darts-ptb-search, or leave"):  # fmt: skip
        build({"data": {}, "search": {"recipe": "darts-ptb"}})
    with pytest.raises(ArchgradError, match="is one of a search, expected one of a retraining; use "
                       "darts-cifar10 or .* or darts-wikitext2, or leave"):  # fmt: skip
        build({"data": {}, "train": {"recipe": "darts-ptb-search"}})
    with pytest.raises(ArchgradError, match="darts-ptb-search is one of a search"):
        validated({"train": {"recipe": "darts-ptb-search"}}, "config.yaml")
    with pytest.raises(ArchgradError, match="darts-ptb-search searches darts-rnn, found darts-cnn"):
        check_space("darts-ptb-search", "search", "darts-cnn")
    with pytest.raises(ArchgradError, match="trains architectures of darts-rnn, found one of"):
        check(options("darts-ptb").model_dump(), "darts-cnn", (3, 32, 32))
    check(options("darts-ptb").model_dump(), "darts-rnn", ())


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
    assert told["train"] == values("darts-imagenet", "train")
    assert told["data"] == RECIPES["darts-imagenet"].data and "search" not in told
    found = yaml.safe_load(describe("darts-ptb-search"))
    assert found["search"] == values("darts-ptb-search", "search") and "train" not in found
    assert ["darts-ptb-search", "search", "text", "hidden 300", "50"] in [r[:5] for r in rows()]
    assert told["data"]["resized_crop"] is True and told["data"]["color_jitter"] == 0.4
    with pytest.raises(ArchgradError, match="is not known"):
        describe("darts")


def test_a_list_of_recipes_needs_no_torch() -> None:
    code = (
        "import sys\nfrom archgrad.settings import recipes\nrecipes.rows()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.lower()) is False

"""Options: presets, precedence, files, and errors that name the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from archgrad.errors import ArchgradError
from archgrad.settings.config import RunConfig, SearchConfig, build, load, validated
from archgrad.settings.data_config import DataConfig
from archgrad.settings.presets import PRESETS
from archgrad.settings.train_config import TrainConfig

Sections = dict[str, dict[str, Any]]
SECTIONS = {"data": DataConfig, "search": SearchConfig, "train": TrainConfig}
CIFAR: Sections = {"data": {"data": "cifar10"}}
ALL: Sections = {"data": {}, "search": {}, "train": {}}


# --- defaults ----------------------------------------------------------------------------------


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_every_option_has_a_description_and_a_default(section: type[BaseModel]) -> None:
    section()
    for name, field in section.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


def test_the_defaults_are_the_papers() -> None:
    """arXiv:1806.09055, section 3 and appendix A; clip and final rate from the original code."""
    search, train = SearchConfig(), TrainConfig()
    assert (search.channels, search.cells, search.nodes, search.edges_per_node) == (16, 8, 4, 2)
    assert (search.epochs, search.batch_size, search.train_fraction) == (50, 64, 0.5)
    assert (search.learning_rate, search.final_learning_rate) == (0.025, 0.001)
    assert (search.momentum, search.weight_decay, search.clip) == (0.9, 3e-4, 5)
    assert (train.channels, train.cells, train.epochs, train.batch_size) == (36, 20, 600, 96)
    assert (train.learning_rate, train.momentum, train.weight_decay) == (0.025, 0.9, 3e-4)
    assert (train.cutout, train.drop_path, train.auxiliary_weight) == (16, 0.2, 0.4)
    assert (train.clip, train.label_smoothing) == (5, 0)


# --- precedence --------------------------------------------------------------------------------


def test_presets_are_for_the_digits_and_for_spaces_of_other_sizes() -> None:
    assert set(PRESETS) == {"digits", "nas-bench-201", "mbconv", "darts-rnn", "grammar", "text"}
    digits, cifar = build(ALL), build({**ALL, **CIFAR})
    assert digits.search is not None
    assert digits.train is not None
    assert (digits.search.channels, digits.search.cells, digits.search.epochs) == (8, 4, 10)
    assert (digits.train.cutout, digits.train.auxiliary_weight) == (0, 0.0)
    assert cifar == RunConfig(
        data=DataConfig(data="cifar10"), search=SearchConfig(), train=TrainConfig()
    )


@pytest.mark.parametrize("section", ["search", "train"])
def test_presets_change_what_they_name_and_nothing_else(section: str) -> None:
    digits = getattr(build({"data": {}, section: {}}), section).model_dump()
    plain = SECTIONS[section]().model_dump()
    preset = PRESETS["digits"][section]
    assert {name for name in plain if digits[name] != plain[name]} == set(preset)
    assert {name: digits[name] for name in preset} == preset


NB201: Sections = {"search": {"space": "nas-bench-201"}, "train": {}}


def test_a_space_has_presets_too_and_those_of_the_data_win() -> None:
    config = build({**CIFAR, **NB201})
    assert config.search == SearchConfig(space="nas-bench-201", cells=5)
    assert config.train == TrainConfig(**PRESETS["nas-bench-201"]["train"])
    digits = build({"data": {}, **NB201})
    assert digits.search == SearchConfig(space="nas-bench-201", **PRESETS["digits"]["search"])
    assert digits.train == TrainConfig(**PRESETS["digits"]["train"])
    assert build({**CIFAR, "train": {}}, space="nas-bench-201").train == config.train
    assert build({**CIFAR, "train": {}}, config.model_copy(update={"train": None})) == RunConfig(
        data=config.data, train=config.train
    )


def test_a_chain_is_searched_and_retrained_at_one_depth() -> None:
    for sections in (CIFAR, {"data": {}}):
        config = build({**sections, "search": {"space": "mbconv"}, "train": {}})
        assert config.search is not None
        assert config.train is not None
        assert config.search.cells == config.train.cells == 4
        assert config.search.channels == config.train.channels
        assert config.train.auxiliary_weight == 0
    assert build({**CIFAR, "train": {}}, space="mbconv").train == TrainConfig(
        **PRESETS["mbconv"]["train"]
    )


RNN: Sections = {"data": {"data": "ptb"}, "search": {"space": "darts-rnn"}, "train": {}}


def test_recurrent_cells_have_the_sizes_of_their_recipes_and_a_grammar_small_ones() -> None:
    large, small = build(RNN), build({**RNN, "data": {"data": "grammar"}})
    for config, hidden, epochs in ((large, (300, 850), (50, 300)), (small, (32, 32), (5, 5))):
        assert config.search is not None
        assert config.train is not None
        assert (config.search.hidden, config.train.hidden) == hidden
        assert (config.search.epochs, config.train.epochs) == epochs
        assert (config.search.nodes, config.search.learning_rate) == (8, 20.0)
        assert (config.train.averaged, config.train.keep) == (True, "best")
        assert config.search.method_options == {
            "alpha_learning_rate": 3e-3,
            "alpha_weight_decay": 1e-3,
            "alpha_momentum": 0.9,
        }
    assert build({"data": RNN["data"], "train": {}}, space="darts-rnn").train == large.train


def test_method_options_of_a_preset_are_for_darts_and_below_those_given() -> None:
    def found(**search: Any) -> dict[str, Any]:
        config = build({**RNN, "search": {"space": "darts-rnn", **search}}).search
        assert config is not None
        return config.method_options

    assert found(method="gdas") == {}
    assert found(method="gdas", method_options={"x": 1}) == {"x": 1}
    assert found(method="darts_2nd", method_options={"alpha_momentum": "0.5"}) == {
        "alpha_learning_rate": 3e-3,
        "alpha_weight_decay": 1e-3,
        "alpha_momentum": 0.5,
    }


def test_explicit_options_win_over_presets() -> None:
    config = build({"data": {}, "search": {"epochs": 3}, "train": {"cutout": 2}})
    assert config.search is not None
    assert config.train is not None
    assert (config.search.epochs, config.search.channels) == (3, 8)
    assert (config.train.cutout, config.train.epochs) == (2, 15)


def test_explicit_options_win_even_if_they_are_the_papers_defaults() -> None:
    config = build({"data": {"data": "digits"}, "search": {"channels": 16}})
    assert config.search is not None
    assert config.search.channels == 16


def test_a_base_wins_over_presets_and_explicit_options_over_a_base() -> None:
    base = RunConfig(
        data=DataConfig(subset=100), search=SearchConfig(channels=16, epochs=7, seed=5)
    )
    config = build({"data": {"image_size": 9}, "search": {"epochs": 2}}, base)
    assert config.data == DataConfig(subset=100, image_size=9)
    assert config.search == SearchConfig(channels=16, epochs=2, seed=5)


def test_a_section_that_the_base_lacks_begins_from_its_data_sets_presets() -> None:
    digits = RunConfig(search=SearchConfig())
    cifar = RunConfig(data=DataConfig(data="cifar10"), search=SearchConfig())
    of_digits, of_cifar = (build({"data": {}, "train": {}}, base) for base in (digits, cifar))
    assert of_digits.train == TrainConfig(**PRESETS["digits"]["train"])
    assert of_cifar.train == TrainConfig()
    assert build({**CIFAR, "train": {}}, digits).train == TrainConfig()


def test_only_the_sections_asked_for_are_present() -> None:
    assert build({"data": {}, "search": {}}).train is None
    assert build({"data": {}, "train": {}}).search is None
    base = build(ALL)
    assert build({"data": {}, "train": {}}, base).search is None


def test_random_cells_are_kept() -> None:
    assert build(ALL, random_cells=4).random_cells == 4
    assert build(ALL).random_cells is None


# --- errors ------------------------------------------------------------------------------------

WRONG = [
    (
        {"search": {"epochs": 0}},
        "field search.epochs: found 0, expected greater than or equal to 1",
    ),
    ({"search": {"epochs": 1.5}}, "field search.epochs: found 1.5, expected a valid integer"),
    ({"search": {"epochs": "many"}}, "field search.epochs: found 'many', expected a valid integer"),
    ({"search": {"cells": 0}}, "field search.cells: found 0, expected greater than or equal to 1"),
    ({"search": {"momentum": 1}}, "field search.momentum: found 1, expected less than 1"),
    ({"search": {"train_fraction": 0}}, "field search.train_fraction: found 0, expected greater"),
    ({"search": {"clip": float("nan")}}, "field search.clip: found nan, expected a finite number"),
    ({"search": {"learning_rate": float("inf")}}, "field search.learning_rate: found inf"),
    ({"search": {"epoch": 3}}, "field search.epoch is not known; remove it or correct its name"),
    ({"search": {"method_options": {"a": [1]}}}, "field search.method_options.a"),
    ({"train": {"drop_path": -0.1}}, "field train.drop_path: found -0.1"),
    ({"train": {"seeds": 0}}, "field train.seeds: found 0"),
    ({"train": {"device": 3}}, "field train.device: found 3, expected a valid string"),
    ({"data": {"subset": 0}, "search": {}}, "field data.subset: found 0"),
    ({"data": {"root": "x"}, "search": {}}, "field data.root is not known"),
]


@pytest.mark.parametrize(("sections", "message"), WRONG)
def test_a_bad_option_names_its_field(sections: Sections, message: str) -> None:
    with pytest.raises(ArchgradError) as caught:
        build({"data": {}, **sections})
    assert str(caught.value).startswith(f"options: {message}")


def test_a_run_needs_a_search_or_a_train_section() -> None:
    with pytest.raises(ArchgradError, match="neither a search nor a train section"):
        build({"data": {}})
    with pytest.raises(ArchgradError, match=r"options: field random_cells: found 1, expected gr"):
        build(ALL, random_cells=1)


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SearchConfig().epochs = 3  # type: ignore[misc]


# --- files -------------------------------------------------------------------------------------

NAME = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
OPTIONS = st.builds(
    RunConfig,
    data=st.builds(
        DataConfig,
        data=NAME,
        data_root=st.none() | NAME,
        image_size=st.none() | st.integers(1, 99),
        flip=st.none() | st.booleans(),
    ),
    search=st.builds(
        SearchConfig,
        method_options=st.dictionaries(
            NAME, st.integers(-9, 9) | NAME | st.floats(-1, 1, allow_nan=False), max_size=3
        ),
        epochs=st.integers(1, 9),
        weight_decay=st.floats(0, 1e-3),
        device=NAME,
    ),
    train=st.none()
    | st.builds(TrainConfig, drop_path=st.floats(0, 0.9), seed=st.integers(0, 2**32 - 1)),
    random_cells=st.none() | st.integers(2, 9),
)


@given(config=OPTIONS)
def test_yaml_round_trip(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load(path) == config


def test_yaml_lists_every_option() -> None:
    values = yaml.safe_load(build(ALL).to_yaml())
    for name, section in SECTIONS.items():
        assert list(values[name]) == list(section.model_fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"data: {", "cannot be read: while parsing a flow node expected the node content"),
        (b"a: \xff", "cannot be read: 'utf-8' codec"),
        (b"- 1\n", "found list, expected a mapping with data, search and train"),
        (b"", "found NoneType, expected a mapping"),
        (b"digits", "found str, expected a mapping"),
        (b"search: 3\n", "field search: found 3, expected"),
        (b"extra: 1\nsearch: {}\n", "field extra is not known; remove it or correct its name"),
        (b"search: {epochs: []}\n", "field search.epochs: found [], expected a valid integer"),
        (b"data: {}\n", "neither a search nor a train section"),
        (b"search: !!python/object/apply:os.getcwd []\n", "cannot be read: could not determine"),
    ],
)
def test_a_wrong_file_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ArchgradError) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    assert message in text
    assert "\n" not in text


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match=r"none\.yaml cannot be read: .*No such file"):
        load(tmp_path / "none.yaml")


def test_validated_names_its_origin() -> None:
    assert validated({"search": {}}, "here").search == SearchConfig()
    with pytest.raises(ArchgradError, match=r"^here: field serch is not known"):
        validated({"serch": {}}, "here")


def test_yaml_numbers_and_truth_values_in_options() -> None:
    options = validated({"search": {"method_options": {"a": "1e-3", "b": "7", "c": "exact"}}}, "x")
    assert options.search is not None
    assert options.search.method_options == {"a": 1e-3, "b": 7, "c": "exact"}
    with pytest.raises(ArchgradError, match=r"a: found True, expected a number"):
        validated({"search": {"method_options": {"a": True}}}, "x")
    with pytest.raises(ArchgradError, match="epochs: found True, expected no truth value"):
        validated({"search": {"epochs": True}}, "x")
    assert validated({"search": {}, "data": {"flip": True}}, "x").data.flip is True


def test_text_has_a_space_of_its_own() -> None:
    """As long as nobody names another one."""

    def space(data: str, **search: str) -> str:
        found = build({"data": {"data": data}, "search": search}).search
        assert found is not None
        return found.space

    assert [space(d) for d in ("grammar", "ptb", "text:here")] == ["darts-rnn"] * 3
    assert space("digits") == "darts-cnn"
    own = build({"data": {"data": "text:here"}, "search": {}}).search
    assert own is not None and (own.hidden, own.batch_size, own.dropout_output) == (128, 20, 0.2)
    assert own.learning_rate == 20 and own.second_order_clip == 0.25  # of the space
    assert space("grammar", space="s2") == "s2"

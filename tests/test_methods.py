"""Every recipe through one table: it trains, repeats, resumes, and each of its knobs counts.

Recipes and knobs are found by introspection, so that a new one cannot be forgotten: a knob that
does nothing in a search as short as these fails, until the tables below say how it acts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import getdoc, signature
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from archgrad import Architecture, SearchResult
from archgrad.data import Data
from archgrad.methods import RECIPES, method
from archgrad.parts.stopping import EigenvalueStop
from archgrad.searching.bilevel import bilevel_search
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.storage.folder import Run, load_checkpoint
from helpers import same

# the smallest network that has a reduction cell
SPACE = DartsCNN(
    channels=8, cells=3, nodes=1, in_channels=1, image_size=(8, 8), classes=2,
    operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"),
)  # fmt: skip
CONFIG = SearchConfig(
    epochs=2, batch_size=8, learning_rate=0.1, watch_fraction=0, guard="off", device="cpu"
)

# Options (and ``epochs`` of the search) with which every part of a recipe acts in so short a one.
ACTIVE: dict[str, dict[str, Any]] = {
    "idarts": {"terms": 1, "interval": 2},
    "fair_darts": {"threshold": 0.5},
    "proxyless": {"interval": 2},
    "robust_darts": {"epochs": 5, "batch_size": 24, "eigenvalue_ratio": 0.95, "first_epoch": 0},
    "p_darts": {"epochs": 3, "more_cells": 1, "candidates_2": 4, "candidates_3": 2, "skips": 0},
    "sdarts_adv": {"steps": 2},
    "darts_pt": {"tuning_epochs": 1},
    "oles": {"checks": 2},
    "shapley": {"samples": 2},
    "random_ws": {"samples": 20, "top": 1, "batches": 1},
}
AT_REST = {"random_ws"}  # methods whose alpha never moves
SLOWER = {"proxyless", "gdas", "p_darts", "sdarts_adv", "random_ws"}  # noise or paths in their way
# Knobs that another one switches on; the docstring of the recipe says so.
PROGRESSIVE = {"progressive": 1}
ADAPTIVE = {"form": "adaptive", "recovery_factor": 4000.0, "recovery_cap": 0.9}
SWITCHES: dict[tuple[str, str], dict[str, Any]] = {
    ("darts_2nd", "step"): {"estimator": "finite_difference"},
    ("drnas", "k"): PROGRESSIVE,
    ("drnas", "final_k"): PROGRESSIVE,
    ("drnas", "candidates"): PROGRESSIVE,
    ("drnas", "warm_up"): PROGRESSIVE,
    ("robust_darts", "weight_decay_factor"): {"form": "l2", "epochs": 2},
    ("robust_darts", "drop_path"): {"form": "drop_path", "epochs": 2},
    ("robust_darts", "recovery_factor"): ADAPTIVE,
    ("robust_darts", "recovery_cap"): ADAPTIVE,
}
# Other values, where a number cannot be doubled or increased by 1.
OTHER: dict[tuple[str, str], Any] = {
    ("darts_2nd", "estimator"): "finite_difference",
    ("darts", "alpha_momentum"): 0.9,
    ("darts_2nd", "alpha_momentum"): 0.9,
    ("robust_darts", "form"): "drop_path",
    ("robust_darts", "eigenvalue_ratio"): 1e6,
    ("robust_darts", "recovery_factor"): 2500.0,
    ("darts_pt", "criterion"): "loss",
    ("pc_darts", "k"): 2,
    ("drnas", "k"): 2,
    ("drnas", "final_k"): 1,
    ("fair_darts", "threshold"): 0.6,
    ("fair_darts", "zero_one_power"): 1,
    ("p_darts", "candidates_2"): 2,
    ("p_darts", "dropout_3"): 0.35,
    ("random_ws", "samples"): 10,
    ("shapley", "warm_up"): 0.75,
    ("shapley", "momentum"): 0.4,
}
KNOBS = [(name, knob) for name, recipe in RECIPES.items() for knob in signature(recipe).parameters]
SWITCHED = {f"{name}-{next(iter(s.values()))}": (name, s) for (name, _), s in SWITCHES.items()}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in RECIPES},
    **SWITCHED,
}
# whose search keeps something between its epochs that others do not
KEEPING = {
    "darts", "p_darts", "robust_darts", "drnas", "darts_pt", "random_ws", "proxyless", "shapley",
    "oles", "single_level",
}  # fmt: skip
COMMON = {"alpha_learning_rate", "alpha_weight_decay", "alpha_momentum"}  # of one optimizer
each_form = pytest.mark.parametrize(("name", "switch"), FORMS.values(), ids=FORMS)


class Different(Exception):
    pass


class Listening(Callback):
    """Keeps alpha after every epoch; where another search had another alpha, it ends this one."""

    def __init__(self, other: Sequence[Mapping[str, Tensor]] | None = None) -> None:
        self.alphas: list[Mapping[str, Tensor]] = []
        self.other = other

    def epoch_end(self, event: EpochEnd) -> None:
        self.alphas.append({name: value.clone() for name, value in event.alpha.items()})
        if self.other is not None and not same(self.alphas, self.other[: len(self.alphas)]):
            raise Different


class Outcome(NamedTuple):
    """Of one search: where alpha began (in the last stage), its result, all that it left.

    And alpha after every epoch, where it was listened to.
    """

    start: dict[str, Tensor]
    result: SearchResult
    content: dict[str, Any]
    alphas: Sequence[Mapping[str, Tensor]] = ()


def searched(
    data: Data, path: Path, name: str, options: Mapping[str, Any], callback: Callback | None = None
) -> Outcome:
    given = {**ACTIVE.get(name, {}), **options}
    sizes = {key: given.pop(key) for key in ("epochs", "batch_size") if key in given}
    config = CONFIG.model_copy(update=sizes)
    chosen, start = method(name, **given), {}

    def remembered(shapes: Any, generator: Any) -> dict[str, Tensor]:
        first = chosen.initial(shapes, generator)
        start.update({name: value.clone() for name, value in first.items()})
        return first

    recipe = replace(chosen, initial=remembered)
    run = Run(path, RunConfig(search=config))
    path.mkdir(exist_ok=True)
    result = bilevel_search(SPACE, data, recipe, config, run=run, callback=callback)
    metrics = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        del line["seconds"], line["memory_mb"]
    checkpoint = load_checkpoint(path / "checkpoints", torch.device("cpu"))
    assert checkpoint is not None
    content = {
        "checkpoint": checkpoint,
        "weights": checkpoint["model"],
        "metrics": metrics,
        "alphas": (path / "alphas.jsonl").read_text(),
        "architecture": result.architecture,
        "alpha": result.alpha,
        "stopped": result.stopped,
    }
    return Outcome(start, result, content)


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """An early stop needs 3 readings of the eigenvalue, not 7."""
    rule = partial(EigenvalueStop, window=2, distance=1)
    monkeypatch.setattr(sys.modules["archgrad.methods.robust_darts"], "EigenvalueStop", rule)


Usual = Callable[[str, Mapping[str, Any]], Outcome]


@pytest.fixture(scope="module")
def usual(two_digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Usual:
    """The search of a recipe and a switch, made once."""
    made: dict[str, Outcome] = {}

    def search(name: str, switch: Mapping[str, Any]) -> Outcome:
        key = f"{name} {switch}"
        if key not in made:
            path, listening = tmp_path_factory.mktemp(name), Listening()
            found = searched(two_digits, path, name, switch, listening)
            made[key] = found._replace(alphas=listening.alphas)
        return made[key]

    return search


@pytest.mark.no_cover
@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_and_moves_every_alpha(name: str, two_digits: Data, tmp_path: Path) -> None:
    options = {"epochs": 5 if name in SLOWER else 3, "batch_size": 8}
    found = searched(two_digits, tmp_path, name, options)
    losses = [line["train_loss"] for line in found.result.metrics]
    assert min(losses[1:]) < losses[0] - 0.1  # 9 or 15 steps on two classes, from ln 2
    for group, value in found.result.alpha.items():
        moved = float((value - found.start[group]).abs().max())
        assert moved == 0 if name in AT_REST else moved > 2e-4


@each_form
def test_the_architecture_is_valid_and_travels_as_json(
    name: str, switch: dict[str, Any], usual: Usual
) -> None:
    result = usual(name, switch).result
    result.space.validate(result.architecture)
    assert Architecture.from_json(result.architecture.to_json()) == result.architecture
    assert result.derive(channels=4)(torch.zeros(2, 1, 8, 8)).shape == (2, 2)


@pytest.mark.slow  # an interrupted search that equals the usual one has repeated it as well
@pytest.mark.parametrize("name", RECIPES)
def test_same_seed_same_run(name: str, usual: Usual, two_digits: Data, tmp_path: Path) -> None:
    assert same(searched(two_digits, tmp_path, name, {}).content, usual(name, {}).content)


def test_the_short_searches_go_through_every_stage_and_one_recovery(usual: Usual) -> None:
    """Else the tests of resumption would not see them."""
    assert usual("p_darts", {}).content["checkpoint"]["stage"] == 2
    assert usual("drnas", PROGRESSIVE).content["checkpoint"]["stage"] == 1
    adaptive = usual("robust_darts", ADAPTIVE).content["checkpoint"]
    assert adaptive["recovered"] == 1
    assert adaptive["weight_optimizer"]["param_groups"][0]["weight_decay"] == 0.9
    assert usual("robust_darts", {}).result.stopped is not None


class Interrupted(Exception):
    pass


class Interrupting(Callback):
    """Ends the search at everything it hears of for the first time."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def epoch_end(self, event: EpochEnd) -> None:
        self.hear(event.epoch, sum(isinstance(what, str) for what, _ in self.heard))

    def warning(self, text: str) -> None:
        self.hear(text)

    def hear(self, what: object, times: int = 0) -> None:
        if (what, times) not in self.heard:
            self.heard.append((what, times))
            raise Interrupted


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "switch"),
    [
        pytest.param(*form, id=key, marks=[] if form[0] in KEEPING else pytest.mark.slow)
        for key, form in FORMS.items()
    ],
)
def test_interrupted_everywhere_and_resumed_equals_uninterrupted(
    name: str, switch: dict[str, Any], usual: Usual, two_digits: Data, tmp_path: Path
) -> None:
    whole, callback, outcome = usual(name, switch), Interrupting(), None
    while outcome is None:
        try:
            outcome = searched(two_digits, tmp_path, name, switch, callback)
        except Interrupted:
            continue
    assert len(callback.heard) >= len(whole.result.metrics)
    assert same(outcome.content, whole.content)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "knob"),
    [
        pytest.param(
            name, knob, marks=pytest.mark.slow if knob in COMMON and name != "darts" else []
        )
        for name, knob in KNOBS
    ],
)
def test_every_knob_changes_the_result(
    name: str, knob: str, usual: Usual, two_digits: Data, tmp_path: Path
) -> None:
    switch = SWITCHES.get((name, knob), {})
    other = {**switch, knob: other_value(name, knob)}
    _, _, before, alphas = usual(name, switch)
    try:
        found = searched(two_digits, tmp_path, name, other, Listening(alphas)).content
    except Different:
        return
    assert any(not same(found[what], before[what]) for what in ("alpha", "architecture", "weights"))


def other_value(name: str, knob: str) -> Any:
    default = signature(RECIPES[name]).parameters[knob].default
    value = {**ACTIVE.get(name, {}), **SWITCHES.get((name, knob), {})}.get(knob, default)
    if (name, knob) in OTHER:
        return OTHER[name, knob]
    return value + 1 if isinstance(value, int) else 2 * value or 0.5


@pytest.mark.parametrize(("name", "knob"), SWITCHES)
def test_a_knob_that_needs_a_switch_is_documented_as_such(name: str, knob: str) -> None:
    assert method(name, **{knob: other_value(name, knob)}) == method(name)
    text = " ".join((getdoc(RECIPES[name]) or "").split())
    switch, value = next(iter(SWITCHES[name, knob].items()))
    assert any(f"{how}{value}" in text for how in ('used by "', f"used with {switch}="))

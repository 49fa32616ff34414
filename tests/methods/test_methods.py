"""Methods as values: names, options, slots, and knobs that all count."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

from archgrad import Method, method
from archgrad.errors import ArchgradError
from archgrad.methods import RECIPES, darts, darts_2nd
from archgrad.parts.discretization import StrongestEdges
from archgrad.parts.hypergradient import Exact, FiniteDifference, first_order
from archgrad.parts.optimizer import Adam
from archgrad.parts.relaxation import softmax

KNOBS = [
    (name, knob)
    for name, recipe in RECIPES.items()
    for knob in inspect.signature(recipe).parameters
]
# Knobs that another one switches on; the docstring of the recipe says so.
NEEDS: dict[tuple[str, str], dict[str, Any]] = {
    ("darts_2nd", "step"): {"estimator": "finite_difference"}
}
WORDS = {"estimator": "finite_difference"}


def test_darts_is_every_slot_at_its_default() -> None:
    assert method("darts") == Method() == darts()
    assert Method() == Method(
        softmax, first_order, Adam(3e-4, (0.5, 0.999), 1e-3), StrongestEdges()
    )


def test_second_order_differs_in_one_slot() -> None:
    second = method("darts_2nd")
    assert second.hypergradient == Exact()
    differing = [
        f.name for f in fields(Method) if getattr(second, f.name) != getattr(darts(), f.name)
    ]
    assert differing == ["hypergradient"]
    assert method("darts_2nd", estimator="finite_difference").hypergradient == FiniteDifference(
        0.01
    )


@pytest.mark.parametrize(("name", "knob"), KNOBS)
def test_every_knob_changes_the_method(name: str, knob: str) -> None:
    default = inspect.signature(RECIPES[name]).parameters[knob].default
    other = WORDS[knob] if isinstance(default, str) else 2 * default
    with_it = NEEDS.get((name, knob), {})
    assert method(name, **with_it, **{knob: other}) != method(name, **with_it)
    assert method(name, **with_it, **{knob: default}) == method(name, **with_it)


@pytest.mark.parametrize(("name", "knob"), NEEDS)
def test_a_knob_without_effect_by_default_is_documented_as_such(name: str, knob: str) -> None:
    assert method(name, **{knob: 0.5}) == method(name)
    text = inspect.getdoc(RECIPES[name]) or ""
    (needed,) = NEEDS[name, knob].values()
    assert f'used by "{needed}" alone' in text


def test_knobs_reach_the_parts() -> None:
    found = method(
        "darts_2nd",
        estimator="finite_difference",
        step=0.1,
        alpha_learning_rate=0.2,
        alpha_weight_decay=0.3,
    )
    assert found.hypergradient == FiniteDifference(0.1)
    assert found.arch_optimizer == Adam(0.2, (0.5, 0.999), 0.3)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_tells_its_source(name: str) -> None:
    text = inspect.getdoc(RECIPES[name]) or ""
    assert "arXiv:" in text
    assert "Differs from" in text


# --- slots -------------------------------------------------------------------------------------


def test_slots_name_the_parts_and_the_numbers_that_are_not_the_default() -> None:
    assert darts().slots() == {
        "relaxation": "softmax",
        "hypergradient": "first_order",
        "arch_optimizer": "Adam",
        "discretization": "StrongestEdges",
    }
    assert darts(alpha_learning_rate=0.1).slots()["arch_optimizer"] == "Adam(learning_rate=0.1)"
    assert (
        Method(discretization=StrongestEdges(1)).slots()["discretization"] == "StrongestEdges(k=1)"
    )
    assert darts_2nd().slots()["hypergradient"].startswith("Exact")


# --- names and options -------------------------------------------------------------------------


def test_a_method_value_passes_through_but_takes_no_options() -> None:
    value = Method(discretization=StrongestEdges(1))
    assert method(value) is value
    with pytest.raises(
        ArchgradError, match=r"options \['step'\] go with a method's name, not its value"
    ):
        method(value, step=0.1)


def test_an_unknown_method_comes_with_the_nearest() -> None:
    with pytest.raises(
        ArchgradError, match=r'method "dart" is not known; did you mean "darts".* darts, darts_2nd$'
    ):
        method("dart")


def test_an_unknown_option_comes_with_the_nearest() -> None:
    with pytest.raises(
        ArchgradError,
        match=r'option of method darts "alpha_learning_rat" .* did you mean "alpha_learning_rate"',
    ):
        method("darts", alpha_learning_rat=0.1)
    with pytest.raises(ArchgradError, match=r"Known: alpha_learning_rate, alpha_weight_decay$"):
        method("darts", estimator="exact")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("step", "0.1", "found '0.1', expected float"),
        ("step", True, "found True, expected float"),
        ("step", None, "found None, expected float"),
        ("estimator", 1, "found 1, expected str"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(option: str, value: Any, expected: str) -> None:
    with pytest.raises(ArchgradError, match=f"option {option} of method darts_2nd: {expected}"):
        method("darts_2nd", **{option: value})


def test_a_whole_number_will_do_for_a_float() -> None:
    assert method("darts", alpha_learning_rate=1) == method("darts", alpha_learning_rate=1.0)


def test_an_unknown_estimator_comes_with_the_known() -> None:
    with pytest.raises(
        ArchgradError, match=r'estimator "exakt" .* mean "exact"\? Known: exact, finite_difference'
    ):
        method("darts_2nd", estimator="exakt")


@pytest.mark.parametrize("name", RECIPES)
def test_values_that_no_part_takes_are_refused(name: str) -> None:
    with pytest.raises(ArchgradError, match="must be finite and not negative"):
        method(name, alpha_learning_rate=-1.0)

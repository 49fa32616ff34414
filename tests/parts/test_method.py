"""A method as a value: slots, labels, and combinations that make no sense."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from archgrad import Method, method
from archgrad.errors import ArchgradError
from archgrad.methods import Recovery, darts, darts_2nd
from archgrad.networks.supernet import Normal
from archgrad.parts.discretization import StrongestEdges, Threshold
from archgrad.parts.edge import AuxiliarySkip, PartialChannels
from archgrad.parts.hypergradient import (
    Exact,
    at_rest,
    first_order,
    first_order_and_weights,
    single_level,
)
from archgrad.parts.method import _contradictions
from archgrad.parts.optimizer import Adam, ExponentiatedGradient
from archgrad.parts.paths import TwoPaths, keep_other_probabilities
from archgrad.parts.perturbation import AdversarialPerturbation, RandomPerturbation
from archgrad.parts.regularizer import BetaDecay, DirichletAnchor, ZeroOne
from archgrad.parts.relaxation import (
    Dirichlet,
    EdgeNormalized,
    Gates,
    GumbelSoftmax,
    Sigmoid,
    Softmax,
    UniformPath,
)
from archgrad.parts.schedule import Linear
from archgrad.parts.selection import Perturbation
from archgrad.parts.shapley import Shapley
from archgrad.parts.stage import Stage
from archgrad.parts.stopping import EigenvalueStop, SkipCount
from archgrad.parts.weight_gradient import AlignLayers, FreezeOverfitted


def test_darts_is_every_slot_at_its_default() -> None:
    assert method("darts") == Method() == darts()
    assert darts().filled() == {}
    assert Method() == Method(
        initial=Normal(1e-3),
        relaxation=Softmax(),
        hypergradient=first_order,
        arch_optimizer=Adam(3e-4, (0.5, 0.999), 1e-3),
        discretization=StrongestEdges(),
    )


def test_second_order_differs_in_one_slot() -> None:
    assert method("darts_2nd").hypergradient == Exact()
    assert darts_2nd().filled() == {"hypergradient": "Exact"}


def test_an_operation_left_out_is_a_filled_slot() -> None:
    assert Method(without=("none",)).filled() == {"without": "none"}


def test_slots_name_the_parts_and_the_numbers_that_are_not_the_default() -> None:
    slots = darts().slots()
    assert list(slots) == [field.name for field in fields(Method)]
    assert slots["relaxation"] == "Softmax"
    assert slots["hypergradient"] == "first_order"
    assert slots["edges"] == slots["selection"] == slots["without"] == "-"
    assert darts(alpha_learning_rate=0.1).filled() == {"arch_optimizer": "Adam(learning_rate=0.1)"}
    found = Method(
        without=("none", "skip_connect"),
        edges=(PartialChannels(2), AuxiliarySkip(Linear(1.0, 0.5))),
        relaxation=EdgeNormalized(Dirichlet()),
        interval=2,
    ).filled()
    assert found == {
        "without": "none, skip_connect",
        "relaxation": "EdgeNormalized(operations=Dirichlet)",
        "edges": "PartialChannels(k=2), AuxiliarySkip(weight=Linear(start=1, end=0.5))",
        "interval": "2",
    }


@pytest.mark.parametrize(
    "numbers",
    [{"warm_up": -0.1}, {"warm_up": 1.0}, {"interval": 0}, {"weight_decay": -1.0}],
    ids=str,
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(ArchgradError, match="method: warm_up .* interval .* weight_decay"):
        Method(**numbers)


@pytest.mark.parametrize("numbers", [{"factor": 1.0}, {"cap": 0.0}], ids=str)
def test_a_recovery_must_raise_the_decay(numbers: dict[str, float]) -> None:
    with pytest.raises(ArchgradError, match="recovery: factor .* must be above 1, cap .* above 0"):
        Recovery(**numbers)


# --- what does not go together ------------------------------------------------------------------

GATES = {"relaxation": Gates(), "hypergradient": TwoPaths()}
HARD = {"relaxation": GumbelSoftmax(hard=True)}
GOOD_AND_BAD: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "paths that are drawn uniformly give alpha no gradient",
        {"relaxation": UniformPath(), "hypergradient": at_rest},
        {"hypergradient": first_order},
    ),
    (
        "a selection judges the supernet of the last epoch",
        {"selection": Perturbation()},
        {"stopping": EigenvalueStop()},
    ),
    ("binary gates", GATES, {"hypergradient": first_order}),
    ("binary gates", GATES, {"relaxation": Softmax()}),
    ("sampled paths give edge weights", GATES, {"relaxation": EdgeNormalized(Gates())}),
    (
        "keeping the other probabilities",
        {**GATES, "projection": keep_other_probabilities},
        {"relaxation": Softmax(), "hypergradient": first_order},
    ),
    (
        "exponentiated gradient",
        {"arch_optimizer": ExponentiatedGradient()},
        {"relaxation": Sigmoid()},
    ),
    ("single path is computed, perturbed", {"perturbation": RandomPerturbation()}, HARD),
    ("single path is computed, perturbed", {"perturbation": AdversarialPerturbation()}, GATES),
    (
        "single path is computed, perturbed",
        {"perturbation": RandomPerturbation()},
        {"relaxation": EdgeNormalized(GumbelSoftmax(hard=True))},
    ),
    ("alignment of layers", {"weight_gradient": AlignLayers()}, HARD),
    (
        "freezing compares two gradients",
        {"weight_gradient": FreezeOverfitted(), "hypergradient": Exact()},
        HARD,
    ),
    ("removing another candidate", {"hypergradient": Shapley()}, HARD),
    ("removing another candidate", {"selection": Perturbation()}, HARD),
    (
        "logits of a softmax",
        {"arch_optimizer": ExponentiatedGradient()},
        {"relaxation": EdgeNormalized(Dirichlet())},
    ),
    (
        "zero-one loss",
        {"relaxation": Sigmoid(), "regularizers": (ZeroOne(),)},
        {"relaxation": Softmax()},
    ),
    (
        "needs the Dirichlet relaxation",
        {"relaxation": Dirichlet(), "regularizers": (BetaDecay(), DirichletAnchor())},
        {"relaxation": Softmax()},
    ),
    (
        "threshold judges",
        {"relaxation": Sigmoid(), "discretization": Threshold()},
        {"relaxation": Softmax()},
    ),
    *(
        (
            "needs the validation gradient",
            {"weight_gradient": FreezeOverfitted(), "hypergradient": first_order_and_weights},
            {"hypergradient": without},
        )
        for without in (first_order, single_level, Shapley())
    ),
    ("there is none", {"recovery": Recovery(), "stopping": EigenvalueStop()}, {"stopping": None}),
    (
        "border of a stage",
        {"recovery": Recovery(), "stopping": SkipCount()},
        {"stages": (Stage(1.0),)},
    ),
    (
        "there twice",
        {"edges": (PartialChannels(2), AuxiliarySkip())},
        {"edges": (PartialChannels(2), PartialChannels(4))},
    ),
    (
        "there twice",
        {"edges": (PartialChannels(2),)},
        {"stages": (Stage(0.5), Stage(0.5, edges=(PartialChannels(4),)))},
    ),
]


@pytest.mark.parametrize(
    ("reason", "good", "change"), GOOD_AND_BAD, ids=[r for r, *_ in GOOD_AND_BAD]
)
def test_a_contradiction_is_refused_with_its_reason(
    reason: str, good: dict[str, Any], change: dict[str, Any]
) -> None:
    fine = Method(**good)
    with pytest.raises(ArchgradError, match=f"^these parts do not go together: .*{reason}"):
        replace(fine, **change)


def test_every_contradiction_has_its_test() -> None:
    reasons = [reason for _, reason in _contradictions(Method())]
    tested = {reason for reason, *_ in GOOD_AND_BAD}
    assert [text for text in reasons if not any(part in text for part in tested)] == []


def test_edge_normalization_of_edge_normalization_is_refused() -> None:
    with pytest.raises(ArchgradError, match="edge normalization: found twice"):
        EdgeNormalized(EdgeNormalized())

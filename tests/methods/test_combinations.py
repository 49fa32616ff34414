"""Parts combine freely: what is not refused trains and gives a valid architecture."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archgrad import Method, SearchResult
from archgrad.data import Data, as_data
from archgrad.errors import ArchgradError
from archgrad.methods import Recovery
from archgrad.networks.supernet import Normal
from archgrad.parts.augmentation import RandomCutout
from archgrad.parts.discretization import SkipLimit, StrongestEdges, Threshold
from archgrad.parts.edge import AuxiliarySkip, EdgeDropPath, PartialChannels, SkipDropout
from archgrad.parts.hypergradient import (
    Exact,
    FiniteDifference,
    Neumann,
    first_order_and_weights,
    single_level,
)
from archgrad.parts.optimizer import Adam, Descent, ExponentiatedGradient
from archgrad.parts.paths import TwoPaths, keep_other_probabilities
from archgrad.parts.perturbation import AdversarialPerturbation, RandomPerturbation
from archgrad.parts.regularizer import BetaDecay, DirichletAnchor, Entropy, ZeroOne
from archgrad.parts.relaxation import (
    Dirichlet,
    EdgeNormalized,
    Gates,
    GumbelSoftmax,
    Sigmoid,
    Softmax,
)
from archgrad.parts.schedule import Linear
from archgrad.parts.selection import Perturbation
from archgrad.parts.shapley import Shapley
from archgrad.parts.stage import Stage
from archgrad.parts.stopping import SkipCount, StableRanking
from archgrad.parts.weight_gradient import AlignLayers, FreezeOverfitted
from archgrad.searching.bilevel import bilevel_search
from archgrad.settings.config import SearchConfig
from archgrad.spaces.darts_cnn import DartsCNN

SPACE = DartsCNN(
    channels=8, cells=3, nodes=1, in_channels=1, image_size=(8, 8), classes=2,
    operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"),
)  # fmt: skip
GDAS = GumbelSoftmax(Linear(10.0, 0.1), hard=True)
DEEPER = tuple(Stage(1 / 3, kept, more) for kept, more in ((None, 0), (3, 1), (2, 2)))
WIDER = (
    Stage(0.5, edges=(PartialChannels(4),)),
    Stage(0.5, 3, edges=(PartialChannels(2),), inherit=True),
)


def searched(data: Data, method: Method, epochs: int, batch_size: int = 8) -> SearchResult:
    config = SearchConfig(
        epochs=epochs, batch_size=batch_size, learning_rate=0.1, watch_fraction=0,
        guard="off", device="cpu",
    )  # fmt: skip
    result = bilevel_search(SPACE, data, method, config)
    SPACE.validate(result.architecture)
    assert result.derive()(torch.zeros(2, 1, 8, 8)).shape == (2, 2)
    return result


COMBINED = {
    "partial channels, edge normalization, Dirichlet, beta decay, perturbation-based": Method(
        relaxation=EdgeNormalized(Dirichlet()),
        edges=(PartialChannels(4),),
        regularizers=(BetaDecay(), DirichletAnchor()),
        selection=Perturbation(1),
    ),
    "GDAS, second order": Method(relaxation=GDAS, hypergradient=Exact()),
    "GDAS, edge normalization, finite difference": Method(
        relaxation=EdgeNormalized(GDAS), hypergradient=FiniteDifference()
    ),
    "DARTS-, SDARTS, OLES": Method(
        hypergradient=first_order_and_weights,
        edges=(AuxiliarySkip(),),
        perturbation=RandomPerturbation(),
        weight_gradient=FreezeOverfitted(4),
    ),
    "FairDARTS, P-DARTS": Method(
        without=("none",),
        relaxation=Sigmoid(),
        regularizers=(ZeroOne(),),
        discretization=Threshold(0.5),
        stages=DEEPER,
    ),
    "GAEA, PC-DARTS": Method(
        initial=Normal(0.0),
        relaxation=EdgeNormalized(),
        edges=(PartialChannels(4),),
        arch_optimizer=ExponentiatedGradient(),
        hypergradient=single_level,
    ),
    "iDARTS, Lambda-DARTS, drop path, cutout": Method(
        hypergradient=Neumann(1),
        interval=2,
        weight_gradient=AlignLayers(),
        edges=(EdgeDropPath(),),
        augmentation=RandomCutout(4, 0.5),
    ),
    "ProxylessNAS, partial channels, skip limit": Method(
        relaxation=Gates(),
        hypergradient=TwoPaths(),
        projection=keep_other_probabilities,
        edges=(PartialChannels(2),),
        discretization=SkipLimit(0),
    ),
    "Shapley-NAS, PC-DARTS": Method(
        relaxation=EdgeNormalized(),
        edges=(PartialChannels(4),),
        hypergradient=Shapley(2),
        arch_optimizer=Descent(),
    ),
    "DrNAS in stages, DARTS-, SDARTS, skip count": Method(
        relaxation=Dirichlet(),
        edges=(AuxiliarySkip(),),
        stages=WIDER,
        perturbation=AdversarialPerturbation(steps=1),
        stopping=SkipCount(3),
    ),
}


EPOCHS = {  # of the slower ones
    "GDAS, second order": 6,
    "GDAS, edge normalization, finite difference": 10,
    "FairDARTS, P-DARTS": 5,
    "iDARTS, Lambda-DARTS, drop path, cutout": 5,
}


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "name",
    [n if i % 3 == 0 else pytest.param(n, marks=pytest.mark.slow) for i, n in enumerate(COMBINED)],
)
def test_methods_of_several_papers_combine_and_train(name: str, two_digits: Data) -> None:
    result = searched(two_digits, COMBINED[name], EPOCHS.get(name, 3))
    losses = [line["train_loss"] for line in result.metrics]
    assert min(losses[1:]) < losses[0] - 0.1


PARTS: dict[str, list[Any]] = {
    "without": [("none",), ("skip_connect", "max_pool_3x3")],
    "initial": [Normal(0.0), Normal(1.0)],
    "relaxation": [
        Sigmoid(), GumbelSoftmax(), GDAS, Dirichlet(), Gates(),
        *map(EdgeNormalized, (Softmax(), Sigmoid(), GDAS, Dirichlet())),
    ],
    "edges": [
        (PartialChannels(4),), (AuxiliarySkip(),), (EdgeDropPath(0.3),), (SkipDropout(0.5),),
        (PartialChannels(2), AuxiliarySkip(), EdgeDropPath()),
        (SkipDropout(0.2), PartialChannels(2)),
    ],
    "hypergradient": [
        first_order_and_weights, single_level, FiniteDifference(), Exact(), Neumann(1), TwoPaths(),
        Shapley(2),
    ],
    "regularizers": [
        (BetaDecay(),), (Entropy(), BetaDecay(1.0)), (ZeroOne(),), (DirichletAnchor(),),
    ],
    "arch_optimizer": [Adam(0.0), Adam(1.0), Descent(), ExponentiatedGradient()],
    "projection": [keep_other_probabilities],
    "perturbation": [RandomPerturbation(), AdversarialPerturbation(steps=1)],
    "weight_gradient": [AlignLayers(0.1), FreezeOverfitted(1, 0.9)],
    "augmentation": [RandomCutout(4, 0.5)],
    "weight_decay": [0.0, 10.0],
    "warm_up": [0.5],
    "interval": [2],
    "stages": [DEEPER, WIDER],
    "discretization": [StrongestEdges(1), Threshold(0.5), SkipLimit(0)],
    "selection": [Perturbation(0), Perturbation(1, "loss")],
    "stopping": [SkipCount(1), StableRanking(1)],
    "recovery": [Recovery()],
}  # fmt: skip


def test_the_random_combinations_use_every_slot() -> None:
    assert set(PARTS) == {field.name for field in fields(Method)}


@st.composite
def combinations(draw: st.DrawFn) -> dict[str, Any]:
    slots = draw(st.lists(st.sampled_from(sorted(PARTS)), min_size=2, max_size=6, unique=True))
    return {slot: draw(st.sampled_from(PARTS[slot])) for slot in slots}


def check(parts: dict[str, Any]) -> None:
    """Refused as a contradiction, or a search that runs."""
    try:
        method = Method(**parts)
    except ArchgradError as error:
        assert "do not go together" in str(error)
        return
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    data = as_data((images, torch.arange(8) % 2))
    searched(data, method, len(method.stages) or 1, batch_size=4)


@pytest.mark.no_cover
@given(combinations())
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_a_random_combination_is_refused_or_searches(parts: dict[str, Any]) -> None:
    check(parts)


@pytest.mark.slow
@given(combinations())
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_many_random_combinations_are_refused_or_search(parts: dict[str, Any]) -> None:
    check(parts)

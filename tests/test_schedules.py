"""Learning rates against closed forms and published logs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.errors import ArchgradError
from archgrad.retraining.schedules import learning_rate
from archgrad.settings.config import build
from archgrad.settings.recipes import RECIPES
from archgrad.settings.train_config import TrainConfig


def rates(**options: Any) -> list[float]:
    config = TrainConfig(**options)
    return [learning_rate(config, epoch) for epoch in range(config.epochs)]


def test_cosine_of_the_papers_evaluation() -> None:
    """A line of a published log of 600 epochs: epoch index 410."""
    found = rates(**RECIPES["darts-cifar10"].train)
    assert found[0] == 0.025
    assert found[410] == pytest.approx(5.692012e-3, abs=5e-10)


def test_decay_by_a_factor_every_epoch() -> None:
    found = rates(**RECIPES["darts-imagenet"].train)
    assert len(found) == 250
    assert found[0] == 0.1
    assert found[249] == pytest.approx(0.1 * 0.97**249)
    slower = rates(epochs=7, schedule="step", learning_rate=1.0, decay=0.5, decay_epochs=3)
    assert slower == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_linear_decay_with_a_tail_and_warm_up() -> None:
    """lr (E - 5 - e) / (E - 5), in the last 5 epochs lr (E - e) / (5 (E - 5)); (e + 1) / 5."""
    found = rates(**RECIPES["pc-darts-imagenet"].train)
    warm = [0.5 * (245 - e) / 245 * (e + 1) / 5 for e in range(5)]
    assert found[:5] == pytest.approx(warm)
    assert found[5:245] == pytest.approx([0.5 * (245 - e) / 245 for e in range(5, 245)])
    assert found[245:] == pytest.approx([0.5 * (250 - e) / (245 * 5) for e in range(245, 250)])


def test_linear_without_a_tail_is_a_straight_line() -> None:
    assert rates(epochs=4, schedule="linear", learning_rate=1.0) == [1, 0.75, 0.5, 0.25]


def test_a_constant_rate_stays() -> None:
    assert rates(epochs=4, schedule="constant", learning_rate=20.0) == [20.0] * 4
    warm = rates(epochs=4, schedule="constant", learning_rate=20.0, warm_up_epochs=2)
    assert warm == [10.0, 20.0, 20.0, 20.0]


@given(
    epochs=st.integers(2, 40),
    schedule=st.sampled_from(["cosine", "linear", "step"]),
    share=st.floats(0, 0.99),
)
def test_a_warm_up_rises_and_then_the_rate_falls(epochs: int, schedule: str, share: float) -> None:
    warm = int(share * epochs)
    found = rates(epochs=epochs, schedule=schedule, warm_up_epochs=warm, learning_rate=1.0)
    plain = rates(epochs=epochs, schedule=schedule, learning_rate=1.0)
    assert found[warm:] == plain[warm:]
    assert found[:warm] == pytest.approx([plain[e] * (e + 1) / warm for e in range(warm)])
    assert plain == sorted(plain, reverse=True)
    assert 0 < plain[-1] < plain[0] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tail_epochs": 5}, "tail_epochs goes with schedule linear, found cosine; leave it at 0"),
        ({"decay": 0.5}, "decay goes with schedule step, found cosine; leave it at 0.97"),
        ({"epochs": 5, "warm_up_epochs": 5}, "warm_up_epochs is 5 of 5 epochs; expected fewer"),
        ({"epochs": 4, "schedule": "linear", "tail_epochs": 4}, "tail_epochs is 4 of 4 epochs"),
        ({"nesterov": True, "momentum": 0}, "nesterov needs a momentum above 0"),
        ({"schedule": "cosin"}, "found 'cosin', expected 'cosine', 'linear', 'step' or 'con"),
        ({"ema": 0.9, "averaged": True}, "found averaged and ema 0.9, expected one average; leave"),
        ({"non_monotone": 0}, "field train.non_monotone: found 0, expected greater than or equal"),
        ({"ema": 1}, "field train.ema: found 1, expected less than 1"),
        ({"epochs": True}, "found True, expected no truth value"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        build({"data": {"data": "cifar10"}, "train": options})

"""Time left: simulated searches on a fake clock, whose true durations are known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgrad.searching.timeleft import (
    BudgetTime,
    Kind,
    Left,
    Outlook,
    SearchTime,
    TrainingTime,
    clock,
    exactly,
    of_jobs,
    span,
    unknown,
)

STEPS = 20


class Simulated:
    """A search whose every duration is known; ``told``: (seconds gone, what was said)."""

    def __init__(
        self,
        outlook: Outlook,
        cost: Callable[[Kind], float],
        tail: Callable[[int], float] = lambda epoch: 0.5,
        pause_at: int | None = None,
        noise: float = 0.0,
        first: float = 0.0,
        begin: int = 0,
    ) -> None:
        self.outlook, self.cost, self.tail = outlook, cost, tail
        self.pause_at, self.noise, self.first, self.begin = pause_at, noise, first, begin
        self.at, self.paused, self.random = 0.0, 0.0, random.Random(0)
        self.time = SearchTime(outlook, lambda: self.at, epoch=begin)

    def events(self) -> Iterator[tuple[int, int]]:
        """After each step and each epoch: its number, and its steps done."""
        number = 0
        for epoch in range(self.begin, self.outlook.bounds[-1]):
            for step in range(STEPS):
                took = self.cost(self.outlook.kind(epoch, step, STEPS))
                self.at += took * (1 + self.noise * self.random.uniform(-1, 1))
                self.at += self.first if number == 0 else 0.0
                if number == self.pause_at:
                    self.at += 3600
                number += 1
                self.time.step(epoch, step + 1, STEPS)
                yield epoch, step + 1
            self.at += self.tail(epoch)
            self.time.epoch_end(epoch)
            yield epoch + 1, 0

    def told(self) -> list[tuple[int, int, float, Left]]:
        """Epoch, step, seconds that are truly left without noise, and what is said."""
        found = [(*event, self.time.left()) for event in self.events()]
        return [(epoch, step, self.truth(epoch, step), left) for epoch, step, left in found]

    def truth(self, epoch: int, step: int) -> float:
        rest = 0.0
        for e in range(epoch, self.outlook.bounds[-1]):
            first = step if e == epoch else 0
            rest += sum(self.cost(self.outlook.kind(e, s, STEPS)) for s in range(first, STEPS))
            rest += self.tail(e)
        return rest


def known(left: Left) -> bool:
    return "at least" not in str(left) and "not yet" not in str(left)


def test_of_a_plain_search_the_time_left_is_within_a_twentieth_after_two_epochs() -> None:
    found = Simulated(Outlook((0, 10)), lambda kind: 1.0, noise=0.2, first=30.0).told()
    for epoch, _, truth, left in found:
        if epoch >= 2 and truth > 5:
            assert known(left)
            assert (left.low + left.high) / 2 == pytest.approx(truth, rel=0.05)
    assert str(found[2 * STEPS + 1][3]) == f"{clock(found[2 * STEPS + 1][3].low)} left"


def test_nothing_is_said_before_anything_is_measured() -> None:
    search = Simulated(Outlook((0, 10)), lambda kind: 1.0, first=100.0)
    assert str(search.time.left()) == "time left not yet known"
    events = search.events()
    next(events)
    assert str(search.time.left()) == "time left not yet known"  # the first step compiles
    next(events)
    assert str(search.time.left()) == "at least 3:18 left"  # 198 steps, evaluations unknown


def test_a_warm_up_is_not_drawn_on() -> None:
    """Half as long per step: as long as alpha rests, the rest of the warm-up alone is counted."""
    outlook = Outlook((0, 10), warm_up=0.3)
    found = Simulated(outlook, lambda kind: 2.0 if kind.alpha else 1.0).told()
    warm = {left.low for epoch, step, _, left in found if epoch == 1 and step == 5}
    assert warm == {2 * STEPS - 5}  # the first evaluation is an upper bound alone
    for epoch, step, truth, left in found:
        if (epoch, step) <= (3, 1):
            assert not known(left)
            assert left.low < truth / 3
            if epoch:
                assert "alpha rests until epoch 4" in str(left)
        elif epoch < 10:
            assert known(left)
            assert left.low == pytest.approx(truth, rel=1e-9)


def test_a_warm_up_that_ends_within_an_epoch() -> None:
    outlook = Outlook((0, 10), warm_up=0.25)
    assert [outlook.kind(2, step, STEPS).alpha for step in (9, 10)] == [False, True]
    assert outlook.counts(2, 4, STEPS) == {Kind(0, False): 6, Kind(0, True): 10}
    found = Simulated(outlook, lambda kind: 3.0 if kind.alpha else 1.0).told()
    assert all(
        left.low == pytest.approx(truth) for epoch, step, truth, left in found if 3 <= epoch < 10
    )


def test_stages_of_different_cost_wait_for_their_own_steps() -> None:
    outlook = Outlook((0, 4, 8), warm_up=0.5)
    costs = {(0, False): 1.0, (0, True): 2.0, (1, False): 3.0, (1, True): 5.0}
    found = Simulated(outlook, lambda kind: costs[kind]).told()
    said = {(epoch, step): str(left) for epoch, step, _, left in found}
    assert "alpha rests until epoch 3" in said[1, 0]
    assert "stage 2 begins with epoch 5" in said[3, 5]
    assert "alpha rests until epoch 7" in said[5, 5]
    assert all(left.low <= truth + 1e-6 for _, _, truth, left in found)
    late = [(truth, left) for epoch, step, truth, left in found if epoch == 7 and step]
    assert all(left.low == pytest.approx(truth) for truth, left in late)


def test_diagnostics_that_are_seldom_due() -> None:
    """Those of the first epoch bound the others from above; a kind of its own is exact."""
    due = tuple(frozenset("ab" if e in (0, 19) else "b" if e % 3 == 0 else "") for e in range(20))
    price = {"a": 40.0, "b": 10.0}

    def tail(epoch: int) -> float:
        return 1.0 + sum(price[name] for name in due[epoch]) + (5.0 if epoch == 0 else 0.0)

    found = Simulated(Outlook((0, 20), due=due), lambda kind: 0.5, tail).told()
    for epoch, step, truth, left in found:
        assert left.low <= truth + 1e-6, (epoch, step)
        if epoch > 1 and not step:
            assert left.low <= truth <= left.high + 1e-6, epoch
    after_two_kinds = [(truth, left) for epoch, _, truth, left in found if epoch == 5]
    for truth, left in after_two_kinds:  # the last epoch's own kind is between 11 and 56 s
        assert left.high - left.low == pytest.approx(45.0)
        assert left.low == pytest.approx(truth - 40.0)


def test_alpha_that_moves_every_few_steps() -> None:
    outlook = Outlook((0, 6), interval=3)
    assert outlook.counts(0, 0, STEPS) == {Kind(0, True): 7, Kind(0, False): 13}
    found = Simulated(outlook, lambda kind: 9.0 if kind.alpha else 1.0).told()
    assert all(left.low == pytest.approx(truth) for epoch, _, truth, left in found if epoch > 1)


@pytest.mark.parametrize("pause_at", [5, 30, 50])
def test_a_pause_of_the_machine_is_forgotten_with_the_next_epoch(pause_at: int) -> None:
    found = Simulated(Outlook((0, 10)), lambda kind: 1.0, pause_at=pause_at).told()
    for epoch, _, truth, left in found:
        if epoch >= 2 and truth:
            assert left.low == pytest.approx(truth, rel=1e-9)


def test_a_resumed_search_knows_nothing_of_the_epochs_before() -> None:
    search = Simulated(Outlook((0, 10), warm_up=0.3), lambda kind: 1.0, begin=6)
    assert str(search.time.left()) == "time left not yet known"
    told = [left for epoch, step, _, left in search.told() if epoch == 6 and step == 10]
    assert told[0].low == pytest.approx(10 + 3 * STEPS)


def test_a_selection_at_the_end_leaves_a_lower_bound() -> None:
    found = Simulated(Outlook((0, 5), selection=True), lambda kind: 1.0).told()
    assert not any(known(left) for *_, left in found)
    assert str(found[-1][3]) == "time left not yet known (a selection follows)"
    assert "at least" in str(found[-5][3])


@given(
    epochs=st.integers(2, 12), warm_up=st.floats(0, 0.9), interval=st.integers(1, 5),
    done=st.integers(0, STEPS),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_the_kinds(
    epochs: int, warm_up: float, interval: int, done: int
) -> None:
    outlook = Outlook((0, epochs // 2, epochs), warm_up, interval)
    for epoch in range(epochs):
        kinds = [outlook.kind(epoch, step, STEPS) for step in range(done, STEPS)]
        assert outlook.counts(epoch, done, STEPS) == {k: kinds.count(k) for k in kinds}


# --- baselines, retrainings, comparisons ----------------------------------------------------------


def test_a_budget_is_spent_at_the_pace_of_its_own_evaluations() -> None:
    time = BudgetTime()
    time.evaluated(0.1, 50.0)  # the first compiles
    assert str(time.left()) == "time left not yet known"
    for share, seconds in ((0.2, 10.0), (0.25, 5.0), (0.35, 10.0), (0.4, 1800.0)):
        time.evaluated(share, seconds)
    assert time.left().low == pytest.approx(60.0)


def test_a_resumed_budget_does_not_count_what_was_spent_before() -> None:
    time = BudgetTime()
    time.evaluated(0.8, 10.0)
    assert not known(time.left())
    time.evaluated(0.9, 10.0)
    assert time.left() == exactly(pytest.approx(10.0))


def test_retrainings_side_by_side_end_with_the_last_worker() -> None:
    at, time = [0.0], TrainingTime(lambda: at[0])
    assert str(time.left([0, 0, 0], [10, 10, 10], 2)) == "time left not yet known"
    at[0] = 30.0  # the first epoch compiles
    assert not known(time.left([1, 1, 0], [10, 10, 10], 2))
    for done in (2, 3, 4):
        at[0] += 12.0
        left = time.left([done, done, 0], [10, 10, 10], 2)
    assert left.low == pytest.approx(12.0 * (6 + 10))  # two end, then the third alone
    assert time.left([10, 10, 10], [10, 10, 10], 2) == Left()


def test_retrainings_that_are_seen_once_a_second_only() -> None:
    """Epochs of 1.7 s: within a twentieth after a minute, though each look is up to 1 s late."""
    at, time = [0.0], TrainingTime(lambda: at[0])
    for second in range(60):
        at[0] = float(second)
        done = int(second / 1.7)
        left = time.left([done], [100], 1)
    assert left.low == pytest.approx(1.7 * (100 - done), rel=0.05)


def test_a_resumed_retraining_is_not_drawn_on() -> None:
    at, time = [0.0], TrainingTime(lambda: at[0])
    assert not known(time.left([50, 0], [100, 100], 1))
    at[0] = 20.0
    assert not known(time.left([51, 0], [100, 100], 1))
    at[0] = 31.0
    assert time.left([52, 0], [100, 100], 1) == exactly(pytest.approx(11.0 * 148))


def test_a_comparison_waits_for_a_search_of_each_method() -> None:
    left = [("darts", 30.0), ("drnas", 0.0), ("drnas", 0.0)]
    assert "no search of darts and 1 more has ended yet" in str(of_jobs(left, {}, 1))
    some = of_jobs(left, {"darts": [100.0, 3600.0, 110.0]}, 1)
    assert str(some) == "at least 1:20 left (no search of drnas has ended yet)"
    took = {"darts": [100.0], "drnas": [200.0]}
    assert of_jobs(left, took, 1) == exactly(470.0)
    assert of_jobs(left, took, 2) == exactly(270.0)
    late = of_jobs([("darts", 101.0), ("drnas", 0.0)], took, 2)
    assert str(late) == "at least 3:20 left (darts takes longer than before)"


def test_words() -> None:
    assert [clock(s) for s in (0, 59.6, 80, 3600, 90061)] == [
        "0:00", "1:00", "1:20", "1:00:00", "25:01:01",
    ]  # fmt: skip
    assert str(Left(80, 84)) == "1:22 left"
    assert str(Left(80, 100)) == "at least 1:20 left"
    assert str(unknown("alpha rests until epoch 16")) == (
        "time left not yet known (alpha rests until epoch 16)"
    )
    assert span([3, 0, 2, 2], 2) == 4
    assert math.isinf((exactly(2) + unknown()).high)

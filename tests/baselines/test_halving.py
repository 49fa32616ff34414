"""Successive halving: shares, the rule of promotion, and what optuna says and needs."""

from __future__ import annotations

import logging
import zlib
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archgrad.architecture import Architecture
from archgrad.baselines import Proposal, Scored, best
from archgrad.baselines.halving import halving
from archgrad.spaces import space

NB201 = space("nas-bench-201")


def proposed(scores: list[float], **options: Any) -> list[Proposal]:
    """What is proposed when these scores are sent one after the other."""
    search = halving(**options)(NB201, torch.Generator().manual_seed(0))
    found = [next(search)]
    for score in scores:
        found.append(search.send(score))
    return found


def test_rising_scores_are_all_trained_to_the_end() -> None:
    found = proposed([float(i) for i in range(11)])
    assert [one.share for one in found] == pytest.approx([1 / 9, 1 / 3, 1] * 4)
    assert [found[i].share for i in (2, 5, 8, 11)] == [1.0] * 4  # exactly: no run is cut short
    assert len({one.architecture for one in found}) == 4
    assert found[0].architecture == found[1].architecture == found[2].architecture


def test_falling_scores_end_at_once() -> None:
    found = proposed([3.0, 3.0, 3.0, 2.0, 1.0, 0.5, 0.4])
    assert [one.share for one in found] == pytest.approx([1 / 9, 1 / 3, 1] + [1 / 9] * 5)
    assert len({one.architecture for one in found}) == 6


@given(st.integers(2, 4), st.integers(1, 4), st.integers(0, 2**30))
@settings(max_examples=20)
def test_promotion_is_the_rule_of_the_paper(eta: int, rungs: int, seed: int) -> None:
    """Of n that reached a rung the best n // eta go on, at least one."""
    search = halving(eta=eta, rungs=rungs)(NB201, torch.Generator().manual_seed(seed))
    draws = torch.rand(60, generator=torch.Generator().manual_seed(seed)).tolist()
    reached: list[list[float]] = [[] for _ in range(rungs)]
    seen: list[Architecture] = []
    rung, proposal = 0, next(search)
    for score in draws:
        assert proposal.share == pytest.approx(float(eta) ** (rung + 1 - rungs))
        seen += [proposal.architecture] if rung == 0 else []
        assert proposal.architecture == seen[-1]
        reached[rung].append(score)
        better = sorted(reached[rung], reverse=True)[: max(1, len(reached[rung]) // eta)]
        rung = rung + 1 if score in better and rung + 1 < rungs else 0
        proposal = search.send(score)
    assert len(seen) == len(set(seen))


def test_few_are_trained_to_the_end_and_the_best_is_among_them() -> None:
    """A score that grows with training and with what the architecture is worth."""

    def score(one: Proposal) -> float:
        return zlib.crc32(str(one.architecture).encode()) / 2**32 + one.share

    search = halving()(NB201, torch.Generator().manual_seed(1))
    proposal, found = next(search), []
    for _ in range(240):
        found.append(Scored(*proposal, score(proposal)))
        proposal = search.send(found[-1].score)
    first, second, whole = ([s for s in found if s.share == r] for r in (1 / 9, 3 / 9, 1.0))
    assert len(first) > 2.5 * len(second) > 2.5 * 2 * len(whole) > 25
    worth = [one.score - one.share for one in first]
    assert best(found).score == pytest.approx(1 + max(worth))


def test_equal_scores_go_on() -> None:
    assert [one.share for one in proposed([1.0] * 5, rungs=2)] == pytest.approx([1 / 3, 1] * 3)


def test_one_rung_is_random_search() -> None:
    found = proposed([1.0, 0.0, 2.0], rungs=1)
    assert [one.share for one in found] == [1.0] * 4
    assert len({one.architecture for one in found}) == 4


def test_it_ends_with_the_space() -> None:
    tiny = NB201.without({"none", "avg_pool_3x3", "nor_conv_1x1", "skip_connect"})
    search = halving()(tiny, torch.Generator())
    assert next(search).share == pytest.approx(1 / 9)
    search.send(1.0), search.send(1.0)
    with pytest.raises(StopIteration):
        search.send(1.0)


def test_optuna_is_silent_and_left_as_it_was(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    with caplog.at_level(logging.DEBUG):
        proposed([1.0, 0.5, 2.0])
    assert not caplog.records and capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before

"""TextSource: streams, segments that carry a state, lengths by seed and epoch, and errors."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archgrad.data import ArraySource, Augmentation, TextSource, text_data
from archgrad.data.text import at
from archgrad.errors import ArchgradError
from archgrad.language import Segment
from archgrad.searching.loaders import Loaders
from archgrad.settings.config import SearchConfig

CPU = torch.device("cpu")


def source(count: int, **options: Any) -> TextSource:
    return TextSource(torch.arange(count), **options)


def passed(text: TextSource, batch_size: int = 2, epoch: int = 0, **options: Any) -> list[Segment]:
    return list(text.batches(batch_size, **options).epoch(epoch))


def lengths(text: TextSource, epoch: int = 0, **options: Any) -> list[int]:
    return [len(segment.tokens) for segment in passed(text, epoch=epoch, **options)]


@given(
    st.integers(3, 60), st.integers(1, 5), st.integers(0, 4), st.integers(2, 12), st.booleans(),
    st.sampled_from([0.0, 3.0]),
)  # fmt: skip
@settings(max_examples=60)
def test_segments_give_back_the_text(
    steps: int, batch_size: int, over: int, bptt: int, shuffle: bool, spread: float
) -> None:
    over = min(over, batch_size - 1)
    text = source(steps * batch_size + over, bptt=bptt, spread=spread)
    found = text.batches(batch_size, shuffle=shuffle, seed=steps)
    segments = list(found.epoch(1))
    streams = torch.cat([s.tokens for s in segments] + [segments[-1].target[-1:]])
    assert torch.equal(streams.t().reshape(-1), text.tokens[: steps * batch_size])
    targets = torch.cat([segment.target for segment in segments])
    assert torch.equal(targets, streams[1:])
    assert min(len(segment.tokens) for segment in segments) >= 2
    assert all(segment.share == len(segment.tokens) / bptt for segment in segments)
    if not shuffle:
        assert len(found) == len(segments)
        assert {len(segment.tokens) for segment in segments[:-1]} <= {bptt}
        assert len(segments[-1].tokens) <= bptt + 1


def test_a_single_step_at_the_end_joins_the_segment_before() -> None:
    assert lengths(source(2 * 12, bptt=5)) == [5, 6]
    assert lengths(source(2 * 13, bptt=5)) == [5, 5, 2]
    assert lengths(source(2 * 3, bptt=5)) == [2]


def test_the_state_is_what_the_model_left_when_the_segment_is_asked_for() -> None:
    batches = source(40, bptt=5).batches(2)
    states: list[Any] = []
    for number, segment in enumerate(batches.epoch(0)):
        states.append(segment.state)
        segment.memory.state = torch.full((2, 1), float(number))
    assert states[0] is None
    assert [float(state[0]) for state in states[1:]] == [0, 1, 2]
    assert next(iter(batches.epoch(1))).state is None  # nothing goes over to another epoch


def test_two_epochs_at_a_time_have_memories_of_their_own() -> None:
    batches = source(40, bptt=5).batches(2)
    one, other = batches.epoch(0), batches.epoch(0)
    next(one).memory.state = torch.ones(2, 1)
    assert next(other).memory.state is None
    assert next(one).state is not None
    assert next(other).state is None


def test_an_epoch_repeats_bit_for_bit_whatever_ran_before() -> None:
    batches = source(4000, bptt=8, spread=2.0).batches(2, shuffle=True, seed=3)
    assert batches.exact_resume
    first = list(batches.lengths(5))
    torch.manual_seed(1)
    next(batches.epoch(2))
    assert list(batches.lengths(5)) == first
    state = torch.get_rng_state()
    list(batches.epoch(5))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("spread", [0.0, 5.0])
def test_lengths_follow_seed_and_epoch(spread: float) -> None:
    text = source(20_000, bptt=20, spread=spread)
    found = {
        tuple(lengths(text, epoch=epoch, shuffle=True, seed=seed))
        for seed, epoch in ((0, 0), (1, 0), (0, 1), (0, 0))
    }
    assert len(found) == 3
    assert set(lengths(text)[:-1]) == {20}  # an evaluation has none of it


def test_a_twentieth_of_the_segments_has_half_the_length() -> None:
    drawn = np.array(lengths(source(700_000, bptt=35), shuffle=True)[:-1])
    assert set(drawn) == {17, 35}
    share, error = (drawn == 17).mean(), math.sqrt(0.05 * 0.95 / len(drawn))
    assert abs(share - 0.05) < 4 * error


def test_lengths_with_a_spread_are_normal_within_bounds() -> None:
    drawn = np.array(lengths(source(700_000, bptt=35, spread=5.0), shuffle=True)[:-1])
    for bound, sigmas, half in ((36, 0.2, 3.7), (41, 1.2, 4.7), (18, -3.4, 0.1)):  # from the means
        share = sum(p * math.erfc(z / math.sqrt(2)) / 2 for p, z in ((0.95, sigmas), (0.05, half)))
        error = math.sqrt(share * (1 - share) / len(drawn))
        assert abs((drawn >= bound).mean() - share) < 4 * error
    wide = np.array(lengths(source(700_000, bptt=35, spread=30.0), shuffle=True)[:-1])
    assert (wide.min(), wide.max()) == (5, 55)


@pytest.mark.parametrize(("bptt", "spread"), [(35, 0.0), (35, 5.0), (10, 20.0), (3, 0.0)])
def test_the_length_of_a_training_pass_is_what_is_expected(bptt: int, spread: float) -> None:
    batches = source(40_000, bptt=bptt, spread=spread).batches(2, shuffle=True)
    counts = [len(list(batches.lengths(epoch))) for epoch in range(4)]
    assert len(batches) == pytest.approx(np.mean(counts), rel=0.03)
    assert len(source(6, bptt=35).batches(2, shuffle=True)) == 1


def test_a_batch_size_that_is_too_large_says_what_fits() -> None:
    text = source(100, name="train")
    assert len(passed(text, 33)) == 1
    with pytest.raises(ArchgradError, match=re.escape("train: found 100 tokens")) as caught:
        text.batches(34)
    assert "a batch size of 33 or less" in str(caught.value)
    with pytest.raises(ArchgradError, match=r"so give more text$"):
        source(2).batches(1)
    with pytest.raises(ArchgradError, match="batch size is 0; expected 1 or more"):
        text.batches(0)


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (torch.zeros(3), {}, r"shape \(3,\) and type torch.float32; expected int64"),
        (torch.zeros(3, 1).long(), {}, r"shape \(3, 1\)"),
        (torch.zeros(0).long(), {}, "at least one"),
        (torch.tensor([1, -1]), {}, "the smallest token is -1"),
        (torch.arange(3), {"bptt": 1}, "bptt is 1; expected 2 or more"),
        (torch.arange(3), {"spread": -1.0}, "bptt_spread is -1.0"),
        (torch.arange(3), {"spread": math.nan}, "bptt_spread is nan"),
    ],
)
def test_wrong_values_are_told(tokens: torch.Tensor, options: Any, message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        TextSource(tokens, **options)


def test_subsets_are_stretches() -> None:
    text = source(20, bptt=7, spread=1.0)
    part = text.subset(range(5, 9))
    assert part.tokens.tolist() == [5, 6, 7, 8]
    assert (part.bptt, part.spread, part.labels) == (7, 1.0, None)
    for wrong in ([1, 3], [3, 2], [4, 4]):
        with pytest.raises(ArchgradError, match="has gaps; expected a stretch of text"):
            text.subset(wrong)
    with pytest.raises(ArchgradError, match="subset indices run from 19 to 20"):
        text.subset([19, 20])


def test_a_text_is_parted_at_its_end() -> None:
    rest, last = source(25).parted(0.1)
    assert (rest.tokens.tolist(), last.tokens.tolist()) == (list(range(23)), [23, 24])
    with pytest.raises(ArchgradError, match=r"a part of 0.01 of 25 tokens leaves 25 and 0"):
        source(25).parted(0.01)


def test_a_configuration_says_how_text_is_cut_and_nothing_of_images() -> None:
    text = at(source(50), SearchConfig(bptt=9, bptt_spread=2.0))
    assert isinstance(text, TextSource)
    assert (text.bptt, text.spread) == (9, 2.0)
    images = ArraySource(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]))
    assert at(images, SearchConfig()) is images


def loaders(**options: Any) -> Loaders:
    data = text_data(list("abcd" * 300), list("abcd" * 100))
    config = SearchConfig(**{"batch_size": 4, "bptt": 10, **options})
    return Loaders.of(data, config, Augmentation(), CPU)


def test_a_search_trains_on_one_text_and_alpha_on_another() -> None:
    found = loaders()
    assert found.examples == (1200, 360)
    assert found.watch_images == 40
    assert len(found.check) == 9
    assert found.watch is not None
    assert len(found.watch) == 1
    assert found.exact_resume
    pairs = list(found.epoch(0))
    assert sum(len(train.tokens) for train, _ in pairs) == 299  # no step is lost
    assert loaders(watch_fraction=0.0).examples == (1200, 400)
    assert loaders(watch_fraction=0.02).watch is None  # 8 tokens are too few for 4 streams


def test_options_and_seed_reach_the_segments_of_a_search() -> None:
    def of_train(**options: Any) -> list[int]:
        return [len(segment.tokens) for segment in loaders(**options).train.epoch(0)]  # type: ignore[attr-defined]

    assert max(of_train()) <= 11
    assert len(set(of_train(bptt_spread=3.0))) > 3
    assert of_train(bptt_spread=3.0) != of_train(bptt_spread=3.0, seed=1)
    assert max(of_train(bptt=20)) >= 20


def test_the_shorter_text_begins_again_with_an_empty_memory() -> None:
    states = []
    for _, segment in loaders(bptt=40).epoch(0):
        states.append(segment.state)
        segment.memory.state = torch.zeros(4, 1)
    assert [state is None for state in states].count(True) >= 2


def test_the_fingerprint_changes_with_the_text_and_not_with_its_segments() -> None:
    words = list("abcdabdc" * 40)
    data = text_data(words, words)
    assert data.fingerprint() == text_data(list(words), words).fingerprint()
    for place in (3, len(words) // 2 + 1, len(words) - 1):
        other = [*words[:place], "a", *words[place + 1 :]]
        assert text_data(other, words).fingerprint() != data.fingerprint()
        assert text_data(words, other).fingerprint() != data.fingerprint()
    assert isinstance(data.train, TextSource)
    cut = replace(data, train=replace(data.train, bptt=3))
    assert cut.fingerprint() == data.fingerprint()

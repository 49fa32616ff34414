"""The small grammar: its text, its exact entropy, and what lies behind it."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from archgrad.data import TextSource, grammar, load
from archgrad.data.corpus import EOS, tokens
from archgrad.errors import ArchgradError

WORDS = {part: list(tokens(grammar.text(part), "word")) for part in grammar.WORDS}


def test_rules_are_probabilities_of_known_symbols() -> None:
    for rules in grammar.RULES.values():
        assert sum(rule.probability for rule in rules.values()) == pytest.approx(1)
        assert all(symbol in grammar.RULES for rule in rules.values() for symbol in rule.follow)
    assert len({word for rules in grammar.RULES.values() for word in rules}) == 59


def test_entropy_of_a_grammar_that_can_be_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of n words a or b, n geometric: 1 / (1 - 0.75) = 4 tokens, one in 4 choices a dot."""
    rule = grammar.Rule
    rules = {
        "sentence": {"a": rule(0.5, ("sentence",)), "b": rule(0.25, ("sentence",)), EOS: rule(0.25)}
    }
    monkeypatch.setattr(grammar, "RULES", rules)
    assert grammar.entropy() == pytest.approx(1.5 * math.log(2))
    line = {"sentence": {"x": rule(1.0, ("then",))}, "then": {"y": rule(0.5), "z": rule(0.5)}}
    monkeypatch.setattr(grammar, "RULES", line)
    assert grammar.entropy() == pytest.approx(math.log(2) / 2)
    assert list(grammar.surprisals("xyxz")) == pytest.approx([0, math.log(2)] * 2)


@pytest.mark.parametrize("part", grammar.WORDS)
def test_the_true_model_has_the_entropy_on_its_text(part: str) -> None:
    """The mean over sentences of (surprisal - entropy * length) is 0, within 4 standard errors."""
    costs, excess = list(grammar.surprisals(WORDS[part])), []
    total, expected = 0.0, grammar.entropy()
    for word, cost in zip(WORDS[part], costs, strict=True):
        total += cost - expected
        if word == EOS:
            excess.append(total)
            total = 0.0
    error = np.std(excess) / math.sqrt(len(excess))
    assert abs(np.mean(excess)) < 4 * error
    assert 4 * error * len(excess) / len(costs) < (0.05 if part == "train" else 0.12)


def test_pairs_of_words_tell_less_than_the_grammar() -> None:
    """So a model that knows what stood far before can be better than one of neighbors."""
    words = WORDS["train"]
    pairs, firsts = Counter(pairwise(words)), Counter(words[:-1])
    loss = -sum(n * math.log(n / firsts[pair[0]]) for pair, n in pairs.items()) / (len(words) - 1)
    assert loss > grammar.entropy() + 0.1


def test_verbs_agree_across_a_clause_and_openings_are_closed() -> None:
    right = "the dog whom the cats see sleeps".split()
    assert len(list(grammar.surprisals([*right, EOS]))) == 8
    with pytest.raises(ArchgradError, match='word 6 is "sleep"; expected one of sleeps, sings'):
        list(grammar.surprisals([*right[:-1], "sleep"]))
    opened = "if the dog that sees the cats sleeps".split()
    with pytest.raises(ArchgradError, match='word 8 is "yet"; expected one of then'):
        list(grammar.surprisals([*opened, "yet"]))


def test_the_text_is_always_the_same() -> None:
    assert grammar.text("train").startswith("the dogs sleep\nthe dogs follow some child\n")
    assert [len(words) for words in WORDS.values()] == [20_001, 2_504, 2_500]
    assert WORDS["valid"][:50] != WORDS["test"][:50]


def test_it_is_loaded_by_its_name() -> None:
    data = load("grammar")
    assert isinstance(data.train, TextSource)
    assert [data.classes[token] for token in data.train.tokens[:4]] == ["the", "dogs", "sleep", EOS]
    assert len(data.classes) == 59  # no unknown word
    assert (data.shape, data.normalization, data.name) == ((), None, "grammar")
    assert len(load("grammar", level="character").classes) < 30
    with pytest.raises(ArchgradError, match="encoding is latin-1 for grammar"):
        load("grammar", encoding="latin-1")

"""A small language with a grammar of its own, whose entropy is known exactly."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from archgrad.data.corpus import EOS
from archgrad.errors import ArchgradError

WORDS = {"train": 20_000, "valid": 2_500, "test": 2_500}  # of each part, with the ends of lines


class Rule(NamedTuple):
    """With this probability a symbol writes its word, and these symbols follow."""

    probability: float
    follow: tuple[str, ...] = ()


Rules = Mapping[str, Mapping[str, Rule]]

_CLOSED_BY = {"if": "then", "because": "therefore", "although": "yet"}
_DETERMINERS = "the some my any"
_ADJECTIVES = "old small quiet green happy strange"
_ADVERBS = "today often here again"
_NOUNS = {"one": "dog cat bird child king river friend ship"}
_NOUNS["many"] = "dogs cats birds children kings rivers friends ships"
_ALONE = {"one": "sleeps sings waits falls returns", "many": "sleep sing wait fall return"}
_ONTO = {"one": "sees hears follows finds loves", "many": "see hear follow find love"}


def _each(words: str, probability: float, *follow: str) -> dict[str, Rule]:
    """Rules that share a probability, the first words taking more: in proportion to 1 / rank."""
    weights = {word: 1 / rank for rank, word in enumerate(words.split(), start=1)}
    total = sum(weights.values())
    return {word: Rule(probability * w / total, follow) for word, w in weights.items()}


def _rules() -> Rules:
    """Every rule writes one word, and no symbol writes a word in two ways.

    So the words tell the rules, and the next word depends on the symbols that are still to come.
    Subject and verb agree in number across a relative clause; an opening word is closed by its own.
    """
    rules = {
        "sentence": {
            **_each(_DETERMINERS, 0.7, "subject", "end"),
            **{
                opening: Rule(0.1, ("clause", f"after {opening}", "clause", "end"))
                for opening in _CLOSED_BY
            },
        },
        "clause": _each(_DETERMINERS, 1.0, "subject"),
        "object": _each(_DETERMINERS, 1.0, "object noun"),
        "object noun": {
            **_each(_ADJECTIVES, 0.2, "object noun"),
            **_each(_NOUNS["one"], 0.4),
            **_each(_NOUNS["many"], 0.4),
        },
        "end": {EOS: Rule(0.8), **_each(_ADVERBS, 0.2, "last")},
        "last": {EOS: Rule(1.0)},
        **{f"after {opening}": {word: Rule(1.0)} for opening, word in _CLOSED_BY.items()},
    }
    for outer, follow in (("subject", "{} rest"), ("inner", "{} onto")):
        rules[outer] = _each(_ADJECTIVES, 0.2, outer)
        for number in _NOUNS:
            rules[outer] |= _each(_NOUNS[number], 0.4, follow.format(number))
    rules["inner clause"] = _each(_DETERMINERS, 1.0, "inner")
    for number in _NOUNS:
        rules[f"{number} onto"] = _each(_ONTO[number], 1.0)
        rules[f"{number} verb"] = {
            **_each(_ALONE[number], 0.5),
            **_each(_ONTO[number], 0.5, "object"),
        }
        rules[f"{number} rest"] = {
            "that": Rule(0.2, (f"{number} onto", "object", f"{number} verb")),
            "whom": Rule(0.2, ("inner clause", f"{number} verb")),
            **_each(_ALONE[number], 0.3),
            **_each(_ONTO[number], 0.3, "object"),
        }
    return rules


RULES = _rules()
"""Of each symbol, the words it may write; "sentence" is the first symbol of every line."""


def entropy() -> float:
    """Nats a token, the ends of lines counted: the lowest loss that any model can expect.

    Each symbol writes one word, so it is the mean entropy of the symbols' choices, weighted by how
    often a sentence is expected to visit them: v = e + A^T v, where e is 1 for "sentence" and A
    holds the expected number of symbols that follow each.
    """
    order = {symbol: place for place, symbol in enumerate(RULES)}
    follows, choices = np.zeros((len(order), len(order))), np.zeros(len(order))
    for symbol, rules in RULES.items():
        for rule in rules.values():
            choices[order[symbol]] -= rule.probability * math.log(rule.probability)
            for other in rule.follow:
                follows[order[symbol], order[other]] += rule.probability
    start = np.eye(len(order))[order["sentence"]]
    visits = np.linalg.solve(np.eye(len(order)) - follows.T, start)
    return float(visits @ choices / visits.sum())


def surprisals(words: Iterable[str]) -> Iterator[float]:
    """What each word of a text costs the grammar itself, in nats; `EOS` ends each sentence.

    Their mean is the loss of the true model on this text. ArchgradError for a word that the grammar
    does not write there.
    """
    pending: list[str] = []
    for place, word in enumerate(words):
        symbol = pending.pop() if pending else "sentence"
        if word not in RULES[symbol]:
            raise ArchgradError(
                f'word {place} is "{word}"; expected one of {", ".join(RULES[symbol])}: give a '
                "text of the grammar, from the start of a sentence"
            )
        rule = RULES[symbol][word]
        pending += reversed(rule.follow)
        yield -math.log(rule.probability)


def text(part: str) -> str:
    """The text of "train", "valid" or "test", a sentence a line; always the same."""
    generator = random.Random(part)
    lines, count = [], 0
    while count < WORDS[part]:
        sentence = _sentence(generator)
        lines.append(" ".join(sentence[:-1]) + "\n")
        count += len(sentence)
    return "".join(lines)


def _sentence(generator: random.Random) -> list[str]:
    """Words of a sentence, `EOS` the last."""
    words, pending = [], ["sentence"]
    while pending:
        rules = RULES[pending.pop()]
        word = _word(rules, generator.random())
        words.append(word)
        pending += reversed(rules[word].follow)
    return words


def _word(rules: Mapping[str, Rule], point: float) -> str:
    """The word whose stretch of [0, 1) holds the point; the last one takes what rounding leaves."""
    for word, rule in rules.items():
        point -= rule.probability
        if point < 0:
            return word
    return word

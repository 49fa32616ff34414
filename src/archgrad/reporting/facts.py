"""What is said of a run in words: facts, marks at epochs, and how to repeat it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from archgrad import __version__
from archgrad.reporting.source import Source
from archgrad.reporting.values import Value, items, mapping, number, text
from archgrad.searching.decided import decided_nothing
from archgrad.settings.config import OWN, SearchConfig
from archgrad.settings.data_config import DataConfig
from archgrad.settings.section import Section
from archgrad.settings.train_config import TrainConfig
from archgrad.storage.files import ARCHITECTURE, CONFIG, ENVIRONMENT

LIMIT = "limit.json"
KNOWN: dict[str, type[Section]] = {
    "data": DataConfig, "search": SearchConfig, "train": TrainConfig,
}  # fmt: skip
KEPT_OF_ENVIRONMENT = (
    "started", "command", "archgrad", "commit", "python", "torch", "numpy", "device",
    "cpu_cores", "cpu_instructions", "platform",
)  # fmt: skip
COMMANDS = ("run", "search", "train")


def environments(source: Source) -> list[Value]:
    """Of each process that worked in the folder; a newer version of the library is a problem."""
    value = source.json(ENVIRONMENT)
    if isinstance(value, dict):  # as older versions wrote it
        value = [value]
    if value is not None and not isinstance(value, list):
        source.say(ENVIRONMENT, "holds no list of processes")
    found = [
        {key: shown for key in KEPT_OF_ENVIRONMENT if (shown := text(one.get(key))) is not None}
        for one in map(mapping, items(value))
    ]
    for version in sorted({one["archgrad"] for one in found if "archgrad" in one}):
        if _parts(version) > _parts(__version__):
            source.problems.append(
                f"written by archgrad {version:.40}, this is {__version__}: what is new in it is "
                "not shown; make the report with that version"
            )
    return found


def unknown_options(config: Value) -> list[str]:
    """The options in config.yaml that this version does not know."""
    known = {*KNOWN, "random_cells", "transferred_from"}
    found = [key for key in config if key not in known]
    for name, section in KNOWN.items():
        fields = section.model_fields
        found += [f"{name}.{key}" for key in mapping(config.get(name)) if key not in fields]
    return found


def facts(config: Value, lines: Sequence[Value], environment: Sequence[Value]) -> list[list[str]]:
    """Labels and texts, those that are not known left out."""
    search, data, train = (mapping(config.get(name)) for name in ("search", "data", "train"))
    first, last = next(iter(environment), {}), lines[-1] if lines else {}
    known = [
        ("space", _joined([text(search.get("space")), *_sizes(search)])),
        ("method", text(search.get("method"))),
        ("options of the method", _joined(_pairs(mapping(search.get("method_options"))))),
        ("data", _joined([text(data.get("data")), *_pairs(data, ("subset", "image_size"))])),
        ("transferred from", text(config.get("transferred_from"))),
        ("seed", text((search or train).get("seed"))),
        ("limit", _joined(_pairs(search, ("max_params", "max_madds", "max_latency")))),
        ("budget", _joined(_pairs(search, ("budget", "budget_seconds", "evaluations")))),
        ("guard", text(search.get("guard"))),
        ("retraining", _joined(_pairs(train, ("recipe", "epochs", "seeds", "channels", "cells")))),
        ("random cells to compare with", text(config.get("random_cells"))),
        ("device", text(first.get("device"))),
        ("started", moment(first.get("started"))),
        ("time of the search", _clock([number(line.get("seconds")) for line in lines])),
        ("spent by the search", _spent(number(last.get("spent")))),
        ("most memory", _memory([number(line.get("memory_mb")) for line in lines])),
    ]
    return [[label, value] for label, value in known if value]


def _sizes(search: Value) -> list[str]:
    if "channels" not in search or search.get("space") == OWN:  # its own choices are its size
        return []
    of_text = str(search.get("space")).endswith("rnn")
    words = {"hidden": "hidden units", "nodes": "nodes"} if of_text else {}
    words = words or {"channels": "channels", "cells": "cells"}
    found = ((text(search.get(key)), word) for key, word in words.items())
    return [f"{value} {word}" for value, word in found if value]


def _pairs(values: Value, keys: Iterable[str] | None = None) -> list[str]:
    shown = ((key, _shown(values.get(key))) for key in (values if keys is None else keys))
    return [f"{key.replace('_', ' ')} {value}" for key, value in shown if value]


def _shown(value: Any) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, map(_shown, value))) if isinstance(value, list) else text(value)


def moment(value: Any) -> str | None:
    """A time as people write it, to the minute; what is none stays as it is."""
    try:
        found = datetime.fromisoformat(text(value) or "")
    except ValueError:
        return text(value)
    if found.tzinfo is None:
        return f"{found:%Y-%m-%d %H:%M}"
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _joined(parts: Iterable[str | None]) -> str:
    return ", ".join(part for part in parts if part)


def _clock(seconds: Iterable[float | None]) -> str | None:
    total = sum(value for value in seconds if value is not None)
    if not 0 < total < 1e12:
        return None
    hours, rest = divmod(int(total), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{total:.1f} s"


def _spent(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g} multiply-adds"


def _memory(values: Iterable[float | None]) -> str | None:
    most = max((value for value in values if value is not None), default=None)
    return None if most is None else f"{most:,.0f} MB"


def sizes(networks: Sequence[Value]) -> list[list[str]]:
    """Of the network of the found cells."""
    known = next((n for n in networks if n["label"] in ("found", "full")), {})
    words = {"parameters": "parameters", "multiply_adds": "multiply-adds"}
    found = ((word, known.get(key)) for key, word in words.items())
    return [[word, f"{value:,}"] for word, value in found if value is not None]


def limit(source: Source) -> list[list[str]]:
    """Whether a limit of cost was met."""
    found = source.mapping(LIMIT)
    if not isinstance(found.get("met"), bool):
        return []
    value = next((v for k in ("found", "predicted") if (v := number(found.get(k))) is not None), 0)
    bound, kind = number(found.get("limit")), text(found.get("kind")) or "cost"
    word = "met" if found["met"] else "not met"
    return [["limit of cost", f"{kind} {value:,.6g} of at most {bound or 0:,.6g}: {word}"]]


def marks(
    metrics: Sequence[Value],
    alphas: Sequence[Value],
    planned: int | None,
    ended: bool,
    selected: bool = False,
) -> list[Value]:
    """What happened at an epoch, in words. `ended`: no line comes after those of `metrics`;
    `selected`: the cells are not those of the last alpha.
    """
    found = [mark for line in metrics for mark in _warnings(line)] + _stages(alphas)
    epochs = [line["epoch"] for line in metrics]
    for before, after in pairwise(epochs):
        if after <= before:
            found.append(_mark(after, "rollback", f"went back from epoch {before} to {after - 1}"))
    if ended and planned is not None and epochs and epochs[-1] < planned:
        sentence = f"the search ended after {epochs[-1]} of {planned} epochs"
        found.append(_mark(epochs[-1], "stop", sentence))
    if ended and metrics and not selected:
        found += _undecided(metrics[-1])
    return sorted(found, key=lambda mark: int(mark["epoch"]))


def _mark(epoch: int, kind: str, sentence: str, finding: str | None = None) -> Value:
    """`finding`: the kind of what the guard found, None where that is not known."""
    return {"epoch": epoch, "kind": kind, "text": sentence, "finding": finding}


def _warnings(line: Value) -> list[Value]:
    sentences, kinds = items(line.get("warnings")), items(line.get("warning_kinds"))
    kinds = kinds if len(kinds) == len(sentences) else [None] * len(sentences)  # of older folders
    return [
        _mark(line["epoch"], "warning", sentence, text(kind))
        for sentence, kind in zip(sentences, kinds)
        if isinstance(sentence, str)
    ]


def _undecided(line: Value) -> list[Value]:
    """What `archgrad.searching.monitor.undecided` tells at the end of a search."""
    moved = number(line.get("moved"))
    sentence = None if moved is None else decided_nothing(moved)
    if sentence is None or number(line.get("alpha_loss")) is None:
        return []
    return [_mark(line["epoch"], "warning", sentence, "moved")]


def _stages(alphas: Sequence[Value]) -> list[Value]:
    """Where an epoch has other candidates than the one before."""
    found = []
    for before, after in pairwise(alphas):
        now, then = mapping(after.get("candidates")), mapping(before.get("candidates"))
        if now and now != then:
            counts = sorted({len(items(row)) for rows in now.values() for row in items(rows)})
            some = " or ".join(map(str, counts)) or "others"
            sentence = f"a new stage begins: an edge has {some} candidates"
            found.append(_mark(after["epoch"], "stage", sentence))
    return found


def commands(folder: Path, kind: str, finished: bool, config: Value) -> list[str]:
    """What repeats a run from its options, or goes on with it; of values from Python nothing."""
    data, search = mapping(config.get("data")), mapping(config.get("search"))
    if kind not in COMMANDS or OWN in (data.get("data"), search.get("space")):
        return []
    what = f" {shlex.quote(str(folder / ARCHITECTURE))}" if kind == "train" else ""
    again = f"archgrad {kind}{what} --config {shlex.quote(str(folder / CONFIG))}"
    return [again, *going_on(kind, folder, finished)]


def going_on(command: str, folder: Path, finished: bool) -> list[str]:
    """What goes on where something is left to do."""
    return [] if finished else [f"archgrad {command} --resume {shlex.quote(str(folder))}"]


def reproduce(environment: Sequence[Value], ready: Sequence[str], config: str | None) -> Value:
    """The commands that were given and those that are ready to be, and what they ran in."""
    given = [one["command"] for one in environment if "command" in one]
    return {
        "commands": [*given, *ready],
        "environment": list(environment),
        "config": config or "",
    }


def _parts(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing."""
    return tuple(int(part[:9]) for part in re.findall(r"\d+", version)[:4])

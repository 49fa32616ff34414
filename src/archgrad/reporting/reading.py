"""A run folder as a value for the page; whatever is missing or damaged is said, never raised."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from archgrad.errors import ArchgradError
from archgrad.measure import MEASURES
from archgrad.reporting import facts
from archgrad.reporting.networks import OF_SEARCH, found, networks
from archgrad.reporting.outcome import outcome
from archgrad.reporting.replay import WHOLE, Detail, groups, replay
from archgrad.reporting.source import Source
from archgrad.reporting.values import (
    Value,
    architecture,
    columns,
    mapping,
    number,
    strange,
    text,
    whole,
)
from archgrad.settings.config import OWN
from archgrad.storage.files import (
    ALPHAS,
    ARCHITECTURE,
    CONFIG,
    ENVIRONMENT,
    EVALUATIONS,
    FAILED,
    GROUPS,
    METRICS,
    RESULTS,
    SELECTION,
)
from archgrad.untrusted import LIMIT_YAML

BEGUN = "begun_with.json"  # of a baseline
MOST = 5000  # evaluations on a page
GROWING = (  # of a process that works in the folder
    METRICS, EVALUATIONS, ALPHAS, f"train/**/{METRICS}",
    *(f"{label}/seed-*/{METRICS}" for label in ("found", *OF_SEARCH)),
)  # fmt: skip
KNOWN = (CONFIG, METRICS, ALPHAS, ARCHITECTURE, EVALUATIONS, ENVIRONMENT, RESULTS)


def read_run(folder: Path, ident: str, detail: Detail = WHOLE, name: str | None = None) -> Value:
    """What the page shows of one run. `detail`: how much of its replay there is room for."""
    source = Source(folder, [])
    written = source.text(CONFIG, LIMIT_YAML)
    config = source.yaml(CONFIG, written)
    search, train, data = (mapping(config.get(key)) for key in ("search", "train", "data"))
    kind = _kind(config, search, train)
    metrics = _epochs(source, METRICS)
    evaluations = source.lines(EVALUATIONS)
    alphas = _epochs(source, ALPHAS)
    cells = found(source)
    made = networks(source, cells)
    offered = groups(source)
    environment = facts.environments(source)
    _say_what_lacks(source, config, kind, metrics, alphas, offered)
    finished = _finished(source, kind, train, cells, made)
    baseline = bool(evaluations) or source.has(BEGUN)
    planned = None if baseline else _planned(search or train)
    ended = kind in ("search", "run") and cells is not None and METRICS not in source.damaged
    space = text(search.get("space")) or (cells["space"] if cells else None)
    measure = _measure([*metrics, *evaluations], space)
    run = {
        "id": ident,
        "name": name or folder.name or folder.resolve().name,
        "path": str(folder),
        "kind": kind,
        "state": _state(source, finished),
        "written": source.written(*GROWING),
        "problems": source.problems,
        "facts": _progress(metrics, planned, evaluations)
        + facts.facts(config, metrics or evaluations, environment)
        + facts.sizes(made)
        + facts.limit(source),
        "method": text(search.get("method")),
        "space": space,
        "data": text(data.get("data")),
        "seed": whole((search or train).get("seed")),
        "measure": measure,
        "groups": offered,
        "epochs": {"planned": planned, "columns": columns(metrics)},
        "marks": facts.marks(metrics, alphas, planned, ended, source.has(SELECTION)),
        "replay": replay(source, alphas, offered, space, detail),
        "evaluations": _evaluations(source, evaluations, measure, text(data.get("data"))),
        "found": cells,
        "networks": made,
        "outcome": outcome(source, made, measure),
        "reproduce": facts.reproduce(
            environment, facts.commands(folder, kind, finished, config), written
        ),
    }
    return run


def _kind(config: Value, search: Value, train: Value) -> str:
    if search and train and config.get("random_cells") is not None:
        return "run"
    return "search" if search else "train" if train else "unknown"


def _epochs(source: Source, name: str) -> list[Value]:
    """The lines with an epoch; values that are not finite are said."""
    lines = source.lines(name)
    good = [line for line in lines if whole(line.get("epoch")) is not None]
    if len(good) < len(lines):
        missing = len(lines) - len(good)
        source.problems.append(
            f"{name}: {missing} of {len(lines)} lines have no number as epoch; these are not shown"
        )
    counts: dict[str, int] = {}
    for line in good:
        for key, value in line.items():
            if strange(value):
                counts[key] = counts.get(key, 0) + 1
    for key, count in list(counts.items())[:10]:
        source.problems.append(
            f"{name}: {key:.60} is not a finite number in {count} of {len(good)} epochs; there it "
            "is left out"
        )
    return good


def _say_what_lacks(
    source: Source,
    config: Value,
    kind: str,
    metrics: Sequence[Value],
    alphas: Sequence[Value],
    offered: Sequence[Value],
) -> None:
    say = source.problems.append
    if not _is_folder(source.folder):
        say(f"{source.folder} is no folder; give the folder that a search, run or train wrote")
        return
    if not any(source.has(name) for name in KNOWN):
        runs = [name for name in source.folders("*") if source.has(f"{name}/{CONFIG}")]
        first = "".join(str(source.folder / name) for name in runs[:1])
        inside = f"; there are runs in it, so give these, as {first}" if first else ""
        say(
            f"{source.folder} holds nothing of a run; expected {CONFIG}, {METRICS} and others, as "
            f"archgrad run, search and train write them{inside}"
        )
        return
    if not source.has(CONFIG):
        say(f"{CONFIG} is missing; not shown: what was asked for")
    elif config and kind == "unknown":
        say(f"{CONFIG} has neither a search nor a train section; not shown: what was asked for")
    if unknown := facts.unknown_options(config):
        say(
            f"{CONFIG} has options that this version does not know ({', '.join(unknown)[:200]}); "
            "was it written by a newer one? They are shown in its text alone"
        )
    known = bool(metrics) or METRICS in source.damaged
    if kind in ("run", "search") and not known and not source.has(EVALUATIONS):
        say("no epoch is done yet: there are no losses, weights or cells to show")
    if metrics and not source.has(ALPHAS):
        say(f"{ALPHAS} is missing; not shown: weights of the edges, and how they moved")
    if alphas and not source.has(GROUPS):
        say(
            f"{GROUPS} is missing, as in folders of an older archgrad; not shown: weights of the "
            "edges, and how they moved"
        )
    elif alphas and offered and not any("strength" in line for line in alphas):
        say(f"{ALPHAS} holds no strength, as of an older archgrad; alpha is shown alone")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _finished(
    source: Source, kind: str, train: Value, cells: Value | None, made: Sequence[Value]
) -> bool:
    """Whether nothing is left to do, as far as can be read."""
    if kind == "run":
        return isinstance(source.json(RESULTS), dict)
    if kind != "train":
        return cells is not None and not source.has(FAILED)
    done = sum(seed["test"] is not None for network in made for seed in network["seeds"])
    return done > 0 and done >= (whole(train.get("seeds")) or 1)


def _state(source: Source, finished: bool) -> str:
    if finished:
        return "finished"
    return "unfinished" if any(source.has(name) for name in KNOWN) else "unreadable"


def _planned(section: Value) -> int | None:
    return whole(section.get("budget_epochs")) or whole(section.get("epochs"))


def _progress(
    metrics: Sequence[Value], planned: int | None, evaluations: Sequence[Value]
) -> list[list[str]]:
    if evaluations:
        failed = sum(line.get("failed") is True for line in evaluations)
        also = f", {failed} failed" if failed else ""
        return [["evaluations", f"{len(evaluations)}{also}"]]
    if not metrics:
        return []
    done = metrics[-1]["epoch"]
    return [["epochs", f"{done} of {planned}" if planned is not None else str(done)]]


def _measure(lines: Sequence[Value], space: str | None) -> Value:
    """What the lines are in; of a retraining, which has none, the space tells."""
    of_text = any("valid_perplexity" in line or "perplexity" in line for line in lines)
    if not lines:
        of_text = space == "darts-rnn"
    measure = MEASURES["perplexity" if of_text else "accuracy"]
    return {key: getattr(measure, key) for key in ("name", "title", "unit", "factor", "higher")}


def _evaluations(
    source: Source, lines: Sequence[Value], measure: Value, data: str | None
) -> Value | None:
    """The scores of a baseline, which evaluation led after each (-1: none), what was scored."""
    if not lines:
        return None
    if len(lines) > MOST:
        source.problems.append(f"the first {MOST:,} of {len(lines):,} evaluations are shown")
    lines = lines[:MOST]
    table = columns(lines)
    scores = [number(line.get("score")) for line in lines]
    if measure["name"] == "accuracy" and data != OWN:  # their score
        table.setdefault("accuracy", scores)
    leaders: list[int] = []
    best, leader = (-math.inf, -math.inf), -1  # share of the training, score: as a search chooses
    for i, (line, score) in enumerate(zip(lines, scores)):
        if score is not None and (here := (number(line.get("share")) or 0.0, score)) > best:
            best, leader = here, i
        leaders.append(leader)
    architectures, at = _scored(source, lines)
    return {
        "columns": {**table, "score": scores},
        "failed": [line.get("failed") is True for line in lines],
        "leaders": leaders,
        "architectures": architectures,
        "at": at,
    }


def _scored(source: Source, lines: Sequence[Value]) -> tuple[list[Value], list[int]]:
    known: dict[str, int] = {}
    found: list[Value] = []
    at: list[int] = []
    for index, line in enumerate(lines, start=1):
        try:
            one = architecture(line.get("architecture"), f"{EVALUATIONS}, line {index}")
        except ArchgradError as error:
            if -1 not in at:
                source.problems.append(f"{error}; its cells are not shown")
            at.append(-1)
            continue
        key = json.dumps(one)
        if key not in known:
            known[key] = len(found)
            found.append(one)
        at.append(known[key])
    return found, at

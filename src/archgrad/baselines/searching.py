"""The loop of the baselines: propose, score, keep, until the budget is spent; it names none."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch

from archgrad import untrusted
from archgrad.architecture import Architecture
from archgrad.baselines.value import Proposal, Scored, Search, Strategy, best
from archgrad.errors import ArchgradError, noted
from archgrad.searching.callbacks import Beginning, Callback, EpochEnd, told
from archgrad.searching.result import SearchResult
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.storage.files import EVALUATIONS, append, read_lines, write
from archgrad.storage.folder import Run, fitting, refuse_other
from archgrad.system.distributed import from_first
from archgrad.task import CLASSIFICATION, Task

BEGUN = "begun_with.json"
Line = dict[str, Any]
Lines = list[Line]


class Objective(Protocol):
    """What scores a proposal, and at what price in the budget's `unit`."""

    @property
    def unit(self) -> str:
        """What a price is counted in."""

    def price(self, proposal: Proposal) -> int:
        """What the score will cost."""

    def score(self, proposal: Proposal, number: int) -> float:
        """Higher is better, never of test data; -inf: it failed. `number`: counted from 0."""


def baseline_search(
    space: SearchSpace,
    strategy: Strategy,
    objective: Objective,
    budget: float,
    config: SearchConfig,
    *,
    seconds: float = math.inf,
    begun_with: Mapping[str, Any] | None = None,
    run: Run | None = None,
    callback: Callback | None = None,
    task: Task = CLASSIFICATION,
) -> SearchResult:
    """Score what the strategy proposes as long as the `budget` pays for it.

    The first proposal that it does not pay for ends the search, and so does one before which
    evaluations took `seconds`. Every score is a line of evaluations.jsonl, with what the `task`
    shows of it; a run is resumed by sending the kept scores to a strategy with the same seed. The
    result is the best score of the largest share. Raises `ArchgradError` where the budget does not
    pay for the first proposal, and where all evaluations failed.
    """
    callback = callback or Callback()
    with run.working() if run is not None else nullcontext():
        proposals = strategy(space, torch.Generator().manual_seed(config.seed))
        lines, proposal = _begun(proposals, run, begun_with or {})
        found = _best(lines)
        with told(callback, Beginning("search", config, tuple(lines))):
            while proposal is not None:
                price = objective.price(proposal)
                if not lines and price > budget:
                    raise too_small(budget, price, objective.unit)
                if _spent(lines) + price > budget or _took(lines) >= seconds:
                    break
                lines.append(_evaluated(objective, proposal, price, lines, task))
                if run is not None:
                    append(run.path / EVALUATIONS, lines[-1])
                callback.evaluated(lines[-1], max(_spent(lines) / budget, _took(lines) / seconds))
                found = _told(found, lines[-1], callback)
                proposal = _sent(proposals, lines[-1])
        if found is None:
            raise _all_failed(lines)
        if run is not None:
            write(run.path / "architecture.json", found.architecture.to_json())
    path = None if run is None else run.path
    return SearchResult(
        found.architecture, space, strategy, config, {}, lines, path, spent=_spent(lines)
    )


def _evaluated(
    objective: Objective, proposal: Proposal, price: int, lines: Lines, task: Task
) -> Line:
    """The line of the next evaluation; its score is None where it failed."""
    started, number = time.perf_counter(), len(lines)
    with noted(f"in evaluation {number + 1}, of {proposal.architecture}"):
        score = objective.score(proposal, number)
    failed = not math.isfinite(score)
    shown = {} if failed or task.shown is None else {task.name: task.shown(score)}
    return {
        "evaluation": number + 1,
        "architecture": proposal.architecture.model_dump(mode="json"),
        "share": proposal.share,
        "score": None if failed else score,
        **shown,
        "failed": failed,
        "spent": _spent(lines) + price,
        "seconds": round(time.perf_counter() - started, 3),
    }


def too_small(budget: float, price: float, unit: str) -> ArchgradError:
    """The error for a budget that does not pay for the first evaluation."""
    return ArchgradError(
        f"a budget of {budget:,.0f} {unit} is too small for one run, which costs {price:,.0f}; "
        "expected at least that: raise the budget, or use a smaller network, fewer epochs or data"
    )


def _begun(
    proposals: Search, run: Run | None, begun_with: Mapping[str, Any]
) -> tuple[Lines, Proposal | None]:
    """The lines that are kept, and what the strategy proposes after them."""
    proposal: Proposal | None = next(proposals)
    lines = from_first(lambda: [] if run is None else _kept(run, begun_with))
    path = Path() if run is None else run.path / EVALUATIONS
    with fitting(path):
        for line in lines:
            if proposal != Proposal(_architecture(line), line["share"]):
                raise _changed(path)
            proposal = _sent(proposals, line)
    return lines, proposal


def _sent(proposals: Search, line: Line) -> Proposal | None:
    """The next proposal, or None where there is no other."""
    try:
        return proposals.send(-math.inf if line["failed"] else line["score"])
    except StopIteration:
        return None


def _best(lines: Lines) -> Scored | None:
    """The best so far, if any did not fail."""
    scored = [
        Scored(_architecture(line), line["share"], line["score"])
        for line in lines
        if not line["failed"]
    ]
    return best(scored) if scored else None


def _told(before: Scored | None, line: Line, callback: Callback) -> Scored | None:
    """The best after another line, which is told where it has another architecture."""
    new = _best([line])
    if new is None or (before is not None and best((before, new)) is before):
        return before
    event = EpochEnd(line, None, new.architecture, before and before.architecture)
    if event.changed:
        callback.architecture_changed(event)
    return new


def _all_failed(lines: Lines) -> ArchgradError:
    return ArchgradError(
        f"all {len(lines)} architectures failed: their losses or metrics were not finite; try "
        "a lower learning rate, and look for extreme values in the data"
    )


def _spent(lines: Lines) -> int:
    return int(lines[-1]["spent"]) if lines else 0


def _took(lines: Lines) -> float:
    return math.fsum(line["seconds"] for line in lines)


def _architecture(line: Mapping[str, Any]) -> Architecture:
    return Architecture.model_validate_json(json.dumps(line["architecture"]))


def _kept(run: Run, begun_with: Mapping[str, Any]) -> Lines:
    """The scores of an earlier process, if it had these options and data."""
    begun, path = run.path / BEGUN, run.path / EVALUATIONS
    now = json.loads(json.dumps(begun_with))
    if begun.is_file():
        with fitting(begun):
            refuse_other(untrusted.mapping_of_json(begun), now, run.path)
    else:
        write(begun, json.dumps(now, indent=2) + "\n")
    lines = read_lines(path)
    if path.is_file():  # without a line that was cut off
        write(path, "".join(json.dumps(line) + "\n" for line in lines))
    return lines


def _changed(path: Path) -> ArchgradError:
    return ArchgradError(
        f"the evaluations kept in {path} are not those that this search would make; were they, or "
        "the version of the library, changed? Restore them, or begin a new run"
    )

"""The loop of the baselines: propose, score, keep, until the budget is spent; it names none."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Protocol

import torch

from archgrad.architecture import Architecture
from archgrad.baselines.value import Proposal, Scored, Search, Strategy, best
from archgrad.config import SearchConfig
from archgrad.errors import ArchgradError
from archgrad.folder import Run, append, read_lines, refuse_other, write
from archgrad.loops import Listener, Silent
from archgrad.result import SearchResult
from archgrad.spaces import SearchSpace

EVALUATIONS, BEGUN = "evaluations.jsonl", "begun_with.json"
Lines = list[dict[str, Any]]


class Objective(Protocol):
    """What scores a proposal, and at what price in the budget's ``unit``."""

    @property
    def unit(self) -> str:
        """What a price is counted in."""

    def price(self, proposal: Proposal) -> int:
        """What the score will cost."""

    def score(self, proposal: Proposal, number: int) -> float:
        """Higher is better, never of test data; -inf: it failed. ``number``: counted from 0."""


def baseline_search(
    space: SearchSpace,
    strategy: Strategy,
    objective: Objective,
    budget: int,
    config: SearchConfig,
    *,
    seconds: float | None = None,
    begun_with: Mapping[str, Any] | None = None,
    run: Run | None = None,
    listener: Listener | None = None,
) -> SearchResult:
    """Score what the strategy proposes as long as the ``budget`` pays for it.

    Or as long as it took less than ``seconds``. Every score is a line of evaluations.jsonl; a run
    is resumed by sending the kept scores to a strategy with the same seed. The result is the best
    score of the largest share.
    """
    listener = listener or Silent()
    with run.working() if run is not None else nullcontext():
        lines = [] if run is None else _kept(run, begun_with or {})
        proposals = strategy(space, torch.Generator().manual_seed(config.seed))
        proposal: Proposal | None = next(proposals)
        for line in lines:
            assert proposal is not None
            if (proposal.architecture, proposal.share) != (_architecture(line), line["share"]):
                raise _changed(run)
            proposal = _sent(proposals, line["score"])
        while proposal is not None:
            spent = lines[-1]["spent"] if lines else 0
            price = objective.price(proposal)
            if not lines and spent + price > budget:
                raise too_small(budget, price, objective.unit)
            if spent + price > budget or _took(lines) >= (seconds or math.inf):
                break
            started = time.perf_counter()
            score = objective.score(proposal, len(lines))
            failed = not math.isfinite(score)
            lines.append(
                {
                    "evaluation": len(lines) + 1,
                    "architecture": proposal.architecture.model_dump(mode="json"),
                    "share": proposal.share,
                    "score": _worst(lines) if failed else score,
                    "failed": failed,
                    "spent": spent + price,
                    "seconds": round(time.perf_counter() - started, 3),
                }
            )
            if run is not None:
                append(run.path / EVALUATIONS, lines[-1])
            listener.evaluation(lines[-1], budget)
            proposal = _sent(proposals, lines[-1]["score"])
        found = _found(lines)
        if run is not None:
            write(run.path / "architecture.json", found.to_json())
    path = None if run is None else run.path
    return SearchResult(found, space, strategy, config, {}, lines, path, spent=lines[-1]["spent"])


def too_small(budget: float, price: float, unit: str) -> ArchgradError:
    """The error for a budget that does not pay for the first evaluation."""
    return ArchgradError(
        f"a budget of {budget:,.0f} {unit} is too small for one run, which costs {price:,.0f}; "
        "expected at least that: raise the budget, or use a smaller network, fewer epochs or data"
    )


def _sent(proposals: Search, score: float) -> Proposal | None:
    """The next proposal, or None where there is no other."""
    try:
        return proposals.send(score)
    except StopIteration:
        return None


def _worst(lines: Lines) -> float:
    """The score of what failed: strategies expect numbers."""
    return min((line["score"] for line in lines), default=0.0)


def _found(lines: Lines) -> Architecture:
    scored = [
        Scored(_architecture(line), line["share"], line["score"])
        for line in lines
        if not line["failed"]
    ]
    if not scored:
        raise ArchgradError(
            f"all {len(lines)} architectures failed to train: their losses were not finite; try a "
            "lower learning rate, and look for extreme values in the data"
        )
    return best(scored).architecture


def _took(lines: Lines) -> float:
    return math.fsum(line["seconds"] for line in lines)


def _architecture(line: Mapping[str, Any]) -> Architecture:
    return Architecture.model_validate_json(json.dumps(line["architecture"]))


def _kept(run: Run, begun_with: Mapping[str, Any]) -> Lines:
    """The scores of an earlier process, if it had these options and data."""
    begun, path = run.path / BEGUN, run.path / EVALUATIONS
    now = json.loads(json.dumps(begun_with))
    if begun.is_file():
        refuse_other(json.loads(begun.read_text(encoding="utf-8")), now, run.path)
    else:
        write(begun, json.dumps(now, indent=2) + "\n")
    lines = read_lines(path)
    if path.is_file():  # without a line that was cut off
        write(path, "".join(json.dumps(line) + "\n" for line in lines))
    return lines


def _changed(run: Run | None) -> ArchgradError:
    return ArchgradError(
        f"the evaluations kept in {run.path / EVALUATIONS if run else 'memory'} are not those that "
        "this search would make; were they, or the version of the library, changed? Restore "
        "them, or begin a new run"
    )

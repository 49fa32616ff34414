"""What a search keeps: metrics and alpha of every epoch, checkpoints, and how they are taken up."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from archgrad.architecture import Architecture
from archgrad.data import Data
from archgrad.data.own import OwnData
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.parts.stage import Candidates
from archgrad.parts.stopping import Verdict
from archgrad.searching.groups import Groups
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.storage.files import ALPHAS, METRICS, append, read_lines
from archgrad.storage.folder import (
    Run,
    fitting,
    keep_checkpoint,
    load_checkpoint,
    refuse_other,
    save_checkpoint,
    truncate,
)
from archgrad.system.distributed import from_first
from archgrad.system.loops import random_state, restore_random_state

if TYPE_CHECKING:
    from archgrad.searching.bilevel import BilevelSearch

KEPT = 16  # checkpoints, where a method may go back


def begun_with(space: SearchSpace, data: Data | OwnData, config: SearchConfig) -> dict[str, Any]:
    """What has to be the same where a run goes on, for `archgrad.storage.folder.refuse_other`."""
    found = {"options": config.model_dump(mode="json"), "data": data.fingerprint()}
    if isinstance(data, OwnData):
        found["choices"] = {g.name: list(g.candidates[0]) for g in space.groups}
        found["loss, metric or forward"] = data.task.names()
    return found


def warn_of_order(done: str) -> None:
    """For batches of a loader that may not be repeated; `done`: of what a resumed run has."""
    warnings.warn(
        "the batches come from a loader without state_dict, whose order may depend on more than "
        f"torch's random state: the search goes on after {done}, and may differ from an "
        "uninterrupted one",
        stacklevel=3,
    )


class Records:
    """The lines and checkpoints of one search, in its run folder or in memory."""

    def __init__(self, run: Run | None, begun_with: Mapping[str, Any]) -> None:
        self.run, self.begun_with = run, begun_with
        self.alphas: list[dict[str, Any]] = []  # without a run folder
        self.kept: dict[int, dict[str, Any]] = {}  # epoch -> checkpoint, without a run folder

    def save(self, search: BilevelSearch, again: bool = False) -> None:
        """After an epoch: its lines and a checkpoint. `again`: the lines are there already."""
        content = self._content(search)
        if self.run is None:
            self.alphas += [] if again else [_line(search)]
            if search.method.recovery is not None:
                self.kept[search.done] = copy.deepcopy(content)
                self.kept.pop(search.done - KEPT, None)
            return
        if not again:
            append(self.run.path / METRICS, search.metrics[-1])
            append(self.run.path / ALPHAS, _line(search))
        self.run.keep()
        folder = self.run.path / "checkpoints"
        save_checkpoint(folder, content)
        if search.method.recovery is not None:
            keep_checkpoint(folder, search.done, KEPT)

    def _content(self, search: BilevelSearch) -> dict[str, Any]:
        return {
            "epoch": search.done,
            "begun_with": self.begun_with,
            "kernels": search.kernels,
            "stage": search.stage,
            "candidates": search.candidates,
            "recovered": search.recovered,
            "verdict": None if search.verdict is None else asdict(search.verdict),
            "memory": search.memory,
            "spent": search.leg.net.spent,
            "model": search.leg.net.model.state_dict(),
            "alpha": {name: value.detach() for name, value in search.leg.net.alpha.items()},
            "start": search.start,
            "weight_optimizer": search.leg.weight_optimizer.state_dict(),
            "arch_optimizer": search.leg.arch_optimizer.state_dict(),
            "loaders": search.loaders.state_dict(),
            "buffers": _left_out(search.leg.net.model),
            "random": random_state(search.device),
        }

    def restore(self, search: BilevelSearch) -> None:
        """Take up the run's checkpoint, if there is one, in all processes of the search."""
        content = from_first(lambda: self._newest(search))
        self._cut(search, 0 if content is None else int(content["epoch"]))
        if content is None:
            return
        with nullcontext() if self.run is None else fitting(self.run.path):
            _take(search, content)
        if self.run is not None and search.method.recovery is not None:
            folder = self.run.path / "checkpoints"
            if (folder / "last.pt").is_file():  # it was interrupted before it could
                keep_checkpoint(folder, search.done, KEPT)

    def _newest(self, search: BilevelSearch) -> dict[str, Any] | None:
        """The run's checkpoint, which was begun as this search is."""
        if self.run is None:
            return None
        content = load_checkpoint(self.run.path / "checkpoints", search.device)
        if content is None:
            if len(lost := read_lines(self.run.path / METRICS)) > 1:
                warnings.warn(
                    f"{self.run.path} has lines of {len(lost)} epochs and no checkpoint of them; "
                    "the search begins again",
                    stacklevel=2,
                )
            return None
        with fitting(self.run.path):
            refuse_other(content["begun_with"], self.begun_with, self.run.path)
            done = int(content["epoch"])
        if not search.loaders.exact_resume:
            warn_of_order(f"epoch {done}")
        if content.get("kernels") != search.kernels:
            warnings.warn(
                f"the search was begun with {content.get('kernels')} and goes on with "
                f"{search.kernels}: the same numbers up to rounding, not bit by bit",
                stacklevel=2,
            )
        return content

    def return_to(self, search: BilevelSearch, epoch: int) -> None:
        """Weights, alpha and all else as they were after an earlier epoch; later lines go."""
        content = from_first(lambda: self._of(search, epoch))
        if content is None:
            raise ArchgradError(
                f"the search shall go back to epoch {epoch}, whose checkpoint is not kept (the "
                f"last {KEPT} are); use a stopping rule that looks less far back"
            )
        spent = search.leg.net.spent
        _take(search, copy.deepcopy(content))
        search.leg.net.spent = spent  # what is gone was paid for
        self._cut(search, epoch)

    def _cut(self, search: BilevelSearch, done: int) -> None:
        """Keep the lines of the first `done` epochs."""
        search.metrics, alphas = from_first(lambda: self._first(search, done))
        self.alphas = alphas if self.run is None else []
        cells = alphas[-1].get("cells") if alphas else None  # older ones have none
        kept = json.dumps({"space": search.space.name, "cells": cells})
        search.derived = cells and Architecture.from_json(kept, origin=ALPHAS)

    def _first(self, search: BilevelSearch, done: int) -> list[list[dict[str, Any]]]:
        """Of the first `done` epochs: metrics, alphas."""
        if self.run is None:
            return [search.metrics[:done], self.alphas[:done]]
        return [_whole(self.run.path / name, done) for name in (METRICS, ALPHAS)]

    def _of(self, search: BilevelSearch, epoch: int) -> dict[str, Any] | None:
        """The checkpoint that is kept of an epoch."""
        if self.run is None:
            return self.kept.get(epoch)
        folder = self.run.path / "checkpoints"
        return load_checkpoint(folder, search.device, f"epoch-{epoch}.pt")

    def last_good(self, search: BilevelSearch) -> str:
        """Which epoch is whole, and where it is kept, in words."""
        if not search.metrics:
            return "no epoch was finished before"
        kept = f", kept in {self.run.path / 'checkpoints' / 'last.pt'}" if self.run else ""
        return f"epoch {search.metrics[-1]['epoch']} is the last good one{kept}"

    def alpha_of(
        self, search: BilevelSearch, epoch: int
    ) -> tuple[tuple[Group, ...], dict[str, Tensor]]:
        """The groups and alpha after an epoch, counted from 1."""
        line = next((line for line in self._lines() if line["epoch"] == epoch), None)
        if line is None:
            raise ArchgradError(
                f"the result is that of epoch {epoch}, whose line is missing in {ALPHAS}; was it "
                "removed or cut off? Restore it, then resume the search"
            )
        return Groups.of(search.space, search.method).at(line)

    def _lines(self) -> list[dict[str, Any]]:
        return self.alphas if self.run is None else read_lines(self.run.path / ALPHAS)

    def replay(self) -> list[dict[str, Any]]:
        """Alpha of every epoch; none where its file is damaged: the result is not lost for it."""
        try:
            return self._lines()
        except (ArchgradError, OSError) as error:
            warnings.warn(f"{error}; the result has no replay", stacklevel=2)
            return []


def _whole(path: Path, done: int) -> list[dict[str, Any]]:
    """The lines of the first epochs, with a warning where some are gone."""
    kept = truncate(path, done)
    if len(kept) < done:
        warnings.warn(
            f"{path} has lines of {len(kept)} epochs, expected {done}; was it removed or cut off? "
            "The search goes on from its checkpoint; what reads the lines of the others (report, "
            "derive, rules that look back) does without",
            stacklevel=2,
        )
    return kept


def _line(search: BilevelSearch) -> dict[str, Any]:
    """Of alphas.jsonl: alpha, what its candidates count for (six digits), the derived cells."""
    assert search.derived is not None
    alpha = {name: value.tolist() for name, value in search.leg.net.alpha.items()}
    weights = {
        name: [[float(f"{number:.6g}") for number in row] for row in value.tolist()]
        for name, value in search.strength.items()
    }
    cells = search.derived.model_dump(mode="json")["cells"]
    line = {"epoch": search.done, "alpha": alpha, "strength": weights, "cells": cells}
    return line if search.candidates is None else {**line, "candidates": search.candidates}


def _take(search: BilevelSearch, content: Mapping[str, Any]) -> None:
    candidates: Candidates | None = content["candidates"]
    search.begin(content["stage"], candidates)
    search.done, search.recovered = int(content["epoch"]), int(content["recovered"])
    verdict = content["verdict"]
    search.verdict = None if verdict is None else Verdict(**verdict)
    search.leg.net.spent = int(content["spent"])
    search.memory.clear()
    search.memory.update(content["memory"])
    search.leg.net.model.load_state_dict(content["model"])
    present = dict(search.leg.net.model.named_buffers())
    with torch.no_grad():
        for name, buffer in content["buffers"].items():
            present[name].copy_(buffer)
        for name, alpha in search.leg.net.alpha.items():
            alpha.copy_(content["alpha"][name])
    search.start = content.get("start", search.start)  # older ones have none
    search.leg.weight_optimizer.load_state_dict(content["weight_optimizer"])
    search.leg.arch_optimizer.load_state_dict(content["arch_optimizer"])
    search.loaders.load_state_dict(content["loaders"])
    restore_random_state(content["random"], search.device)


def _left_out(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that are not persistent, which a state_dict does not hold."""
    kept = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in kept}

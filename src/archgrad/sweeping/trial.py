"""One search of a sweep: an ordinary run folder, with one more file that says how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from archgrad import untrusted
from archgrad.comparing.jobs import search_value
from archgrad.comparing.parts import Own
from archgrad.costing.cost import cost
from archgrad.data import Data
from archgrad.errors import ArchgradError
from archgrad.measure import Measure
from archgrad.preparing.prepared import Prepared, checked, prepare_data, search_space, section
from archgrad.reporting.cells import save_drawing
from archgrad.searching.callbacks import Callback
from archgrad.searching.result import SearchResult
from archgrad.settings.config import OWN, RunConfig
from archgrad.settings.data_config import DataConfig
from archgrad.storage import failures
from archgrad.storage.files import CONFIG, write
from archgrad.storage.folder import Run, fitting

ENDED = "trial.json"

_load_once = lru_cache(maxsize=1)(prepare_data)  # the searches of a process share their data


@dataclass(frozen=True)
class Trial:
    """A search of a sweep; `config` is complete."""

    config: RunConfig
    folder: Path

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / ENDED).is_file()

    def ended(self) -> dict[str, Any]:
        """What it found: status, error, measure, validation, parameters, multiply_adds, spent.

        Status: "done", "failed" or "open".
        """
        if self.done:
            with fitting(self.folder / ENDED):
                return {"status": "done", **untrusted.mapping_of_json(self.folder / ENDED)}
        error = failures.of(self.folder)
        return {"status": "open"} if error is None else {"status": "failed", "error": error}


def ready(config: RunConfig, own: Own | None = None) -> Prepared:
    """The search of a configuration, with every check passed; the test part is left out."""
    search = section(config)
    data, augmentation = _loaded(config.data, own)
    return checked(config, data, augmentation, search_space(search, data), None)


def worked(trial: Trial, own: Own | None = None, callback: Callback | None = None) -> None:
    """Search, or go on where it was interrupted; an error is kept in the folder."""
    with failures.kept(trial.folder):
        if not (trial.folder / CONFIG).is_file():
            write(trial.folder / CONFIG, trial.config.to_yaml())
        run = Run.open(trial.folder)
        if run.config.model_dump() != trial.config.model_dump():
            raise ArchgradError(
                f"{trial.folder / CONFIG} has other options than the sweep; restore it, or remove "
                "the folder to search again"
            )
        with run.working():
            prepared = ready(trial.config, own)
            assert isinstance(prepared.data, Data)
            result = prepared.search(run, callback)
            save_drawing(result.architecture, run.path, result.strength)
            found = _found(result, prepared.data.task.measure)
            write(trial.folder / ENDED, json.dumps(found, indent=2) + "\n")


def _loaded(config: DataConfig, own: Own | None) -> Own:
    if own is None and config.data == OWN:
        raise ArchgradError(
            "the data of this sweep came from Python and is not in its folder; give it again: "
            "archgrad.sweep(data=..., resume=...)"
        )
    return _load_once(config) if own is None else own


def _found(result: SearchResult, measure: Measure) -> dict[str, Any]:
    size = cost(result.space, result.architecture)
    method = result.config.method
    return {
        "measure": measure.name,
        "validation": search_value(result.metrics, method, result.architecture, measure),
        "parameters": size.parameters,
        "multiply_adds": size.multiply_adds,
        "spent": result.spent,
        "seconds": sum(line["seconds"] for line in result.metrics),
        "stopped": result.stopped,
    }

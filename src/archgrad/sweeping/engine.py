"""A sweep from its options to its table: searches side by side, taken up where they were left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, JsonValue, ValidationError

from archgrad import untrusted
from archgrad.comparing.parts import Own
from archgrad.errors import ArchgradError, explain
from archgrad.preparing.prepared import prepare_data, section
from archgrad.retraining.processes import Epochs
from archgrad.settings.config import RunConfig
from archgrad.settings.pool_config import SweepPool, pool_of
from archgrad.settings.section import Section
from archgrad.storage import failures
from archgrad.storage.files import write
from archgrad.storage.folder import free_folder, held, refuse_used
from archgrad.sweeping import grid
from archgrad.sweeping.table import Swept
from archgrad.sweeping.trial import Trial, ready, worked
from archgrad.workers import HERE, Place, check_pool, made, place

SWEEP = "sweep.yaml"
Progress = Callable[[Trial, int, int], None]


class SweepConfig(Section):
    """A whole sweep: what varies, by name, and the complete configuration of every trial."""

    vary: dict[str, list[JsonValue]] = Field(min_length=1)
    trials: tuple[RunConfig, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Sweep:
    """A sweep that has passed every check, in its folder."""

    config: SweepConfig
    folder: Path
    own: Own | None = None
    pool: SweepPool = SweepPool()

    @cached_property
    def trials(self) -> list[Trial]:
        """Each in a folder of its own."""
        digits = len(str(len(self.config.trials) - 1))
        return [
            Trial(config, self.folder / "trials" / f"{number:0{digits}}")
            for number, config in enumerate(self.config.trials)
        ]

    def run(
        self,
        progress: Progress = lambda trial, done, total: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Swept:
        """Do what is left to do, and write the table.

        `progress` hears of each search that has ended, `meanwhile` is called now and then.
        """
        with held(self.folder, section(self.config.trials[0]).device):
            left = [trial for trial in self.trials if not trial.done]
            before = len(self.trials) - len(left)
            for number, trial in enumerate(self._worked(left, meanwhile), before + 1):
                progress(trial, number, len(self.trials))
            results = self.results()
            write(self.folder / "sweep.json", results.to_json())
            write(self.folder / "sweep.csv", results.to_csv())
        return results

    def results(self) -> Swept:
        """What is in the folder by now."""
        rows = [
            {
                "trial": str(trial.folder.relative_to(self.folder)),
                "options": {name: grid.value(trial.config, name) for name in self.config.vary},
                **trial.ended(),
            }
            for trial in self.trials
        ]
        return Swept.of(tuple(self.config.vary), rows)

    @property
    def methods(self) -> int:
        """How many methods there are among the trials."""
        return len({section(config).method for config in self.config.trials})

    @cached_property
    def place(self) -> Place:
        """Where the searches run that are left to do."""
        left = [trial.config for trial in self.trials if not trial.done]
        if self.own is not None or not left:
            return HERE
        threads = max(section(config).threads for config in left)
        device = section(left[0]).device
        return place(
            self.pool, len(left), parallel=self.pool.parallel, threads=threads, device=device
        )

    def _worked(self, left: Sequence[Trial], meanwhile: Callable[[], None]) -> Iterator[Trial]:
        if self.place.crew is None:
            for trial in left:
                worked(trial, self.own, Epochs(meanwhile))
                yield trial
            return
        found = made(
            self.place.crew(),
            worked,
            [(trial,) for trial in left],
            self.place.at_a_time,
            retries=self.pool.retries,
            meanwhile=meanwhile,
        )
        for number, future in found:
            if error := future.exception():
                failures.keep(left[number].folder, error)
            yield left[number]


def begun(
    sections: grid.Sections,
    vary: grid.Vary,
    *,
    trials: int | None = None,
    out: str | Path | None = None,
    own: Own | None = None,
    pool: SweepPool = SweepPool(),  # noqa: B008
    base: RunConfig | None = None,
) -> Sweep:
    """A sweep of these options that has passed every check, in its new folder.

    `trials`: so many points of the grid alone, drawn with the seed of the options.
    """
    seed = sections.get("search", {}).get("seed", base.search.seed if base and base.search else 0)
    wanted = grid.trials(sections, vary, trials, seed, base)
    runs = [ready(config, own).config for config in wanted]
    config = SweepConfig(vary={name: list(values) for name, values in vary.items()}, trials=runs)
    if out is not None:
        refuse_used(Path(out), "sweep")
    check_pool(pool, section(runs[0]).device, own is not None)
    folder = Path(out) if out is not None else free_folder(runs[0], "sweep")
    sweep = Sweep(config, folder, own, pool)
    write(folder / SWEEP, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    return sweep


def opened(folder: Path, own: Own | None = None, pool: SweepPool = SweepPool()) -> Sweep:  # noqa: B008
    """The sweep in a folder."""
    path = folder / SWEEP
    try:
        values = untrusted.from_yaml(untrusted.text(path, untrusted.LIMIT_YAML))
    except FileNotFoundError:
        raise ArchgradError(
            f"folder {folder} holds no sweep (no {SWEEP}); give one that archgrad sweep wrote"
        ) from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ArchgradError(f"{path} cannot be read: {reason}; restore it") from None
    try:
        return Sweep(SweepConfig.model_validate(values), folder, own, pool)
    except ValidationError as error:
        raise ArchgradError(f"{path}: {explain(error)}") from None


def sweep(
    vary: Mapping[str, Sequence[Any]] | None = None,
    data: Any = None,
    *,
    trials: int | None = None,
    classes: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    **options: Any,
) -> Swept:
    """Make many searches whose options vary; validation sorts them, the test part is not read.

    - `vary`: option -> its values, every combination of which is a trial; an option is a field of
      `archgrad.settings.config.SearchConfig` or `archgrad.settings.data_config.DataConfig`, or
      "method_options.NAME".
    - `data`, `classes`: as for `archgrad.search`.
    - `trials`: that many combinations alone, drawn with the `seed` of the options.
    - `out`: a new folder (default: one under runs/), with a run folder a trial under trials/.
    - `resume`: such a folder, to do what is left in it and what failed.
    - `options`: as for `archgrad.search`, and those of `archgrad.settings.pool_config.SweepPool`,
      which say where searches run and may be others with `resume`.

    Returns `archgrad.sweeping.table.Swept`: print it for the table. Raises `ArchgradError` for
    wrong input, before anything is searched.

    >>> import archgrad
    >>> size = {"space": "nas-bench-201", "channels": 2, "cells": 1, "subset": 40, "batch_size": 10}
    >>> vary = {"seed": [0, 1]}
    >>> swept = archgrad.sweep(vary, "digits", epochs=1, guard="off", parallel=1, **size)
    >>> sorted(row["options"]["seed"] for row in swept.rows), swept.failed
    ([0, 1], 0)
    """
    from archgrad.verbs.arguments import SEARCH, sections_of

    pool, named = pool_of(options, SweepPool), isinstance(data, str | Path | None)
    if resume is not None:
        given = {"vary": vary, "trials": trials, "out": out, **options}
        refuse_changes([name for name, value in given.items() if value is not None])
        found = opened(Path(resume), None, pool)
        own = None if named else prepare_data(found.config.trials[0].data, data, classes=classes)
        return Sweep(found.config, found.folder, own, pool).run()
    sections = sections_of(options, SEARCH, data)
    own = None
    if not named:
        from archgrad.settings.data_config import DataConfig

        own = prepare_data(DataConfig.model_validate(sections["data"]), data, classes=classes)
    return begun(sections, vary or {}, trials=trials, out=out, own=own, pool=pool).run()


def refuse_changes(names: Sequence[str]) -> None:
    """A resumed sweep keeps its options."""
    if names:
        raise ArchgradError(
            f"a resumed sweep keeps its options; leave out {', '.join(names)}, or begin another one"
        )

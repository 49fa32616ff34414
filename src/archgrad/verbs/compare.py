"""The verb: from options, of the command line or of Python, to a comparison and its results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from archgrad.comparing.engine import Comparison, create, opened, prepare
from archgrad.comparing.parts import Own
from archgrad.data import DATASETS
from archgrad.errors import ArchgradError, explain, shown
from archgrad.findings.results import Results
from archgrad.parts.method import Method
from archgrad.preparing.prepared import prepare_data, section
from archgrad.reporting.ending import leave_report
from archgrad.settings import config as configuration
from archgrad.settings.compare_config import UNUSED, CompareConfig, RetrainingConfig
from archgrad.settings.config import OWN
from archgrad.settings.data_config import DataConfig
from archgrad.settings.pool_config import PoolConfig, pool_of
from archgrad.storage.folder import free_folder
from archgrad.verbs.arguments import sections_with_training
from archgrad.workers import check_pool

# A comma is part of a path unless the name of a data set, npz: or folder: comes after it.
_NAMES = "|".join(name.partition(":")[0] + (":" if ":" in name else "(?:,|$)") for name in DATASETS)
_BETWEEN = re.compile(rf",\s*(?={_NAMES})")


def compare(
    methods: Sequence[str | Method] | Method | str | None = None,
    data: Any = None,
    *,
    test: Any = None,
    classes: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    **options: Any,
) -> Results:
    """Compare methods and baselines under one budget, with retraining and one test at the end.

    - `methods`: names (default: darts, pc_darts, drnas, random, evolution), and with them one
      `archgrad.Method` of yours, which is called own: its searches run in this process, one after
      the other.
    - `data`: a name or several with commas between (default "digits"), or data from Python.
    - `test`, `classes`: of data from Python, as for `archgrad.run`.
    - `out`: a new folder (default: one under runs/), which keeps every search, the results and the
      tables.
    - `resume`: such a folder, to do what is left in it (`data` that came from Python are given
      again, and `methods` with one that did).
    - `options`: any field of `archgrad.settings.compare_config.CompareConfig`, as `seeds=4`, of
      `archgrad.settings.config.SearchConfig` or `archgrad.settings.data_config.DataConfig`, with
      the prefix `train_` of `archgrad.settings.compare_config.RetrainingConfig`, and of
      `archgrad.settings.pool_config.PoolConfig`, which say where searches run and may be others
      with `resume`.

    Returns `archgrad.findings.results.Results`: print it for the table. What failed is marked in
    the results, and tried again by `resume`. Raises `ArchgradError` for wrong input, before
    anything is trained.
    """
    named = isinstance(data, str | Path | None)
    pool = pool_of(options, PoolConfig)
    names, mine = _named(methods)
    if resume is not None:
        given = {"out": out, **options, "data": data if named else None}
        given |= {"methods": names} if mine is None else {}
        refuse_changes(name for name, value in given.items() if value is not None)
        found = opened(Path(resume), method=mine)
        if mine is not None and names != found.config.compare.methods:
            refuse_changes([f"methods {names}"])
        own = None if named else _own(found.config.runs[0].data, data, test, classes)
        return _done(Comparison(found.config, found.folder, own, pool, mine))
    if names is not None:
        options["methods"] = names
    compared = {k: v for k, v in options.items() if k in CompareConfig.model_fields}
    rest = {k: v for k, v in options.items() if k not in compared}
    sections = sections_with_training(rest, data)
    own = None
    if not named or (test, classes) != (None, None):
        own = _own(DataConfig.model_validate(sections["data"]), data, test, classes)
    return _done(begun({**sections, "compare": compared}, out, own, pool, mine))


def _named(
    methods: Sequence[str | Method] | Method | str | None,
) -> tuple[str | None, Method | None]:
    """The names with commas between, and the method that is called own."""
    if methods is None or isinstance(methods, str):
        return methods, None
    listed = [methods] if isinstance(methods, Method) else list(methods)
    mine = [each for each in listed if isinstance(each, Method)]
    if wrong := [each for each in listed if not isinstance(each, str | Method)]:
        raise ArchgradError(
            f"methods: found {shown(wrong[0])}, expected names and one archgrad.Method at most"
        )
    if len(mine) > 1:
        raise ArchgradError(
            f"found {len(mine)} methods from Python, expected one; compare each with the others"
        )
    return ",".join(OWN if isinstance(m, Method) else m for m in listed), next(iter(mine), None)


def _done(comparison: Comparison) -> Results:
    """Its results, with a report in its folder."""
    results = comparison.run()
    leave_report(comparison.folder)
    return results


def _own(config: DataConfig, data: Any, test: Any, classes: int | None) -> Own:
    return prepare_data(config, data, test=test, classes=classes)


def begun(
    sections: Mapping[str, Mapping[str, Any]],
    out: str | Path | None = None,
    own: Own | None = None,
    pool: PoolConfig = PoolConfig(),  # noqa: B008
    method: Method | None = None,
) -> Comparison:
    """A comparison of these options that has passed every check, in its new folder."""
    _refuse_unused(sections)
    try:
        compare = CompareConfig.model_validate(sections["compare"])
    except ValidationError as error:
        raise ArchgradError(f"options: {explain(error)}") from None
    train = {"seeds": RetrainingConfig.model_fields["seeds"].default, **sections["train"]}
    bases = [
        configuration.build({"data": data, "search": sections["search"], "train": train})
        for data in _each(sections["data"])
    ]
    check_pool(pool, section(bases[0]).device, own is not None or method is not None)
    config = prepare(compare, bases, own, method)
    folder = Path(out) if out is not None else free_folder(bases[0], "compare")
    comparison = Comparison(config, folder, own, pool, method)
    create(comparison)
    return comparison


def refuse_changes(names: Iterable[str]) -> None:
    """A resumed comparison keeps its options."""
    if changed := ", ".join(names):
        raise ArchgradError(
            f"a resumed comparison keeps its options; leave out {changed}, or begin another one"
        )


def _refuse_unused(sections: Mapping[str, Mapping[str, Any]]) -> None:
    for option, remedy in UNUSED.items():
        section, name = option.split(".")
        if name in sections[section]:
            shown = f"train_{name}" if section == "train" else name
            raise ArchgradError(
                f"found {shown} {sections[section][name]}, and a comparison does not use it; "
                f"{remedy}"
            )


def _each(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of each data set. Without a name that of a recipe, or the default, counts."""
    if "data" not in data:
        return [dict(data)]
    return [{**data, "data": name} for name in _BETWEEN.split(data["data"])]

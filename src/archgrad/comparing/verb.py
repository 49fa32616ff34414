"""The verb: from options, of the command line or of Python, to a comparison and its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from archgrad import config as configuration
from archgrad.arguments import SEARCH, sections_of
from archgrad.compare_config import CompareConfig
from archgrad.comparing.engine import Comparison, create, opened, prepare
from archgrad.comparing.parts import Own
from archgrad.comparing.results import Results
from archgrad.config import DataConfig, SearchConfig, TrainConfig
from archgrad.errors import ArchgradError, explain
from archgrad.folder import free_folder
from archgrad.prepared import prepare_data


def compare(
    methods: Sequence[str] | str | None = None,
    data: Any = None,
    *,
    test: Any = None,
    classes: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    **options: Any,
) -> Results:
    """Compare methods and baselines under one budget, with retraining and one test at the end.

    ``methods``: names (default: darts, pc_darts, drnas, random, evolution); ``data``: a name or
    several with commas between (default "digits"), or data from Python, with ``test`` and
    ``classes`` as for `archgrad.run`; ``out``: a new folder (default: one under runs/), which keeps
    every search, the results and the tables; ``resume``: such a folder, to do what is left in it;
    ``options``: any field of `archgrad.compare_config.CompareConfig`, as ``seeds=4``, of
    `archgrad.config.SearchConfig` or `archgrad.config.DataConfig`, and with the prefix ``train_``
    of `archgrad.config.TrainConfig`. What failed is marked in the results, and tried again by
    ``resume``. Raises `ArchgradError` for wrong input, before anything is trained.
    """
    if resume is not None:
        given = {"methods": methods, "out": out, **options}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise ArchgradError(f"a resumed comparison keeps its options; leave out {wrong[0]}")
        found = opened(Path(resume))
        base = found.config.runs[0].data
        own = None if data is None else prepare_data(base, data, test=test, classes=classes)
        return Comparison(found.config, found.folder, own).run()
    if methods is not None:
        options["methods"] = methods if isinstance(methods, str) else ",".join(methods)
    compared = {k: v for k, v in options.items() if k in CompareConfig.model_fields}
    training = {
        name: value
        for name, value in options.items()
        if name.startswith("train_") and name not in SearchConfig.model_fields
    }
    rest = {k: v for k, v in options.items() if k not in compared and k not in training}
    sections = sections_of(rest, SEARCH, data)
    named = {name.removeprefix("train_"): value for name, value in training.items()}
    sections["train"] = sections_of(named, {"train": TrainConfig})["train"]
    own = None
    if data is not None and not isinstance(data, str | Path):
        config = DataConfig.model_validate(sections["data"])
        own = prepare_data(config, data, test=test, classes=classes)
    return begun({**sections, "compare": compared}, out, own).run()


def begun(
    sections: Mapping[str, Mapping[str, Any]], out: str | Path | None = None, own: Own | None = None
) -> Comparison:
    """A comparison of these options that has passed every check, in its new folder.

    Several data sets stand in ``data`` with commas between. A retraining has one seed unless
    another number is asked for: what varies are the searches.
    """
    if "method" in sections["search"]:
        raise ArchgradError(
            f"found method {sections['search']['method']}, expected methods: say what is compared "
            "with --methods NAME,NAME"
        )
    try:
        compare = CompareConfig.model_validate(sections["compare"])
    except ValidationError as error:
        raise ArchgradError(f"options: {explain(error)}") from None
    text = str(sections["data"].get("data", DataConfig().data))
    names = [text] if ":" in text else text.split(",")
    train = {"seeds": 1, **sections["train"]}
    bases = [
        configuration.build(
            {
                "data": {**sections["data"], "data": name},
                "search": sections["search"],
                "train": train,
            }
        )
        for name in names
    ]
    made = prepare(compare, bases, Path(), own)
    folder = Path(out) if out is not None else free_folder(bases[0], "compare")
    comparison = Comparison(made.config, folder, own)
    create(comparison)
    return comparison

"""The verbs of the library in Python: search, train, and what the command line shares with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from archgrad import config as configuration
from archgrad import data as data_sets
from archgrad import methods, spaces
from archgrad.architecture import Architecture, resolve
from archgrad.bilevel import Loaders, SearchResult, bilevel_search
from archgrad.config import DataConfig, RunConfig, SearchConfig, TrainConfig
from archgrad.data import Augmentation, Data
from archgrad.errors import ArchgradError, unknown
from archgrad.loops import Listener, resolve_device
from archgrad.methods import Method
from archgrad.network import Network
from archgrad.retraining import (
    Retraining,
    Score,
    augmentation_of,
    check,
    load_data,
    retrain,
)
from archgrad.run import Run
from archgrad.spaces import SearchSpace
from archgrad.statistics import spread

OWN = "own"  # stands in config.yaml for a value that came from Python


@dataclass(frozen=True)
class TrainResult:
    """Retrainings of one architecture: ``scores`` one a seed, ``networks`` the trained modules."""

    architecture: Architecture
    scores: list[Score]
    networks: list[Network]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed, in [0, 1]."""
        return [score["accuracy"] for score in self.scores]

    @property
    def mean(self) -> float:
        """Mean test accuracy over the seeds, in [0, 1]."""
        return fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Sample standard deviation over the seeds; nan for a single one."""
        return spread(self.accuracies)


def search(
    space: str | SearchSpace = "darts-cnn",
    data: Any = None,
    *,
    method: str | Method = "darts",
    valid: Any = None,
    classes: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> SearchResult:
    """Search an architecture on training images; test images are never looked at.

    ``data``: a name as on the command line (default "digits"), arrays (x, y) or (x, y, x_test,
    y_test), a Dataset, a DataLoader (with a DataLoader as ``valid``), or an `archgrad.data.Data`;
    ``out``: a new run folder (None: nothing is written); ``resume``: a run folder to continue,
    with every option as it was; ``options``: any field of `archgrad.config.SearchConfig` or
    `archgrad.config.DataConfig`, for example ``epochs=5``.

    Raises `ArchgradError` for wrong input and `Diverged` when a loss is not finite.
    """
    own = {"space": space, "data": data, "method": method, "valid": valid, "classes": classes}
    if resume is not None:
        if options or out is not None:
            raise ArchgradError(
                f"a resumed search keeps its options; leave out {sorted(options) or 'out'}"
            )
        run = Run.open(resume)
        return prepare(run.config, **own).search(run, listener)
    sections = _sorted_into_sections(options, {"data": DataConfig, "search": SearchConfig})
    if data is not None:
        sections["data"]["data"] = data if isinstance(data, str) else OWN
    sections["search"]["space"] = space if isinstance(space, str) else OWN
    sections["search"]["method"] = method if isinstance(method, str) else OWN
    config = configuration.build(sections)
    prepared = prepare(config, **own)
    return prepared.search(None if out is None else Run.create(out, config), listener)


@dataclass(frozen=True)
class Prepared:
    """A search that has passed every check and has not begun: nothing is on disk yet."""

    config: SearchConfig
    data: Data
    augmentation: Augmentation
    space: SearchSpace
    method: Method

    def search(self, run: Run | None = None, listener: Listener | None = None) -> SearchResult:
        """Run it, or go on with it where ``run`` has a checkpoint."""
        return bilevel_search(
            self.space,
            self.data,
            self.method,
            self.config,
            augmentation=self.augmentation,
            run=run,
            listener=listener,
        )


def prepare(
    config: RunConfig,
    *,
    space: str | SearchSpace = OWN,
    data: Any = None,
    method: str | Method = OWN,
    valid: Any = None,
    classes: int | None = None,
) -> Prepared:
    """Load and check all that a search needs; values from Python stand in where it says "own"."""
    if config.search is None:
        raise ArchgradError("the configuration has no search section; this folder holds no search")
    loaded = _data(config.data, data, valid, classes)
    prepared = Prepared(
        config.search,
        loaded,
        augmentation_of(loaded, config.data),
        search_space(config.search, loaded, space),
        search_method(config.search, method),
    )
    device = resolve_device(config.search.device)
    Loaders.of(loaded, config.search, prepared.augmentation, device)  # refuses what does not fit
    return prepared


def search_method(config: SearchConfig, value: str | Method = OWN) -> Method:
    """The method of a configuration, or the given value where it says "own"."""
    if config.method != OWN:
        return methods.method(config.method, **config.method_options)
    if not isinstance(value, Method):
        raise _came_from_python("method")
    return methods.method(value, **config.method_options)


def search_space(config: SearchConfig, data: Data, value: str | SearchSpace = OWN) -> SearchSpace:
    """The space of a configuration for the shape of the data, or the given value."""
    if config.space != OWN:
        return spaces.space(
            config.space,
            channels=config.channels,
            cells=config.cells,
            nodes=config.nodes,
            edges_per_node=config.edges_per_node,
            in_channels=data.shape[0],
            image_size=data.shape[1:],
            classes=len(data.classes),
        )
    if isinstance(value, str):
        raise _came_from_python("space")
    if value.input_shape != data.shape or value.classes != len(data.classes):
        raise ArchgradError(
            f"the space takes images of shape {value.input_shape} in {value.classes} classes, "
            f"the data has {data.shape} in {len(data.classes)}; build the space for the data"
        )
    return value


def _data(config: DataConfig, value: Any, valid: Any = None, classes: int | None = None) -> Data:
    if isinstance(value, Data):
        return value
    if config.data != OWN:
        return load_data(config)[0]
    if value is None or isinstance(value, str):
        raise _came_from_python("data")
    return data_sets.as_data(
        value, valid=valid, classes=classes, image_size=config.image_size, subset=config.subset
    )


def _came_from_python(what: str) -> ArchgradError:
    return ArchgradError(
        f"the {what} of this run came from Python and is not in its folder; give it again, from "
        f"Python: archgrad.search({what}=..., resume=...) or archgrad.train(..., {what}=...)"
    )


def train(
    what: str | Path | Architecture | SearchResult,
    data: Any = None,
    *,
    test: Any = None,
    classes: int | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> TrainResult:
    """Retrain an architecture from scratch, once a seed, and test each final network once.

    ``what``: a search result, an architecture, a published name such as "DARTS_V2", a JSON file
    or a run folder; ``data``: as for `search`, with a test part (default: the data of the run
    folder, else "digits"); ``options``: any field of `archgrad.config.TrainConfig` or
    `archgrad.config.DataConfig`, for example ``epochs=20, seeds=1``.
    """
    architecture = what.architecture if isinstance(what, SearchResult) else resolve(what)
    sections = _sorted_into_sections(options, {"data": DataConfig, "train": TrainConfig})
    if data is None:
        sections["data"] = {**data_of(what), **sections["data"]}
    else:
        sections["data"]["data"] = data if isinstance(data, str) else OWN
    config = configuration.build(sections)
    assert config.train is not None
    loaded = (
        load_data(config.data)[0]
        if config.data.data != OWN
        else data_sets.as_data(
            data,
            test=test,
            classes=classes,
            image_size=config.data.image_size,
            subset=config.data.subset,
        )
    )
    space = retraining_space(config.train, loaded, architecture.space)
    augmentation: Augmentation = augmentation_of(loaded, config.data)
    check(space, architecture, config.train, loaded, augmentation)
    jobs = retrainings("found", architecture, space, config.train)
    done = [retrain(j, loaded, augmentation=augmentation, listener=listener) for j in jobs]
    return TrainResult(architecture, [score for score, _ in done], [net for _, net in done])


def data_of(what: str | Path | Architecture | SearchResult) -> dict[str, Any]:
    """The data options of the search that ``what`` is the result of, or none."""
    folder = what.path if isinstance(what, SearchResult) else what
    if isinstance(folder, Architecture) or folder is None:
        if isinstance(what, SearchResult):
            raise ArchgradError("this search has no run folder; say on which data to train")
        return {}
    if not (Path(folder) / "config.yaml").is_file():
        return {}
    options = Run.open(folder).config.data.model_dump()
    if options["data"] == OWN:
        raise _came_from_python("data")
    return options


def retraining_space(config: TrainConfig, data: Data, name: str) -> SearchSpace:
    """The space at the size of the retraining, for the shape of the data."""
    return spaces.space(
        name,
        channels=config.channels,
        cells=config.cells,
        in_channels=data.shape[0],
        image_size=data.shape[1:],
        classes=len(data.classes),
    )


def retrainings(
    label: str,
    architecture: Architecture,
    space: SearchSpace,
    config: TrainConfig,
    folder: Path | None = None,
) -> list[Retraining]:
    """One job a seed; each keeps what it leaves under ``folder/label``."""
    seeds = range(config.seed, config.seed + config.seeds)
    return [
        Retraining(
            label,
            architecture,
            space,
            config,
            seed,
            folder / label / f"seed-{seed}" if folder else None,
        )
        for seed in seeds
    ]


def _sorted_into_sections(
    options: dict[str, Any], sections: dict[str, type[DataConfig | SearchConfig | TrainConfig]]
) -> dict[str, dict[str, Any]]:
    """Options of a Python call, by the section whose field they are."""
    result: dict[str, dict[str, Any]] = {name: {} for name in sections}
    for option, value in options.items():
        home = next((n for n, s in sections.items() if option in s.model_fields), None)
        if home is None:
            known: Iterable[str] = (f for s in sections.values() for f in s.model_fields)
            raise unknown("option", option, known)
        result[home][option] = value
    return result

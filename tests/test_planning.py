"""The plan of a search: what is measured, drawn on and concluded; and searches without memory."""

from __future__ import annotations

import gc
import json
import re
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import archgrad
from archgrad.cli import main as cli
from archgrad.data import Augmentation, as_data
from archgrad.errors import ArchgradError
from archgrad.methods import method
from archgrad.parts.stage import Stage
from archgrad.parts.state import State
from archgrad.resources import planning
from archgrad.resources.planning import Option, Plan, summary
from archgrad.resources.probe import Need, Pair, Step, Wanted, measure
from archgrad.searching.bilevel import BilevelSearch, bilevel_search
from archgrad.settings.config import SearchConfig
from archgrad.spaces import space
from archgrad.storage.folder import Run
from archgrad.system import memory
from archgrad.system.loops import peak_memory_mb
from helpers import same

CPU = torch.device("cpu")
TINY: dict[str, Any] = {
    "channels": 2,
    "cells": 3,
    "nodes": 1,
    "epochs": 3,
    "batch_size": 8,
    "guard": "off",
}
FLAGS = "--subset 80 --channels 2 --cells 3 --nodes 1 --epochs 2 --batch-size 8 --guard off".split()
PEAKS = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="this system cannot forget a peak"
)


def images(count: int = 40, channels: int = 1, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, channels, size, size, generator=generator)
    return x, torch.arange(count) % 2


def wanted(channels: int, name: str = "darts", **changes: Any) -> Wanted:
    """A search of images of 32 pixels, where a step needs some MB an image."""
    built = space(
        "darts-cnn", channels=channels, cells=3, nodes=1, in_channels=3, image_size=(32, 32),
        classes=2,
    )  # fmt: skip
    config = SearchConfig(
        **{"channels": channels, "batch_size": 32, "epochs": 1, "guard": "off", **changes}
    )
    return Wanted(built, as_data(images(72, 3, 32)), method(name), config, Augmentation())


def step(
    images: int, memory: float, seconds: float = 0.0, weights: float = 0.0, forward: float = 0.0
) -> Step:
    return Step(images, memory, seconds, weights, forward)


# --- what is measured --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def foretold() -> Need:
    """Drawn on from 4 and 16 images."""
    return measure(wanted(8), None)


@pytest.mark.no_cover
@PEAKS
def test_small_steps_foretell_what_a_search_takes(foretold: Need) -> None:
    assert [s.images for s in foretold.pairs[0]] == [4, 16]
    rest = foretold.pairs[0].at(0).memory
    needed = foretold.memory(32) - rest
    assert needed > 20  # MB: far above what varies from run to run
    memory.forget_peak(CPU)
    asked = wanted(8)
    bilevel_search(*asked[:4], augmentation=asked.augmentation)
    assert peak_memory_mb(CPU) - rest == pytest.approx(needed, rel=0.4)


@pytest.mark.no_cover
@PEAKS
def test_more_channels_need_more_memory_an_image(foretold: Need) -> None:
    narrow, wide = measure(wanted(4), None).pairs[0], foretold.pairs[0]
    slopes = [pair.at(1).memory - pair.at(0).memory for pair in (narrow, wide)]
    assert 0 < 1.4 * slopes[0] < slopes[1]
    assert all(s.seconds > 0 < s.weights for s in wide)
    assert all(s.spent > s.spent_weights > 0 for s in wide)  # alpha's step costs as well


def test_every_stage_is_measured() -> None:
    stages = (Stage(0.5), Stage(0.5, candidates=2, more_cells=1))
    staged = wanted(2)._replace(method=replace(method("darts"), stages=stages))
    staged = staged._replace(config=staged.config.model_copy(update={"epochs": 3}))
    found = measure(staged, None)
    assert len(found.pairs) == 2
    assert (found.epochs, found.steps, found.images) == ((2, 1), 2, 32)


def test_steps_keep_to_the_images_that_a_loader_gives() -> None:
    loaders = [DataLoader(TensorDataset(*images(21)), batch_size=8) for _ in range(2)]
    found = archgrad.plan(data=loaders[0], valid=loaders[1], classes=2, **TINY)
    assert found.batch_size == 8  # not 5, the last one
    single = [DataLoader(TensorDataset(*images(9)), batch_size=1) for _ in range(2)]
    with pytest.raises(ArchgradError, match="every batch held a single example"):
        archgrad.plan(data=single[0], valid=single[1], classes=2, **TINY)


def test_a_plan_leaves_the_random_state_and_the_disk_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    found = archgrad.plan(data=images(), **{**TINY, "batch_size": 2})
    assert found.measured == (2,)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(tmp_path.iterdir()) == []


# --- what is concluded -------------------------------------------------------------------------


def test_a_straight_line_goes_through_both_steps_and_never_falls() -> None:
    pair = Pair(step(4, 140.0, 2.0, 3.0), step(16, 260.0, 8.0, 1.0))
    assert pair.at(4) == step(4, 140.0, 2.0, 1.0)  # fewer seconds with more images: noise
    assert pair.at(16) == step(16, 260.0, 8.0, 1.0)
    assert pair.at(64) == step(64, 740.0, 32.0, 1.0)
    backwards = Pair(step(4, 140.0), step(2, 120.0))
    assert backwards.at(64).memory == 740.0


def need(base: float = 100.0, each: float = 10.0, **changes: Any) -> Need:
    """A measurement with a known answer: ``base`` MB, ``each`` MB an image, half a second."""
    pair = Pair(step(4, base + 4 * each, 0.5, 0.2, 0.1), step(16, base + 16 * each, 0.5, 0.2, 0.1))
    found = Need(64, (pair,), (10,), steps=20, checks=15, share=0.1, examples=(1280, 960))
    return replace(found, **changes)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[float | None], None]:
    """Measurements with known answers, and this much memory available."""

    def measured(one: Wanted, available: float | None, direct: bool = True) -> Need:
        assert direct == (one.method == method("darts_2nd") and one.config.guard == "warn"
                          and one.space == wanted(16).space)  # fmt: skip
        if one.space == wanted(8).space:
            return need(each=5.0)
        if one.method == method("darts"):
            raise ArchgradError("does not run")
        return need(each=2.0) if one.method == method("pc_darts") else need()

    def of(available: float | None) -> None:
        monkeypatch.setattr(planning, "available_mb", lambda device: available)

    monkeypatch.setattr(planning, "measure", measured)
    return of


PLANNED = wanted(16, "darts_2nd", method="darts_2nd", batch_size=64, epochs=10, guard="warn")


@pytest.mark.parametrize(
    ("available", "fits", "options"),
    [
        (815.0, True, []),  # 740 MB and a tenth are 814
        (813.0, False, ["--batch-size 32 (420 MB)", "--method pc_darts (228 MB)",
                        "--channels 8 (420 MB)"]),
        (300.0, False, ["--batch-size 16 (260 MB)", "--method pc_darts (228 MB)",
                        "--channels 8 --batch-size 32 (260 MB)"]),
        (110.0, False, []),
        (None, None, ["--batch-size 32 (420 MB)", "--method pc_darts (228 MB)",
                      "--channels 8 (420 MB)"]),
    ],
)  # fmt: skip
def test_the_verdict_and_what_would_fit(
    available: float | None, fits: bool | None, options: list[str],
    known: Callable[[float | None], None],
) -> None:  # fmt: skip
    known(available)
    found = planning.plan(PLANNED)
    assert (found.memory_mb, found.memory_per_image_mb, found.available_mb) == (740, 10, available)
    assert found.fits is fits
    assert [str(option) for option in found.options] == options
    text = summary(found)
    assert "740 MB at the peak, with 64 images" in text
    assert ("it fits" in text, "it does not fit" in text) == (fits is True, fits is False)
    assert all(option in text for option in options)
    assert ("nothing that was tried" in text) == (available == 110)


def test_times_are_added_up_in_passes(known: Callable[[float | None], None]) -> None:
    known(1e6)
    found = planning.plan(PLANNED)
    assert found.step_seconds == pytest.approx(0.5)
    steps, evaluated, diagnosed = 200 * 0.5, 10 * 15 * 0.1, 0.1 * 200 * 2 * 3 * 0.1
    assert found.diagnostics_seconds == pytest.approx(diagnosed)
    assert found.search_seconds == pytest.approx(steps + evaluated + diagnosed)
    assert found.epoch_seconds == pytest.approx(found.search_seconds / 10)
    assert "0.5 s a step" in summary(found)
    assert "0:02:07 all 10 epochs" in summary(found)


def test_alpha_that_rests_or_moves_seldom_takes_less_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = need().pairs * 2
    monkeypatch.setattr(planning, "measure", lambda *_: need(pairs=pairs, epochs=(4, 6)))
    rare = replace(method("darts"), interval=3, warm_up=0.5)
    found = planning.plan(PLANNED._replace(method=rare), always=False)
    assert found.step_seconds == pytest.approx(0.2 + 0.3 / 3 / 2)
    assert found.epochs == 10
    assert "stage 1 of 2 needs most" in summary(found)


# --- a search that runs out of memory ----------------------------------------------------------

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    MemoryError(),
]


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Weight steps of more than ``images`` fail from epoch ``epoch`` on, counted from 0."""
    limits: dict[str, Any] = {"images": 4, "epoch": 1, "error": ERRORS[0]}
    real = BilevelSearch.weight_step

    def limited(self: BilevelSearch, state: State, meter: Any) -> None:
        assert state.train is not None
        limits["search"] = weakref.ref(self)
        if len(state.train[1]) > limits["images"] and self.done >= limits["epoch"]:
            raise type(limits["error"])(*limits["error"].args)  # a new one holds no frames
        real(self, state, meter)

    with monkeypatch.context() as patched:
        patched.setattr(BilevelSearch, "weight_step", limited)
        patched.setattr(planning, "available_mb", lambda device: None)
        limits["undo"] = patched.undo
        yield limits


def test_memory_that_runs_out_names_what_fits_and_loses_nothing(
    scarce: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ArchgradError) as told:
        archgrad.search(data=images(), out=tmp_path / "a", **TINY)
    text = str(told.value)
    assert text.startswith("the search ran out of memory (CUDA out of memory. Tried to allocate 2")
    assert "\n" not in text
    assert "; what would fit: --batch-size 4 (" in text
    assert f"1 finished epochs are kept, and go on with --resume {tmp_path / 'a'} once" in text
    assert "with other options it is a new run" in text
    scarce["undo"]()
    resumed = archgrad.search(data=images(), resume=tmp_path / "a")
    whole = archgrad.search(data=images(), **TINY)
    assert same(resumed.alpha, whole.alpha)
    assert [line["epoch"] for line in resumed.metrics] == [1, 2, 3]


def test_without_a_folder_nothing_is_promised(scarce: dict[str, Any]) -> None:
    with pytest.raises(ArchgradError, match="no run folder, so nothing is kept.*--batch-size 4"):
        archgrad.search(data=images(), **TINY)


def test_where_not_even_small_steps_fit_it_says_so(scarce: dict[str, Any], tmp_path: Path) -> None:
    scarce |= {"images": 0, "epoch": 0}
    with pytest.raises(ArchgradError, match="memory ran out in steps of few images; use fewer"):
        archgrad.plan(data=images(), **TINY)
    with pytest.raises(ArchgradError, match="0 finished epochs.*archgrad plan, in a new"):
        archgrad.search(data=images(), out=tmp_path / "a", **TINY)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_search_is_gone_before_others_are_measured(
    error: Exception, scarce: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supernet and what the failed step held would be missing to them."""

    def others(asked: Wanted, run: Run | None, reason: str) -> ArchgradError:
        gc.collect()
        return ArchgradError(f"{scarce['search']()}: {reason}")

    scarce |= {"error": error, "epoch": 0}
    monkeypatch.setattr("archgrad.preparing.prepared.ran_out", others)
    reason = (str(error).splitlines() or ["no memory left"])[0]
    with pytest.raises(ArchgradError, match=f"^None: {re.escape(reason)}$"):
        archgrad.search(data=images(), **TINY)


def test_another_runtime_error_stays_what_it_is(scarce: dict[str, Any]) -> None:
    scarce["error"] = RuntimeError("illegal memory access")
    scarce["epoch"] = 0
    for verb in (archgrad.search, archgrad.plan):
        with pytest.raises(RuntimeError, match="^illegal memory access"):
            verb(data=images(), **TINY)


# --- the command line --------------------------------------------------------------------------


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_prints_lines_or_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("plan", *FLAGS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["memory", "available", "time"]
    assert "8 images a step" in lines[0] and "2 epochs" in lines[2]
    assert run("plan", *FLAGS, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    options = tuple(Option(**option) for option in values.pop("options"))
    found = Plan(**values, options=options)
    assert (found.batch_size, found.steps, found.epochs, found.fits) == (8, 5, 2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--method", "dart"], ["--batch-size", "64"], ["--channels", "0"], ["--device", "gpu"],
        ["--method-option", "speed=1"], ["--config", "missing.yaml"], ["--cells", "2"],
        ["--method", "pc_darts"],
    ],
)  # fmt: skip
def test_wrong_options_are_refused_as_by_the_search(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = FLAGS + arguments
    assert run("search", *given) == 2
    refusal = capsys.readouterr().err
    assert run("plan", *given) == 2
    assert capsys.readouterr().err == refusal != ""

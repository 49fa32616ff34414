"""Before a search: what it will need of memory and time on this device, and what would fit.

A search is built as it will run and makes a few real steps with its own images, then once the
diagnostics that need most memory (`archgrad.resources.probe`). Memory is the peak of the whole
process on a CPU and that of torch's tensors on a GPU. It is a straight line over the batch size:
measured at the asked size where this surely takes at most half of what is left, else drawn on from
steps of at most 4 and 16 images, so that planning does not run out of memory itself. A long search
can need more than its first steps, for memory that an allocator cannot use again, hence `RESERVE`.
Only Linux can forget the peak of a process: elsewhere a step that needs less than what came before
is not seen. Times are those of steps and evaluations, the reading of their images included;
diagnostics are counted in passes (`archgrad.searching.cadence`). Not in it: what ends a search
early, a selection at its end, the retraining.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from math import inf

import torch

from archgrad import methods
from archgrad.errors import ArchgradError
from archgrad.resources.probe import Need, Wanted, measure
from archgrad.searching.cadence import GRADIENT
from archgrad.searching.leg import check
from archgrad.settings.config import OWN
from archgrad.storage.folder import Run, load_checkpoint
from archgrad.system.loops import resolve_device
from archgrad.system.memory import available_mb, forget_peak

RESERVE = 1.1  # MB that must be available for each that a search is expected to need
CHEAPER = ("darts", "pc_darts")  # of first order; on a quarter of the channels
NOTHING = "nothing that was tried; use smaller images or fewer cells"
WORTH = 0.9  # of the memory: another search that needs more than this is no way out


@dataclass(frozen=True)
class Option:
    """Command-line options that change the search, and the memory it would then need, in MB."""

    options: str
    memory_mb: float

    def __str__(self) -> str:
        return f"{self.options} ({self.memory_mb:,.0f} MB)"


@dataclass(frozen=True)
class Plan:
    """What a search is expected to need, as `archgrad.plan` returns it.

    - `device`: where it was measured; `batch_size`: images a step; `measured`: the batch sizes that
      steps were made with.
    - `stage`: of `stages`, counted from 1, the one that needs most memory.
    - `memory_mb`: at the peak of the search; `memory_per_image_mb`: of each image of a batch;
      `available_mb`: None where the system does not tell; MB are 10^6 bytes.
    - `fits`: whether the memory suffices, with 10 % to spare; None where the system does not tell.
    - `steps`: an epoch; `epochs`: of the search.
    - `step_seconds`: the mean over the search; `epoch_seconds`, `search_seconds`: with evaluation
      after each epoch and `diagnostics_seconds`, which is of the whole search.
    - `options`: command-line options of searches that would fit, each with its memory.
    - `unit`: what `batch_size` counts: of text, what is told of images is told of the steps in time
      of a segment.
    """

    device: str
    batch_size: int
    measured: tuple[int, ...]
    stage: int
    stages: int
    memory_mb: float
    memory_per_image_mb: float
    available_mb: float | None
    fits: bool | None
    steps: int
    epochs: int
    step_seconds: float
    epoch_seconds: float
    search_seconds: float
    diagnostics_seconds: float
    options: tuple[Option, ...]
    unit: str = "images a step"


def plan(wanted: Wanted, always: bool = False) -> Plan:
    """Measure what the search needs; nothing is written, torch's random state stays as it is.

    `always`: look for options that need less memory even where the search fits. Raises
    `ArchgradError` where not even small steps fit.
    """
    device = resolve_device(wanted.config.device)
    gc.collect()
    forget_peak(device)  # what another search left is free
    available = available_mb(device)
    need = measure(wanted, available)
    pair, memory = need.pairs[need.largest()], need.memory(need.images)
    fits = None if available is None else RESERVE * memory <= available
    stepping, beside, diagnosing = seconds(need, wanted)
    whole, epochs = stepping + beside + diagnosing, sum(need.epochs)
    return Plan(
        device=str(device),
        batch_size=need.images,
        measured=tuple(sorted(step.images for step in pair if step.images)),
        stage=need.largest() + 1,
        stages=len(need.pairs),
        memory_mb=memory,
        memory_per_image_mb=pair.at(1).memory - pair.at(0).memory,
        available_mb=available,
        fits=fits,
        steps=round(need.steps),
        epochs=epochs,
        step_seconds=stepping / (epochs * need.steps),
        epoch_seconds=whole / epochs,
        search_seconds=whole,
        diagnostics_seconds=diagnosing,
        options=() if fits and not always else tuple(_options(wanted, need, available)),
        unit="steps in time a segment" if _of_text(wanted) else "images a step",
    )


def seconds(need: Need, wanted: Wanted) -> tuple[float, float, float]:
    """All steps of the search, all evaluations, all diagnostics."""
    often = 1 / wanted.method.interval  # steps of alpha, for each of the weights
    passes = need.share * need.steps * (1 + often) * GRADIENT  # of the diagnostics, an epoch
    stepping = evaluating = diagnosing = 0.0
    for pair, epochs in zip(need.pairs, need.epochs, strict=True):
        step, steps = pair.at(need.images), epochs * need.steps
        alpha = max(0.0, step.seconds - step.weights) * often * (1 - wanted.method.warm_up)
        stepping += steps * (step.weights + alpha)
        evaluating += epochs * need.checks * step.forward
        diagnosing += epochs * passes * step.forward
    return stepping, evaluating, diagnosing


def _options(wanted: Wanted, need: Need, available: float | None) -> Iterator[Option]:
    """Other options with the largest batch that would fit: the asked one, or half, or half that."""
    whole = need.memory(need.images)
    limit = inf if available is None else available / RESERVE
    for words, other in _others(wanted):
        with suppress(ArchgradError):  # one that makes no sense here
            check(other.space, other.method, other.config)
            theirs = measure(other, available, direct=False) if words else need
            if words and theirs.memory(need.images) > WORTH * whole:
                continue
            halved = 0 if words else 1
            sizes = [need.images >> times for times in range(halved, need.images.bit_length() - 1)]
            images = next((n for n in sizes if theirs.memory(n) <= limit), None)
            if images is not None:
                name = "--bptt" if _of_text(wanted) else "--batch-size"
                batch = f"{name} {images}" if images < need.images else ""
                yield Option(f"{words} {batch}".strip(), theirs.memory(images))


def _of_text(wanted: Wanted) -> bool:
    return wanted.space.input_shape == ()


def _others(wanted: Wanted) -> Iterator[tuple[str, Wanted]]:
    """The search itself, and others, each with what must be said on the command line."""
    config = wanted.config
    yield "", wanted
    for name in CHEAPER:
        if name != config.method:
            yield f"--method {name}", wanted._replace(method=methods.method(name))
    if config.guard != "off":  # its diagnostics compute all candidates, some methods do not
        off = config.model_copy(update={"guard": "off"})
        yield "--guard off", wanted._replace(config=off)
    if config.space != OWN and config.channels >= 4 and not _of_text(wanted):
        half = config.channels // 2
        yield f"--channels {half}", wanted._replace(space=wanted.space.sized(channels=half))


def ran_out(wanted: Wanted, run: Run | None, reason: str) -> ArchgradError:
    """The error for a search that ran out of memory: what is kept, and what would fit.

    Call it where nothing holds that search any more: its supernet, or a traceback.
    """
    try:
        found = plan(wanted, always=True)
    except ArchgradError:
        advice = "nothing else could be tried here; archgrad plan, in a new process, says what fits"
    else:
        left = "" if found.available_mb is None else f", {found.available_mb:,.0f} MB are available"
        fitting = ", ".join(map(str, found.options)) or NOTHING
        advice = f"it needs about {found.memory_mb:,.0f} MB{left}; what would fit: {fitting}"
    return ArchgradError(f"the search ran out of memory ({reason}); {_kept(run)}; {advice}")


def _kept(run: Run | None) -> str:
    if run is None:
        return "it had no run folder, so nothing is kept"
    content = load_checkpoint(run.path / "checkpoints", torch.device("cpu"))
    epochs = 0 if content is None else content["epoch"]
    return (
        f"{epochs} finished epochs are kept, and go on with --resume {run.path} once more memory "
        "is free; with other options it is a new run"
    )


def summary(found: Plan) -> str:
    """The plan in plain words, a few lines."""
    measured = " and ".join(map(str, found.measured))
    stage = f"; stage {found.stage} of {found.stages} needs most" if found.stages > 1 else ""
    lines = [
        f"memory     {found.memory_mb:,.0f} MB at the peak, with {found.batch_size} {found.unit} "
        f"of {found.memory_per_image_mb:,.2f} MB each (measured with {measured}{stage})"
    ]
    if found.available_mb is None:
        lines.append("available  not known on this system")
    else:
        verdict = "it fits" if found.fits else "it does not fit"
        reserve = f"asked for: {RESERVE - 1:.0%} more than the peak"
        lines.append(f"available  {found.available_mb:,.0f} MB: {verdict} ({reserve})")
    lines.append(
        f"time       {_clock(found.step_seconds)} a step, {_clock(found.epoch_seconds)} an epoch "
        f"of {found.steps} steps, {_clock(found.search_seconds)} all {found.epochs} epochs, of "
        f"which diagnostics {_clock(found.diagnostics_seconds)}"
    )
    title = "would need" if found.available_mb is None else "would fit "
    if found.options or found.fits is False:
        lines += [f"{title} {option}" for option in found.options or (NOTHING,)]
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    """Seconds below a minute, else h:mm:ss."""
    return f"{seconds:.3g} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))

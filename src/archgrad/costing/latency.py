"""Latency on the user's own device: of every candidate at every place, and of whole networks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median, quantiles
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from archgrad import spaces
from archgrad.architecture import Architecture
from archgrad.costing.costs import CostTable, as_space, place_of, relative_error
from archgrad.costing.walking import Met, walk
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.networks.nesting import answering
from archgrad.spaces import SearchSpace
from archgrad.spaces.own import OwnModel
from archgrad.storage.folder import device_name
from archgrad.system.loops import placed, resolve_device, seeded
from archgrad.tensors.precision import without_tf32
from archgrad.tensors.trees import cut, mapped, moved, size

SAMPLES = 21  # of which the median is taken
SAMPLE_MS = 2.0  # a sample is as many calls as take this long
WARM_MS = 20.0
FITTED, CHECKED = 5, 5  # random networks: that give the rest of a network, that check the sum
QUIET = 0.2  # spread of a device that is left alone, at most


class Call(NamedTuple):
    """A module on a device, and how it is called; timed in eval mode."""

    module: nn.Module
    device: torch.device
    run: Callable[[], Any]


class Timing(NamedTuple):
    """Milliseconds of a call: the median, and the interquartile range of the samples."""

    median: float
    spread: float


def measure_latency(
    space: str | SearchSpace | nn.Module,
    *,
    device: str = "auto",
    batch: int = 1,
    threads: int = 1,
    example: Any = None,
    forward: Callable[..., Any] | None = None,
    tell: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> CostTable:
    """Time every candidate of a space at every place, in ms, in eval mode, float32, channels last.

    `space`: a value, or a name with its `options` (channels, cells, image_size, ...), at the
    size of the network that the limit is about; or an own model with an `example`, as for
    `archgrad.cost_table` (and `forward` as there), of at least `batch` examples; `device`: cpu,
    cuda, cuda:N, or auto, which is cuda where there is one; `batch`: images a call; `threads`: of
    the CPU; `tell`: hears a line of what is going to be timed.

    Equal operations on equal inputs are timed once. The rest of a network is what a few random
    derived networks take beyond their candidates, and the `error` of the prediction is measured
    on others. Raises `ArchgradError` for wrong input. Keep the device free of other work.

    >>> import archgrad, torch
    >>> block = {"linear": torch.nn.Linear(4, 4), "skip": torch.nn.Identity()}
    >>> model = torch.nn.Sequential(archgrad.Choice(block, "block"), torch.nn.Linear(4, 2))
    >>> table = archgrad.measure_latency(model, device="cpu", example=torch.zeros(2, 4))
    >>> table.kind, sorted(table.groups["block"][0])
    ('latency', ['linear', 'skip'])
    """
    if isinstance(space, str):
        space = spaces.space(space, **options)
    elif options:
        raise ArchgradError(
            f"options {sorted(options)} go with the name of a space; the space given has its size"
        )
    if batch < 1 or threads < 1:
        raise ArchgradError(
            f"measure-latency: batch {batch} and threads {threads}, expected at least 1"
        )
    space = as_space(space, example, forward)
    where = resolve_device(device)
    with seeded(0, threads, where), without_tf32(), torch.inference_mode():
        return _measured(space, where, batch, threads, tell)


def _measured(
    space: SearchSpace,
    device: torch.device,
    batch: int,
    threads: int,
    tell: Callable[[str], None],
) -> CostTable:
    calls: dict[object, Call] = {}
    walked, _, examples = walk(space, device, batch)
    if examples < batch:
        raise ArchgradError(
            f"the example of the model has {examples} examples, expected {batch} for batch "
            f"{batch}; give a longer example=, or a smaller batch"
        )
    own = isinstance(space, OwnModel)
    alone = {met.choice: _alone(met.choice) for met in walked}
    for met in walked:
        for candidate in alone[met.choice]:
            if met.key(candidate) not in calls:
                calls[met.key(candidate)] = _candidate(met, candidate, device, own)
    tell(f"timing {len(calls)} different operations at {len(walked)} places")
    generator = torch.Generator().manual_seed(0)
    drawn = [space.random_architecture(generator) for _ in range(FITTED + CHECKED)]
    networks = [_network(space, one, device, batch) for one in drawn]
    found = timings([*calls.values(), *networks])
    timed = dict(zip(calls, found, strict=False))
    places = []
    for met in walked:
        choice = met.choice
        times = zip(*(timed[met.key(candidate)] for candidate in alone[choice]), strict=True)
        costs, spread = (dict(zip(choice.names, values, strict=True)) for values in times)
        places.append(place_of(met, costs, spread))
    edges = {group.name: group.edges for group in space.groups}
    bare = CostTable("latency", space.name, 0.0, edges, tuple(places))
    measured = [timing.median for timing in found[len(calls) :]]
    sums = [bare.predict(one) for one in drawn]
    rests = [whole - part for whole, part in zip(measured, sums, strict=True)]
    fixed = median(rests[:FITTED])
    predicted = [fixed + part for part in sums]
    checked = list(zip(predicted, measured, strict=True))[FITTED:]
    about = {
        "device": device.type,
        "device_name": device_name(device),
        "threads": threads,
        "batch": batch,
        "samples": SAMPLES,
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "checked_ms": [[round(p, 6), round(m, 6)] for p, m in checked],  # predicted, measured
    }
    error = relative_error(predicted[FITTED:], measured[FITTED:])
    return CostTable("latency", space.name, fixed, edges, tuple(places), error, about)


def _alone(choice: Choice) -> list[nn.Module]:
    """Each candidate as a derived network has it."""
    return [choice.chosen([name] * choice.picks) for name in choice.names]


def _candidate(met: Met, candidate: nn.Module, device: torch.device, own: bool) -> Call:
    inputs, options = met.given(device, torch.randn_like)
    inputs = inputs if own else mapped(in_order, inputs)
    module = placed(candidate, device, own).eval()
    module = answering(module, lambda module: module(*inputs, **options))
    return Call(module, device, lambda: module(*inputs, **options))


def summary(table: CostTable) -> str:
    """What a table of latencies holds and how well it predicts, a few lines."""
    about = table.about
    costs = [value for place in table.places for value in place.costs.values()]
    spread = sum(value for place in table.places for value in place.spread.values()) / sum(costs)
    lines = [
        f"device     {about['device_name']}, {about['threads']} threads, batch {about['batch']}, "
        f"torch {about['torch']}",
        f"measured   {len(costs)} candidates at {len(table.places)} places; spread (interquartile "
        f"range) {spread:.1%} of the median",
        f"rest       {table.fixed:.4g} ms, all that is no candidate",
        f"error      {table.error:.1%} on average, predicted against measured, of "
        f"{len(about['checked_ms'])} random networks:",
        *(f"           {p:.4g} ms predicted, {m:.4g} ms measured" for p, m in about["checked_ms"]),
    ]
    if spread > QUIET:
        lines.append("the device was not quiet: end other work on it and measure again")
    return "\n".join(lines)


def network_latency(
    space: SearchSpace, architecture: Architecture, device: str, batch: int = 1, threads: int = 1
) -> Timing:
    """Milliseconds of a whole derived network, timed as its candidates are.

    Where an own model has fewer than `batch` examples, they are repeated.
    """
    where = resolve_device(device)
    with seeded(0, threads, where), without_tf32(), torch.inference_mode():
        (found,) = timings([_network(space, architecture, where, batch)])
    return found


def _network(
    space: SearchSpace, architecture: Architecture, device: torch.device, batch: int
) -> Call:
    if isinstance(space, OwnModel):
        return _own_network(space, architecture, device, batch)
    network = placed(space.derive(architecture), device)
    assert space.input_shape is not None
    some, images = (
        in_order(torch.randn(count, *space.input_shape, device=device)) for count in (8, batch)
    )
    _settle(network, lambda: network(some))
    return Call(network, device, lambda: network(images))


def _own_network(
    space: OwnModel, architecture: Architecture, device: torch.device, batch: int
) -> Call:
    assert space.example is not None
    network = placed(space.derive(architecture), device, own=True)
    task, example = space.example
    given = moved(example, device)
    if size(given) > 1:  # batch normalization has no statistics of one
        _settle(network, lambda: task.forward(network, cut(given, 8)))
    some = _lengthened(given, batch)
    return Call(network, device, lambda: task.forward(network, some))


def _lengthened(given: Any, batch: int) -> Any:
    whole = size(given)
    times = math.ceil(batch / whole)

    def repeated(tensor: Tensor) -> Tensor:
        long = tensor.ndim and len(tensor) == whole
        return torch.cat([tensor] * times) if long else tensor

    return cut(mapped(repeated, given), batch)


def _settle(network: nn.Module, run: Callable[[], Any]) -> None:
    """Give batch normalization its statistics: in deep networks numbers would underflow without.

    Arithmetic on numbers that underflow is many times slower than that of a trained network.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the statistics are those of this one batch
    network.train()
    run()
    network.eval()


def timings(calls: Sequence[Call]) -> list[Timing]:
    """Milliseconds of each call, after warming up; work of a GPU is waited for.

    The samples of all calls are taken in turns, so that what disturbs the device hits all alike.
    """
    repeats = [_warmed(call) for call in calls]
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(SAMPLES):
        for call, times, kept in zip(calls, repeats, samples, strict=True):
            kept.append(_sample(call, times))
    quartiles = [quantiles(kept, n=4) for kept in samples]
    return [Timing(middle, high - low) for low, middle, high in quartiles]


def _warmed(call: Call) -> int:
    """How many calls are a sample."""
    call.module.eval()
    times, spent = 1, 0.0
    while spent < WARM_MS:
        one = _sample(call, times)
        spent += max(one * times, 1e-3)
        times = min(1000, max(1, math.ceil(SAMPLE_MS / max(one, 1e-6))))
    return times


def _sample(call: Call, times: int) -> float:
    """Milliseconds of a call, the mean of so many."""
    _wait(call.device)
    started = time.perf_counter()
    for _ in range(times):
        call.run()
    _wait(call.device)
    return 1e3 * (time.perf_counter() - started) / times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_order(images: Tensor) -> Tensor:
    """Laid out in memory as a network is."""
    return images.to(memory_format=torch.channels_last) if images.ndim == 4 else images

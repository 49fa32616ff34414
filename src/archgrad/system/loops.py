"""What the search loop and the retraining loop share: devices, seeds, schedules, evaluation."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad.errors import ArchgradError, unknown
from archgrad.system.distributed import world
from archgrad.system.launch import local_rank, local_size

Model = TypeVar("Model", bound=nn.Module)
ORDERS = {4: torch.channels_last, 5: torch.channels_last_3d}


def resolve_device(name: str) -> torch.device:
    """The device called cpu, cuda, cuda:N or auto (cuda where there is one)."""
    count = torch.cuda.device_count()
    known = ["auto", "cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if not count and name.partition(":")[0] == "cuda":
        raise ArchgradError(f'device "{name}": there is no CUDA GPU here; use cpu or auto')
    if name not in known:
        raise unknown("device", name, known)
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name != "cpu" and not world().alone:  # each process has a GPU of its own
        if count < local_size():
            raise ArchgradError(
                f"found {count} GPU{'s' if count > 1 else ''} for {local_size()} processes on this "
                "machine; expected one each: begin fewer with --nproc-per-node, or use device cpu"
            )
        name = f"cuda:{local_rank()}"
    return torch.device(name)


@contextmanager
def seeded(seed: int, threads: int, device: torch.device) -> Iterator[None]:
    """Run with torch's random state from `seed` and this many CPU threads; then as before."""
    before = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def drawn_seed() -> int:
    """A seed from torch's random state."""
    return int(torch.randint(2**62, ()))


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The random states that a checkpoint must hold."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set what `random_state` returned."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def placed(model: Model, device: torch.device, own: bool = False) -> Model:
    """The model on the device, in channels_last order (2 to 6 times faster on a CPU).

    That order exists for images and volumes; weights for signals stay as they are. A model that is
    `own` keeps its order: a user's may call `view`.
    """
    moved: Model = model.to(device=device)
    if own:
        return moved
    for tensor in (*moved.parameters(), *moved.buffers()):
        if tensor.ndim in ORDERS:
            tensor.data = tensor.data.contiguous(memory_format=ORDERS[tensor.ndim])
    return moved


def cosine(start: float, end: float, epoch: int, epochs: int) -> float:
    """The cosine learning rate of an epoch counted from 0: `start` at 0, near `end` at last."""
    return end + (start - end) * (1 + math.cos(math.pi * epoch / epochs)) / 2


class Meter:
    """Means over an epoch, kept on the device; a loss that is not finite is found and located.

    A step may record a name or not; `next` ends it. Values are copied: a recorded step writes its
    losses to the same place every time. Means are weighted by `weight`, the examples of a step;
    what is not `judged` may be without a value in some steps, and its mean is that of the others.
    """

    def __init__(self, check_every: int) -> None:
        self.check_every, self.step = check_every, 0
        self.values: dict[str, list[tuple[Tensor, int]]] = {}
        self.new: list[tuple[int, str, Tensor]] = []

    def add(self, *, weight: int = 1, judged: bool = True, **values: Tensor) -> None:
        """Record one value a name for this step."""
        for name, value in values.items():
            kept = value.detach().clone()
            self.values.setdefault(name, []).append((kept, weight))
            if judged:
                self.new.append((self.step, name, kept))

    def next(self) -> None:
        """The step is done."""
        self.step += 1

    def first_bad(self, last: bool = False) -> tuple[str, int] | None:
        """Name and step of the first value that is not finite, looked for every few steps."""
        if not self.new or (self.step % self.check_every and not last):
            return None
        finite = torch.stack([value.isfinite() for _, _, value in self.new]).tolist()
        bad = [(name, step) for (step, name, _), good in zip(self.new, finite) if not good]
        self.new = []
        return bad[0] if bad else None

    def means(self) -> dict[str, float]:
        """The mean of each name over the steps that recorded it."""
        found = {}
        for name, pairs in self.values.items():
            values = torch.stack([value for value, _ in pairs]).double()
            weights = values.new_tensor([weight for _, weight in pairs]) * values.isfinite()
            if bool(weights.any()):
                total = (values.nan_to_num(0.0, 0.0, 0.0) * weights).sum()
                found[name] = float(total / weights.sum())
        return found


def first_infinite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor that holds a value that is not finite, or None."""
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    if not names:
        return None
    finite = torch.stack([tensors[name].detach().isfinite().all() for name in names])
    return None if bool(finite.all()) else names[int(finite.logical_not().nonzero()[0])]


def check_interval(device: torch.device) -> int:
    """Steps between looks at the losses: each look makes a GPU wait."""
    return 1 if device.type == "cpu" else 50


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """Share of images whose largest logit is the label, in [0, 1]; a scalar tensor."""
    return (logits.argmax(dim=1) == target).float().mean()


@torch.no_grad()
def evaluate(
    forward: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy in [0, 1] over all images.

    Added up on the device, so that a GPU is waited for once, at the end.
    """
    images, total = 0, torch.zeros(2, dtype=torch.float64)
    for x, target in batches:
        logits = forward(x)
        images += len(target)
        loss = F.cross_entropy(logits, target, reduction="sum")
        right = (logits.argmax(dim=1) == target).sum()
        total = total.to(logits.device) + torch.stack([loss.double(), right.double()])
    if not images:
        raise ArchgradError("there are no images to evaluate; give a data set with some")
    return float(total[0]) / images, float(total[1]) / images


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory so far in MB: of the GPU's tensors, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3

"""Two forked gloo processes, for tests of what they do together, in float64."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import archgrad
from archgrad.data import Data
from archgrad.system.distributed import joined


def _begin(work: Callable[..., Any], rank: int, port: int, out: Path, arguments: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    with joined():
        torch.save(work(*arguments), out / f"{rank}.pt")
    dist.barrier()
    os._exit(0)


def together(work: Callable[..., Any], out: Path, *arguments: Any) -> list[Any]:
    """What ``work`` returns in each of two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    begun = [
        context.Process(target=_begin, args=(work, rank, port, out, arguments), daemon=True)
        for rank in (0, 1)
    ]
    for process in begun:
        process.start()
    for process in begun:
        process.join(60)
        process.kill()  # one that waits in vain, so that the tests end
    return [torch.load(out / f"{r}.pt", weights_only=True) for r in (0, 1)]


@contextmanager
def float64() -> Iterator[None]:
    """New weights and draws are in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@dataclass(frozen=True)
class Doubled:
    """A source of images, or its batches, in float64."""

    inner: Any

    def __len__(self) -> int:
        return len(self.inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def subset(self, indices: Any) -> Doubled:
        return Doubled(self.inner.subset(indices))

    def batches(self, size: int, **options: Any) -> Doubled:
        return Doubled(self.inner.batches(size, **options))

    def epoch(self, index: int) -> Iterator[tuple[Tensor, Tensor]]:
        return ((x.double(), y) for x, y in self.inner.epoch(index))


def doubled(data: Data) -> Data:
    """Its images in float64."""
    test = None if data.test is None else Doubled(data.test)
    return replace(data, train=Doubled(data.train), test=test)  # type: ignore[arg-type]


def flat(tensors: dict[str, Tensor]) -> Tensor:
    """One after the other, integers as well."""
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors.values()])


class Own(nn.Module):
    """A model with batch normalization and dropout, in which a step sees all that is divided."""

    def __init__(self) -> None:
        super().__init__()
        wide = {"a": nn.Linear(6, 6), "b": nn.Sequential(nn.Linear(6, 6), nn.Tanh())}
        self.choice = archgrad.Choice(wide, "block")
        self.norm, self.dropout, self.out = nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.dropout(self.norm(self.choice(x))))
        return found


def rows(count: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(5))
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 1).long()

"""Several processes that make one search: who they are, what they tell one another.

All of them run the same program and hold the same weights, alpha and random state; a pass alone is
divided among them (`archgrad.kernels.division`), and the first one alone writes (`World.first`).
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.system.launch import launched, local_rank, local_size

Value = TypeVar("Value")
PATIENCE = timedelta(minutes=10)  # what a process waits for the others


class World(NamedTuple):
    """This process's number, from 0, of `size` that work together."""

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.size == 1


class _Joined:
    """Of the whole process: on a GPU gradients are computed in other threads."""

    now = False


def world() -> World:
    """The processes within `joined`; one outside, as where each makes a search of its own."""
    if not _Joined.now:
        return World(0, 1)
    return World(dist.get_rank(), dist.get_world_size())


@contextmanager
def joined() -> Iterator[World]:
    """Within it the processes that torchrun began, or the caller has joined, do a job together."""
    begun = dist.is_available() and dist.is_initialized()
    if not (begun or launched()) or _Joined.now:
        yield world()
        return
    if not begun:
        gpu = torch.cuda.device_count() >= local_size()  # one for each
        if gpu:
            torch.cuda.set_device(local_rank())
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
    _Joined.now = True
    try:
        yield world()
    finally:
        _Joined.now = False
        if not begun:
            dist.destroy_process_group()


def summed(value: Tensor) -> Tensor:
    """The sum over all processes, the same bits in each; a new tensor."""
    found = value.detach().clone(memory_format=torch.contiguous_format)
    with _together():
        dist.all_reduce(found)
    return found


def from_first(make: Callable[[], Value]) -> Value:
    """What the first process makes, in all of them; the others' `make` is not called.

    Numbers, texts, tensors, and lists and dicts of these. What it raises there, an `ArchgradError`
    says in the others.
    """
    if world().alone:
        return make()
    if world().first:
        try:
            value = make()
        except BaseException as error:
            _send({"error": str(error) or type(error).__name__})
            raise
        _send({"value": value})
        return value
    content = _receive()
    if "error" in content:
        raise ArchgradError(f"the first process ended: {content['error']}")
    found: Value = content["value"]
    return found


def refuse_apart(tensors: Mapping[str, Tensor]) -> None:
    """Raise `ArchgradError` unless all processes hold the same bits."""
    if world().alone:
        return
    found = torch.tensor([_digest(value) for value in tensors.values()])
    lowest, highest = found.clone(), found
    with _together():
        dist.all_reduce(lowest, dist.ReduceOp.MIN)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
    apart = [name for name, same in zip(tensors, (lowest == highest).tolist()) if not same]
    if apart:
        raise ArchgradError(
            f"the {world().size} processes of this search no longer hold the same {apart[0]}; "
            "expected equal bits: does the model or the data draw random numbers or read a clock "
            "by itself, or are the GPUs of different kinds? Continue in one process with --resume"
        )


def _digest(value: Tensor) -> int:
    content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=7).digest(), "big")


def _send(content: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    packed = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
    with _together():
        dist.broadcast(torch.tensor([len(packed)]), 0)
        dist.broadcast(packed, 0)


def _receive() -> dict[str, Any]:
    length = torch.zeros(1, dtype=torch.int64)
    with _together():
        dist.broadcast(length, 0)
        packed = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(packed, 0)
    buffer = io.BytesIO(packed.numpy().tobytes())
    found: dict[str, Any] = torch.load(buffer, map_location="cpu", weights_only=True)
    return found


def _reason(error: Exception) -> str:
    """Its first line, without where in the library's own code it was raised."""
    line = (str(error).splitlines() or [""])[0]
    return re.sub(r"^\[\S+\] ", "", line)[:120] or type(error).__name__


@contextmanager
def _together() -> Iterator[None]:
    """Says that another process is gone where they cannot do something together."""
    try:
        yield
    except RuntimeError as error:
        rank, size = world()
        raise ArchgradError(
            f"process {rank + 1} of {size} lost another one ({_reason(error)}); what came before "
            "this epoch is kept: see what that process or its machine says, then continue with "
            "--resume, with as many processes as you like"
        ) from None

"""An own model called once with a batch of each half, before a search begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from archgrad.data import Batches
from archgrad.errors import ArchgradError
from archgrad.kernels.division import undivided
from archgrad.networks.choice import Choice
from archgrad.networks.mixed import shapes
from archgrad.networks.mixing import Mixing
from archgrad.networks.operations import Zero
from archgrad.networks.supernet import Supernet
from archgrad.searching.loaders import Loaders
from archgrad.spaces import SearchSpace
from archgrad.spaces.own import OwnModel
from archgrad.system.distributed import refuse_apart, world
from archgrad.system.loops import placed
from archgrad.task import Task
from archgrad.tensors.trees import cut, mapped, moved, tensors

NEAR = 1e-2  # of the largest output: what rounding may change
EXAMPLES = 8  # kept of the first batch, to see what a model costs


def rehearse(space: SearchSpace, task: Task, loaders: Loaders, device: torch.device) -> None:
    """Whether model, loss, metric and batches go together; an own model keeps an example.

    Random numbers and the states of loaders are as before. What fails says where.
    """
    states, own = loaders.state_dict(), isinstance(space, OwnModel)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        net = _supernet(space, task, device)
        for name, part in (("train", loaders.train), ("valid", loaders.valid)):
            try:
                batch = _try(net, part, name, own and name == "train")
            except Exception as error:
                error.add_note(
                    f"with the first batch of {name}, before the search began; model and batch "
                    f"were put on {device}"
                )
                raise
            if isinstance(space, OwnModel):
                kept = mapped(torch.clone, cut(batch, EXAMPLES))  # a view keeps the whole batch
                space.example = task, moved(kept, torch.device("cpu"))
    loaders.load_state_dict(states)


def _supernet(space: SearchSpace, task: Task, device: torch.device) -> Supernet:
    model = space.supernet()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise ArchgradError(
                f"{name} of the model is on the meta device, which holds no values; build the "
                "model on the CPU, or use to_empty() and set its weights"
            )
    net = Supernet(placed(model, device, own=True), space.groups, task=task)
    if not net.weights:
        raise ArchgradError(
            "no parameter of the model requires a gradient; expected some weights to train beside "
            "the choices"
        )
    for choice in net.choices:
        choice.register_forward_hook(_check_zeros, with_kwargs=True)
    return net


def _check_met(net: Supernet, batch: Any, mixing: Mixing) -> None:
    """Whether every choice is called, in training and in evaluation."""
    met: set[nn.Module] = set()
    hooks = [c.register_forward_hook(lambda m, i, o: met.add(m)) for c in net.choices]
    for mode in ("training", "evaluation"):
        met.clear()
        if mode == "evaluation":
            net.evaluation_mode()
        with torch.no_grad():
            net.outputs(mixing, batch)
        missed = sorted({choice.group for choice in net.choices if choice not in met})
        if missed:
            raise ArchgradError(
                f"choice {missed[0]} is not called when the model runs in {mode} mode: either the "
                "model does not use it, or a module around it computes without it (a fused path, "
                "such as that of nn.TransformerEncoderLayer); take it out, or call it"
            )
    net.model.train()
    for hook in hooks:
        hook.remove()


def _try(net: Supernet, part: Batches, name: str, thorough: bool) -> Any:
    """Take the first batch, and return it; `thorough`: see that every choice is called."""
    batches = part.epoch(0)
    first = list(islice(batches, 1))
    del batches  # it reads a loader that keeps a state to its end
    if not first:
        raise ArchgradError(f"{name} yields no batch; expected at least one")
    (batch,) = first
    parts = enumerate(tensors(batch))
    refuse_apart({f"first batch of {name}, tensor {number}": one for number, one in parts})
    mixing = Mixing({group: alpha.softmax(dim=-1) for group, alpha in net.alpha.items()})
    output, target = net.outputs(mixing, batch)
    loss = net.task.minimized(output, target)
    net.task.reported(output, target)
    if thorough:
        _check_met(net, batch, mixing)
    if not math.isfinite(float(loss.detach())):
        raise ArchgradError(
            f"the loss of the first batch of {name} is {float(loss.detach())}; look for "
            "extreme values in the data, or scale the inputs"
        )
    if not world().alone:
        _check_divided(net, batch, mixing, name)
    if not loss.requires_grad:
        raise ArchgradError(
            "the loss does not depend on the weights or the choices of the model; expected "
            "one that can be differentiated (no detach, argmax or no_grad on its way)"
        )
    return batch


def _check_divided(net: Supernet, batch: Any, mixing: Mixing, name: str) -> None:
    """Whether several processes compute together what one computes."""
    found = []
    for how in (nullcontext(), undivided()):
        devices = [net.device] if net.device.type == "cuda" else []
        with torch.no_grad(), how, torch.random.fork_rng(devices):
            output, _ = net.outputs(mixing, batch)
            found.append([one.double() for one in tensors(output) if one.is_floating_point()])
    for together, alone in zip(*found, strict=True):
        if together.shape != alone.shape or not _near(together, alone):
            raise ArchgradError(
                f"for the first batch of {name} the model gives another output in "
                f"{world().size} processes than in one; expected each example's own, or a mean: "
                "use one process, or see what it draws within other functions (nn.LSTM, "
                "nn.MultiheadAttention, torch.rand) or for weights, and what it computes of all "
                "examples other than by BatchNorm"
            )


def _near(found: Tensor, expected: Tensor) -> bool:
    finite = expected[expected.isfinite()].abs()
    most = float(finite.max()) if len(finite) else 0.0
    return torch.allclose(found, expected, rtol=0, atol=NEAR * most, equal_nan=True)


def _check_zeros(
    choice: nn.Module, inputs: Sequence[Any], options: Mapping[str, Any], output: Any
) -> None:
    """A `Zero` is not computed in a search; derived it is, and its shapes must be the others'."""
    assert isinstance(choice, Choice)
    zeros = [i for i, candidate in enumerate(choice.candidates) if isinstance(candidate, Zero)]
    for index, found in zip(zeros, choice.outputs(zeros, inputs, options), strict=True):
        if shapes(found) != shapes(output):
            raise ArchgradError(
                f"choice {choice.group}: candidate {choice.names[index]} (Zero) returns "
                f"{shapes(found)}, the others {shapes(output)}; use Zero where the input has the "
                "shape of the output, or a module of yours that returns zeros of that shape"
            )

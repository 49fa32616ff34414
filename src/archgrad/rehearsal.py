"""An own model called once with a batch of each half, before a search begins."""

from __future__ import annotations

import math

import torch

from archgrad.errors import ArchgradError
from archgrad.loaders import Loaders
from archgrad.loops import placed
from archgrad.mixing import Mixing
from archgrad.spaces import SearchSpace
from archgrad.spaces.own import OwnModel
from archgrad.supernet import Supernet
from archgrad.task import Task
from archgrad.trees import cut, moved

EXAMPLES = 8  # kept of the first batch, to see what a model costs


def rehearse(space: SearchSpace, task: Task, loaders: Loaders, device: torch.device) -> None:
    """Whether model, loss, metric and batches go together; an own model keeps an example.

    Random numbers and the states of loaders are as before. What fails says where.
    """
    states = loaders.state_dict()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        net = Supernet(placed(space.supernet(), device), space.groups, task=task)
        mixing = Mixing({name: alpha.softmax(dim=-1) for name, alpha in net.alpha.items()})
        for name, part in (("train", loaders.train), ("valid", loaders.valid)):
            batches = part.epoch(0)
            batch = next(batches, None)
            if batch is None:
                raise ArchgradError(f"{name} yields no batch; expected at least one")
            if isinstance(space, OwnModel):
                space.example = task, moved(cut(batch, EXAMPLES), torch.device("cpu"))
            try:
                output, target = net.outputs(mixing, batch)
                loss = task.minimized(output, target)
                task.reported(output, target)
            except Exception as error:
                error.add_note(f"with the first batch of {name}, before the search began")
                raise
            if not math.isfinite(float(loss.detach())):
                raise ArchgradError(
                    f"the loss of the first batch of {name} is {float(loss.detach())}; look for "
                    "extreme values in the data, or scale the inputs"
                )
            if not loss.requires_grad:
                raise ArchgradError(
                    "the loss does not depend on the weights or the choices of the model; expected "
                    "one that can be differentiated (no detach, argmax or no_grad on its way)"
                )
    loaders.load_state_dict(states)

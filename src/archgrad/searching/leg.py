"""The supernet of one stage of a search, with its optimizers; and how a stage inherits another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.networks.counting import name_of
from archgrad.networks.recompute import Recomputable
from archgrad.networks.supernet import Supernet
from archgrad.parts.method import Method
from archgrad.parts.stage import Candidates, Stage, boundaries
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.system.loops import placed
from archgrad.task import CLASSIFICATION, Task
from archgrad.tensors.dimensions import wide


@dataclass(frozen=True)
class Leg:
    """What is trained between the first and the last epoch of a stage."""

    space: SearchSpace
    net: Supernet
    weight_optimizer: torch.optim.SGD
    arch_optimizer: torch.optim.Optimizer

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        method: Method,
        stage: Stage,
        candidates: Candidates | None,
        config: SearchConfig,
        device: torch.device,
        task: Task = CLASSIFICATION,
    ) -> Leg:
        """A fresh supernet with the stage's candidates, depth and edges, and its optimizers."""
        space = _deepened(offered(space, method, candidates), stage)
        own = space.input_shape is None
        model = placed(space.supernet((*stage.edges, *method.edges)), device, own)
        for module in model.modules():
            if isinstance(module, Recomputable):
                module.recompute = config.recompute == "cells"
        extra = getattr(method.relaxation, "extra", None)
        net = Supernet(
            model,
            space.groups,
            task=task,
            initial=method.initial,
            extra=extra(space.groups) if extra else None,
            precision=config.precision,
            counting=True,
            known_as=name_of(space, (*stage.edges, *method.edges)) if space.input_shape else None,
        )
        weight_optimizer = torch.optim.SGD(
            net.weights.values(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay * method.weight_decay,
        )
        return cls(space, net, weight_optimizer, method.arch_optimizer(net.alpha.values()))

    @torch.no_grad()
    def inherit(self, other: Leg) -> None:
        """Take over the weights, running statistics and alpha of what both supernets have.

        Where this one is wider, channels are repeated, and the input channels of a convolution
        divided by how often: the function of a wider layer is that of the narrow one (net2wider,
        arXiv:1511.05641). Momentum begins anew.
        """
        theirs = _by_operation(other.net)
        for key, tensor in _by_operation(self.net).items():
            if key in theirs:
                tensor.copy_(widened(theirs[key], tensor.shape))
        before = {group.name: group.candidates for group in other.space.groups}
        for group in self.space.groups:
            ours, old = self.net.alpha[group.name], other.net.alpha[group.name]
            pairs = zip(group.candidates, before[group.name], strict=True)
            for row, (names, had) in enumerate(pairs):
                ours[row] = old[row, [had.index(name) for name in names]]
        for name in self.net.alpha.keys() - {group.name for group in self.space.groups}:
            self.net.alpha[name].copy_(other.net.alpha[name])


def offered(
    space: SearchSpace, method: Method, candidates: Candidates | None = None
) -> SearchSpace:
    """The space without what the method leaves out, and with these candidates alone, if given."""
    space = space.without(method.without) if method.without else space
    return space if candidates is None else space.restricted(candidates)


def _deepened(space: SearchSpace, stage: Stage) -> SearchSpace:
    more = stage.more_cells
    return space.sized(cells=space.cells + more) if more else space


def stages(method: Method) -> tuple[Stage, ...]:
    """The stages of a search; a single one where the method says nothing."""
    return method.stages or (Stage(1.0),)


def check(space: SearchSpace, method: Method, config: SearchConfig) -> None:
    """Refuse what the search would refuse in any of its stages, before anything is written."""
    boundaries(stages(method), config.epochs)
    if method.selection is not None and config.guard == "rollback":
        raise ArchgradError(
            "guard rollback goes back to the alpha of an earlier epoch, and this method's "
            "selection judges the supernet of the last one; use guard stop or warn"
        )
    if method.recovery is not None and not 0 < config.weight_decay < method.recovery.cap:
        raise ArchgradError(
            f"this method's recovery raises the weight decay to at most {method.recovery.cap:g}, "
            f"found {config.weight_decay:g}; expected a weight decay above 0 and below that"
        )
    if method.augmentation is not None and not space.input_shape:
        raise ArchgradError(
            f"this method augments images ({type(method.augmentation).__name__}), and batches of "
            "an own model may be anything, those of text are none; augment in the data, or use "
            "another method"
        )
    for stage in stages(method):
        staged = _deepened(offered(space, method), stage)
        cells = _built(staged, (*stage.edges, *method.edges))
    if config.recompute == "cells" and not cells:
        raise ArchgradError(
            f"found recompute cells, expected off: space {space.name} has no cells that can be "
            "computed again; leave it out, and for less memory take a smaller batch, of text a "
            "shorter bptt"
        )


_known: dict[Hashable, bool] = {}


def _built(space: SearchSpace, edges: Sequence[Any]) -> bool:
    """Whether a supernet has cells that can be computed again; raises where it cannot be built.

    On the meta device, where no weights are drawn; once a process for spaces that do not change.
    """
    key = name_of(space, edges)
    if key is None or key not in _known:
        with torch.device("meta"):
            made = space.supernet(edges)
        found = any(isinstance(module, Recomputable) for module in made.modules())
        if key is None:
            return found
        _known[key] = found
    return _known[key]


def widened(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Each entry repeated in place, along its dimensions, to `shape`.

    In place, so that both halves of a factorized reduction stay halves. Input channels of a
    convolution are scaled.
    """
    for axis, (old, new) in enumerate(zip(tensor.shape, shape, strict=True)):
        if old == new:
            continue
        index = torch.arange(new, device=tensor.device) * old // new
        tensor = tensor.index_select(axis, index)
        if axis == 1 and tensor.ndim > 2:
            times = torch.bincount(index, minlength=old)[index]
            tensor = tensor / wide(times, tensor)
    return tensor


def _by_operation(net: Supernet) -> Mapping[tuple[str, ...], Tensor]:
    """Weights and running statistics by place, a candidate's place by its name, not its number."""
    called = {
        f"{place}.candidates.{number}".removeprefix("."): name
        for place, choice in net.model.named_modules(remove_duplicate=False)
        if isinstance(choice, Choice)
        for number, name in enumerate(choice.names)
    }
    found: dict[tuple[str, ...], Tensor] = {}
    for name, tensor in net.model.state_dict(keep_vars=True).items():
        parts = name.split(".")
        prefixes = accumulate(parts, "{}.{}".format)
        found[tuple(called.get(p, part) for p, part in zip(prefixes, parts))] = tensor
    return found

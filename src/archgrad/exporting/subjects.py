"""What an export is made of: a network, and inputs to run it with."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from archgrad.errors import ArchgradError, out_of_memory
from archgrad.exporting.rebuilding import Sizes, TextSizes
from archgrad.exporting.stepping import Step, over_time
from archgrad.exporting.trained import Trained
from archgrad.tensors.trees import describe, leaves, mapped, named

Computing = Callable[..., Any]  # inputs -> output, as a module is called
BATCH = "batch"


@dataclass(frozen=True)
class Subject:
    """What is exported: a network in eval mode in float32 on the CPU, and inputs to run it with.

    `example`: what it is called with, tensors or structures of them, `options` by name. The
    first dimension of every tensor is the batch, which the export leaves open. A language model is
    one `Step` in time. `outputs`: their names, where the format has names.
    """

    network: nn.Module
    example: tuple[Any, ...]
    trained: Trained | None = None
    options: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] | None = None

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The tensors by the names that an export gives them, in the order of the call."""
        numbered = {f"input{i}": value for i, value in enumerate(self.example)}
        return dict(named({**numbered, **self.options}))

    @property
    def sizes(self) -> Sizes | TextSizes | None:
        """The sizes of a network of the library's spaces."""
        return self.trained.sizes if self.trained else None

    @property
    def rounding(self) -> float:
        """How far equal networks may differ: in a recurrent cell up to all nodes are in a row."""
        return 1e-5 if isinstance(self.sizes, TextSizes) else 0.0

    @property
    def whole(self) -> nn.Module:
        """The network as it was trained: of a language model all steps of a text."""
        return self.trained.network if self.trained else self.network

    def part(self, whole: nn.Module) -> nn.Module:
        """What of another such network is called like `network`."""
        return Step(whole) if isinstance(self.sizes, TextSizes) else whole

    def compared(self, compute: Computing) -> Computing:
        """How a network is run to be compared: a language model with its state carried along."""
        if isinstance(self.sizes, TextSizes):
            assert isinstance(self.network, Step)
            return over_time(compute, self.network, self.sizes.classes)
        return compute

    def described(self) -> list[dict[str, Any]]:
        """Shape and type of each input of the whole network, with its name where it has one."""
        plain = not self.options and all(isinstance(x, Tensor) for x in self.example)
        found = [
            {
                **({} if plain else {"name": name}),
                "shape": [BATCH, *x.shape[1:]],
                "type": str(x.dtype).removeprefix("torch."),
            }
            for name, x in self.inputs.items()
        ]
        if isinstance(self.sizes, TextSizes):
            found[0]["shape"] = ["time", BATCH]
        return found


def subject_of(trained: Trained) -> Subject:
    """A network of a space, to be run on images, or on a token of a text."""
    if isinstance(sizes := trained.sizes, TextSizes):
        given = {"tokens": torch.arange(sizes.classes), "state": torch.zeros(1, sizes.hidden)}
        step = Step(trained.network).eval()
        return Subject(step, (), trained, given, outputs=("logits", "next_state"))
    shape = sizes.shape if sizes else trained.score["input_shape"]
    images = torch.zeros(1, *shape)
    return Subject(trained.network, (images,), trained, outputs=("logits",))


def own_subject(network: nn.Module, example: Any) -> Subject:
    """A copy of any module, to be called like `example`.

    A tensor is its only input; of a tuple or list each entry is one, a tensor or a structure of
    tensors; a mapping gives inputs by their names.
    """
    given = (example,) if isinstance(example, Tensor) else example
    found = list(leaves(given)) if isinstance(given, tuple | list | Mapping) else []
    if not found or any(not isinstance(x, Tensor) or not x.dim() or not len(x) for x in found):
        odd = next((x for x in found if not isinstance(x, Tensor) or not x.dim()), example)
        raise ArchgradError(
            f"an own model is run to be exported, and the example has {describe(odd)}; give "
            "example=, an input tensor, a tuple of inputs or a dict of inputs by name, made of "
            "tensors alone, whose first dimension is the batch"
        )
    given = mapped(_plain, given)
    plain = copy.deepcopy(network).cpu().float().eval()
    if isinstance(given, Mapping):
        subject = Subject(plain, (), options=_in_order(plain, given))
    else:
        subject = Subject(plain, tuple(given))
    try:
        outputs_of(plain, (subject.example, subject.options))
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        if isinstance(error, ArchgradError) or out_of_memory(error):
            raise
        shapes, reason = [tuple(x.shape) for x in found], str(error).strip().splitlines()[0]
        raise ArchgradError(
            f"the model does not run on the example of shape {shapes} ({reason}); give inputs that "
            "it takes as example=: a dict is given by name, as one input it is the entry of a tuple"
        ) from error
    return subject


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def _in_order(network: nn.Module, options: Mapping[Any, Any]) -> dict[str, Any]:
    """As the network names its inputs: exporters number them so."""
    known = [name for name in inspect.signature(network.forward).parameters if name in options]
    return {str(name): options[name] for name in dict.fromkeys([*known, *options])}


Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def inputs_of(subject: Subject, batch: int) -> Inputs:
    """Normal values for floats; what is no float is repeated from the example."""
    generator = torch.Generator().manual_seed(batch)

    def made(x: Tensor) -> Tensor:
        if x.is_floating_point():
            return torch.randn(batch, *x.shape[1:], generator=generator)
        return x[torch.arange(batch) % len(x)]

    found: Inputs = mapped(made, (subject.example, subject.options))
    return found


@torch.no_grad()
def outputs_of(compute: Computing, inputs: Inputs, seed: int = 0) -> list[Tensor]:
    given, options = inputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        output = compute(*given, **options)
    outputs = list(leaves(output))
    if not outputs or not all(isinstance(x, Tensor) for x in outputs):
        raise ArchgradError(
            f"the network gives {describe(output)}, expected a tensor, or a tuple, a list or a "
            "dict of tensors alone; wrap it in a module that gives these"
        )
    return outputs

"""What a forward pass meets: every choice where it is called, with what enters it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from archgrad.costing.cost import run
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, State, Summand, term
from archgrad.networks.counting import signature
from archgrad.networks.nesting import Path, holds_choices, typical
from archgrad.spaces import SearchSpace
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.spaces.own import OwnModel
from archgrad.tensors.trees import mapped, tensors


class Given(NamedTuple):
    """What a module is called with."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of all tensors."""
        return tuple(tuple(tensor.shape) for tensor in tensors(tuple(self)))


class Met(NamedTuple):
    """A choice as a forward pass met it: its name in the model, and what enters it, on meta.

    `inside`: the candidates that were being computed, as of a `archgrad.costing.costs.Place`.
    """

    place: str
    choice: Choice
    entered: Given
    inside: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first tensor that enters, with the batch."""
        return next(iter(self.entered.shapes), ())

    def given(self, device: torch.device, make: Callable[..., Tensor]) -> Given:
        """Tensors like those that entered, on a device: by `make`, whole numbers as zeros."""

        def made(tensor: Tensor) -> Tensor:
            whole = not tensor.is_floating_point()
            return (torch.zeros_like if whole else make)(tensor, device=device)

        return Given(*mapped(made, (self.entered.inputs, self.entered.options)))

    def again(self, others: Iterable[Met]) -> bool:
        """Whether one of the others is the same choice, met wherever this place is."""
        return any(o.choice is self.choice and {*o.inside} <= {*self.inside} for o in others)

    def key(self, candidate: nn.Module) -> object:
        """Equal where candidates compute at equal cost."""
        given = mapped(lambda tensor: (tuple(tensor.shape), tensor.dtype), tuple(self.entered))
        return signature(candidate), repr(given)


class Walk(NamedTuple):
    """What a forward pass met, the device it was on, and how many examples entered the model."""

    met: list[Met]
    device: torch.device
    examples: int


def check_apart(space: SearchSpace) -> None:
    """Refuse a space whose choices are computed together, so that no candidate has a cost."""
    if isinstance(space, DartsRNN):
        raise ArchgradError(
            f"found a limit or a table of costs of space {space.name}, expected none: all its "
            "networks have as many parameters and multiply-adds, and an operation has no cost of "
            "its own; leave it out, and choose the size with hidden"
        )


def walk(space: SearchSpace, device: torch.device | None = None, batch: int = 1) -> Walk:
    """Run images through a space's model with choices, `batch` at most.

    The candidates are as derived networks have them, where the space says how (`plain`). Without
    a device nothing is computed (meta), unless the model looks at numbers: then on the CPU.
    """
    if device is None and isinstance(space, OwnModel):
        device = torch.device("cpu")
    if device is not None:
        return _walk(space, device, batch)
    try:
        with torch.device("meta"):
            return _walk(space, torch.device("meta"), batch)
    except RuntimeError:
        return _walk(space, torch.device("cpu"), batch)


@torch.no_grad()
def _walk(space: SearchSpace, device: torch.device, batch: int) -> Walk:
    model = getattr(space, "plain", space.supernet)().to(device).eval()
    choices = {name: m for name, m in model.named_modules() if isinstance(m, Choice)}
    if not choices:
        raise ArchgradError("the model has no choices; put at least one archgrad.Choice in it")
    met: list[Met] = []
    path: list[tuple[str, str]] = []

    def intercepted(name: str, choice: Choice) -> dict[str, Callable[..., Any]]:
        (last,) = typical(choice)
        holding = [i for i, c in enumerate(choice.candidates) if i != last and holds_choices(c)]

        def mixture(inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
            entered = mapped(lambda t: torch.empty_like(t, device="meta"), (tuple(inputs), options))
            met.append(Met(name, choice, Given(*entered), tuple(path)))
            for index in (*holding, last):
                path.append((choice.group, choice.names[index]))
                (output,) = choice.outputs([index], inputs, options)
                path.pop()
            return output

        def terms(state: State) -> list[Summand]:
            return [term(mixture([state.x], {}))]

        return {"mixture": mixture, "terms": terms}

    for name, choice in choices.items():
        vars(choice).update(intercepted(name, choice))
    try:
        examples = run(space, model, device, batch)
    finally:
        for choice in choices.values():
            for method in ("mixture", "terms"):
                del vars(choice)[method]
    return Walk(met, device, examples)

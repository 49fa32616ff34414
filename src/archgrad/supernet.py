"""A model with choices, its architecture parameters alpha, and the losses a search needs of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from archgrad.choice import Choice, Group
from archgrad.errors import ArchgradError

Alpha = Mapping[str, Tensor]  # group name -> (edges, operations)
Mixing = Mapping[str, Tensor]  # group name -> (edges, operations), the weights of the candidates
Weights = Mapping[str, Tensor]  # parameter name -> tensor
Batch = tuple[Tensor, Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]

ALPHA_SCALE = 1e-3  # alpha starts at 1e-3 N(0, 1), as in the original code


class Supernet:
    """A model whose choices are run with mixing weights.

    Alpha lives here, in ``alpha``, and never among the parameters of the model: no weight decay,
    clipping or weight optimizer can reach it.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        *,
        criterion: Criterion = F.cross_entropy,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model = model
        self.groups = tuple(groups)
        self.criterion = criterion
        self.choices = [module for module in model.modules() if isinstance(module, Choice)]
        shapes = {group.name: group.shape for group in groups}
        if len(shapes) < len(self.groups):
            raise ArchgradError(f"groups {[g.name for g in groups]} must have different names")
        if not self.choices:
            raise ArchgradError("the model has no choices; put at least one archgrad.Choice in it")
        for choice in self.choices:
            edges, operations = shapes.get(choice.group, (0, 0))
            if not 0 <= choice.row < edges or len(choice.names) != operations:
                raise ArchgradError(
                    f"choice {choice.group}[{choice.row}] with {len(choice.names)} candidates "
                    f"does not fit the groups {shapes}"
                )
        self.weights: dict[str, Tensor] = dict(model.named_parameters())
        device = next((w.device for w in self.weights.values()), torch.device("cpu"))
        self.alpha: dict[str, Tensor] = {
            name: (ALPHA_SCALE * torch.randn(shape, generator=generator))
            .to(device)
            .requires_grad_()
            for name, shape in shapes.items()
        }

    def forward(
        self,
        mixing: Mixing,
        inputs: Tensor,
        weights: Weights | None = None,
        *,
        update_statistics: bool = False,
    ) -> Tensor:
        """The model's output, with its own weights or the given ones.

        Unless ``update_statistics``, buffers such as BatchNorm's running statistics are left
        as they are: the model works on copies.
        """
        rows = {name: weight.unbind() for name, weight in mixing.items()}
        for choice in self.choices:
            choice.mixing = rows[choice.group][choice.row]
        try:
            given = dict(weights or {})
            if not update_statistics:
                given |= {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            output: Tensor = functional_call(self.model, given, (inputs,))
            return output
        finally:
            for choice in self.choices:
                choice.mixing = None  # a model that holds no graph can be copied and saved

    def evaluation_mode(self) -> None:
        """Evaluate like the alpha step sees the model: BatchNorm by batch statistics.

        The paper does so throughout the search; running statistics lag behind on short searches.
        """
        self.model.eval()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train()

    def loss(self, mixing: Mixing, batch: Batch, weights: Weights | None = None) -> Tensor:
        """The scalar loss of a batch; running statistics stay as they are."""
        inputs, target = batch
        return self.criterion(self.forward(mixing, inputs, weights), target)

"""Where the tensors of a model are: each by one name, however many modules and names hold it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Slots:
    """The parameters and buffers of a model by their first name.

    `tied`: whether some have several names, of modules that are registered at several places or
    of tensors that several modules share.
    """

    def __init__(self, model: nn.Module) -> None:
        first: dict[int, str] = {}
        self.places: dict[str, list[str]] = {}
        self.buffers: dict[str, tuple[nn.Module, str]] = {}
        for place, module in model.named_modules():  # each module once
            for tensors in (module._parameters, module._buffers):
                for key, tensor in tensors.items():
                    if tensor is None:
                        continue
                    full = f"{place}.{key}" if place else key
                    name = first.setdefault(id(tensor), full)
                    self.places.setdefault(name, []).append(full)
                    if tensors is module._buffers and name == full:
                        self.buffers[name] = module, key
        every = [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ]
        self.tied = len(first) < len(every)

    def buffer(self, name: str) -> Tensor:
        """The present buffer of this name: a model may put another tensor in its place."""
        module, key = self.buffers[name]
        found = module._buffers[key]
        assert found is not None
        return found

    def everywhere(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by their first name, at every place in a module where they are."""
        if not self.tied:
            return dict(given)
        return {place: tensor for name, tensor in given.items() for place in self.places[name]}

"""Choices with a computation of their own: of inputs, of depth, of width; and by insertion."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.tensors.trees import describe


class Picked(nn.Module):
    """The sum of some of several inputs."""

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__()
        self.indices = tuple(indices)

    def forward(self, inputs: Sequence[Any]) -> Any:
        first, *others = (inputs[index] for index in self.indices)
        return sum(others, start=first)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.indices))


class InputChoice(Choice):
    """Which `picks` of `inputs` to add: called with a list of tensors of one shape.

    In a search their weighted sum, derived the sum of those picked. Its candidates are called
    "0", "1", ...; `name` as of `Choice`. Raises `ArchgradError` for `picks` that are not from 1 to
    `inputs`, and where it is called with anything but a list of that many tensors.

    >>> import archgrad
    >>> sources = archgrad.InputChoice(3, picks=2)
    >>> sources.names
    ('0', '1', '2')
    >>> sources.chosen(["0", "2"])([1, 10, 100])
    101
    """

    def __init__(self, inputs: int, picks: int = 1, name: str | None = None) -> None:
        if not 1 <= picks <= inputs:
            raise ArchgradError(
                f"an input choice picks {picks} of {inputs} inputs; expected 1 to {inputs}"
            )
        super().__init__({str(i): Picked([i]) for i in range(inputs)}, name)
        self.inputs, self.picks = inputs, picks

    def forward(self, inputs: Sequence[Any]) -> Any:
        """The weighted sum of a list of tensors of one shape; `ArchgradError` for anything else."""
        if isinstance(inputs, Tensor) or len(inputs) != self.inputs:
            raise ArchgradError(
                f"input choice {self.group} was called with {describe(inputs)}; expected a list of "
                f"{self.inputs} tensors"
            )
        return super().forward(inputs)

    def chosen(self, names: Sequence[str]) -> nn.Module:
        """The sum of the inputs of these names."""
        return Picked(sorted(map(int, names)))


class Repeat(Choice):
    """How many of some blocks to run, one after the other: one of `depths`.

    `blocks`: modules, or a function that makes one, called max(depths) times. Blocks that several
    depths have are shared and computed once. Depth 0 is the input itself. Its candidates are called
    by their depth; `name` as of `Choice`. Raises `ArchgradError` without depths, for one below 0,
    and for fewer blocks than the largest.

    >>> import archgrad
    >>> from torch import nn
    >>> archgrad.Repeat(lambda: nn.Linear(4, 4), depths=[0, 1, 3]).names
    ('0', '1', '3')
    """

    def __init__(
        self,
        blocks: Callable[[], nn.Module] | Iterable[nn.Module],
        depths: Iterable[int],
        name: str | None = None,
    ) -> None:
        chosen = sorted(set(depths))
        if not chosen or chosen[0] < 0:
            raise ArchgradError(f"repeat: depths are {chosen}; expected one or more, from 0 on")
        made = (
            list(blocks) if isinstance(blocks, Iterable) else [blocks() for _ in range(chosen[-1])]
        )
        if len(made) < chosen[-1]:
            raise ArchgradError(f"repeat: {len(made)} blocks for a depth of {chosen[-1]}")
        super().__init__({str(d): nn.Sequential(*made[:d]) for d in chosen}, name)
        # First, so that choices in them are named by the block, not by the first depth that has it.
        self._modules = {"blocks": nn.ModuleList(made), **self._modules}

    def outputs(
        self, indices: Sequence[int], inputs: Sequence[Any], options: Mapping[str, Any]
    ) -> list[Any]:
        """Of the deepest of these alone every block is run."""
        if not indices or len(inputs) != 1 or options:
            return super().outputs(indices, inputs, options)
        depths = [int(self.names[index]) for index in indices]
        deepest = self.candidates[self.names.index(str(max(depths)))]
        assert isinstance(deepest, nn.Sequential)
        states = [inputs[0]]
        for block in deepest:
            states.append(block(states[-1]))
        return [states[depth] for depth in depths]


SOFTMAX = nn.Softmax, nn.LogSoftmax, nn.Softmin
MIXING = (
    nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm, nn.Softmax2d, nn.Flatten, nn.GLU,
    nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle,
)  # fmt: skip


class Width(Choice):
    """How many hidden channels: one of `widths`, with shared weights.

    `layers`: the first a linear layer or a convolution that makes max(widths) channels, the last
    one that takes them; between them batch normalization, depthwise convolutions, and modules
    without tensors that treat every channel alike. A smaller width has the first channels of every
    layer, and derived layers have no others: they hold tensors of their own, so a layer that other
    modules share too is no longer shared once derived. In a search all widths share the layers up
    to the last. Its candidates are called by their width; `name` as of `Choice`. Raises
    `ArchgradError` for layers that cannot be cut to fewer channels, or that do not have the
    largest.

    >>> import archgrad
    >>> from torch import nn
    >>> archgrad.Width([nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)], widths=[8, 16, 32]).names
    ('8', '16', '32')
    """

    def __init__(
        self, layers: Iterable[nn.Module], widths: Iterable[int], name: str | None = None
    ) -> None:
        made, chosen = list(layers), sorted(set(widths))
        if len(made) < 2 or not chosen or chosen[0] < 1:
            raise ArchgradError(
                f"width: found {len(made)} layers and the widths {chosen}; expected at least "
                "two layers and one width, from 1 on"
            )
        for place, layer in enumerate(made):
            _refuse_mixing(layer, place, made[0])
            for size in _sizes(layer, place, len(made)):
                if getattr(layer, size) != chosen[-1]:
                    raise ArchgradError(
                        f"width: layer {place}, a {type(layer).__name__}, has {size} "
                        f"{getattr(layer, size)}; expected the largest of the widths {chosen}"
                    )
        super().__init__({str(w): _Narrow(made, w) for w in chosen}, name)
        self.layers = nn.ModuleList(made)

    def outputs(
        self, indices: Sequence[int], inputs: Sequence[Any], options: Mapping[str, Any]
    ) -> list[Any]:
        """What these widths return; all but the last layer run once, at the largest of them."""
        if not indices:
            return []
        layers, widths = list(self.layers), [int(self.names[index]) for index in indices]
        hidden = _run(layers, max(widths), range(len(layers) - 1), *inputs, **options)
        axis, last = _axis(layers[0]), [len(layers) - 1]
        return [_run(layers, w, last, hidden.narrow(axis, 0, w)) for w in widths]

    def chosen(self, names: Sequence[str]) -> nn.Module:
        """The layers at this width, with tensors of their own."""
        (name,) = names
        layers = list(self.layers)
        views = (narrowed(layer, int(name), i, len(layers)) for i, layer in enumerate(layers))
        return nn.Sequential(*map(_owned, views, layers))


class _Narrow(nn.Module):
    """The layers of a `Width` at one width; it shares their weights and has none of its own."""

    def __init__(self, layers: Sequence[nn.Module], width: int) -> None:
        super().__init__()
        self.shared, self.width = (list(layers),), width  # in a tuple: no submodules

    def forward(self, *inputs: Any, **options: Any) -> Any:
        (layers,) = self.shared
        return _run(layers, self.width, range(len(layers)), *inputs, **options)


def _run(
    layers: Sequence[nn.Module], width: int, places: Iterable[int], *inputs: Any, **options: Any
) -> Any:
    first, *others = (narrowed(layers[i], width, i, len(layers)) for i in places)
    found = first(*inputs, **options)
    for layer in others:
        found = layer(found)
    return found


def narrowed(layer: nn.Module, width: int, place: int, count: int) -> nn.Module:
    """The layer at `place` of `count` with its first channels alone; its tensors are views."""
    sizes, axis = _sizes(layer, place, count), 1 if place == count - 1 else 0
    view = copy.copy(layer)
    for kind in ("_parameters", "_buffers"):
        tensors = {
            name: t if t is None or t.ndim <= axis or not t.ndim else t.narrow(axis, 0, width)
            for name, t in getattr(layer, kind).items()
        }
        object.__setattr__(view, kind, tensors)
    for size in sizes:
        setattr(view, size, width)
    return view


def _sizes(layer: nn.Module, place: int, count: int) -> tuple[str, ...]:
    """The attributes of a layer that say its width; an error where a layer cannot be narrowed."""
    first, last = place == 0, place == count - 1
    convolution = isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    if first or last:
        if isinstance(layer, nn.Linear):
            return ("in_features",) if last else ("out_features",)
        if convolution and layer.groups == 1:
            return ("in_channels",) if last else ("out_channels",)
    elif convolution and layer.groups == layer.in_channels == layer.out_channels:
        return "in_channels", "out_channels", "groups"
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        return ("num_features",)
    elif not list(layer.parameters()) and not list(layer.buffers()):
        return ()
    expected = (
        "a linear layer or a convolution of one group"
        if first or last
        else "batch normalization, a depthwise convolution or a module without tensors"
    )
    raise ArchgradError(
        f"width: layer {place} is a {type(layer).__name__}, which cannot be cut to fewer "
        f"channels; expected {expected}"
    )


def _refuse_mixing(layer: nn.Module, place: int, first: nn.Module) -> None:
    """Refuse what is known to compute a channel from others."""
    channels = None, 1, -1 - len(getattr(first, "kernel_size", ()))
    for module in layer.modules():
        softmax = isinstance(module, SOFTMAX) and module.dim in channels
        if softmax or isinstance(module, MIXING):
            raise ArchgradError(
                f"width: layer {place} is a {type(module).__name__}, which mixes channels, so that "
                "fewer of them would have other values; expected batch normalization, or put it "
                "before or behind the width"
            )


def _axis(first: nn.Module) -> int:
    """Where the channels of the hidden tensor are."""
    return -1 if isinstance(first, nn.Linear) else 1


def _owned(view: nn.Module, layer: nn.Module) -> nn.Module:
    """The view of a layer with copies of the tensors, frozen where those of the layer are."""
    parameters = {
        name: None if p is None else nn.Parameter(p.detach().clone())
        for name, p in view._parameters.items()
    }
    for name, p in parameters.items():
        if p is not None:
            p.requires_grad_(getattr(layer, name).requires_grad)
    buffers = {name: None if b is None else b.clone() for name, b in view._buffers.items()}
    object.__setattr__(view, "_parameters", parameters)
    object.__setattr__(view, "_buffers", buffers)
    return view


# --- in a model that has none --------------------------------------------------------------------

Where = type[nn.Module] | tuple[type[nn.Module], ...] | str | Callable[[str, nn.Module], bool]
Alternatives = Callable[[nn.Module], Mapping[str, nn.Module | Callable[[], nn.Module]]]
ORIGINAL = "original"


def insert_choices(model: nn.Module, where: Where, candidates: Alternatives) -> nn.Module:
    """A copy of the model with choices in place of some of its modules.

    `where`: a type or several; a name or a pattern such as "encoder.*.conv"; or a function of
    (name, module) that says whether. `candidates(module)` gives the alternatives by name; beside
    them the module itself is a candidate, called "original", with the weights it has. A choice is
    called by its place in the model that is searched, of which this one may be a part. `model`
    stays as it is. Raises `ArchgradError` where `where` meets no module, and for alternatives that
    are no dict, an empty one, or one with a candidate called "original".

    >>> import archgrad
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    >>> made = archgrad.insert_choices(model, nn.ReLU, lambda module: {"gelu": nn.GELU()})
    >>> made[1].names
    ('original', 'gelu')
    """
    if not (isinstance(where, str | type | tuple) or callable(where)) or not callable(candidates):
        raise ArchgradError(
            f"insert_choices: where is {describe(where)} and candidates {describe(candidates)}; "
            "expected a type, a name or a function of (name, module), and a function of the module"
        )
    made = copy.deepcopy(model)
    found = {name: m for name, m in made.named_modules() if _meant(where, name, m)}
    inside = [n for n in found if any(n.startswith(f"{o}." if o else "") and n != o for o in found)]
    found = {name: module for name, module in found.items() if name not in inside}
    if not found:
        kinds = sorted({type(module).__name__ for module in model.modules()})
        raise ArchgradError(
            f"insert_choices: {where} meets no module of this {type(model).__name__}; it has "
            f"modules of the types {kinds}"
        )
    for name, module in found.items():
        offered = candidates(module)
        if not isinstance(offered, Mapping) or ORIGINAL in offered or not offered:
            raise ArchgradError(
                f"insert_choices: the alternatives for {name or 'the model'} are "
                f"{list(offered) if isinstance(offered, Mapping) else describe(offered)}; expected "
                f'a dict of at least one, and none called "{ORIGINAL}"'
            )
        choice = Choice({ORIGINAL: module, **offered})
        made = replaced(made, {id(module): choice})
    return made


def _meant(where: Where, name: str, module: nn.Module) -> bool:
    if isinstance(where, str):
        return bool(name) and fnmatchcase(name, where)
    if isinstance(where, type | tuple):
        return isinstance(module, where)
    return bool(where(name, module))


def replaced(model: nn.Module, new: Mapping[int, nn.Module]) -> nn.Module:
    """The model with modules put in place of others, given by their `id`, wherever they are."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in new:
                setattr(parent, name, new[id(child)])
    return new.get(id(model), model)

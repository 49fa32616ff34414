"""The models that the estimators search where nobody gives one: for tables, sequences and images.

Each is a function of the shape of one example, without the batch axis, and of the number of
outputs: logits of the classes, or one number. It returns a module with choices, or a search space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.networks.choices import Width
from archgrad.networks.operations import Zero
from archgrad.spaces import SearchSpace
from archgrad.spaces.darts_cnn import DartsCNN

Shape = tuple[int, ...]
ModelFactory = Callable[[Shape, int], nn.Module | SearchSpace]


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def residual_mlp(
    shape: Shape, outputs: int, *, width: int = 32, blocks: int = 2, dropout: float = 0.2
) -> nn.Module:
    """A residual perceptron of choices, (B, features) -> (B, outputs).

    A linear layer to `width` units, then `blocks` times x + choice(norm(x)), each choice one of
    `none`; `linear`; `deep`: two hidden layers; `wide`: one hidden layer of two or four
    times the width, which is a choice of its own. Layer normalization: a prediction does not depend
    on its batch, in training either.
    """
    (features,) = shape
    body = [_dense_block(width, index, dropout) for index in range(blocks)]
    return nn.Sequential(
        nn.Linear(features, width), *body, nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, outputs)
    )


def _dense_block(width: int, index: int, dropout: float) -> nn.Module:
    wide = [nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)]
    deep = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    candidates = {
        "none": Zero(),
        "linear": nn.Linear(width, width),
        "deep": nn.Sequential(*deep, nn.Linear(width, width)),
        "wide": Width(wide, [2 * width, 4 * width], name=f"width_{index}"),
    }
    choice = Choice(candidates, name=f"block_{index}")
    return Residual(nn.LayerNorm(width), choice, nn.Dropout(dropout))


def darts_cnn(
    shape: Shape, outputs: int, *, channels: int = 8, cells: int = 4, nodes: int = 2
) -> DartsCNN:
    """The space darts-cnn at a small size, (B, channels, height, width) -> (B, outputs).

    Of sequences (B, channels, length) its one-dimensional form. A cell space has two outputs or
    more; of a single number the second stays unused.
    """
    in_channels, *size = shape
    return DartsCNN(
        channels=channels,
        cells=cells,
        nodes=nodes,
        in_channels=in_channels,
        image_size=tuple(size),
        dims=len(size),
        classes=max(2, outputs),
    )


class Kind(NamedTuple):
    """What one kind of arrays is searched and trained with.

    `layout`: of its arrays, with the batch axis N; `epochs`: of the search; `train_epochs`:
    of the training that follows.
    """

    layout: str
    model: ModelFactory
    epochs: int
    train_epochs: int

    @property
    def axes(self) -> int:
        """How many axes its arrays have."""
        return len(self.layout.split(", "))


KINDS: Mapping[str, Kind] = {
    "tabular": Kind("N, features", residual_mlp, epochs=20, train_epochs=40),
    "sequence": Kind("N, channels, length", darts_cnn, epochs=5, train_epochs=20),
    "image": Kind("N, channels, height, width", darts_cnn, epochs=5, train_epochs=20),
}


def kind_of(kind: str, axes: int) -> str:
    """The kind of an array with this many axes, where "auto" leaves that to them.

    Sequences and images may come without their channel axis where the kind is said.
    """
    if kind == "auto":
        found = next((name for name, known in KINDS.items() if known.axes == axes), None)
        if found is None:
            layouts = "; ".join(f"{name} ({known.layout})" for name, known in KINDS.items())
            raise ArchgradError(f"X has {axes} axes; expected {layouts}: reshape it")
        return found
    if kind not in KINDS:
        raise ArchgradError(f'kind is "{kind}"; expected one of auto, {", ".join(KINDS)}')
    layout = KINDS[kind].layout
    if axes not in (KINDS[kind].axes, KINDS[kind].axes - ("channels" in layout)):
        raise ArchgradError(
            f"X has {axes} axes and the kind {kind}; expected ({layout}): reshape it"
        )
    return kind

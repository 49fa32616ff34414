"""Source of chains of inverted residuals (space mbconv), as a part of what `source` writes."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from archgrad.spaces.mbconv import Chain, Layer

BLOCK = '''
def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Convolution without bias, BatchNorm."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]


class InvertedResidual(nn.Module):
    """1x1 to expansion * inputs channels, depthwise, 1x1 to outputs; `add`: plus the input."""

    def __init__(
        self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, add: bool
    ) -> None:
        super().__init__()
        width = expansion * inputs
        wider = [*conv_norm(inputs, width, 1), nn.ReLU6()] if expansion > 1 else []
        self.add = add
        self.block = nn.Sequential(
            *wider,
            *conv_norm(width, width, kernel, stride, groups=width),
            nn.ReLU6(),
            *conv_norm(width, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.add else self.block(x)
'''
NETWORK = '''
class {name}(nn.Module):
    """Stem, {layers} blocks, pooling, linear: (B, {inputs}, H, W) -> (B, {classes})."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm({inputs}, {stem}, 3, stride={stride}), nn.ReLU6())
        self.blocks = nn.Sequential(
{made}
        )
        self.head = nn.Sequential(
            *conv_norm({width}, {head}, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = nn.Linear({head}, {classes})

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(images))))
'''


def chain(name: str, network: Chain) -> list[str]:
    """The classes of a network; layers that are left out are not written."""
    first, last = (_convolution(_sequential(part)[0]) for part in (network.stem, network.head))
    made = [f"            {_call(block, add)}," for _, block, add in _blocks(network)]
    text = NETWORK.format(
        name=name,
        layers=len(made),
        inputs=first.in_channels,
        stem=first.out_channels,
        stride=first.stride[0],
        made="\n".join(made),
        width=last.in_channels,
        head=last.out_channels,
        classes=network.classifier.out_features,
    )
    return [BLOCK, text]


def chain_weights(network: Chain) -> dict[str, Tensor]:
    """The weights under the names of the written classes."""
    found: dict[str, Tensor] = {}
    places = {prefix: f"blocks.{i}.block." for i, (prefix, _, _) in enumerate(_blocks(network))}
    for name, tensor in network.state_dict().items():
        place = next((p for p in places if name.startswith(p)), None)
        found[name if place is None else places[place] + name.removeprefix(place)] = tensor
    return found


def _blocks(network: Chain) -> Iterator[tuple[str, nn.Sequential, bool]]:
    """Each block that is there: where its weights are, its modules, whether its input is added."""
    yield "stem.3.", _sequential(_sequential(network.stem)[3]), False
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Layer):
            inner = layer.operation[0] if layer.residual else layer.operation  # type: ignore[index]
            middle = "0." if layer.residual else ""
            yield f"layers.{index}.operation.{middle}", _sequential(inner), layer.residual


def _call(block: nn.Sequential, add: bool) -> str:
    depthwise = _convolution(block[-5])
    inputs, outputs = _convolution(block[0]).in_channels, _convolution(block[-2]).out_channels
    expansion = depthwise.out_channels // inputs
    kernel, stride = depthwise.kernel_size[0], depthwise.stride[0]
    return f"InvertedResidual({inputs}, {outputs}, {expansion}, {kernel}, {stride}, add={add})"


def _convolution(module: object) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _sequential(module: object) -> nn.Sequential:
    assert isinstance(module, nn.Sequential)
    return module

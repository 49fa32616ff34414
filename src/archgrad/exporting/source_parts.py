"""The fixed text in the source that `source` writes, and where a long line is broken."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 100

MODULES = {
    "max_pool_3x3": "nn.MaxPool2d(3, stride={stride}, padding=1)",
    "avg_pool_3x3": "nn.AvgPool2d(3, stride={stride}, padding=1, count_include_pad=False)",
    "skip_connect": "FactorizedReduce(channels, channels)",  # where the stride is 2
    "sep_conv_3x3": "sep_conv(channels, kernel=3, stride={stride})",
    "sep_conv_5x5": "sep_conv(channels, kernel=5, stride={stride})",
    "dil_conv_3x3": "dil_conv(channels, kernel=3, stride={stride})",
    "dil_conv_5x5": "dil_conv(channels, kernel=5, stride={stride})",
    "nor_conv_1x1": "relu_conv_norm(channels, channels, kernel=1)",
    "nor_conv_3x3": "relu_conv_norm(channels, channels, kernel=3)",
}

# In the order of the file; a helper is written where the text after it calls it.
HELPERS = {
    "project": '''
def project(inputs: int, outputs: int) -> nn.Sequential:
    """ReLU, 1x1 convolution, BatchNorm."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
    )
''',
    "FactorizedReduce": '''
class FactorizedReduce(nn.Module):
    """Halve height and width: ReLU, two 1x1 convolutions, one a pixel further, BatchNorm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(inputs, outputs - outputs // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(F.relu(x), (0, width % 2, 0, height % 2))  # both become even
        halves = [self.conv1(x[:, :, ::2, ::2]), self.conv2(x[:, :, 1::2, 1::2])]
        return self.norm(torch.cat(halves, dim=1))
''',
    "relu_conv_norm": '''
def relu_conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution, BatchNorm."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )
''',
    "separable": '''
def separable(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    """ReLU, depthwise convolution, 1x1 convolution, BatchNorm."""
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]
''',
    "sep_conv": '''
def sep_conv(channels: int, kernel: int, stride: int) -> nn.Sequential:
    """Two depthwise separable convolutions, the first with the stride."""
    return nn.Sequential(
        *separable(channels, kernel, stride, dilation=1),
        *separable(channels, kernel, stride=1, dilation=1),
    )
''',
    "dil_conv": '''
def dil_conv(channels: int, kernel: int, stride: int) -> nn.Sequential:
    """A depthwise separable convolution, dilated by 2."""
    return nn.Sequential(*separable(channels, kernel, stride, dilation=2))
''',
    "noise": '''
def noise(x: Tensor, stride: int) -> Tensor:
    """N(0, 1) in place of the input, fresh in every pass; no gradient passes."""
    return torch.randn_like(x.detach()[..., ::stride, ::stride])
''',
    "ResidualBlock": '''
class ResidualBlock(nn.Module):
    """Halve height and width, change the channels: two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            relu_conv_norm(inputs, outputs, kernel=3, stride=2),
            relu_conv_norm(outputs, outputs, kernel=3),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)
''',
}

CIFAR_STEM = """\
        self.stem = nn.Sequential(
            nn.Conv2d({inputs}, {width}, 3, padding=1, bias=False),
            nn.BatchNorm2d({width}),
        )"""
IMAGENET_STEM = """\
        self.stem0 = nn.Sequential(
            nn.Conv2d({inputs}, {half}, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d({half}),
            nn.ReLU(),
            nn.Conv2d({half}, {width}, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d({width}),
        )
        self.stem1 = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d({width}, {width}, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d({width}),
        )"""
CIFAR_STATES = "        older = newer = self.stem(images)"
IMAGENET_STATES = """\
        older = self.stem0(images)
        newer = self.stem1(older)"""
DARTS_NETWORK = '''
class {name}(nn.Module):
    """Stem, {cells} cells, average pooling, linear: (B, {inputs}, H, W) -> (B, {classes})."""

    def __init__(self) -> None:
        super().__init__()
{stem}
        self.cells = nn.ModuleList(
            [
{made}
            ]
        )
        self.classifier = nn.Linear({features}, {classes})

    def forward(self, images: Tensor) -> Tensor:
{states}
        for cell in self.cells:
            older, newer = newer, cell(older, newer)
        return self.classifier(F.adaptive_avg_pool2d(newer, 1).flatten(1))
'''
STAGES_NETWORK = '''
class {name}(nn.Module):
    """Stem, three stages of cells, pooling, linear: (B, {inputs}, H, W) -> (B, {classes})."""

    def __init__(self) -> None:
        super().__init__()
{stem}
        self.cells = nn.Sequential(
{made}
        )
        self.head = nn.Sequential(
            nn.BatchNorm2d({width}),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classifier = nn.Linear({width}, {classes})

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.head(self.cells(self.stem(images))))
'''
USE = '''
WEIGHTS = Path(__file__).with_name("model.safetensors")
TYPES = {{"F32": torch.float32, "I64": torch.int64}}


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file: length of the header (8 bytes), header (JSON), values."""
    content = Path(path).read_bytes()
    tensors = {{}}
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            values = bytearray(content[start + begin : start + end])
            flat = torch.frombuffer(values, dtype=TYPES[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{{path}} is not a whole safetensors file: {{error!r}}") from None
    return tensors


def load(path: str | Path = WEIGHTS) -> {name}:
    """The trained network in eval mode; `path` holds its weights."""
    network = {name}()
    try:
        network.load_state_dict(read_safetensors(path))
    except RuntimeError as error:
        raise ValueError(
            f"{{path}} does not hold the weights of {name}; "
            "give the model.safetensors that was exported with this file"
        ) from error
    return network.eval()
'''
MAIN = """
if __name__ == "__main__":
    print(__doc__)
    with torch.no_grad():
        logits = load()(torch.rand(1, {shape}))
    print(f"logits of a random image: {{logits[0].tolist()}}")
"""
INTRODUCTION = """{name}: an image classifier, written by archgrad {version}; it needs torch alone.

{facts}

    from model import load
    network = load()            # eval mode, with the weights in model.safetensors beside this file
    logits = network(images)    # (B, {shape}) float32 -> (B, {sizes.classes}); any B

To train it further, call network.train(); for other classes, replace network.classifier.
"""


def broken(target: str, terms: Sequence[str]) -> list[str]:
    """A statement with a sum in a method, as ruff breaks it."""
    text, indent = " + ".join(terms), " " * 12
    line = f"        {target} {text}"
    if len(line) <= WIDTH:
        return [line]
    lines = [text] if len(indent + text) <= WIDTH else [terms[0], *(f"+ {t}" for t in terms[1:])]
    return [f"        {target} (", *(indent + line for line in lines), "        )"]

"""Segmentation of generated shapes with a small U-Net whose convolutions and skips are choices.

Batches are dicts, so the search is told how to run them (``forward=``). At each resolution the way
up adds two of three maps: what comes from below, the encoder's map before and after its block.
``--quick``: less of everything.
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import archgrad

SIZE = 16


class Shapes(Dataset[dict[str, Tensor]]):  # a disc (1) and a square (2) at random places
    def __init__(self, count: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        place = torch.rand(count, 4, 1, 1, generator=draw) * SIZE
        radius = 2 + torch.rand(count, 2, 1, 1, generator=draw) * 3
        rows, columns = torch.arange(SIZE).view(-1, 1), torch.arange(SIZE)
        dy, dx = (rows - place[:, ::2]).abs(), (columns - place[:, 1::2]).abs()
        disc = dy[:, 0] ** 2 + dx[:, 0] ** 2 < radius[:, 0] ** 2
        square = torch.maximum(dy[:, 1], dx[:, 1]) < radius[:, 1]
        self.mask = torch.where(disc, 1, torch.where(square, 2, 0))
        noise = torch.randn(count, 1, SIZE, SIZE, generator=draw)
        self.image = (self.mask > 0).float().unsqueeze(1) + 0.3 * noise

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": self.image[index], "mask": self.mask[index]}


TEST = Shapes(200, seed=2)


def block(channels: int) -> nn.Module:
    def conv(dilation: int) -> nn.Module:
        layer = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU())

    return archgrad.Choice({"near": conv(1), "far": conv(2), "skip": nn.Identity()})


class UNet(nn.Module):
    def __init__(self, channels: int = 12, depth: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.down = nn.ModuleList(block(channels) for _ in range(depth))
        self.bottom = block(channels)
        self.merge = nn.ModuleList(archgrad.InputChoice(3, picks=2) for _ in range(depth))
        self.up = nn.ModuleList(block(channels) for _ in range(depth))
        self.head = nn.Conv2d(channels, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        state, kept = self.stem(image), []
        for encode in self.down:
            kept.append((state, encode(state)))
            state = F.max_pool2d(kept[-1][1], 2)
        state = self.bottom(state)
        for merge, decode in zip(self.merge, self.up):
            below = F.interpolate(state, scale_factor=2, mode="nearest")
            state = decode(merge([below, *kept.pop()]))
        return self.head(state)


def overlap(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean intersection over union of disc and square."""
    found = logits.argmax(dim=1)
    pairs = [((found == k) & (mask == k), (found == k) | (mask == k)) for k in (1, 2)]
    return torch.stack([both.sum() / one.sum().clamp_min(1) for both, one in pairs]).mean()


@torch.no_grad()
def evaluate(model: nn.Module) -> float:
    return float(overlap(model.eval()(TEST.image), TEST.mask))


def main(quick: bool) -> tuple[archgrad.Architecture, nn.Module, float]:
    """What was found, the trained network, and the overlap of a thresholded image."""
    torch.manual_seed(0)
    shapes = Shapes(160 if quick else 600, seed=1)
    result = archgrad.search(
        UNet(), train=shapes, loss=F.cross_entropy, metric=overlap,
        forward=lambda model, batch: (model(batch["image"]), batch["mask"]),
        method="single_level", method_options={"alpha_learning_rate": 0.02},
        epochs=4 if quick else 25, batch_size=20, learning_rate=0.3, guard="off",
    )  # fmt: skip
    print(result.architecture)
    model = result.derive()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(8 if quick else 20):
        for batch in DataLoader(shapes, batch_size=20, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(batch["image"]), batch["mask"]).backward()
            optimizer.step()
    bright = (TEST.image[:, 0] > 0.5).long()  # every bright pixel called a disc
    baseline = float(overlap(F.one_hot(bright, 3).movedim(-1, 1), TEST.mask))
    print(f"overlap {evaluate(model):.3f}, of a threshold {baseline:.3f}")
    return result.architecture, model, baseline


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)

"""Digits: the first layer, the blocks and an activation inside them are choices.

The two blocks of a stage have one name and are decided together; the activation is a choice within
a candidate. ``--quick``: less of everything.
"""

import sys

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import archgrad

images, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
x, y = images.float().view(-1, 1, 8, 8) / 16, labels
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = order[:1300], order[1300:]


def conv(inputs: int, outputs: int, size: int) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


def block(channels: int, stage: str) -> nn.Module:
    def activation() -> nn.Module:
        return archgrad.Choice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, name=f"{stage} activation")

    return archgrad.Choice(
        {
            "skip": nn.Identity(),
            "conv3": nn.Sequential(conv(channels, channels, 3), activation()),
            "conv5": nn.Sequential(conv(channels, channels, 5), activation()),
        },
        name=stage,
    )


def network() -> nn.Module:
    stem = archgrad.Choice({f"conv{k}": conv(1, 12, k) for k in (1, 3, 5)}, name="stem")
    stages = [
        nn.Sequential(block(c, f"stage{i}"), block(c, f"stage{i}"), nn.MaxPool2d(2))
        for i, c in enumerate((12, 24))
    ]
    widen = nn.Sequential(conv(12, 24, 1), nn.ReLU())
    return nn.Sequential(stem, stages[0], widen, stages[1], nn.Flatten(), nn.Linear(24 * 4, 10))


def train(model: nn.Module, epochs: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    for _ in range(epochs):
        for chosen in TRAIN[torch.randperm(len(TRAIN))].split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()


@torch.no_grad()
def evaluate(model: nn.Module) -> float:
    """Accuracy on the test images."""
    return float((model.eval()(x[TEST]).argmax(dim=1) == y[TEST]).float().mean())


def main(quick: bool) -> tuple[archgrad.Architecture, nn.Module, float]:
    """What was found, the trained network, and the accuracy of always giving one class."""
    torch.manual_seed(0)
    result = archgrad.search(
        network(),
        train=(x[TRAIN], y[TRAIN]),
        method_options={"alpha_learning_rate": 0.01},
        epochs=1 if quick else 15,
        batch_size=64,
        learning_rate=0.1,
    )
    print(result.architecture)
    model = result.derive()
    print(f"accuracy with the weights of the search  {evaluate(model):.3f}")
    train(model, epochs=1 if quick else 10)
    print(f"accuracy after some more training        {evaluate(model):.3f}")
    alone = archgrad.build(network, result.architecture)
    train(alone, epochs=2 if quick else 25)
    print(f"the same network trained from scratch    {evaluate(alone):.3f}")
    return result.architecture, model, float(y[TEST].bincount().max() / len(TEST))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)

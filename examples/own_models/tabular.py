"""Diabetes, ten numbers a patient: depth, width and activation of a small network are choices.

The metric is scikit-learn's own. The linear model beside it is hard to beat on 442 patients.
``--quick``: less of everything.
"""

import sys

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from torch import Tensor, nn

import archgrad

x, y = (torch.from_numpy(a).float() for a in load_diabetes(return_X_y=True))
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = order[:330], order[330:]
x = (x - x[TRAIN].mean(0)) / x[TRAIN].std(0)
y = ((y - y[TRAIN].mean()) / y[TRAIN].std()).unsqueeze(1)


def activation() -> nn.Module:
    """Of one name, so it is the same everywhere."""
    candidates = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "linear": nn.Identity()}
    return archgrad.Choice(candidates, name="activation")


class Residual(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(features, features), activation(), nn.Dropout(0.2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def network() -> nn.Module:
    first = archgrad.Width([nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 16)], [8, 16, 32], "width")
    deep = archgrad.Repeat(lambda: Residual(16), depths=[0, 1, 2, 4], name="depth")
    return nn.Sequential(first, deep, activation(), nn.Linear(16, 1))


def determination(output: Tensor, target: Tensor) -> float:
    """R2: the share of the variance that is explained."""
    return float(r2_score(target, output))


@torch.no_grad()
def evaluate(model: nn.Module) -> float:
    return determination(model.eval()(x[TEST]), y[TEST])


def main(quick: bool) -> tuple[archgrad.Architecture, nn.Module, float]:
    """What was found, the trained network, and the score of always giving the mean."""
    torch.manual_seed(0)
    result = archgrad.search(
        network(),
        train=(x[TRAIN], y[TRAIN]),
        loss=F.mse_loss,
        metric=determination,
        method="gdas",
        epochs=8 if quick else 60,
        batch_size=32,
        weight_decay=1e-2,
        guard="off",
    )
    print(result.architecture)
    model = result.derive()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.1)
    for _ in range(10 if quick else 30):
        for chosen in TRAIN[torch.randperm(len(TRAIN))].split(32):
            optimizer.zero_grad()
            F.mse_loss(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
    ridge = RidgeCV(alphas=[0.1, 1, 10, 100]).fit(x[TRAIN], y[TRAIN, 0])
    print(f"R2 of the network {evaluate(model):.3f}, of ridge regression", end=" ")
    print(f"{ridge.score(x[TEST], y[TEST, 0]):.3f}")
    return result.architecture, model, 0.0


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)

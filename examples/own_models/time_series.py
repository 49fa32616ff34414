"""Forecasts of noisy waves with 1-d convolutions; the model says how sure it is.

Batches are generated as they are asked for, by a loader that knows its length and its state, so
that a search can be resumed exactly. Outputs are pairs (mean, log variance), also those of the
candidates of the head; the loss is a likelihood, without a metric. ``--quick``: less of everything.
"""

import sys
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archgrad

LENGTH, BATCH = 32, 32
Forecast = tuple[Tensor, Tensor]


def waves(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two waves with noise, (count, 1, LENGTH), and the value that comes next."""
    period = 5 + 20 * torch.rand(count, 2, 1, generator=draw)
    phase = 6.28 * torch.rand(count, 2, 1, generator=draw)
    clean = (6.28 * torch.arange(LENGTH + 1) / period + phase).sin().sum(1, keepdim=True)
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=draw)
    return noisy[..., :-1], clean[:, 0, -1]


class Loader:  # of fresh waves in every pass
    def __init__(self, batches: int, seed: int) -> None:
        self.batches, self.draw = batches, torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.batches):
            yield waves(BATCH, self.draw)

    def state_dict(self) -> dict[str, Any]:
        return {"draw": self.draw.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.draw.set_state(state["draw"])


class Head(nn.Module):
    """Mean and log variance, from the last step or from all of them."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.steps, self.linear = steps, nn.Linear(channels * steps, 2)

    def forward(self, state: Tensor) -> Forecast:
        mean, spread = self.linear(state[..., -self.steps :].flatten(1)).unbind(1)
        return mean, spread.clamp(-6, 6)


def layer(channels: int) -> nn.Module:
    def conv(size: int, dilation: int = 1) -> nn.Module:
        made = nn.Conv1d(channels, channels, size, padding="same", dilation=dilation)
        return nn.Sequential(made, nn.BatchNorm1d(channels), nn.ReLU())

    return archgrad.Choice(
        {"three": conv(3), "seven": conv(7), "dilated": conv(3, 4), "skip": nn.Identity()}
    )


def network(channels: int = 12) -> nn.Module:
    heads = {"last": Head(channels, 1), "all": Head(channels, LENGTH)}
    layers = [layer(channels) for _ in range(3)]
    return nn.Sequential(nn.Conv1d(1, channels, 1), *layers, archgrad.Choice(heads, name="head"))


def loss(output: Forecast, target: Tensor) -> Tensor:
    return F.gaussian_nll_loss(output[0], target, output[1].exp())


@torch.no_grad()
def evaluate(model: nn.Module) -> float:
    """1 - mean square error / that of forecasting the last value again."""
    series, following = waves(500, torch.Generator().manual_seed(9))
    error = F.mse_loss(model.eval()(series)[0], following)
    return float(1 - error / F.mse_loss(series[:, 0, -1], following))


def main(quick: bool) -> tuple[archgrad.Architecture, nn.Module, float]:
    """What was found, the trained network, and the score of repeating the last value."""
    torch.manual_seed(0)
    batches = 15 if quick else 40
    result = archgrad.search(
        network(), train=Loader(batches, seed=1), valid=Loader(batches, seed=2), loss=loss,
        epochs=2 if quick else 20, method_options={"alpha_learning_rate": 0.01}, guard="off",
    )  # fmt: skip
    print(result.architecture)
    print("validation loss:", [f"{line['valid_loss']:.2f}" for line in result.metrics])
    model, fresh = result.derive(), Loader(200 if quick else 600, seed=3)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for series, following in fresh:
        optimizer.zero_grad()
        loss(model(series), following).backward()
        optimizer.step()
    print(f"share of the error of repetition that is gone: {evaluate(model):.3f}")
    return result.architecture, model, 0.0


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)

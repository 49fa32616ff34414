"""A trained network made faster on this machine: alternatives to its convolutions, then a search.

The network first learns digits. `archgrad.insert_choices` then offers for each inner convolution a
depthwise separable one and none at all, beside the one that is there, whose weights stay. Accuracy
alone would keep what is there, so the search has a limit of latency, halfway between the network
and the fastest that these choices allow: `archgrad.measure_latency` times the candidates here, and
``max_latency`` keeps the limit.
Afterwards the network and the found one are trained on equally, several times, and timed in turns.
``--quick``: less of everything.
"""

import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from statistics import fmean, median, quantiles, stdev
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import archgrad

x, y = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
x = x.float().view(-1, 1, 8, 8) / 16
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = order[:1300], order[1300:]
PART = 0.5  # of what the fastest network of these choices would save, is left


def network(channels: int = 24) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, channels, 3, padding=1)]
    for pool in (False, True, False, True):
        inner = nn.Conv2d(channels, channels, 3, padding=1)
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), inner, *([nn.MaxPool2d(2)] * pool)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * channels, 10))


def cheaper(conv: nn.Module) -> dict[str, nn.Module]:
    channels = conv.out_channels
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    separable = nn.Sequential(depthwise, nn.Conv2d(channels, channels, 1))
    return {"separable": separable, "none": nn.Identity()}


def choosable() -> nn.Module:
    """The network with choices; a factory for `archgrad.build`."""
    return offered(network())


def offered(model: nn.Module) -> nn.Module:
    def inner(name: str, module: nn.Module) -> bool:
        return isinstance(module, nn.Conv2d) and module.in_channels > 1

    return archgrad.insert_choices(model, where=inner, candidates=cheaper)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def train(model: nn.Module, epochs: int, rate: float, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model, optimizer = model.train(), torch.optim.Adam(model.parameters(), rate)
    for _ in range(epochs):
        for chosen in TRAIN[torch.randperm(len(TRAIN))].split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
    return model


@torch.no_grad()
def evaluate(model: nn.Module) -> float:
    """Accuracy on the test images."""
    return float((model.eval()(x[TEST]).argmax(dim=1) == y[TEST]).float().mean())


@torch.no_grad()
def latencies(models: Sequence[nn.Module], images: Tensor, pairs: int) -> list[list[float]]:
    """Milliseconds of each model, ``pairs`` times in turns (the first turns warm up)."""
    found: list[list[float]] = [[] for _ in models]
    for turn in range(pairs + 10):
        for model, times in zip(models, found):
            began = time.perf_counter()
            model.eval()(images)
            times.extend([1e3 * (time.perf_counter() - began)] * (turn >= 10))
    return found


def main(quick: bool) -> tuple[archgrad.Architecture, nn.Module, float]:
    """What was found, the network made of it, and the accuracy of always giving one class."""
    torch.manual_seed(0)
    trained = train(network(), epochs=3 if quick else 15, rate=3e-3, seed=0)
    model = offered(trained)
    table = archgrad.measure_latency(model, example=x[TRAIN[:64]], batch=64, device="cpu")
    costs = [row for (row,) in table.groups.values()]
    whole, least = (
        table.fixed + sum(chosen)
        for chosen in ([row["original"] for row in costs], [min(row.values()) for row in costs])
    )
    limit = least + PART * (whole - least)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "latency.json"
        path.write_text(table.to_json())
        result = archgrad.search(
            model, train=(x[TRAIN], y[TRAIN]), method="darts", epochs=2 if quick else 15,
            learning_rate=0.01, guard="off", method_options={"alpha_learning_rate": 0.05},
            max_latency=f"{limit}ms", latency_table=str(path), device="cpu",
        )  # fmt: skip
    print(result.architecture)
    print(result.cost)
    before, after = ([], [])
    for seed in range(2 if quick else 5):
        both = (deepcopy(trained), before), (result.derive(), after)
        for start, scores in both:
            scores.append(evaluate(train(start, epochs=3 if quick else 10, rate=1e-3, seed=seed)))
    smaller = train(result.derive(), epochs=3 if quick else 10, rate=1e-3, seed=0)
    for name, model, scores in (("before", trained, before), ("after", smaller, after)):
        print(f"{name:<7} {parameters(model):>7,} parameters, accuracy", end=" ")
        print(f"{fmean(scores):.3f} ± {stdev(scores):.3f} over {len(scores)} seeds")
    for count in (1, 64):
        ours, theirs = latencies((trained, smaller), x[:count], pairs=30 if quick else 300)
        ratios = [new / old for old, new in zip(ours, theirs)]
        low, _, high = quantiles(ratios, n=4)
        print(
            f"{count} images: {median(ours):.2f} ms before, {median(theirs):.2f} ms after;", end=" "
        )
        print(f"ratio {median(ratios):.2f} measured side by side, half of the pairs from", end=" ")
        print(f"{low:.2f} to {high:.2f}")
    return result.architecture, smaller, float(y[TEST].bincount().max() / len(TEST))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(quick="--quick" in sys.argv)

"""A trained network made faster on this machine: alternatives to its convolutions, then a search.

The network first learns digits. `archgrad.insert_choices` then offers for each inner convolution a
depthwise separable one and none at all, beside the one that is there, whose weights stay. Accuracy
alone would keep what is there, so alpha's loss also pays for time, measured here. Afterwards the
network and the found one are trained on equally, several times. ``--quick``: less of everything.
"""

import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from statistics import fmean, median, quantiles, stdev

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import archgrad
from archgrad.parts.optimizer import Adam
from archgrad.parts.state import State
from archgrad.supernet import Alpha

x, y = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
x = x.float().view(-1, 1, 8, 8) / 16
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = order[:1300], order[1300:]


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


@dataclass(frozen=True)
class Price:
    """A term in alpha's loss: ``weight`` times the expected time, in that of the originals."""

    times: dict[str, Tensor]  # choice -> milliseconds of its candidates, the original first
    weight: float

    def __call__(self, alpha: Alpha, state: State) -> Tensor:
        paid = [alpha[name][0].softmax(0) @ times for name, times in self.times.items()]
        return self.weight * sum(paid) / sum(float(times[0]) for times in self.times.values())


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


def priced(trained: nn.Module, offering: nn.Module, pairs: int) -> dict[str, Tensor]:
    """Milliseconds of the candidates of each choice, by its place, on what comes there."""
    choices = {n: m for n, m in offering.named_modules() if isinstance(m, archgrad.Choice)}
    model, seen = deepcopy(trained), dict[str, Tensor]()
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
    model.eval()(x[TRAIN[:64]])
    found = {n: latencies([*c.candidates], seen[n], pairs) for n, c in choices.items()}
    return {name: torch.tensor([median(t) for t in times]) for name, times in found.items()}


def main(quick: bool) -> tuple[archgrad.Architecture, nn.Module, float]:
    """What was found, the network made of it, and the accuracy of always giving one class."""
    torch.manual_seed(0)
    trained = train(network(), epochs=3 if quick else 15, rate=3e-3, seed=0)
    model = offered(trained)
    pairs = 30 if quick else 300
    price = Price(priced(trained, model, pairs), weight=0.5)
    method = archgrad.Method(regularizers=(price,), arch_optimizer=Adam(0.05))
    result = archgrad.search(
        model, train=(x[TRAIN], y[TRAIN]), method=method, epochs=2 if quick else 15,
        learning_rate=0.01, guard="off",
    )  # fmt: skip
    print(result.architecture)
    before, after = ([], [])
    for seed in range(2 if quick else 5):
        both = (deepcopy(trained), before), (result.derive(), after)
        for start, scores in both:
            scores.append(evaluate(train(start, epochs=1 if quick else 10, rate=1e-3, seed=seed)))
    smaller = train(result.derive(), epochs=1 if quick else 10, rate=1e-3, seed=0)
    for name, model, scores in (("before", trained, before), ("after", smaller, after)):
        print(f"{name:<7} {parameters(model):>7,} parameters, accuracy", end=" ")
        print(f"{fmean(scores):.3f} ± {stdev(scores):.3f} over {len(scores)} seeds")
    for count in (1, 64):
        ours, theirs = latencies((trained, smaller), x[:count], pairs)
        ratios = [new / old for old, new in zip(ours, theirs)]
        low, _, high = quantiles(ratios, n=4)
        print(
            f"{count} images: {median(ours):.2f} ms before, {median(theirs):.2f} ms after;", end=" "
        )
        print(f"ratio {median(ratios):.2f}, half of the pairs from {low:.2f} to {high:.2f}")
    return result.architecture, smaller, float(y[TEST].bincount().max() / len(TEST))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(quick="--quick" in sys.argv)

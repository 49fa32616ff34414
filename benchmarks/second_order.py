"""Bias and spread of the second-order estimators on the real network and real CIFAR-10 images.

For each seed: search `--steps` steps first order, then take the second-order term
-xi d2_{alpha,w} L_train . d_w' L_val on `--batches` pairs of batches with every estimator.

- spread: root mean square distance of single estimates from their mean, over the norm of the
  exact estimator's mean;
- cosine of a single estimate to the exact mean of the *other* batches, averaged;
- cosine of the estimator's mean to the exact mean;
- slope: a reference that favors no estimator. The term's derivative along the estimators' own
  means and random directions of alpha, by wide central differences (`--alpha-step`) of the mean
  over batches of L_val(w'(alpha), .); regression of it on the estimator's mean over the same
  batches. 1: no bias; correlation beside it.

    ARCHGRAD_DATA=... python benchmarks/second_order.py            writes results/second_order.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from archgrad.data import load
from archgrad.networks.supernet import Batch, Supernet
from archgrad.parts.hypergradient import Exact, FiniteDifference, first_order
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import SGD, State
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.storage.folder import environment

ESTIMATORS = {
    "exact": Exact(),
    "finite difference, step 0.01 (paper)": FiniteDifference(0.01),
    "finite difference, step 0.1": FiniteDifference(0.1),
}


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()]).double()


def trained(space: DartsCNN, batches: Callable[[int], tuple[Batch, Batch]], steps: int):
    """A supernet after some first-order search steps, and its weight optimizer."""
    net = Supernet(space.supernet().to(memory_format=torch.channels_last), space.groups)
    sgd = torch.optim.SGD(net.weights.values(), 0.025, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(net.alpha.values(), 3e-4, (0.5, 0.999), weight_decay=1e-3)
    for step in range(steps):
        train, valid = batches(step)
        state = State(net, Softmax(), train, valid, SGD.of(sgd, net.weights))
        for name, gradient in first_order(net.alpha, state).gradient.items():
            net.alpha[name].grad = gradient
        adam.step()
        with torch.no_grad():
            mixing = state.relaxation(net.alpha, state)
        logits = net.forward(mixing, train[0], update_statistics=True)
        sgd.zero_grad()
        net.criterion(logits, train[1]).backward()
        torch.nn.utils.clip_grad_norm_(net.weights.values(), 5.0)
        sgd.step()
    return net, SGD.of(sgd, net.weights)


def slopes(
    net: Supernet, sgd: SGD, pairs: list[tuple[Batch, Batch]], directions: Tensor, step: float
) -> Tensor:
    """Slope of the mean of L_val(w'(alpha), .) along each direction (rows of norm 1) of alpha.

    Only L_train, and so w', sees the moved alpha: the direct, first-order part is left out.
    """
    alpha = {name: value.detach() for name, value in net.alpha.items()}

    def value(moved: dict[str, Tensor], train: Batch, valid: Batch) -> float:
        state = State(net, Softmax(), train, valid, sgd)
        weights = {n: w.detach().requires_grad_() for n, w in net.weights.items()}
        gradient = torch.autograd.grad(
            state.train_loss(moved, weights), list(weights.values()), materialize_grads=True
        )
        with torch.no_grad():
            virtual = state.optimizer.step(weights, dict(zip(weights, gradient)))
            return float(state.valid_loss(alpha, virtual))

    found = []
    for direction in directions:
        parts = direction.float().split([a.numel() for a in alpha.values()])
        moves = {n: part.view_as(a) for (n, a), part in zip(alpha.items(), parts)}
        ends = [
            [value({n: a + s * step * moves[n] for n, a in alpha.items()}, *pair) for pair in pairs]
            for s in (1, -1)
        ]
        found.append((sum(ends[0]) - sum(ends[1])) / (2 * step * len(pairs)))
    return torch.tensor(found, dtype=torch.float64)


def measure(seed: int, options: argparse.Namespace) -> dict[str, object]:
    torch.manual_seed(seed)
    data = load("cifar10", options.data_root, image_size=options.image_size, subset=options.images)
    space = DartsCNN(
        channels=options.channels, cells=options.cells, image_size=(options.image_size,) * 2
    )
    halves = data.split(0.5)
    streams = [
        list(
            half.batches(
                options.batch_size,
                seed=2 * seed + i,
                shuffle=True,
                augmentation=data.augmentation,
                normalization=data.normalization,
            ).epoch(0)
        )
        for i, half in enumerate(halves)
    ]

    def pair(index: int) -> tuple[Batch, Batch]:
        return streams[0][index % len(streams[0])], streams[1][index % len(streams[1])]

    net, sgd = trained(space, pair, options.steps)
    pairs = [pair(options.steps + i) for i in range(options.batches)]
    terms: dict[str, list[Tensor]] = {name: [] for name in ESTIMATORS}
    seconds = dict.fromkeys(ESTIMATORS, 0.0)
    for train, valid in pairs:
        state = State(net, Softmax(), train, valid, sgd)
        directs = flat(direct_part(net, state))
        for name, estimator in ESTIMATORS.items():
            started = time.perf_counter()
            terms[name].append(flat(estimator(net.alpha, state).gradient) - directs)
            seconds[name] += time.perf_counter() - started
    means = {name: torch.stack(values).mean(0) for name, values in terms.items()}
    exact, total = means["exact"], torch.stack(terms["exact"]).sum(0)
    count = options.reference_batches
    part = {name: torch.stack(values[:count]).mean(0) for name, values in terms.items()}
    generator = torch.Generator().manual_seed(seed)
    chance = torch.randn(options.directions, len(exact), generator=generator, dtype=torch.float64)
    directions = torch.cat([torch.stack(list(part.values())), chance])
    directions = directions / directions.norm(dim=1, keepdim=True)
    true = slopes(net, sgd, pairs[:count], directions, options.alpha_step)
    rows = {}
    for name, values in terms.items():
        stacked = torch.stack(values)
        projected = directions @ part[name]
        rows[name] = {
            "spread": float((stacked - means[name]).square().sum(1).mean().sqrt() / exact.norm()),
            "norm_of_mean": float(means[name].norm() / exact.norm()),
            "cosine_of_single": float(
                torch.stack(
                    [
                        torch.cosine_similarity(v, total - own, dim=0)
                        for v, own in zip(values, terms["exact"])
                    ]
                ).mean()
            ),
            "cosine_of_mean": float(torch.cosine_similarity(means[name], exact, dim=0)),
            "error_on_same_batch": float(
                torch.stack(
                    [(v - e).norm() / e.norm() for v, e in zip(values, terms["exact"])]
                ).median()
            ),
            "slope": float(projected @ true / (projected @ projected)),
            "correlation": float(torch.cosine_similarity(projected, true, dim=0)),
            "seconds": seconds[name] / len(pairs),
        }
    return {"seed": seed, "estimators": rows}


def direct_part(net: Supernet, state: State) -> dict[str, Tensor]:
    """d L_val(w', alpha) / d alpha with w' held fixed."""
    weights = {name: w.detach().requires_grad_() for name, w in net.weights.items()}
    loss = state.train_loss(net.alpha, weights)
    gradient = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
    with torch.no_grad():
        virtual = state.optimizer.step(net.weights, dict(zip(weights, gradient)))
    values = torch.autograd.grad(
        state.valid_loss(net.alpha, virtual), list(net.alpha.values()), materialize_grads=True
    )
    return dict(zip(net.alpha, values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-root", default=os.environ.get("ARCHGRAD_DATA"))
    parser.add_argument("--seeds", type=int, default=3)
    for name, value in {
        "channels": 4,
        "cells": 5,
        "image-size": 16,
        "batch-size": 64,
        "images": 10000,
        "steps": 100,
        "batches": 20,
        "reference-batches": 10,
        "directions": 3,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--alpha-step", type=float, default=0.3)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "second_order.json"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for seed in range(options.seeds):
        results.append(measure(seed, options))
        settings = {
            key: str(value)
            for key, value in vars(options).items()
            if key not in ("data_root", "out")
        }
        content = {"settings": settings, "environment": environment(), "results": results}
        options.out.parent.mkdir(exist_ok=True)
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        for name, row in results[-1]["estimators"].items():
            print(
                f"seed {seed}  {name:<38}"
                + "  ".join(f"{key} {value:.3g}" for key, value in row.items()),
                flush=True,
            )


if __name__ == "__main__":
    main()

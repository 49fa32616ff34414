"""What a search may spend, and what plain DARTS would."""

from __future__ import annotations

import torch

from archgrad.config import SearchConfig
from archgrad.counting import BACKWARD, counted
from archgrad.data import Augmentation, Data
from archgrad.data.own import OwnData
from archgrad.leg import Leg
from archgrad.loaders import Loaders, several
from archgrad.methods.darts import darts
from archgrad.parts.stage import Stage
from archgrad.spaces import SearchSpace
from archgrad.units import work


def amount(config: SearchConfig) -> int | None:
    """The budget of a search in multiply-adds, if it has one."""
    return None if config.budget is None else round(work(config.budget))


def of_first_order(
    space: SearchSpace, data: Data | OwnData, config: SearchConfig, augmentation: Augmentation
) -> int:
    """What the epochs of first-order DARTS with these options take, evaluations included.

    An epoch passes the weights' half forward and backward, and as many examples of alpha's half;
    then alpha's half is evaluated.
    """
    cpu = torch.device("cpu")
    loaders = Loaders.of(data, config, augmentation, cpu)
    with torch.random.fork_rng(devices=[]):
        net = Leg.of(space, darts(), Stage(1.0), None, config, cpu, data.task).net
        batch = next(several(loaders.train.epoch(0)))
        found = counted(net, net.task.forward, batch)
    train, check = loaders.examples
    passes = 2 * BACKWARD * train + check
    return config.epochs * passes * found.whole // found.examples

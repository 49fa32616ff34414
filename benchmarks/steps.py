"""The two steps of a search on given batches: those of the library, and those of the textbook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from archgrad.data import Augmentation, Data, as_data
from archgrad.methods import Method
from archgrad.networks.supernet import Batch
from archgrad.searching.bilevel import BilevelSearch
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.system.loops import Meter
from textbook import Textbook


class Steps(NamedTuple):
    """``alpha(train, valid)`` and ``weights(train)``; what they train: the tables, the network."""

    alpha: Callable[[Batch, Batch], Any]
    weights: Callable[[Batch], None]
    tables: Mapping[str, Tensor]
    network: nn.Module

    def both(self, train: Batch, valid: Batch) -> None:
        """One search step."""
        self.alpha(train, valid)
        self.weights(train)


def batches(size: int, shape: tuple[int, int, int], device: torch.device) -> tuple[Batch, Batch]:
    """A training and a validation batch of random images, the same for everyone."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, size, *shape, generator=generator).to(device)
    labels = (torch.arange(size) % 10).to(device)
    return (images[0], labels), (images[1], labels)


def library(
    space: SearchSpace,
    method: Method,
    device: torch.device,
    *,
    data: Data | None = None,
    **options: Any,
) -> Steps:
    """The steps of `archgrad.searching.bilevel`, every draw from a seed that is counted on.

    ``data``: only to begin a search with, without it images; ``options`` of the search beside those
    that make it begin with little.
    """
    if data is None:
        images, labels = torch.rand(40, *space.input_shape), torch.arange(40) % 10
        data = as_data((images, labels, images, labels))
    config = SearchConfig(guard="off", batch_size=2, **options)
    search = BilevelSearch(space, data, method, config, Augmentation(), device, run=None)
    meter, seeds = Meter(check_every=10**9), count()
    return Steps(
        lambda train, valid: search.alpha_step(
            search.state(train, valid, progress=0.0, seed=next(seeds)), meter
        ),
        lambda train: search.weight_step(
            search.state(train, progress=0.0, seed=next(seeds)), meter
        ),
        search.leg.net.alpha,
        search.leg.net.model.train(),
    )


def textbook(channels: int, cells: int, second_order: bool, device: torch.device) -> Steps:
    """The steps of `textbook.Textbook`."""
    book = Textbook(channels, cells).to(device)
    alpha = book.second_order if second_order else book.first_order
    return Steps(alpha, book.weight_step, book.alpha, book.network)

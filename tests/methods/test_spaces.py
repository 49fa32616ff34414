"""Every method on every space; and what a space cannot serve is said before a step is made."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from archgrad import method
from archgrad.data import as_data
from archgrad.errors import ArchgradError
from archgrad.methods import RECIPES, Method
from archgrad.parts.stopping import SkipCount
from archgrad.retraining.sizing import of_text
from archgrad.searching.bilevel import bilevel_search
from archgrad.searching.result import SearchResult
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SPACES, space
from archgrad.spaces.robust import S1_NORMAL, S1_REDUCE

IMAGES = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = as_data((IMAGES, torch.arange(8) % 2))
SIZES: dict[str, dict[str, Any]] = {
    **{name: {"cells": 3, "nodes": 1} for name in SPACES},
    "s1": {"cells": 3, "nodes": 1, "candidates": (S1_NORMAL[:2], S1_REDUCE[:2])},  # of four nodes
    "nas-bench-201": {"cells": 1},
    "mbconv": {"cells": 1, "kernels": (3, 5), "expansions": (3,)},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "p_darts": {"more_cells": 1},
    "darts_pt": {"tuning_epochs": 1},
    "shapley": {"samples": 2},
    "random_ws": {"samples": 4},
}
REFUSED = {  # why a method cannot serve a space
    ("mbconv", "pc_darts"): "layer 1 leads from 4 to 6 channels, and PartialChannels passes some",
    ("mbconv", "darts_minus"): "layer 1 leads from 4 to 6 channels, and AuxiliarySkip passes some",
    ("mbconv", "p_darts"): "found cells 2, expected 1: the depth of a chain is part of its",
}
FAST = ("s1", "s4", "nas-bench-201", "mbconv")  # the table of methods is on darts-cnn


def searched(name: str, chosen: Method, channels: int = 8) -> SearchResult:
    """One step of a batch of four (an epoch; one for each stage)."""
    shape = {"in_channels": 3, "image_size": (8, 8), "classes": 2}
    config = SearchConfig(
        epochs=len(chosen.stages) or 1, batch_size=4, watch_fraction=0, guard="off", device="cpu"
    )
    where = space(name, channels=channels, **SIZES[name], **shape)
    return bilevel_search(where, DATA, chosen, config)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "name",
    [s if s in FAST else pytest.param(s, marks=pytest.mark.slow) for s in SPACES if not of_text(s)],
)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_method_searches_in_every_space_or_says_why_not(recipe: str, name: str) -> None:
    chosen = method(recipe, **OPTIONS.get(recipe, {}))
    if (reason := REFUSED.get((name, recipe))) is not None:
        with pytest.raises(ArchgradError, match=reason):
            searched(name, chosen)
        return
    result = searched(name, chosen)
    result.space.validate(result.architecture)
    assert result.architecture.space == name
    assert result.derive()(IMAGES).shape == (8, 2)


def test_all_edges_of_s1_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "s1", {"cells": 3})
    assert searched("s1", method("darts")).alpha["normal"].shape == (14, 2)


@pytest.mark.parametrize("name", ["darts-cnn", "nas-bench-201"])
def test_progressive_drnas_searches_in_both_kinds_of_space(name: str) -> None:
    result = searched(name, method("drnas", progressive=1))
    result.space.validate(result.architecture)


@pytest.mark.parametrize(
    ("name", "chosen", "channels", "message"),
    [
        ("darts-cnn", method("pc_darts"), 4, "partial channels: 4 channels in 4 parts; expected a"),
        ("darts-cnn", method("pc_darts"), 10, "partial channels: 10 channels in 4 parts; expected"),
        (
            "nas-bench-201",
            method("drnas", progressive=1, k=8),
            8,
            "partial channels: 8 channels in 8 parts; .* use other channels or a smaller k",
        ),
        ("s4", Method(without=("noise", "sep_conv_3x3")), 8, "group normal: edge 0 to 2 offers"),
        (
            "s2",
            Method(without=("skip_connect", "sep_conv_3x3")),
            8,
            "expected different operations",
        ),
        ("s1", Method(without=("dil_conv_3x3",)), 8, "edges offer 1 to 2 operations; expected"),
        (
            "nas-bench-201",
            Method(stopping=SkipCount(1)),
            8,
            "skip count: there is no cell normal; choose one of cell",
        ),
    ],
)
def test_what_a_space_cannot_serve_is_refused(
    name: str, chosen: Method, channels: int, message: str
) -> None:
    with pytest.raises(ArchgradError, match=message):
        searched(name, chosen, channels)


def test_stages_need_an_epoch_each() -> None:
    chosen = method("p_darts")
    config = SearchConfig(epochs=2, batch_size=4, device="cpu")
    with pytest.raises(
        ArchgradError, match="a search in 3 stages needs at least an epoch for each"
    ):
        bilevel_search(space("darts-cnn", classes=2, image_size=(8, 8)), DATA, chosen, config)

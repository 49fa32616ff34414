"""Tables of costs: they add up exactly, and say what they do not fit."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archgrad.costing.cost import cost
from archgrad.costing.costs import CostTable, cost_table
from archgrad.costing.walking import walk
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Group
from archgrad.networks.counting import signature
from archgrad.settings.units import count, milliseconds, shown
from archgrad.spaces import SearchSpace, space

KINDS = ("parameters", "multiply_adds")
TINY = {"channels": 4, "cells": 3, "image_size": (8, 8), "in_channels": 1}


@cache
def made(name: str) -> SearchSpace:
    return space(name, **{**TINY, "cells": 1 if name == "nas-bench-201" else 3})


@cache
def table(name: str, kind: str) -> CostTable:
    return cost_table(made(name), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["darts-cnn", "nas-bench-201", "s1"])
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32))
def test_the_table_predicts_exactly(name: str, kind: str, seed: int) -> None:
    drawn = made(name).random_architecture(torch.Generator().manual_seed(seed))
    assert table(name, kind).predict(drawn) == getattr(cost(made(name), drawn), kind)
    assert table(name, kind).error == 0.0


def test_known_costs_of_candidates() -> None:
    """A 3x3 convolution of NAS-Bench-201 with 4 channels on 8x8 pixels, in the only cell."""
    first = table("nas-bench-201", "parameters").places[0]
    assert (first.group, first.edge, first.shape) == ("cell", 0, (1, 4, 8, 8))
    assert first.costs == {
        "none": 0, "skip_connect": 0, "avg_pool_3x3": 0,
        "nor_conv_1x1": 4 * 4 + 8, "nor_conv_3x3": 9 * 4 * 4 + 8,
    }  # fmt: skip
    madds = table("nas-bench-201", "multiply_adds").places[0].costs
    assert madds["nor_conv_3x3"] == 9 * 4 * 4 * 64 and madds["avg_pool_3x3"] == 0
    summed = table("nas-bench-201", "parameters").groups["cell"][0]["nor_conv_3x3"]
    assert summed == 9 * (4**2 + 8**2 + 16**2) + 2 * (4 + 8 + 16)  # three stages, one cell each


def test_rows_follow_the_candidates_of_a_restricted_space() -> None:
    found = table("nas-bench-201", "parameters")
    (group,) = made("nas-bench-201").without(["nor_conv_1x1", "none"]).groups
    conv = group.candidates[0].index("nor_conv_3x3")
    assert found.rows(group)[0][conv] == found.groups["cell"][0]["nor_conv_3x3"]
    other = Group("cell", 1, ((0, 1),), (("noise",),), None)
    with pytest.raises(ArchgradError, match="no noise for edge 0 of cell"):
        found.rows(other)


class Shared(nn.Module):
    """One choice that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.choice = Choice({"a": nn.Linear(3, 3), "b": nn.Identity()}, "layer 1", 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.choice(self.choice(x.flatten(1)))
        return found


class Own:
    """As much of a space as a walk needs."""

    input_shape = (3, 1, 1)
    name = "own"

    def supernet(self) -> nn.Module:
        return Shared()


class Looking(Own):
    """A model that looks at numbers, which there are none of on the meta device."""

    def supernet(self) -> nn.Module:
        model = Shared()
        model.register_forward_pre_hook(lambda module, inputs: print(float(inputs[0].sum())))
        return model


@pytest.mark.parametrize(("own", "device"), [(Own(), "meta"), (Looking(), "cpu")])
def test_a_walk_meets_a_choice_as_often_as_it_is_used(own: Own, device: str) -> None:
    met, where, examples = walk(own, batch=2)  # type: ignore[arg-type]
    assert examples == 2
    assert [(m.place, m.shape) for m in met] == [("choice", (2, 3))] * 2
    assert where.type == device == next(met[0].choice.parameters()).device.type
    assert "terms" not in vars(met[0].choice)  # as it was


def test_a_model_without_choices_is_refused() -> None:
    class Bare(Own):
        def supernet(self) -> nn.Module:
            return nn.Flatten()

    with pytest.raises(ArchgradError, match="has no choices"):
        walk(Bare())  # type: ignore[arg-type]


def test_equal_candidates_have_equal_signatures() -> None:
    assert signature(nn.Conv2d(2, 3, 3)) == signature(nn.Conv2d(2, 3, 3))
    assert signature(nn.Conv2d(2, 3, 3)) != signature(nn.Conv2d(2, 3, 3, stride=2))
    assert signature(nn.ReLU()) != signature(nn.Identity())


def test_a_table_is_read_back_from_its_text(tmp_path: Path) -> None:
    found = table("s1", "parameters")
    (tmp_path / "t.json").write_text(found.to_json())
    again = CostTable.load(tmp_path / "t.json")
    assert (again.groups, again.edges, again.fixed) == (found.groups, found.edges, found.fixed)
    again.check_fits(made("s1"), "t.json")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    values = json.loads(table("s1", "parameters").to_json())
    wrong = {"format": "other/1"}, {"places": [{"place": 1}]}, {"kind": "weight"}, {"edges": 3}
    for changes in wrong:
        path.write_text(json.dumps({**values, **changes}))
        with pytest.raises(ArchgradError, match=r"t\.json cannot be read"):
            CostTable.load(path)
    for text in ("", "[]", "{"):
        path.write_text(text)
        with pytest.raises(ArchgradError, match="expected a file as written by"):
            CostTable.load(path)
    with pytest.raises(ArchgradError, match="absent"):
        CostTable.load(tmp_path / "absent.json")


def test_a_table_of_another_space_or_size_is_refused() -> None:
    found = table("nas-bench-201", "parameters")
    with pytest.raises(ArchgradError, match="table of space nas-bench-201, expected one of s1"):
        found.check_fits(made("s1"), "t.json")
    wide = space("nas-bench-201", **{**TINY, "cells": 1, "channels": 8})
    with pytest.raises(ArchgradError, match=r"choice cells\.0\.edges\.0 sees .*8, 8, 8.*4, 8, 8"):
        found.check_fits(wide, "t.json")
    deep = space("nas-bench-201", **{**TINY, "cells": 2})
    with pytest.raises(ArchgradError, match="is not in it"):
        found.check_fits(deep, "t.json")
    deeper = cost_table(deep, "parameters")
    with pytest.raises(ArchgradError, match="another size"):
        deeper.check_fits(made("nas-bench-201"), "t.json")
    fewer = cost_table(made("nas-bench-201").without(["none"]), "parameters")
    with pytest.raises(ArchgradError, match="has no none at choice"):
        fewer.check_fits(made("nas-bench-201"), "t.json")
    found.check_fits(made("nas-bench-201").without(["none"]), "t.json")


@pytest.mark.parametrize(
    ("text", "value"), [("5ms", 5.0), ("0.8 ms", 0.8), ("200us", 0.2), ("1.5 s", 1500.0)]
)
def test_times(text: str, value: float) -> None:
    assert milliseconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2M", 2e6),
        ("300m", 3e8),
        ("1.5k", 1500),
        ("2e6", 2e6),
        ("1,000", 1000),
        ("12,345,678", 12345678),
        ("1,500.5k", 1500500),
    ],
)
def test_counts(text: str, value: float) -> None:
    assert count(text) == value


def test_amounts_that_are_none() -> None:
    for text in ("5", "ms", "-5ms", "0ms", "5 kg", "1.2.3ms", "1e999s"):
        with pytest.raises(ValueError, match="expected a time above 0"):
            milliseconds(text)
    for text in ("5ms", "many", "0", "-1", "2T", ""):
        with pytest.raises(ValueError, match="expected a number above 0"):
            count(text)


def test_a_comma_is_no_decimal_point() -> None:
    for text in ("1,5M", "0,500k", "1234,567", "1,00", ",500"):
        with pytest.raises(ValueError, match="above 0.*; a comma separates thousands, decimals"):
            count(text)
    with pytest.raises(ValueError, match='found "0,5ms".*a comma separates thousands'):
        milliseconds("0,5ms")


def test_amounts_for_people() -> None:
    assert shown("latency", 4.56789) == "4.568 ms"
    assert shown("multiply_adds", 3e6) == "3,000,000 multiply-adds"

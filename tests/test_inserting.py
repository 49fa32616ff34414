"""Choices in a user's model: nested, shared, fewer of them, inserted, and derived."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.networks.choices import InputChoice, Picked, insert_choices
from archgrad.networks.operations import Zero
from archgrad.spaces.own import OwnModel


def nested() -> nn.Module:
    inner = Choice({"relu": nn.ReLU(), "tanh": nn.Tanh()})
    outer = Choice({"skip": nn.Identity(), "deep": nn.Sequential(nn.Linear(3, 3), inner)})
    return nn.Sequential(outer, Choice({"skip": nn.Identity(), "zero": Zero()}, name="last"))


def architecture(**decided: str) -> archgrad.Architecture:
    cells = tuple(
        archgrad.Cell(name=name.replace("__", "."), inputs=1, nodes=(((choice, 0),),), output=(1,))
        for name, choice in decided.items()
    )
    return archgrad.Architecture(space="own", cells=cells)


def test_nested_choices_are_named_by_their_place_and_derived_with_the_outer_one() -> None:
    space = OwnModel(nested())
    assert [g.name for g in space.groups] == ["0", "0.candidates.1.1", "last"]
    chosen = {"0": "deep", "0__candidates__1__1": "tanh", "last": "skip"}
    derived = space.derive(architecture(**chosen))
    assert [type(m).__name__ for m in derived.modules()][1:] == [
        "Sequential", "Linear", "Tanh", "Identity"
    ]  # fmt: skip
    flat = space.derive(architecture(**{**chosen, "0": "skip"}))
    assert [type(m) for m in flat] == [nn.Identity, nn.Identity]
    assert isinstance(space.model[0], Choice)  # the space is as it was


def test_a_model_that_is_a_choice_can_be_derived() -> None:
    derived = OwnModel(Choice({"a": nn.Linear(3, 3), "b": nn.Identity()})).derive(
        architecture(choice="b")
    )
    assert type(derived) is nn.Identity


class Shares(nn.Module):
    """One choice at two places, and two choices of one name."""

    def __init__(self) -> None:
        super().__init__()
        self.again = Choice({"a": nn.Linear(3, 3), "b": nn.Identity()}, name="again")
        self.alias = self.again
        made = ({"x": nn.Linear(3, 3), "y": nn.Tanh()} for _ in range(2))
        self.first, self.second = (Choice(candidates, name="both") for candidates in made)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.second(self.first(self.alias(self.again(x))))
        return output


def test_shared_choices_and_shared_names_are_decided_together() -> None:
    space = OwnModel(Shares())
    assert [(g.name, g.shape) for g in space.groups] == [("again", (1, 2)), ("both", (1, 2))]
    derived = space.derive(architecture(again="a", both="x"))
    assert derived.again is derived.alias
    assert derived.first is not derived.second
    assert sum(p.numel() for p in derived.parameters()) == 3 * 12
    assert not any(isinstance(m, Choice) for m in derived.modules())


def test_fewer_candidates_by_name_and_by_row() -> None:
    space = OwnModel(nested())
    fewer = space.without(["zero", "relu"])
    assert [g.candidates[0] for g in fewer.groups] == [("skip", "deep"), ("tanh",), ("skip",)]
    assert [g.candidates[0] for g in space.groups][2] == ("skip", "zero")
    outer = space.restricted({**{g.name: [g.candidates[0]] for g in space.groups}, "0": [["deep"]]})
    assert outer.groups[0].candidates == (("deep",),)
    deep = "0.candidates.1.1"
    assert [g.name for g in outer.groups][1] in (deep, "0.candidates.0.1")
    with pytest.raises(ArchgradError, match="does not offer .*'skip', 'zero'.* choice last has no"):
        space.without(["skip", "zero"])


def test_random_architectures_pick_as_many_as_the_choice_keeps() -> None:
    space = OwnModel(nn.Sequential(InputChoice(4, picks=3, name="inputs")))
    generator = torch.Generator().manual_seed(0)
    found = {space.random_architecture(generator).cell("inputs").operations for _ in range(40)}
    assert found == {("0", "1", "2"), ("0", "1", "3"), ("0", "2", "3"), ("1", "2", "3")}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (architecture(last="skip"), r"decides \['last'\]; expected the choices of this model"),
        (architecture(**{"0": "deep", "0__candidates__1__1": "gelu", "last": "skip"}), "gelu"),
        (archgrad.published("DARTS_V1"), "is of space darts-cnn, not of an own model"),
    ],
)
def test_the_architecture_of_another_model_is_refused(
    wrong: archgrad.Architecture, said: str
) -> None:
    with pytest.raises(ArchgradError, match=said):
        OwnModel(nested()).derive(wrong)


# --- insertion -----------------------------------------------------------------------------------


def network() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU())
    return nn.ModuleDict({"body": body, "head": nn.Linear(3, 2)})


def small(module: nn.Module) -> dict[str, Any]:
    return {"none": nn.Identity}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (nn.ReLU, ["body.1", "body.3"]),
        ((nn.ReLU, nn.Linear), ["body.0", "body.1", "body.2", "body.3", "head"]),
        ("body.?", ["body.0", "body.1", "body.2", "body.3"]),
        ("head", ["head"]),
        ("body", ["body"]),
        (lambda name, module: isinstance(module, nn.Linear) and "body" in name,
         ["body.0", "body.2"]),
        (nn.Sequential, ["body"]),
        (lambda name, module: True, ["choice"]),
    ],
)  # fmt: skip
def test_choices_are_inserted_where_they_are_meant(where: Any, names: list[str]) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = insert_choices(model, where, small)
    choices = [module for module in made.modules() if isinstance(module, Choice)]
    assert [group.name for group in OwnModel(made).groups] == names
    assert all(choice.names == ("original", "none") for choice in choices)
    assert not any(isinstance(module, Choice) for module in model.modules())
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    back = OwnModel(made).derive(architecture(**{n.replace(".", "__"): "original" for n in names}))
    assert all(torch.equal(back.state_dict()[name], before[name]) for name in before)
    kept = {t.data_ptr() for t in model.parameters()} & {t.data_ptr() for t in made.parameters()}
    assert not kept


def test_choices_inserted_in_parts_of_a_model_are_decided_one_by_one() -> None:
    towers = {name: insert_choices(network(), nn.ReLU, small) for name in ("a", "b")}
    whole = insert_choices(nn.Tanh(), nn.Tanh, small)
    groups = OwnModel(nn.ModuleDict({**towers, "c": whole})).groups
    assert [g.name for g in groups] == ["a.body.1", "a.body.3", "b.body.1", "b.body.3", "c"]


def test_a_module_at_two_places_becomes_one_choice() -> None:
    shared = nn.Tanh()
    made = insert_choices(nn.Sequential(shared, nn.Linear(2, 2), shared), nn.Tanh, small)
    assert isinstance(made, nn.Sequential)
    assert made[0] is made[2] and isinstance(made[0], Choice)


def test_an_alternative_may_hold_the_original() -> None:
    """Its weights are then shared, and the choice is not put inside itself."""
    linear = nn.Linear(3, 3)
    made = insert_choices(
        nn.Sequential(linear), nn.Linear, lambda module: {"twice": nn.Sequential(module, module)}
    )
    assert isinstance(made, nn.Sequential) and isinstance(made[0], Choice)
    derived = OwnModel(made).derive(architecture(**{"0": "twice"}))
    x = torch.randn(2, 3)
    torch.testing.assert_close(derived(x), linear(linear(x)))


def test_insertions_that_meet_nothing_or_offer_nothing_are_refused() -> None:
    for where in (nn.Conv2d, "tail.*", lambda name, module: False):
        with pytest.raises(ArchgradError, match=r"meets no module of .*\['Linear', 'ModuleDict',"):
            insert_choices(network(), where, small)
    for offered in ({}, {"original": nn.Identity()}, nn.Identity()):
        with pytest.raises(ArchgradError, match="alternatives for head are .* at least one"):
            insert_choices(network(), "head", lambda module, offered=offered: offered)
    for where, candidates, said in (
        (3, small, "where is a int"),
        ("head", {}, "candidates a dict"),
    ):
        with pytest.raises(ArchgradError, match=f"{said}.*; expected a type, a name or a function"):
            insert_choices(network(), where, candidates)  # type: ignore[arg-type]


def test_a_picked_sum_says_what_it_picks() -> None:
    assert repr(Picked([0, 2])) == "Picked(0, 2)"

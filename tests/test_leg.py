"""The supernet of a stage: what it is made of, and what it inherits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.methods import Method, method
from archgrad.networks.mixing import Mixing
from archgrad.networks.operations import OPERATIONS
from archgrad.networks.supernet import Normal
from archgrad.parts.edge import AuxiliarySkip, PartialChannels
from archgrad.parts.optimizer import Adam
from archgrad.parts.relaxation import EdgeNormalized
from archgrad.parts.stage import Stage
from archgrad.searching.leg import Leg, widened
from archgrad.settings.config import SearchConfig
from archgrad.spaces.darts_cnn import DartsCNN

NAMES = ("none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
SPACE = DartsCNN(
    channels=8, cells=3, nodes=2, in_channels=1, image_size=(8, 8), classes=3, operations=NAMES
)
CONFIG = SearchConfig(learning_rate=0.02, momentum=0.8, weight_decay=0.01)


def leg(stage: Stage | None = None, candidates: Any = None, of: Method | None = None) -> Leg:
    device = torch.device("cpu")
    return Leg.of(SPACE, of or Method(), stage or Stage(1.0), candidates, CONFIG, device)


def images(channels: int = 1, side: int = 8) -> Tensor:
    return torch.randn(4, channels, side, side, generator=torch.Generator().manual_seed(0))


def everywhere(names: tuple[str, ...]) -> dict[str, Any]:
    return {group.name: (names,) * 5 for group in SPACE.groups}


# --- what a leg is made of -----------------------------------------------------------------------


def test_the_optimizers_have_the_constants_of_configuration_and_method() -> None:
    found = leg(of=Method(weight_decay=9.0, arch_optimizer=Adam(0.3)))
    (group,) = found.weight_optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.02, 0.8, 0.09)
    assert {id(w) for w in group["params"]} == {id(w) for w in found.net.weights.values()}
    (group,) = found.arch_optimizer.param_groups
    assert group["lr"] == 0.3
    assert {id(a) for a in group["params"]} == {id(a) for a in found.net.alpha.values()}


def test_operations_and_candidates_and_cells() -> None:
    found = leg(Stage(1.0, more_cells=2), of=Method(without=("none",)))
    assert found.space.groups[0].candidates == (NAMES[1:],) * 5
    assert (found.space.cells, len(found.net.choices)) == (5, 25)
    found = leg(candidates=everywhere(("none", "dil_conv_3x3")))
    assert {choice.names for choice in found.net.choices} == {("none", "dil_conv_3x3")}
    assert found.net.alpha["normal"].shape == (5, 2)


def test_alpha_begins_as_the_method_says_with_what_its_relaxation_adds() -> None:
    found = leg(of=Method(initial=Normal(0.0), relaxation=EdgeNormalized()))
    shapes = {name: tuple(value.shape) for name, value in found.net.alpha.items()}
    assert shapes == {
        "normal": (5, 4), "reduce": (5, 4),
        "normal/2": (2,), "normal/3": (3,), "reduce/2": (2,), "reduce/3": (3,),
    }  # fmt: skip
    assert not any(value.any() for value in found.net.alpha.values())


def test_the_edges_of_a_stage_are_inside_those_of_the_method() -> None:
    """The auxiliary skip of the method sees all 8 channels, the candidates 2."""
    found = leg(Stage(1.0, edges=(PartialChannels(4),)), of=Method(edges=(AuxiliarySkip(),)))
    inner, outer = found.net.choices[-1].around
    assert (inner.k, hasattr(outer, "skip")) == (4, True)
    whole, part = (
        sum(w.numel() for w in leg(Stage(1.0, edges=edges)).net.choices[0].parameters())
        for edges in ((), (PartialChannels(4),))
    )
    assert part < whole / 4


# --- inheritance ---------------------------------------------------------------------------------


def test_weights_and_alpha_of_what_is_kept_go_on_by_name() -> None:
    """Candidate 2 of four becomes candidate 1 of two."""
    before = leg()
    after = leg(candidates=everywhere(("skip_connect", "dil_conv_3x3")))
    before.net.forward(uniform(before), images(), update_statistics=True)
    after.inherit(before)
    for old, new in zip(before.net.choices, after.net.choices, strict=True):
        for name, module in zip(new.names, new.candidates):
            theirs = old.candidates[old.names.index(name)].state_dict()
            assert all(
                torch.equal(theirs[key], value) for key, value in module.state_dict().items()
            )
    for name, alpha in after.net.alpha.items():
        assert torch.equal(alpha, before.net.alpha[name][:, [1, 3]])
        assert alpha.requires_grad and alpha.is_leaf
    assert torch.equal(after.net.model.state_dict()["stem0.0.weight"], first_weight(before))
    assert not after.weight_optimizer.state and not after.arch_optimizer.state


def first_weight(found: Leg) -> Tensor:
    weights: Tensor = found.net.model.state_dict()["stem0.0.weight"]
    return weights


def uniform(found: Leg) -> Mixing:
    return Mixing({name: value.detach().softmax(-1) for name, value in found.net.alpha.items()})


def test_the_same_supernet_computes_the_same() -> None:
    before, after = leg(), leg()
    assert not torch.equal(first_weight(before), first_weight(after))
    after.inherit(before)
    outputs = [found.net.forward(uniform(found), images()) for found in (before, after)]
    assert torch.equal(*outputs)


def test_what_only_the_new_one_has_stays_fresh() -> None:
    before, after = leg(), leg(Stage(1.0, more_cells=1))
    fresh = {name: value.clone() for name, value in after.net.model.state_dict().items()}
    after.inherit(before)
    found, theirs = after.net.model.state_dict(), before.net.model.state_dict()
    assert all(torch.equal(found[name], fresh[name]) for name in found.keys() - theirs.keys())
    assert any(name not in theirs for name in found)


def test_edge_logits_go_on() -> None:
    of = Method(relaxation=EdgeNormalized())
    before, after = leg(of=of), leg(candidates=everywhere(("none", "sep_conv_3x3")), of=of)
    after.inherit(before)
    for name in ("normal/2", "reduce/3"):
        assert torch.equal(after.net.alpha[name], before.net.alpha[name])


def test_the_second_stage_of_drnas_is_wider_and_inherits() -> None:
    of = method("drnas", progressive=1, k=4, final_k=2, candidates=2)
    before = leg(of.stages[0], of=of)
    after = leg(of.stages[1], everywhere(("skip_connect", "sep_conv_3x3")), of=of)
    after.inherit(before)
    old, new = (found.net.choices[0] for found in (before, after))
    theirs = old.candidates[old.names.index("sep_conv_3x3")]
    ours = new.candidates[new.names.index("sep_conv_3x3")]
    x = torch.randn(4, 2, 8, 8)
    found = ours(x.repeat_interleave(2, dim=1))
    torch.testing.assert_close(found, theirs(x).repeat_interleave(2, dim=1))


# --- widening ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n != "none"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_a_wider_operation_computes_the_same(name: str, stride: int, training: bool) -> None:
    """With every channel repeated in place, in training and with the running statistics."""
    torch.manual_seed(0)
    narrow, wide = (OPERATIONS[name](channels, stride, True).double() for channels in (4, 8))
    x = images(4).double()
    narrow(x)
    theirs = narrow.state_dict()
    wide.load_state_dict({k: widened(theirs[k], v.shape) for k, v in wide.state_dict().items()})
    narrow.train(training)
    wide.train(training)
    expected = narrow(x)
    found = wide(x.repeat_interleave(2, dim=1))
    torch.testing.assert_close(found, expected.repeat_interleave(2, dim=1))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 4), st.integers(0, 4))
def test_channels_are_repeated_in_place(outputs: int, inputs: int, more: int, most: int) -> None:
    """Uneven widening too: repeated inputs of a convolution share its weights."""
    generator = torch.Generator().manual_seed(outputs + 7 * inputs)
    kernel = torch.randn(outputs, inputs, 3, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(2, inputs, 5, 5, generator=generator, dtype=torch.float64)
    wide = widened(kernel, torch.Size((outputs + more, inputs + most, 3, 3)))
    repeated = x[:, torch.arange(inputs + most) * inputs // (inputs + most)]
    found = nn.functional.conv2d(repeated, wide)
    index = torch.arange(outputs + more) * outputs // (outputs + more)
    expected = nn.functional.conv2d(x, kernel)[:, index]
    torch.testing.assert_close(found, expected)


def test_vectors_are_repeated_and_equal_shapes_stay() -> None:
    vector = torch.tensor([1.0, 2.0, 3.0])
    assert widened(vector, torch.Size((5,))).tolist() == [1, 1, 2, 2, 3]
    assert widened(vector, torch.Size((3,))) is vector
    assert widened(torch.tensor(7), torch.Size(())).item() == 7

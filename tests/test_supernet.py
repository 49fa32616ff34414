"""The supernet: alpha apart from the weights, buffers untouched, no tensors left behind."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Group
from archgrad.networks.mixing import Mixing
from archgrad.networks.operations import OPERATIONS
from archgrad.networks.supernet import Alpha, Supernet
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.task import Task

SPACE = DartsCNN(channels=2, cells=3, nodes=2, in_channels=1, image_size=(8, 8), classes=3)


def supernet(seed: int = 0) -> Supernet:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    return Supernet(SPACE.supernet(), SPACE.groups, generator=generator)


def images(seed: int = 0, count: int = 4) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def softmax(alpha: Alpha) -> Mixing:
    return Mixing({name: logits.softmax(dim=-1) for name, logits in alpha.items()})


def one_hot(group: Group, index: list[int]) -> Tensor:
    return torch.eye(group.shape[1])[index]


def buffers(net: Supernet) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in net.model.named_buffers()}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


# --- alpha -------------------------------------------------------------------------------------


def test_alpha_is_small_normal_noise_that_repeats_with_the_generator() -> None:
    space = replace(SPACE, nodes=6)
    first, second, other = (
        Supernet(space.supernet(), space.groups, generator=torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    )
    assert equal(first.alpha, second.alpha)
    assert not equal(first.alpha, other.alpha)
    values = torch.cat([value.detach().flatten() for value in first.alpha.values()])
    assert len(values) == 2 * 27 * 8
    assert abs(float(values.std()) - 1e-3) < 1e-4  # three standard deviations
    assert abs(float(values.mean())) < 2e-4
    assert all(value.requires_grad and value.is_leaf for value in first.alpha.values())


def test_alpha_has_the_shape_of_its_group() -> None:
    net = Supernet(DartsCNN(channels=2, cells=3).supernet(), DartsCNN().groups)
    assert {name: tuple(value.shape) for name, value in net.alpha.items()} == {
        "normal": (14, 8),
        "reduce": (14, 8),
    }


def test_alpha_is_not_among_the_parameters_and_no_weight_step_moves_it() -> None:
    net = supernet()
    own = {id(value) for value in net.alpha.values()}
    assert own.isdisjoint(id(parameter) for parameter in net.model.parameters())
    assert set(net.weights) == {name for name, _ in net.model.named_parameters()}
    before = {name: value.detach().clone() for name, value in net.alpha.items()}
    weights = {name: value.detach().clone() for name, value in net.weights.items()}
    optimizer = torch.optim.SGD(net.model.parameters(), 0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        net.loss(softmax(net.alpha), (images(), torch.tensor([0, 1, 2, 0]))).backward()
        assert all(value.grad is not None for value in net.alpha.values())
        optimizer.step()
    assert equal(before, {name: value.detach() for name, value in net.alpha.items()})
    assert not any(torch.equal(weights[name], value) for name, value in net.weights.items())


# --- forward -----------------------------------------------------------------------------------


PLAIN = [i for i, name in enumerate(OPERATIONS) if name != "none"]


def derived_with_weights(net: Supernet, picks: dict[str, list[int]]) -> nn.Module:
    """The discrete network with one operation on every edge, its modules those of the supernet."""
    model = copy.deepcopy(net.model)
    for name, module in list(model.named_modules()):
        if isinstance(module, Choice):
            model.set_submodule(name, module.candidates[picks[module.group][module.row]])
    return model


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(PLAIN), min_size=10, max_size=10), st.integers(0, 99))
def test_one_hot_weights_give_the_single_operations(picks: list[int], seed: int) -> None:
    net = supernet(seed)
    chosen = {"normal": picks[:5], "reduce": picks[5:]}
    mixing = Mixing({group.name: one_hot(group, chosen[group.name]) for group in net.groups})
    expected = derived_with_weights(net, chosen)(images())
    torch.testing.assert_close(net.forward(mixing, images()), expected, rtol=1e-5, atol=1e-5)


def test_a_derived_network_has_the_convolutions_that_were_chosen() -> None:
    operation, sources_of_nodes = "sep_conv_3x3", ((0, 1), (0, 1, 2))
    cells = tuple(
        Cell(
            name=name,
            inputs=2,
            nodes=tuple(
                tuple((operation, source) for source in sources) for sources in sources_of_nodes
            ),
            output=(2, 3),
        )
        for name in ("normal", "reduce")
    )
    derived = SPACE.derive(Architecture(space="darts-cnn", cells=cells))
    index = list(OPERATIONS).index(operation)
    single = derived_with_weights(supernet(), {"normal": [index] * 5, "reduce": [index] * 5})

    def convolutions(model: nn.Module) -> list[torch.Size]:
        return [m.weight.shape for m in model.modules() if isinstance(m, nn.Conv2d)]

    assert convolutions(derived) == convolutions(single)


def test_each_row_of_each_group_is_used() -> None:
    net = supernet()
    mixing = Mixing(
        {n: torch.full(value.shape, 0.125).requires_grad_() for n, value in net.alpha.items()}
    )
    net.forward(mixing, images()).square().sum().backward()
    for weights in mixing.values():
        assert weights.grad is not None
        assert not weights.grad[:, 0].any()  # none
        assert weights.grad[:, 1:].all()


def test_given_weights_take_the_place_of_the_own() -> None:
    net, mixing = supernet(), softmax(supernet().alpha)
    own = net.forward(mixing, images())
    same = net.forward(mixing, images(), {n: w.clone() for n, w in net.weights.items()})
    assert torch.equal(own, same)
    zero = net.forward(mixing, images(), {n: torch.zeros_like(w) for n, w in net.weights.items()})
    assert not zero.any()
    assert torch.equal(net.forward(mixing, images()), own)


def test_gradients_reach_given_weights_and_not_the_own() -> None:
    net = supernet()
    weights = {n: w.detach().clone().requires_grad_() for n, w in net.weights.items()}
    net.loss(softmax(net.alpha), (images(), torch.tensor([0, 1, 2, 0])), weights).backward()
    assert all(weight.grad is not None for weight in weights.values())
    assert all(weight.grad is None for weight in net.weights.values())


def test_loss_is_cross_entropy_or_the_given_criterion() -> None:
    net, target = supernet(), torch.tensor([0, 1, 2, 0])
    mixing = softmax(net.alpha)
    logits = net.forward(mixing, images())
    assert torch.equal(net.loss(mixing, (images(), target)), F.cross_entropy(logits, target))
    other = Supernet(net.model, SPACE.groups, task=Task(lambda logits, target: logits.sum()))
    torch.testing.assert_close(other.loss(mixing, (images(), target)), logits.sum())


# --- buffers and leftovers ---------------------------------------------------------------------


def test_running_statistics_move_on_request_alone() -> None:
    net = supernet()
    mixing, before = softmax(net.alpha), buffers(net)
    assert any(name.endswith("running_mean") for name in before)
    net.forward(mixing, images())
    net.loss(mixing, (images(), torch.tensor([0, 1, 2, 0])))
    assert equal(before, buffers(net))
    out = net.forward(mixing, images(), update_statistics=True)
    after = buffers(net)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved == list(before)
    torch.testing.assert_close(out, net.forward(mixing, images()))


def test_running_statistics_stay_where_only_some_candidates_are_computed() -> None:
    net = supernet()
    weights = softmax(net.alpha)
    some = {name: [[1, 4]] * len(value) for name, value in weights.items()}
    watched = {name: [[5]] * len(value) for name, value in weights.items()}
    mixing, before = Mixing(weights, active=some, watched=watched), buffers(net)
    net.forward(mixing, images())
    assert equal(before, buffers(net))
    net.forward(mixing, images(), update_statistics=True)
    moved = [name for name, now in buffers(net).items() if not torch.equal(before[name], now)]
    places = {name.split(".candidates.")[1][0] for name in moved if ".candidates." in name}
    assert places == {"1", "4", "5"}


def test_no_choice_holds_a_tensor_afterwards_even_after_an_error() -> None:
    net = supernet()
    mixing = softmax(net.alpha)
    for update in (True, False):
        net.forward(mixing, images(), update_statistics=update)
        assert all(choice.mixing is None for choice in net.choices)
    with pytest.raises(RuntimeError):
        net.forward(mixing, torch.zeros(1, 2, 8, 8))
    assert all(choice.mixing is None for choice in net.choices)
    twin = copy.deepcopy(net)
    assert torch.equal(twin.forward(mixing, images()), net.forward(mixing, images()))


def test_outside_a_supernet_the_model_says_what_to_do() -> None:
    with pytest.raises(ArchgradError, match=r"run the model through archgrad\.Supernet"):
        supernet().model(images())


def test_evaluation_mode_keeps_batch_statistics_but_no_other_training_behavior() -> None:
    net = supernet()
    net.model.add_module("dropout", nn.Dropout())
    mixing = softmax(net.alpha)
    train = net.forward(mixing, images())
    net.evaluation_mode()
    assert not net.model.dropout.training
    assert all(m.training for m in net.model.modules() if isinstance(m, nn.BatchNorm2d))
    assert torch.equal(net.forward(mixing, images()), train)
    net.model.eval()
    assert not torch.allclose(net.forward(mixing, images()), train)


# --- own models --------------------------------------------------------------------------------


def edge(row: int, group: str = "edges", candidates: int = 2) -> Choice:
    names = ("a", "b", "c")[:candidates]
    return Choice({name: nn.Linear(3, 3) for name in names}, group, row)


GROUP = Group("edges", 1, ((0, 1), (1, 2)), (("a", "b"), ("a", "b")), 1)


def test_any_model_with_choices_can_be_searched() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(edge(0), nn.Tanh(), edge(1))
    net = Supernet(model, [GROUP])
    x = torch.randn(5, 3)
    mixing = Mixing({"edges": torch.tensor([[1.0, 0.0], [0.25, 0.75]])})
    hidden = model[0].candidates[0](x).tanh()
    expected = 0.25 * model[2].candidates[0](hidden) + 0.75 * model[2].candidates[1](hidden)
    torch.testing.assert_close(net.forward(mixing, x), expected)


def test_choices_that_share_a_row_share_its_weights() -> None:
    net = Supernet(nn.Sequential(edge(1), edge(1)), [GROUP])
    mixing = Mixing({"edges": torch.tensor([[9.0, 9.0], [0.0, 1.0]])})
    x = torch.ones(2, 3)
    first, second = net.model
    expected = second.candidates[1](first.candidates[1](x))
    torch.testing.assert_close(net.forward(mixing, x), expected)


@pytest.mark.parametrize(
    "wrong", [edge(2), edge(0, group="other"), edge(0, candidates=3), edge(0, candidates=1)]
)
def test_a_choice_that_fits_no_group_is_named(wrong: Choice) -> None:
    place = rf"choice {wrong.group}\[{wrong.row}\] with {len(wrong.names)} candidates"
    with pytest.raises(ArchgradError, match=rf"{place} does not fit .*\(2, 2\)"):
        Supernet(nn.Sequential(edge(0), wrong), [GROUP])


def test_a_model_without_choices_is_refused() -> None:
    with pytest.raises(ArchgradError, match=r"no choices; put at least one archgrad\.Choice"):
        Supernet(nn.Linear(2, 2), [GROUP])


def test_a_model_without_weights_and_bad_groups() -> None:
    names = ("skip", "pool")

    def model(row: int) -> nn.Module:
        return Choice({"skip": nn.Identity(), "pool": nn.MaxPool2d(3, 1, 1)}, "e", row)

    group = Group("e", 1, ((0, 1),), (names,), 1)
    net = Supernet(model(0), [group])
    x = torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(net.forward(Mixing({"e": torch.tensor([[1.0, 0.0]])}), x), x)
    with pytest.raises(ArchgradError, match="does not fit"):
        Supernet(model(-1), [group])
    with pytest.raises(ArchgradError, match="different names"):
        Supernet(model(0), [group, group])


def test_statistics_are_updated_with_given_weights_too() -> None:
    net = supernet()
    net.model.train()
    before = {name: buffer.clone() for name, buffer in net.model.named_buffers()}
    given = {name: weight.detach() for name, weight in net.weights.items()}
    mixing = softmax(net.alpha)
    net.forward(mixing, images(), given, update_statistics=True)
    changed = [not torch.equal(b, before[n]) for n, b in net.model.named_buffers()]
    assert any(changed)


def test_plain_weights_by_group_are_mixing_weights() -> None:
    net = supernet()
    weights = dict(softmax(net.alpha))
    assert torch.equal(net.forward(weights, images()), net.forward(Mixing(weights), images()))

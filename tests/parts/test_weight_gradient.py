"""Changes to the weights' gradient: which candidates freeze, and how cells are aligned."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Group
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Supernet
from archgrad.parts.relaxation import EdgeNormalized, GumbelSoftmax, Softmax
from archgrad.parts.schedule import Linear
from archgrad.parts.state import State
from archgrad.parts.weight_gradient import AlignLayers, FreezeOverfitted, layer_gradients
from archgrad.searching.diagnostics import layer_alignment

# --- freezing ------------------------------------------------------------------------------------


def two_candidates() -> tuple[Supernet, State]:
    """Two choices of a and b (a matrix and a bias each) and a skip, behind a stem."""

    def choice(row: int) -> Choice:
        return Choice({"a": nn.Linear(3, 3), "skip": nn.Identity(), "b": nn.Linear(3, 3)}, "g", row)

    group = Group("g", 1, ((0, 1), (1, 2)), (("a", "skip", "b"),) * 2, 1)
    net = Supernet(nn.Sequential(nn.Linear(2, 3), choice(0), choice(1)).double(), [group])
    return net, State(net, Softmax(), groups=(group,))


A, B = "1.candidates.0", "1.candidates.2"  # of the first choice


def forged(net: Supernet, cosines: dict[str, float], size: float = 1.0) -> tuple[Any, Any]:
    """Training and validation gradients with these cosines by name; 1 for all other tensors."""
    train, valid = {}, {}
    for name, weight in net.weights.items():
        train[name], valid[name] = torch.zeros_like(weight), torch.zeros_like(weight)
        cosine = cosines.get(name, 1.0)
        train[name].view(-1)[0] = 2.0 * size
        valid[name].view(-1)[:2] = 3.0 * size * torch.tensor([cosine, (1 - cosine**2) ** 0.5])
    return train, valid


def step(part: FreezeOverfitted, net: Supernet, state: State, **knobs: Any) -> set[str]:
    """The candidates that are frozen in this step, by their place."""
    train, valid = forged(net, **knobs)
    given = {name: value.clone() for name, value in train.items()}
    found = part(train, net.alpha, replace(state, valid_gradient=valid))
    assert found.keys() == given.keys()
    for name, gradient in found.items():
        assert gradient is None or torch.equal(gradient, given[name])
    frozen = {name.rpartition(".")[0] for name, gradient in found.items() if gradient is None}
    for place in frozen:
        assert all(found[f"{place}.{end}"] is None for end in ("weight", "bias"))
    return frozen


LOW = {f"{A}.weight": 0.9, f"{A}.bias": -0.2, f"{B}.weight": 0.9, f"{B}.bias": 0.0}


def test_a_candidate_below_the_threshold_is_frozen_after_so_many_checks() -> None:
    """The mean over its tensors counts: a has 0.35, b 0.45."""
    net, state = two_candidates()
    part = FreezeOverfitted(checks=3, threshold=0.4)
    found = [step(part, net, state, cosines=LOW) for _ in range(4)]
    assert found == [set(), set(), {A}, {A}]


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_the_size_of_the_gradients_does_not_matter(size: float) -> None:
    net, state = two_candidates()
    assert step(FreezeOverfitted(checks=1), net, state, cosines=LOW, size=size) == {A}


def test_the_mean_over_the_checks_decides_and_then_begins_anew() -> None:
    net, state = two_candidates()
    part = FreezeOverfitted(checks=2, threshold=0.4)

    def cosine(value: float) -> set[str]:
        names = [f"{B}.weight", f"{B}.bias"]
        return step(part, net, state, cosines=dict.fromkeys(names, value))

    assert cosine(0.0) == set() and cosine(0.81) == set()  # mean 0.405
    assert cosine(0.0) == set() and cosine(0.79) == {B}  # 0.395, without those before
    assert cosine(1.0) == {B} and cosine(1.0) == {B}  # for good


def test_steps_without_a_validation_gradient_do_not_count_but_stay_frozen() -> None:
    net, state = two_candidates()
    part = FreezeOverfitted(checks=2)
    train, _ = forged(net, LOW)
    for _ in range(5):
        assert None not in part(dict(train), net.alpha, state).values()
    assert step(part, net, state, cosines=LOW) == set()
    assert step(part, net, state, cosines=LOW) == {A}
    found = part(dict(train), net.alpha, state)
    assert [name for name, value in found.items() if value is None] == [f"{A}.weight", f"{A}.bias"]


def test_a_frozen_candidate_keeps_its_weights_even_under_decay() -> None:
    net, state = two_candidates()
    part = FreezeOverfitted(checks=1)
    optimizer = torch.optim.SGD(net.weights.values(), 0.1, momentum=0.9, weight_decay=0.5)
    before = {name: weight.detach().clone() for name, weight in net.weights.items()}
    train, valid = forged(net, LOW)
    found = part(train, net.alpha, replace(state, valid_gradient=valid))
    for name, gradient in found.items():
        net.weights[name].grad = gradient
    optimizer.step()
    still = {name for name, weight in net.weights.items() if torch.equal(weight, before[name])}
    assert still == {f"{A}.weight", f"{A}.bias"}


# --- alignment -----------------------------------------------------------------------------------

NAMES = ("conv3", "conv1", "avg", "skip")


def smooth(cells: int = 3) -> tuple[Supernet, State]:
    """Cells of two edges each and one of another group; softplus, BatchNorm, float64."""
    torch.manual_seed(1)

    def conv(kernel: int) -> nn.Module:
        layer = nn.Conv2d(4, 4, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(nn.Softplus(), layer, nn.BatchNorm2d(4, affine=False))

    def edge(group: str, row: int) -> Choice:
        made = (conv(3), conv(1), nn.AvgPool2d(3, 1, 1), nn.Identity())
        return Choice(dict(zip(NAMES, made)), group, row)

    body = [edge("normal", row) for _ in range(cells) for row in (0, 1)]
    body.insert(2, edge("reduce", 0))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *body, *head).double()
    groups = (
        Group("normal", 1, ((0, 1), (1, 2)), (NAMES,) * 2, 1),
        Group("reduce", 1, ((0, 1),), (NAMES,), 1),
    )
    net = Supernet(model, groups)
    generator = torch.Generator().manual_seed(2)
    net.alpha = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, value in net.alpha.items()
    }
    images = torch.randn(6, 2, 6, 6, generator=generator, dtype=torch.float64)
    batch = images, torch.randint(3, (6,), generator=generator)
    return net, State(net, Softmax(), train=batch, groups=groups)


def nothing(net: Supernet) -> dict[str, Tensor | None]:
    return {name: torch.zeros_like(weight) for name, weight in net.weights.items()}


def by_autograd(net: Supernet, state: State) -> dict[str, Tensor]:
    """The gradient of the mean cosine between the normal cells, by double backward."""
    mixing = state.relaxation(net.alpha, state)
    rows = [
        row._replace(weights=row.weights.detach().requires_grad_())
        for row in mixing.rows(net.choices)
    ]
    weights = {name: weight.detach().requires_grad_() for name, weight in net.weights.items()}
    loss = state.loss(rows, state.train, weights)
    normal = [row.weights for row, c in zip(rows, net.choices) if c.group == "normal"]
    slopes = torch.autograd.grad(loss, normal, create_graph=True)
    cells = [torch.cat(slopes[i : i + 2]) for i in range(0, len(slopes), 2)]
    pairs = [torch.cosine_similarity(a, b, dim=0) for a, b in combinations(cells, 2)]
    mean = torch.stack(pairs).mean()
    found = torch.autograd.grad(mean, list(weights.values()), materialize_grads=True)
    return dict(zip(weights, found))


@pytest.mark.parametrize("cells", [2, 3])
def test_the_added_gradient_is_that_of_the_mean_cosine(cells: int) -> None:
    net, state = smooth(cells)
    exact = by_autograd(net, state)
    found = AlignLayers(weight=0.5)(nothing(net), net.alpha, state)
    difference, size = torch.zeros(()).double(), torch.zeros(()).double()
    for name, value in exact.items():
        gradient = found[name]
        assert gradient is not None
        difference += (gradient + 0.5 * value).square().sum()
        size += (0.5 * value).square().sum()
    assert float(size) > 0
    assert float((difference / size).sqrt()) < 1e-3


def test_a_step_along_it_aligns_the_cells() -> None:
    net, state = smooth()

    def alignment() -> float:
        layers, slopes, _ = layer_gradients(net, state.relaxation(net.alpha, state), state)
        return layer_alignment([torch.cat([slopes[i] for i in cell]) for cell in layers[0]])

    before = alignment()
    found = AlignLayers(weight=1.0)(nothing(net), net.alpha, state)
    norm = torch.stack([g.norm() for g in found.values() if g is not None]).norm()
    with torch.no_grad():
        for name, gradient in found.items():
            assert gradient is not None
            net.weights[name] -= 0.02 / norm * gradient
    assert alignment() > before + 1e-3


def test_it_is_added_to_the_gradient_in_proportion_to_the_weight() -> None:
    net, state = smooth(2)
    given: dict[str, Tensor | None] = {n: torch.ones_like(w) for n, w in net.weights.items()}
    frozen = next(iter(given))
    given[frozen] = None
    part = AlignLayers(Linear(0.0, 0.5))
    start, half, end = (
        part(dict(given), net.alpha, replace(state, progress=t)) for t in (0.0, 0.5, 1.0)
    )
    assert start[frozen] is half[frozen] is end[frozen] is None
    for name, value in given.items():
        a, b, c = start[name], half[name], end[name]
        if value is not None and a is not None and b is not None and c is not None:
            assert torch.equal(a, value)
            torch.testing.assert_close(c - value, 2 * (b - value), rtol=1e-6, atol=1e-12)
    assert any(v is not None and (v != 1).any() for v in half.values())


def test_a_single_cell_needs_no_alignment_and_nothing_is_left_behind() -> None:
    net, state = smooth(1)
    found = AlignLayers(weight=1.0)(nothing(net), net.alpha, state)
    assert all(g is not None and not g.any() for g in found.values())
    net, state = smooth(2)
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    AlignLayers(weight=1.0)(nothing(net), net.alpha, state)
    assert all(torch.equal(before[n], value) for n, value in net.model.state_dict().items())
    assert all(w.grad is None for w in (*net.weights.values(), *net.alpha.values()))


def test_a_group_whose_cells_differ_is_left_out() -> None:
    """Rows 0, 1, 0: the second cell has no second row."""
    net, state = smooth(2)
    model = nn.Sequential(*(m for m in net.model if m is not net.choices[-1]))
    shorter = Supernet(model, net.groups)
    state = replace(state, problem=shorter)
    layers, slopes, _ = layer_gradients(shorter, state.relaxation(net.alpha, state), state)
    assert layers == [[[2]]] and len(slopes) == 4
    found = AlignLayers(weight=1.0)(nothing(shorter), net.alpha, state)
    assert all(gradient is not None and not gradient.any() for gradient in found.values())


@pytest.mark.parametrize("relaxation", [Softmax(), GumbelSoftmax(2.0), EdgeNormalized()])
def test_gradients_of_the_cells_sum_to_that_of_the_shared_weights(relaxation: Any) -> None:
    net, state = smooth()
    extra = EdgeNormalized().extra(net.groups)
    alpha = {**net.alpha, **{name: torch.randn(shape).double() for name, shape in extra.items()}}
    if not isinstance(relaxation, EdgeNormalized):
        alpha = net.alpha
    state = replace(state, relaxation=relaxation, seed=5)
    mixing = relaxation(alpha, state)
    layers, slopes, rows = layer_gradients(net, mixing, state)
    assert layers == [[[0, 1], [3, 4], [5, 6]], [[2]]]
    assert len(slopes) == len(rows) == 7
    leaves = {name: value.detach().requires_grad_() for name, value in mixing.items()}
    loss = state.loss(Mixing(leaves, mixing.edges), state.train)
    normal, reduce = torch.autograd.grad(loss, [leaves["normal"], leaves["reduce"]])
    cells = torch.stack([torch.stack([slopes[i] for i in cell]) for cell in layers[0]])
    torch.testing.assert_close(cells.sum(0), normal)
    torch.testing.assert_close(slopes[2][None], reduce)


def test_other_problems_are_refused() -> None:
    other: Any = object()
    for part in (FreezeOverfitted(), AlignLayers()):
        with pytest.raises(ArchgradError, match="needs a supernet, found object"):
            part({}, {}, State(other, Softmax()))


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (FreezeOverfitted, {"checks": 0}, "checks 0 must be at least 1"),
    (FreezeOverfitted, {"threshold": 1.5}, "threshold 1.5 from -1 to 1"),
    (AlignLayers, {"step": 0.0}, "step is 0.0, expected above 0"),
]


@pytest.mark.parametrize(("part", "knob", "message"), REFUSED)
def test_values_out_of_range_are_refused(part: Any, knob: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        part(**knob)

"""Known values of the measurements of a search's health."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archgrad.architecture import Cell, published
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.networks.mixing import Mixing, one_hot
from archgrad.networks.supernet import Supernet
from archgrad.parts.discretization import StrongestEdges
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import State
from archgrad.searching.diagnostics import (
    dominant_eigenvalue,
    entropy,
    layer_alignment,
    parameter_free_share,
    percentile,
    ranking,
    skip_counts,
    skip_share,
)
from archgrad.spaces.darts_cnn import DartsCNN

Loss = Callable[[Mapping[str, Tensor]], Tensor]


@given(st.integers(1, 8), st.integers(1, 20), st.integers(1, 20))
def test_uniform_weights_have_the_entropy_of_their_number(ops: int, normal: int, more: int) -> None:
    mixing = {
        "normal": torch.full((normal, ops), 1 / ops),
        "reduce": torch.full((more, ops), 1 / ops),
    }
    assert entropy(mixing) == pytest.approx(math.log(ops), abs=1e-5)


def test_one_hot_weights_have_none() -> None:
    assert entropy({"normal": torch.eye(8), "reduce": torch.eye(8)[:3]}) == 0.0


def test_the_mean_is_over_edges_and_not_over_groups() -> None:
    """Three edges without entropy, one with ln 2."""
    mixing = {"normal": torch.eye(2)[[0, 1, 0]], "reduce": torch.tensor([[0.5, 0.5]])}
    assert entropy(mixing) == pytest.approx(math.log(2) / 4)


def test_a_known_entropy() -> None:
    mixing = {"normal": torch.tensor([[0.5, 0.25, 0.25]])}
    assert entropy(mixing) == pytest.approx(1.5 * math.log(2))


# --- the derived cells -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "skips", "free"),
    [("DARTS_V1", 6, 11), ("DARTS_V2", 5, 10), ("PC_DARTS", 1, 3), ("PDARTS", 2, 4)],
)
def test_shares_of_the_published_cells(name: str, skips: int, free: int) -> None:
    cells = published(name).cells
    assert skip_share(cells) == skips / 16
    assert parameter_free_share(cells) == free / 16
    assert sum(skip_counts(cells).values()) == skips


def cell(*operations: str, name: str = "normal") -> Cell:
    """A cell with one node, one edge from each of its inputs."""
    edges = tuple((operation, source) for source, operation in enumerate(operations))
    inputs = max(1, len(operations))
    return Cell(name=name, inputs=inputs, nodes=(edges,), output=(inputs,))


def test_a_collapsed_cell_is_all_skips() -> None:
    skips, other = cell("skip_connect", "skip_connect"), cell("none")
    assert skip_share((skips,)) == 1.0
    assert skip_share((other,)) == 0.0
    assert skip_share((skips, other)) == pytest.approx(2 / 3)
    assert skip_counts((skips, cell("none", name="reduce"))) == {"normal": 2, "reduce": 0}


def test_what_is_free_of_parameters_is_a_matter_of_names() -> None:
    cells = (cell("sep_conv_3x3", "avg_pool_3x3", "noise", "identity"),)
    assert parameter_free_share(cells) == 2 / 4
    assert parameter_free_share(cells, {"identity"}) == 1 / 4


def test_cells_without_edges_have_no_share() -> None:
    assert skip_share((cell(),)) == parameter_free_share(()) == 0.0


def test_the_ranking_is_of_operations_with_parameters() -> None:
    names = ("none", "sep_conv_3x3", "skip_connect", "dil_conv_3x3", "sep_conv_5x5")
    group = Group("normal", 2, ((0, 2), (1, 2)), (names, names), 2)
    mixing = {"normal": torch.tensor([[0.5, 0.1, 0.2, 0.1, 0.1], [0.0, 0.1, 0.2, 0.4, 0.3]])}
    assert ranking(mixing, [group]) == {"normal": [[1, 3, 4], [3, 4, 1]]}
    assert ranking(mixing, [group], without=names[:4]) == {"normal": [[4], [4]]}


def test_one_hot_weights_of_a_known_cell() -> None:
    """Node 2 keeps an edge from 1, node 3 from 0 and from node 2; two edges are dropped."""
    names = ("sep_conv_3x3", "skip_connect")
    edges = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    group = Group("normal", 2, edges, (names,) * 5, 2)
    nodes = ((("skip_connect", 1),), (("sep_conv_3x3", 0), ("skip_connect", 2)))
    derived = Cell(name="normal", inputs=2, nodes=nodes, output=(2, 3))
    like = {"normal": torch.rand(5, 2, dtype=torch.float64)}
    found = one_hot([group], [derived], like)["normal"]
    assert found.dtype is torch.float64
    assert found.tolist() == [[0, 0], [0, 1], [1, 0], [0, 0], [0, 1]]


def test_one_hot_weights_of_a_cell_with_one_input() -> None:
    group = Group("cell", 1, ((0, 1), (0, 2), (1, 2)), (("a", "b"),) * 3, 1)
    derived = Cell(name="cell", inputs=1, nodes=((("b", 0),), (("a", 1),)), output=(2,))
    found = one_hot([group], [derived], {"cell": torch.zeros(3, 2)})["cell"]
    assert found.tolist() == [[0, 1], [0, 0], [1, 0]]


def test_an_edge_that_was_left_out_weighs_nothing() -> None:
    """FairDARTS offers no none, and derives it in NAS-Bench-201."""
    group = Group("cell", 1, ((0, 1), (0, 2), (1, 2)), (("a", "b"),) * 3, None)
    nodes = ((("b", 0),), (("a", 0), ("none", 1)))
    derived = Cell(name="cell", inputs=1, nodes=nodes, output=(2,))
    found = one_hot([group], [derived], {"cell": torch.zeros(3, 2)})["cell"]
    assert found.tolist() == [[0, 1], [1, 0], [0, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_one_hot_weights_derive_to_the_cells_they_came_from(seed: int) -> None:
    space = DartsCNN()
    cells = space.random_architecture(torch.Generator().manual_seed(seed)).cells
    like = {group.name: torch.zeros(group.shape) for group in space.groups}
    mixing = one_hot(space.groups, cells, like)
    state = State(None, Softmax(), groups=space.groups)  # type: ignore[arg-type]
    assert StrongestEdges()(mixing, state) == cells
    assert all(weights.sum() == 8 for weights in mixing.values())


def test_one_hot_weights_run_the_derived_cells_alone() -> None:
    """Only the weights of kept operations (and of what is no choice) get a gradient."""
    net, space = small_network(), small_space()
    cells = space.random_architecture(torch.Generator().manual_seed(0)).cells
    net.loss(one_hot(net.groups, cells, net.alpha), batch()).backward()  # type: ignore[no-untyped-call]
    layers: list[tuple[bool, bool]] = []
    edges = {
        (derived.name, source, node, operation)
        for derived in cells
        for node, incoming in enumerate(derived.nodes, start=2)
        for operation, source in incoming
    }
    groups = {group.name: group for group in net.groups}
    for choice in net.choices:
        source, node = groups[choice.group].edges[choice.row]
        for name, operation in zip(choice.names, choice.candidates):
            used = any(
                p.grad is not None and bool(p.grad.abs().max() > 0) for p in operation.parameters()
            )
            if any(True for _ in operation.parameters()):
                layers.append((used, (choice.group, source, node, name) in edges))
    assert all(used == kept for used, kept in layers)
    assert any(used for used, _ in layers)


def test_cells_of_another_space_are_refused() -> None:
    groups = DartsCNN().groups
    like = {group.name: torch.zeros(group.shape) for group in groups}
    normal, reduce = published("DARTS_V2").cells
    with pytest.raises(ArchgradError, match="group reduce has no cell among"):
        one_hot(groups, [normal], like)
    with pytest.raises(ArchgradError, match="noise from 0 to node 2 is no candidate"):
        one_hot(groups, [reduce, cell("noise", "noise")], like)
    with pytest.raises(ArchgradError, match="skip_connect from 2 to node 2 is no candidate"):
        one_hot(groups, [reduce, cell("skip_connect", "none", "skip_connect")], like)


# --- costs among random cells --------------------------------------------------------------------


def test_known_percentiles() -> None:
    assert percentile(5, [1, 2, 3, 4]) == 4.5 / 5
    assert percentile(0, [1, 2, 3, 4]) == 0.5 / 5
    assert percentile(2, [1, 2, 3]) == 0.5
    assert percentile(7, [7] * 9) == 0.5
    assert percentile(3, []) == 0.5


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 9))
def test_percentiles_mirror(sample: list[int], value: int) -> None:
    """A mirrored sample mirrors the percentile; fewer than 20 cells make nothing extreme."""
    found = percentile(value, sample)
    assert found + percentile(-value, [-s for s in sample]) == pytest.approx(1)
    assert len(sample) >= 19 or 0.025 <= found <= 0.975


# --- the dominant eigenvalue ---------------------------------------------------------------------


def full(loss: Loss, alpha: Mapping[str, Tensor]) -> Tensor:
    """The eigenvalues of the full Hessian, ascending."""
    sizes = [value.numel() for value in alpha.values()]

    def flat(vector: Tensor) -> Tensor:
        parts = zip(alpha.items(), vector.split(sizes))
        return loss({name: part.view_as(value) for (name, value), part in parts})

    at = torch.cat([value.flatten() for value in alpha.values()])
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(flat, at))


def quartic(seed: int, sign: float = 1.0) -> tuple[Loss, dict[str, Tensor]]:
    """A random quartic in two groups that it couples."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    a, b, c = normal(9, 10), normal(4, 10), normal(10)
    alpha = {"normal": normal(3, 2), "reduce": normal(1, 4)}

    def loss(at: Mapping[str, Tensor]) -> Tensor:
        x = torch.cat([at["normal"].flatten(), at["reduce"].flatten()])
        return sign * ((a @ x).pow(4).sum() / 50 + (b @ x).prod() + (c * x).sum().pow(3))

    return loss, alpha


def exactly(loss: Loss, alpha: Mapping[str, Tensor], seed: int = 0) -> float:
    """With as many iterations as it takes."""
    generator = torch.Generator().manual_seed(seed)
    size = sum(value.numel() for value in alpha.values())
    return dominant_eigenvalue(loss, alpha, iterations=size, generator=generator, tolerance=1e-8)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([1.0, -1.0]))
def test_eigenvalue_of_random_quartics(seed: int, sign: float) -> None:
    loss, alpha = quartic(seed, sign)
    eigenvalues = full(loss, alpha)
    scale = float(eigenvalues.abs().max())
    assert exactly(loss, alpha) == pytest.approx(float(eigenvalues[-1]), rel=1e-6, abs=1e-9 * scale)


def test_the_most_positive_eigenvalue_and_not_the_largest_in_size() -> None:
    diagonal = torch.tensor([[-9.0, 2.0, 1.0]])
    loss: Loss = lambda at: (diagonal * at["a"].square()).sum() / 2  # noqa: E731
    assert exactly(loss, {"a": torch.zeros(1, 3)}) == pytest.approx(2.0, rel=1e-5)


def test_it_ends_when_no_direction_is_left() -> None:
    """Equal eigenvalues, a flat loss, a linear one: the first product says all."""
    alpha = {"a": torch.randn(7, 3, dtype=torch.float64)}
    products = 0

    def count(factor: float) -> Loss:
        def loss(at: Mapping[str, Tensor]) -> Tensor:
            nonlocal products
            products += 1
            return factor * at["a"].square().sum() / 2 + at["a"].sum()

        return loss

    assert exactly(count(3.0), alpha) == pytest.approx(3.0)
    assert exactly(count(0.0), alpha) == 0.0
    assert exactly(count(-2.0), alpha) == pytest.approx(-2.0)
    assert products == 3


def test_alpha_is_as_before_and_the_generator_decides() -> None:
    loss, alpha = quartic(1)
    before = {name: value.clone() for name, value in alpha.items()}
    leaves = {name: value.requires_grad_() for name, value in alpha.items()}
    few = [
        dominant_eigenvalue(
            loss, leaves, iterations=2, generator=torch.Generator().manual_seed(seed)
        )
        for seed in (0, 0, 1)
    ]
    assert few[0] == few[1] != few[2]
    assert all(torch.equal(leaves[name], before[name]) for name in before)
    assert all(leaf.grad is None for leaf in leaves.values())


def test_the_value_comes_from_below() -> None:
    loss, alpha = quartic(2)
    largest = float(full(loss, alpha)[-1])
    found = [
        dominant_eigenvalue(
            loss, alpha, iterations=k, generator=torch.Generator().manual_seed(0), tolerance=0
        )
        for k in range(1, 11)
    ]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(largest, rel=1e-10)


def test_a_loss_that_is_not_finite_has_no_eigenvalue() -> None:
    found = dominant_eigenvalue(
        lambda at: at["a"].log().sum() * math.inf, {"a": torch.ones(1, 2)}, iterations=3
    )
    assert math.isnan(found)
    with pytest.raises(ArchgradError, match="found 0 iterations"):
        dominant_eigenvalue(lambda at: at["a"].sum(), {"a": torch.ones(1, 2)}, iterations=0)


# --- networks ------------------------------------------------------------------------------------


def small_space() -> DartsCNN:
    operations = ("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3")
    return DartsCNN(
        channels=2, cells=3, nodes=2, image_size=(8, 8), classes=3, operations=operations
    )


def small_network() -> Supernet:
    """Real operations, train-mode BatchNorm, float64."""
    torch.manual_seed(0)
    space = small_space()
    net = Supernet(space.supernet().double(), space.groups)
    generator = torch.Generator().manual_seed(3)
    net.alpha = {
        name: (torch.randn(alpha.shape, generator=generator, dtype=torch.float64) / 2)
        for name, alpha in net.alpha.items()
    }
    return net


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(6, 3, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.randint(3, (6,), generator=generator)


def test_eigenvalue_of_a_network() -> None:
    """Within 5 % after ten products, to 1e-6 in the end; single precision suffices."""
    net = small_network()
    images, target = batch()

    def loss(at: Mapping[str, Tensor]) -> Tensor:
        return net.loss(
            Mixing({name: logits.softmax(dim=-1) for name, logits in at.items()}), (images, target)
        )

    largest = float(full(loss, net.alpha)[-1])
    assert exactly(loss, net.alpha) == pytest.approx(largest, rel=1e-6)
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        found = dominant_eigenvalue(loss, net.alpha, iterations=10, generator=generator)
        assert found == pytest.approx(largest, rel=0.05)
    net.model.float()
    images, alpha = images.float(), {name: value.float() for name, value in net.alpha.items()}
    found = dominant_eigenvalue(
        loss, alpha, iterations=20, generator=torch.Generator().manual_seed(0), tolerance=1e-3
    )
    assert found == pytest.approx(largest, rel=1e-3)


def test_layer_alignment_of_known_vectors() -> None:
    x, y = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert layer_alignment([x, 5 * x, 0.1 * x]) == pytest.approx(1)
    assert layer_alignment([x, -x]) == pytest.approx(-1)
    assert layer_alignment([x, y]) == 0
    assert layer_alignment([x, x, y]) == pytest.approx(1 / 3)
    assert layer_alignment([x, x + 1.5 * y]) == pytest.approx(math.sqrt(0.5))


def test_layer_alignment_without_layers_or_gradients() -> None:
    x = torch.ones(2, 3)
    assert layer_alignment([]) == layer_alignment([0 * x]) == 1
    assert layer_alignment([x, 0 * x]) == layer_alignment([0 * x, 0 * x]) == 0
    assert layer_alignment([x, x, 0 * x]) == pytest.approx(1 / 3)
    assert layer_alignment([1e-30 * x, 1e-35 * x]) == pytest.approx(1)

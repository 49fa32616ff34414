"""The recurrent space: parameter counts, its cell against one written edge by edge, its checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archgrad import Architecture
from archgrad.architecture import Cell, published
from archgrad.costing.cost import cost
from archgrad.errors import ArchgradError
from archgrad.networks.mixing import Mixing
from archgrad.networks.recurrent import LanguageModel, Regularization
from archgrad.networks.supernet import Supernet
from archgrad.spaces.darts_rnn import OPERATIONS, DartsRNN

OFF = Regularization(output=0, hidden=0, input=0, embedding=0, slowness=0)
SMALL = DartsRNN(hidden=4, nodes=3, classes=7, regularization=OFF)


def tokens(steps: int = 5, batch: int = 3, words: int = 7) -> Tensor:
    return torch.randint(words, (steps, batch), generator=torch.Generator().manual_seed(1))


def softmaxed(net: Supernet) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64).softmax(-1)
        for name, value in net.alpha.items()
    }


# arXiv:1806.09055: 8 nodes see 36 edges; "23M" and "33M" parameters in its tables
@pytest.mark.parametrize(
    ("space", "parameters"),
    [
        (DartsRNN(), 4_810_000),
        (DartsRNN(hidden=850), 22_960_000),
        (DartsRNN(hidden=700, classes=33_278), 33_127_878),
    ],
)
def test_parameters_are_those_of_the_paper(space: DartsRNN, parameters: int) -> None:
    with torch.device("meta"):
        supernet, derived = space.supernet(), space.derive(published("DARTS_RNN_V2"))
    assert sum(p.numel() for p in supernet.parameters()) == parameters
    assert sum(p.numel() for p in derived.parameters()) == parameters
    assert cost(space, published("DARTS_RNN_V1")).parameters == parameters
    assert space.groups[0].shape == (36, 5)
    assert space.groups[0].candidates[0] == OPERATIONS


def test_multiply_adds_of_a_token_are_its_products() -> None:
    # first matrix 2H x 2H, one H x 2H a node, decoder H x V
    assert cost(DartsRNN(), published("DARTS_RNN_V2")).multiply_adds == (
        600 * 600 + 8 * 300 * 600 + 300 * 10_000
    )


def test_published_cells_are_those_of_the_paper() -> None:
    cell = published("DARTS_RNN_V2").cell("recurrent")
    assert cell.operations == (
        "sigmoid", "relu", "relu", "identity", "tanh", "sigmoid", "tanh", "relu",
    )  # fmt: skip
    assert [source for ((_, source),) in cell.nodes] == [0, 1, 1, 1, 2, 5, 3, 5]
    assert published("DARTS_RNN_V1").cell("recurrent").operations == (
        "relu", "relu", "tanh", "relu", "relu", "identity", "relu", "relu",
    )  # fmt: skip
    DartsRNN().validate(published("DARTS_RNN_V1"))


def by_edges(model: LanguageModel, words: Tensor, state: Tensor) -> Tensor:
    """The outputs of a supernet, each edge and operation by itself, through its choices."""
    cell, hidden = model.cell, state.shape[1]
    found = []
    for x in model.embedding[words]:
        gate, candidate = (torch.cat([x, state], dim=1) @ cell.first).chunk(2, dim=1)
        states = [F.batch_norm(
            state + gate.sigmoid() * (candidate.tanh() - state), None, None, training=True
        )]  # fmt: skip
        for choices, weight in zip(cell.choices, cell.weights, strict=True):
            total = torch.zeros_like(state)
            for choice, source in zip(choices, states, strict=True):  # type: ignore[call-overload]
                gate, candidate = (source @ weight).split(hidden, dim=1)
                total = total + choice(source, gate.sigmoid(), candidate)
            states.append(F.batch_norm(total, None, None, training=True))
        state = sum(states[1:], start=torch.zeros_like(state)) / (len(states) - 1)
        found.append(state)
    return torch.stack(found)


def mixed(net: Supernet, mixing: Mixing, edge_by_edge: bool) -> tuple[Tensor, list[Tensor]]:
    model, state = net.model, torch.full((3, 4), 0.3, dtype=torch.float64)
    assert isinstance(model, LanguageModel)
    for choice, row in zip(net.choices, mixing.rows(net.choices), strict=True):
        choice.mixing = row
    if edge_by_edge:
        output = by_edges(model, tokens(), state)
    else:
        output = model.cell(model.embedding[tokens()], state)
    scale = torch.arange(output.numel(), dtype=torch.float64).view_as(output).cos()
    inputs = [*model.cell.parameters(), *mixing.values(), *mixing.edges.values()]
    return output, list(torch.autograd.grad((output * scale).sum(), inputs, materialize_grads=True))


@pytest.mark.parametrize("kind", ["mixed", "edges", "active", "watched"])
def test_the_supernet_is_the_sum_of_its_choices(kind: str) -> None:
    net = Supernet(SMALL.supernet().double(), SMALL.groups)
    (weights,) = softmaxed(net).values()
    some = [[i % 5, (i + 2) % 5] for i in range(6)]
    others = [[(i + 1) % 5] for i in range(6)]
    zeroed = weights.clone()
    for row, indices in zip(zeroed, others, strict=True):
        row[indices] = 0
    mixings = {
        "mixed": Mixing({"recurrent": weights}),
        "edges": Mixing({"recurrent": weights}, {"recurrent": weights[:, 0].clone()}),
        "active": Mixing({"recurrent": weights}, active={"recurrent": some}),
        "watched": Mixing(
            {"recurrent": zeroed}, active={"recurrent": some}, watched={"recurrent": others}
        ),
    }
    mixing = mixings[kind]
    for value in (*mixing.values(), *mixing.edges.values()):
        value.requires_grad_()
    ours, theirs = (mixed(net, mixing, edge_by_edge) for edge_by_edge in (False, True))
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-9, atol=1e-11)


def test_edges_that_all_draw_none_still_have_gradients() -> None:
    net = Supernet(SMALL.supernet(), SMALL.groups)
    weights = torch.full((6, 5), 0.2, requires_grad=True)
    mixing = Mixing({"recurrent": weights}, active={"recurrent": [[0]] * 6})
    logits, state = net.forward(mixing, tokens())
    assert not state.any()
    (slope,) = torch.autograd.grad(logits.sum(), weights)
    assert not slope.any()


def test_a_derived_network_is_its_formula() -> None:
    activations = {
        "tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda x: x,
    }  # fmt: skip
    space = DartsRNN(hidden=4, classes=7, regularization=OFF)
    model = space.derive(published("DARTS_RNN_V2")).double()
    words, state = tokens(), torch.full((3, 4), 0.3, dtype=torch.float64)
    logits, last = model(words, state)
    for step, x in enumerate(model.embedding[words]):
        gate, candidate = (torch.cat([x, state], dim=1) @ model.cell.first).chunk(2, dim=1)
        states = [state + gate.sigmoid() * (candidate.tanh() - state)]
        nodes = published("DARTS_RNN_V2").cells[0].nodes
        for ((name, source),), weight in zip(nodes, model.cell.weights, strict=True):
            gate, candidate = (states[source] @ weight).chunk(2, dim=1)
            before = states[source]
            states.append(before + gate.sigmoid() * (activations[name](candidate) - before))
        state = torch.stack(states[1:]).mean(dim=0)
        torch.testing.assert_close(logits[step], state @ model.embedding.T + model.bias)
    torch.testing.assert_close(last, state)


def test_states_are_carried() -> None:
    model = SMALL.derive(SMALL.random_architecture(torch.Generator().manual_seed(0)))
    whole, last = model(tokens(6))
    first, state = model(tokens(6)[:4])
    second, end = model(tokens(6)[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end, last)


@pytest.mark.parametrize(
    "knob",
    [{"output": 0.5}, {"hidden": 0.5}, {"input": 0.5}, {"embedding": 0.5}, {"words": 0.5}],
    ids=lambda knob: next(iter(knob)),
)
def test_each_dropout_acts_in_training_alone(knob: dict[str, float]) -> None:
    values = {"output": 0.0, "hidden": 0.0, "input": 0.0, "embedding": 0.0, "slowness": 0.0}
    space = DartsRNN(
        hidden=4, nodes=3, classes=7, regularization=Regularization(**{**values, **knob})
    )
    model = space.derive(space.random_architecture(torch.Generator().manual_seed(0)))
    torch.manual_seed(0)
    assert not torch.equal(model(tokens())[0], model(tokens())[0])
    model.eval()
    assert torch.equal(model(tokens())[0], model(tokens())[0])


def test_masks_are_the_same_at_every_step() -> None:
    space = DartsRNN(
        hidden=64, nodes=1, classes=7,
        regularization=Regularization(output=0.5, hidden=0, input=0, embedding=0, slowness=0),
    )  # fmt: skip
    model = space.derive(space.random_architecture(torch.Generator().manual_seed(0)))
    model.embedding.data.copy_(torch.eye(7, 64))
    model.cell.first.data.mul_(50)
    logits, _ = model(tokens(4))
    dropped = logits == 0
    assert dropped.any() and not dropped.all()
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))


def test_penalty_is_the_mean_square_of_outputs_and_of_their_change() -> None:
    regularization = Regularization(0, 0, 0, 0, 0, activation=2.0, slowness=3.0)
    space = DartsRNN(hidden=4, nodes=3, classes=7, regularization=regularization)
    model = space.derive(space.random_architecture(torch.Generator().manual_seed(0)))
    outputs = model.cell(model.embedding[tokens()], torch.zeros(3, 4))
    expected = 2 * outputs.square().mean() + 3 * (outputs[1:] - outputs[:-1]).square().mean()
    torch.testing.assert_close(model(tokens(), penalized=True)[2], expected)
    assert model.eval()(tokens(), penalized=True)[2] == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_random_architectures_are_built_and_come_back_from_json(seed: int, nodes: int) -> None:
    space = DartsRNN(hidden=2, nodes=nodes, classes=3)
    architecture = space.random_architecture(torch.Generator().manual_seed(seed))
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert space.derive(architecture)(tokens(2, 2, 3))[0].shape == (2, 2, 3)


def cell(*nodes: Sequence[tuple[str, int]]) -> Architecture:
    output = tuple(node for node, edges in enumerate(nodes, start=1) if edges) or (1,)
    made = Cell(name="recurrent", inputs=1, nodes=tuple(map(tuple, nodes)), output=output)
    return Architecture(space="darts-rnn", cells=(made,))


def test_a_node_without_an_edge_is_left_out() -> None:
    torch.manual_seed(0)
    whole = SMALL.derive(cell([], [("tanh", 0)], [("relu", 2)]))
    small = replace(SMALL, nodes=2).derive(cell([("tanh", 0)], [("relu", 1)]))
    small.load_state_dict(whole.state_dict())
    assert len(whole.cell.weights) == 2
    assert torch.equal(whole(tokens())[0], small(tokens())[0])


def test_cells_of_any_size_are_built() -> None:
    """As those of the convolutional space: a retraining need not know how many were searched."""
    assert len(SMALL.derive(published("DARTS_RNN_V1")).cell.weights) == 8
    assert len(DartsRNN(hidden=4).derive(cell([("tanh", 0)])).cell.weights) == 1
    few = replace(SMALL, nodes=1, candidates=((("none", "relu"),),))
    refused(lambda: few.validate(cell([("tanh", 0)])), "tanh", "relu")


def refused(make: object, *words: str) -> None:
    with pytest.raises(ArchgradError) as caught:
        make()  # type: ignore[operator]
    for word in words:
        assert word in str(caught.value)


def test_what_does_not_fit_is_refused() -> None:
    text = published("DARTS_RNN_V1").to_json()
    fewer = SMALL.without(("sigmoid",))
    refused(lambda: fewer.validate(published("DARTS_RNN_V1")), "4", "there is no such edge")
    refused(lambda: SMALL.validate(published("DARTS_V1")), "darts-cnn", "darts-rnn")
    refused(lambda: SMALL.validate(cell([("tanh", 0), ("relu", 0)], [], [])), "[2, 0, 0] edges")
    refused(lambda: SMALL.validate(cell([], [], [])), "[0, 0, 0] edges")
    refused(lambda: SMALL.validate(cell([], [("tanh", 1)], [("relu", 0)])), "node 2 takes node 1")
    refused(
        lambda: DartsRNN().validate(Architecture.from_json(text.replace('"tanh"', '"gelu"'))),
        "gelu", "tanh, relu, sigmoid, identity",
    )  # fmt: skip
    refused(lambda: DartsRNN(hidden=0), "hidden is 0")
    refused(lambda: DartsRNN(classes=1), "classes is 1")
    refused(lambda: DartsRNN().sized(channels=4), "hidden")
    refused(lambda: DartsRNN().derive(published("DARTS_RNN_V1"), auxiliary=True), "auxiliary")
    refused(lambda: Regularization(output=1.0), "output is 1.0", "below 1")
    refused(lambda: Regularization(slowness=-1.0), "slowness")

"""Hypergradients against closed forms, each other and central differences, all in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Group
from archgrad.networks.supernet import Supernet
from archgrad.parts.hypergradient import (
    Exact,
    FiniteDifference,
    Neumann,
    first_order,
    first_order_and_weights,
    single_level,
)
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import SGD, State
from archgrad.spaces.darts_cnn import DartsCNN

SECOND_ORDER = [Exact(), FiniteDifference()]
STEP = SGD(0.1, momentum=0.9, weight_decay=3e-2)


class Quadratic:
    """L_train = (w - B a)' A (w - B a) / 2 and L_val = |w - c|^2 / 2 + d' a, in closed form."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        root = normal(5, 5)
        self.a_matrix, self.b_matrix = root @ root.T + torch.eye(5), normal(5, 3)
        self.c, self.d = normal(5), normal(3)
        self.weights = {"w": normal(5)}
        self.alpha = {"a": normal(1, 3).requires_grad_()}
        self.velocity = {"w": normal(5)}

    def loss(self, mixing, batch, weights=None):  # type: ignore[no-untyped-def]
        w, alpha = (weights or self.weights)["w"], mixing["a"][0]
        if batch == "valid":
            return (w - self.c).square().sum() / 2 + self.d @ alpha
        residual = w - self.b_matrix @ alpha
        return residual @ self.a_matrix @ residual / 2

    def state(self, sgd: SGD) -> State:
        return State(
            self,
            lambda alpha, state: alpha,
            "train",
            "valid",
            replace(sgd, velocity=self.velocity),
        )

    def closed_form(self, sgd: SGD) -> Tensor:
        w, alpha = self.weights["w"], self.alpha["a"][0].detach()
        gradient = self.a_matrix @ (w - self.b_matrix @ alpha)
        move = gradient + sgd.momentum * self.velocity["w"] + sgd.weight_decay * w
        virtual = w - sgd.learning_rate * move
        # d w' / d alpha = learning_rate A B, as the gradient falls by A B d alpha
        return self.d + sgd.learning_rate * (self.a_matrix @ self.b_matrix).T @ (virtual - self.c)


@pytest.mark.parametrize("estimator", SECOND_ORDER)
@pytest.mark.parametrize("sgd", [STEP, SGD(0.02), SGD(0.3, 0.5, 0.1)])
def test_second_order_equals_the_closed_form(estimator, sgd) -> None:  # type: ignore[no-untyped-def]
    problem = Quadratic()
    estimate = estimator(problem.alpha, problem.state(sgd)).gradient["a"][0]
    torch.testing.assert_close(estimate, problem.closed_form(sgd), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("estimator", SECOND_ORDER)
@pytest.mark.parametrize("clip", [0.1, 3.0, 1e6])
def test_a_clipped_second_order_equals_its_closed_form(estimator, clip) -> None:  # type: ignore[no-untyped-def]
    """Both gradients are cut to the norm, the mixed derivative by the factor of the first."""
    problem, rate = Quadratic(), 0.1
    w, alpha = problem.weights["w"], problem.alpha["a"][0].detach()
    slope = problem.a_matrix @ (w - problem.b_matrix @ alpha)
    factor = min(1.0, clip / float(slope.norm()))
    vector = w - rate * factor * slope - problem.c
    vector = vector * min(1.0, clip / float(vector.norm()))
    mixed = -problem.b_matrix.T @ problem.a_matrix @ vector
    found = estimator(problem.alpha, replace(
        problem.state(SGD(rate, clip=clip)), optimizer=SGD(rate, clip=clip)
    )).gradient["a"][0]  # fmt: skip
    torch.testing.assert_close(found, problem.d - rate * factor * mixed, rtol=1e-5, atol=1e-6)


def test_first_order_equals_the_closed_form_without_a_step() -> None:
    problem = Quadratic()
    estimate = first_order(problem.alpha, problem.state(STEP)).gradient["a"][0]
    torch.testing.assert_close(estimate, problem.d)


def test_the_weights_gradient_comes_along() -> None:
    problem = Quadratic()
    found = first_order_and_weights(problem.alpha, problem.state(STEP))
    torch.testing.assert_close(found.gradient["a"][0], problem.d)
    torch.testing.assert_close(found.valid_gradient, {"w": problem.weights["w"] - problem.c})
    assert first_order(problem.alpha, problem.state(STEP)).valid_gradient is None


def test_single_level_is_the_gradient_of_the_training_loss() -> None:
    """d/da (w - B a)' A (w - B a) / 2 = - B' A (w - B a)."""
    problem = Quadratic()
    found = single_level(problem.alpha, problem.state(STEP))
    residual = problem.weights["w"] - problem.b_matrix @ problem.alpha["a"][0].detach()
    expected = -problem.b_matrix.T @ problem.a_matrix @ residual
    torch.testing.assert_close(found.gradient["a"][0], expected)
    torch.testing.assert_close(found.loss, residual @ problem.a_matrix @ residual / 2)


@pytest.mark.parametrize("terms", [0, 1, 2, 3, 7])
def test_the_neumann_series_equals_its_closed_form(terms: int) -> None:
    """d - rate M sum_k (I - rate A)^k v, with M = - B' A the mixed derivative."""
    problem, rate = Quadratic(), 0.03
    found = Neumann(terms)(problem.alpha, problem.state(SGD(rate, 0.9, 0.1)))
    vector = problem.weights["w"] - problem.c
    powers = torch.eye(5, dtype=torch.float64) - rate * problem.a_matrix
    total = sum(torch.linalg.matrix_power(powers, k) @ vector for k in range(terms + 1))
    expected = problem.d + rate * problem.b_matrix.T @ problem.a_matrix @ total
    torch.testing.assert_close(found.gradient["a"][0], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.valid_gradient, {"w": vector})


def test_many_terms_reach_the_implicit_gradient() -> None:
    """At the inner optimum w*(a) = B a, so d L_val / d a = d + B' (w - c) in the limit."""
    problem = Quadratic()
    rate = 1.0 / float(torch.linalg.eigvalsh(problem.a_matrix)[-1])
    vector = problem.weights["w"] - problem.c
    exact = problem.d + problem.b_matrix.T @ vector
    errors = [
        float((Neumann(n)(problem.alpha, problem.state(SGD(rate))).gradient["a"][0] - exact).norm())
        for n in (0, 20, 300)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6 * float(exact.norm())


def test_without_terms_it_is_second_order_without_a_virtual_step() -> None:
    problem = Quadratic()
    rate, residual = 0.1, problem.weights["w"] - problem.c
    expected = problem.d + rate * (problem.a_matrix @ problem.b_matrix).T @ residual
    found = Neumann(0)(problem.alpha, problem.state(SGD(rate))).gradient["a"][0]
    torch.testing.assert_close(found, expected)
    with pytest.raises(ArchgradError, match="-1 terms, expected at least 0"):
        Neumann(-1)


@pytest.mark.parametrize("estimator", SECOND_ORDER)
def test_learning_rate_zero_gives_first_order(estimator) -> None:  # type: ignore[no-untyped-def]
    problem = Quadratic()
    state = problem.state(SGD(0.0, 0.9, 0.1))
    second = estimator(problem.alpha, state).gradient["a"]
    torch.testing.assert_close(second, first_order(problem.alpha, state).gradient["a"])


@pytest.mark.parametrize("knob", ["momentum", "weight_decay", "learning_rate"])
@pytest.mark.parametrize("estimator", SECOND_ORDER)
def test_every_constant_of_the_virtual_step_counts(estimator, knob) -> None:  # type: ignore[no-untyped-def]
    problem = Quadratic()
    here = estimator(problem.alpha, problem.state(STEP)).gradient["a"]
    other = replace(STEP, **{knob: 0.05})
    there = estimator(problem.alpha, problem.state(other)).gradient["a"]
    assert (here - there).abs().max() > 1e-3


def test_virtual_step_equals_a_real_sgd_step() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(6, 4, dtype=torch.float64)).square().mean().backward()
        weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        named = dict(model.named_parameters())
        gradient = {name: p.grad for name, p in named.items() if p.grad is not None}
        virtual = SGD.of(optimizer, named).step(weights, gradient)
        optimizer.step()
        for name, parameter in named.items():
            torch.testing.assert_close(virtual[name], parameter.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{"nesterov": True}, {"dampening": 0.5}])
def test_an_optimizer_that_the_virtual_step_does_not_know_is_refused(options) -> None:  # type: ignore[no-untyped-def]
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9, **options)
    with pytest.raises(ArchgradError, match="Nesterov"):
        SGD.of(optimizer, {"w": weight})


def test_a_step_of_zero_is_refused() -> None:
    with pytest.raises(ArchgradError, match="step is 0"):
        FiniteDifference(0)


# --- networks --------------------------------------------------------------------------------


def small_network(channels: int = 3, nodes: int = 3, cells: int = 3) -> Supernet:
    """Real operations of the space, train-mode BatchNorm, float64."""
    torch.manual_seed(0)
    space = DartsCNN(
        channels=channels, cells=cells, nodes=nodes, in_channels=2, image_size=(8, 8), classes=3
    )
    return settled(Supernet(space.supernet().double(), space.groups))


def settled(net: Supernet) -> Supernet:
    """Float64 alphas that are not near zero, so that no derivative is trivially small."""
    generator = torch.Generator().manual_seed(3)
    net.alpha = {
        name: (
            0.5 * torch.randn(alpha.shape, generator=generator, dtype=torch.float64)
        ).requires_grad_()
        for name, alpha in net.alpha.items()
    }
    return net


def batch(seed: int, images: int = 6, channels: int = 2, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, channels, 8, 8, generator=generator, dtype=torch.float64)
    return x, torch.randint(classes, (images,), generator=generator)


def network_state(net: Supernet, sgd: SGD = STEP) -> State:
    generator = torch.Generator().manual_seed(4)
    velocity = {
        name: 0.1 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        for name, weight in net.weights.items()
    }
    return State(net, Softmax(), batch(1), batch(2), replace(sgd, velocity=velocity))


def flat(gradient: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in gradient.values()])


def test_exact_equals_central_differences_in_random_directions() -> None:
    """The whole of L_val(w'(alpha), alpha), real operations, all alphas at once."""
    net = small_network()
    state = network_state(net)
    exact = flat(Exact()(net.alpha, state).gradient)

    def value(alpha: dict[str, Tensor]) -> Tensor:
        weights = {name: w.detach().requires_grad_() for name, w in net.weights.items()}
        loss = state.train_loss(alpha, weights)
        gradient = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        with torch.no_grad():
            virtual = state.optimizer.step(net.weights, dict(zip(weights, gradient)))
            return state.valid_loss(alpha, virtual)

    assert exact.shape[0] == 2 * 9 * 8
    alphas = net.alpha.items()
    generator, step, measured = torch.Generator().manual_seed(5), 1e-6, []
    directions = torch.randn(6, exact.shape[0], generator=generator, dtype=exact.dtype)
    for direction in directions:  # all entries are in each of them
        parts = dict(zip(net.alpha, direction.view(2, 9, 8)))

        def moved(amount: float, parts: dict[str, Tensor] = parts) -> dict[str, Tensor]:
            return {name: value.detach() + amount * parts[name] for name, value in alphas}

        measured.append((value(moved(step)) - value(moved(-step))) / (2 * step))
    expected = directions @ exact
    difference = torch.stack(measured) - expected
    assert difference.norm() / expected.norm() < 1e-5
    # in every single one, against the size of the gradient
    assert difference.abs().max() / expected.abs().max() < 1e-5
    first = flat(first_order(net.alpha, state).gradient)
    assert (first - exact).norm() / exact.norm() > 0.1  # the second-order term is there


def smooth_network() -> Supernet:
    """Two edges of softplus convolutions and average pooling, with train-mode BatchNorm."""
    torch.manual_seed(1)

    def conv(kernel: int) -> nn.Module:
        return nn.Sequential(
            nn.Softplus(),
            nn.Conv2d(4, 4, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(4, affine=False),
        )

    def edge(row: int) -> Choice:
        candidates = {
            "conv3": conv(3),
            "conv1": conv(1),
            "avg": nn.AvgPool2d(3, 1, 1),
            "skip": nn.Identity(),
        }
        return Choice(candidates, "edges", row)

    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        edge(0),
        edge(1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).double()
    names = ("conv3", "conv1", "avg", "skip")
    group = Group("edges", 1, ((0, 1), (1, 2)), (names, names), 1)
    return settled(Supernet(model, [group]))


def test_both_estimators_agree_on_a_smooth_network_and_better_with_smaller_steps() -> None:
    net = smooth_network()
    state = network_state(net)
    first = flat(first_order(net.alpha, state).gradient)
    exact = flat(Exact()(net.alpha, state).gradient) - first

    def error(step: float) -> float:
        estimate = flat(FiniteDifference(step)(net.alpha, state).gradient) - first
        return float((estimate - exact).norm() / exact.norm())

    errors = [error(step) for step in (0.1, 0.01, 0.001)]
    assert errors[1] < 1e-2  # at the paper's step
    assert errors[0] > 10 * errors[1] > 100 * errors[2]  # shrinks as the square of the step


EVERY = [first_order, first_order_and_weights, single_level, *SECOND_ORDER, Neumann(1)]


@pytest.mark.parametrize("estimator", EVERY)
def test_weights_gradients_statistics_and_alpha_stay_bit_identical(estimator) -> None:  # type: ignore[no-untyped-def]
    net = small_network()
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    alpha = {name: value.detach().clone() for name, value in net.alpha.items()}
    estimator(net.alpha, network_state(net))
    after = net.model.state_dict()
    assert before.keys() == after.keys()
    assert any("running_mean" in name for name in after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(alpha[name], net.alpha[name]) for name in alpha)
    assert all(weight.grad is None for weight in net.weights.values())
    assert all(value.grad is None for value in net.alpha.values())


def test_the_reported_loss_is_that_of_the_validation_batch() -> None:
    net = small_network()
    state = network_state(net, SGD(0.0))
    mixing = Softmax()(net.alpha, state)
    x, target = state.valid
    expected = F.cross_entropy(net.forward(mixing, x), target).detach()
    for estimator in (first_order, first_order_and_weights, *SECOND_ORDER, Neumann(0)):
        torch.testing.assert_close(estimator(net.alpha, state).loss, expected)


def test_the_neumann_series_of_a_network_equals_explicit_products() -> None:
    """Against double backward, term by term, on a smooth network."""
    net = smooth_network()
    state = network_state(net)
    rate = state.optimizer.learning_rate
    weights = {name: weight.detach().requires_grad_() for name, weight in net.weights.items()}
    names = list(weights)
    valid = torch.autograd.grad(state.valid_loss(net.alpha, weights), [weights[n] for n in names])
    train = state.train_loss(net.alpha, weights)
    slopes = torch.autograd.grad(train, [weights[n] for n in names], create_graph=True)
    term, total = list(valid), list(valid)
    for _ in range(2):
        inner = sum((s * t).sum() for s, t in zip(slopes, term))
        product = torch.autograd.grad(inner, [weights[n] for n in names], retain_graph=True)
        term = [t - rate * p for t, p in zip(term, product)]
        total = [a + t for a, t in zip(total, term)]
    inner = sum((s * t.detach()).sum() for s, t in zip(slopes, total))
    (mixed,) = torch.autograd.grad(inner, list(net.alpha.values()))
    direct = first_order(net.alpha, state).gradient["edges"]
    found = Neumann(2)(net.alpha, state).gradient["edges"]
    torch.testing.assert_close(found, direct - rate * mixed, rtol=1e-8, atol=1e-10)

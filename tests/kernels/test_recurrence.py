"""The recurrence over time: equal to plain operations, in every derivative and on every kernel."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archgrad.kernels import native, recurrence
from archgrad.kernels.native import Kernel
from archgrad.kernels.recurrence import NAMES, Node, Plan
from archgrad.parts.derivatives import hessian_vector

KERNELS: tuple[Kernel, ...] = ("torch", "native") if native.compiler() else ("torch",)


def whole(nodes: int) -> Plan:
    return Plan(tuple(Node(0, i) for i in range(1, nodes + 1)), normalized=True)


def derived(*singles: tuple[str, int]) -> Plan:
    nodes = (Node(s, s + 1, tuple(name == other for other in NAMES)) for name, s in singles)
    return Plan(tuple(nodes), normalized=False)


DERIVED = derived(("tanh", 0), ("relu", 0), ("sigmoid", 1), ("identity", 2))


def inputs(
    plan: Plan, steps: int, batch: int, hidden: int, seed: int = 0, masked: bool = True,
    dtype: torch.dtype = torch.float64,
) -> tuple[list[Tensor], Tensor | None]:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    mask = torch.rand(batch, hidden, generator=generator).lt(0.75).to(dtype) / 0.75
    active = [torch.tensor(node.active, dtype=dtype) for node in plan.nodes]
    sizes = [node.stop - node.start for node in plan.nodes]
    mixing = [
        (torch.rand(n, 4, generator=generator, dtype=dtype) * a).requires_grad_(plan.normalized)
        for n, a in zip(sizes, active, strict=True)
    ]  # those of a derived cell are constants
    weights = [normal(hidden, 2 * hidden) for _ in plan.nodes]
    given = [normal(steps, batch, 2 * hidden), normal(batch, hidden), normal(hidden, 2 * hidden)]
    return [*given, *weights, *mixing], mask if masked else None


def run(plan: Plan, given: Sequence[Tensor], mask: Tensor | None, plainly: bool = False) -> Tensor:
    if plainly:
        return recurrence._plain(plan, mask, given)
    count = len(plan.nodes)
    parts = given[0], given[1], mask, given[2], given[3 : 3 + count], given[3 + count :]
    return recurrence.recurrence(plan, *parts)


def judged(output: Tensor) -> Tensor:
    return (output * torch.arange(output.numel(), dtype=output.dtype).view_as(output).cos()).sum()


def compared(plan: Plan, given: Sequence[Tensor], mask: Tensor | None, kernel: Kernel) -> float:
    moving = [tensor for tensor in given if tensor.requires_grad]
    with native.use(kernel):
        ours = run(plan, given, mask)
        found = [ours, *torch.autograd.grad(judged(ours), moving)]
    theirs = run(plan, given, mask, plainly=True)
    expected = [theirs, *torch.autograd.grad(judged(theirs), moving)]
    gaps = [(a - b).abs().max() / b.abs().max().clamp_min(1) for a, b in zip(found, expected)]
    return float(torch.stack(gaps).detach().max())


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(2, 5), st.integers(1, 19),
    st.booleans(), st.integers(0, 2**31),
)  # fmt: skip
def test_it_is_equal_to_plain_operations(
    nodes: int, steps: int, batch: int, hidden: int, masked: bool, seed: int
) -> None:
    for plan in (whole(nodes), DERIVED):
        given, mask = inputs(plan, steps, batch, hidden, seed, masked)
        for kernel in KERNELS:
            # two nearly equal states lose digits where they are normalized
            assert compared(plan, given, mask, kernel) < 1e-8


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_float32_is_as_near_as_plain_operations(kernel: Kernel, scale: float) -> None:
    """To float64, on arguments from the linear part of the activations to where they are flat."""
    given, mask = inputs(whole(3), 3, 8, 33)
    with torch.no_grad():
        for tensor in given[:-3]:
            tensor.mul_(scale)
    exact = run(whole(3), given, mask, plainly=True)
    short = [tensor.detach().float() for tensor in given]
    narrow = None if mask is None else mask.float()
    with native.use(kernel):
        ours = (run(whole(3), short, narrow).double() - exact).abs().max()
    theirs = (run(whole(3), short, narrow, plainly=True).double() - exact).abs().max()
    assert ours <= 2 * theirs + 1e-6


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("plan", [whole(2), DERIVED], ids=["search", "derived"])
def test_derivatives(kernel: Kernel, plan: Plan) -> None:
    given, mask = inputs(plan, 2, 3, 2, seed=3)
    with native.use(kernel):
        assert torch.autograd.gradcheck(lambda *g: run(plan, g, mask), given)


@pytest.mark.parametrize("kernel", KERNELS)
def test_second_derivatives_agree(kernel: Kernel) -> None:
    """Of plain operations, which know theirs in forward mode, and as hypergradients take them."""
    plan = whole(2)
    given, mask = inputs(plan, 2, 3, 2, seed=5)
    vector = [torch.randn_like(tensor) for tensor in given]
    with native.use(kernel):
        ours, theirs = (
            hessian_vector(
                lambda moving, p=plainly: judged(run(plan, list(moving.values()), mask, p)),  # type: ignore[misc]
                {str(i): tensor for i, tensor in enumerate(given)},
                {str(i): tensor for i, tensor in enumerate(vector)},
            )
            for plainly in (False, True)
        )
    for one, other in zip(ours.values(), theirs.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_only_what_is_wanted_gets_a_gradient(kernel: Kernel) -> None:
    """As in alpha's step, where the weights stand still, and in the weights' step."""
    plan = whole(2)
    given, mask = inputs(plan, 2, 3, 4)
    whole_gradient = torch.autograd.grad(judged(run(plan, given, mask)), given)
    for wanted in (range(3, 5), range(5, 7), [0], [1]):
        some = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(given)]
        with native.use(kernel):
            found = torch.autograd.grad(judged(run(plan, some, mask)), [some[i] for i in wanted])
        for gradient, index in zip(found, wanted, strict=True):
            torch.testing.assert_close(gradient, whole_gradient[index])


def test_a_second_pass_backward_finds_the_same() -> None:
    given, mask = inputs(whole(2), 2, 3, 4)
    total = judged(run(whole(2), given, mask))
    first = torch.autograd.grad(total, given, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(total, given), strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(len(KERNELS) == 1, reason="there is no C++ compiler here")
def test_native_code_works_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(native, "call", lambda *a: called.append(a[0]))
    given, mask = inputs(whole(2), 1, 3, 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    run(whole(2), given, mask)
    assert not called
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    run(whole(2), given, mask)
    assert called == ["recurrence"] * 2

"""Cross-entropy without all logits: equal to plain operations, in every derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archgrad.kernels import decoding
from archgrad.kernels.decoding import Decoded, cross_entropy, decoded
from archgrad.parts.derivatives import hessian_vector


def inputs(steps: int, batch: int, hidden: int, words: int, seed: int) -> tuple[Decoded, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (steps, batch, hidden), (words, hidden), (words,)
    parts = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    target = torch.randint(words, (steps, batch), generator=generator)
    return Decoded(*(part.requires_grad_() for part in parts)), target


def plainly(output: Decoded, target: Tensor) -> Tensor:
    return F.cross_entropy(output.logits.flatten(0, 1), target.flatten())


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(2, 9),
    st.integers(1, 40), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 2**31),
)  # fmt: skip
def test_it_is_equal_to_plain_operations(
    steps: int, batch: int, hidden: int, words: int, entries: int, wanted: list[bool], seed: int
) -> None:
    output, target = inputs(steps, batch, hidden, words, seed)
    for tensor, want in zip(output, wanted, strict=True):
        tensor.requires_grad_(want)
    moving = [tensor for tensor, want in zip(output, wanted, strict=True) if want]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(decoding.ENTRIES, "cpu", entries)
        ours = cross_entropy(output, target)
    theirs = plainly(output, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    if moving:
        pairs = (torch.autograd.grad(3 * loss, moving) for loss in (ours, theirs))
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_second_derivatives() -> None:
    output, target = inputs(2, 2, 3, 5, seed=0)
    assert torch.autograd.gradgradcheck(
        lambda *given: cross_entropy(Decoded(*given), target), output
    )
    named = dict(zip(Decoded._fields, output, strict=True))
    vector = {name: torch.ones_like(tensor) for name, tensor in named.items()}
    ours = hessian_vector(lambda moved: cross_entropy(Decoded(**moved), target), named, vector)
    theirs = hessian_vector(lambda moved: plainly(Decoded(**moved), target), named, vector)
    for name in named:
        torch.testing.assert_close(ours[name], theirs[name])


def test_second_derivatives_where_outputs_depend_on_the_embedding() -> None:
    output, target = inputs(2, 2, 3, 5, seed=0)

    def tied(function: Callable[[Decoded, Tensor], Tensor], moved: dict[str, Tensor]) -> Tensor:
        outputs = moved["embedding"][target].tanh() * moved["outputs"]
        return function(Decoded(outputs, moved["embedding"], moved["bias"]), target)

    named = dict(zip(Decoded._fields, output, strict=True))
    ours, theirs = (
        torch.autograd.functional.hvp(
            lambda e, f=function: tied(f, {**named, "embedding": e}),  # type: ignore[misc]
            output.embedding,
            torch.ones_like(output.embedding),
        )[1]
        for function in (cross_entropy, plainly)
    )
    torch.testing.assert_close(ours, theirs)


def test_large_logits_do_not_overflow() -> None:
    output, target = inputs(2, 2, 3, 5, seed=0)
    large = Decoded(1e4 * output.outputs.float(), output.embedding.float(), output.bias.float())
    torch.testing.assert_close(cross_entropy(large, target), plainly(large, target))


def test_where_logits_are_kept() -> None:
    output, _ = inputs(2, 2, 3, 5, seed=0)
    assert decoded(*output) == output
    assert decoded(*(tensor.to("meta") for tensor in output)).shape == (2, 2, 5)  # type: ignore[union-attr]
    with torch.autocast("cpu", torch.bfloat16):
        logits = decoded(*(tensor.detach().float() for tensor in output))
    assert isinstance(logits, Tensor) and logits.dtype == torch.bfloat16


def test_a_loss_near_zero_keeps_its_digits() -> None:
    outputs, embedding = torch.full((2, 1, 1), 30.0), torch.tensor([[1.0], [0.7]])
    sure = Decoded(outputs, embedding, torch.zeros(2))
    target = torch.zeros(2, 1, dtype=torch.int64)
    exact = torch.tensor(-9.0, dtype=torch.float64).exp().log1p().float()
    torch.testing.assert_close(cross_entropy(sure, target), exact, rtol=1e-3, atol=0)

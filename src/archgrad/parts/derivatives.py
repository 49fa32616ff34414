"""First and second derivatives by name; the second as products with a vector.

No Hessian is ever stored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from archgrad.errors import ArchgradError, out_of_memory
from archgrad.kernels.normalization import forward_differentiable
from archgrad.networks.counting import second_derivative

Tensors = Mapping[str, Tensor]


class OnceDifferentiable(ArchgradError):
    """A layer whose second derivative torch would leave out without a word."""


def gradient(output: Tensor, inputs: Tensors, create_graph: bool = False) -> dict[str, Tensor]:
    """d output / d inputs by name; zero where the output does not depend on an input."""
    values = torch.autograd.grad(
        output, list(inputs.values()), create_graph=create_graph, materialize_grads=True
    )
    return dict(zip(inputs, values, strict=True))


def norm(tensors: Tensors) -> Tensor:
    """The Euclidean norm over all tensors at once, a scalar."""
    norms = [torch.linalg.vector_norm(tensor) for tensor in tensors.values()]
    found: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return found


def detached(tensors: Tensors) -> dict[str, Tensor]:
    """The same values, for which no gradient is asked."""
    return {name: value.detach() for name, value in tensors.items()}


def leaves(tensors: Tensors) -> dict[str, Tensor]:
    """The same values, for which a gradient can be asked."""
    return {name: value.detach().requires_grad_() for name, value in tensors.items()}


def hessian_vector(
    loss: Callable[[Tensors], Tensor], at: Tensors, vector: Tensors, by: Tensors | None = None
) -> dict[str, Tensor]:
    r""":math:`\frac{d}{dt} \nabla_{by}\, loss(at + t\, vector)` at t = 0, in the shapes of `by`.

    `by` are leaves that require gradients and that `loss` uses; without it, `at` itself: the
    Hessian times `vector`. A gradient moved along `vector` in forward mode costs about as much
    as two gradients. Where an operation has no forward mode (group normalization, SiLU, mean
    squared error in torch 2.13), the gradient of <gradient, vector> is taken instead: the same
    number, slower. Kinks (ReLU, max-pooling) are ignored, as by every derivative of such a network.
    """
    # fused attention has no second derivative
    with sdpa_kernel(SDPBackend.MATH), second_derivative():
        try:
            return _forward_over_reverse(loss, at, vector, by)
        except RuntimeError as error:  # NotImplementedError is one; a wrong loss fails again below
            if out_of_memory(error):
                raise
            return _double_backward(loss, at, vector, by)


def dual(value: Tensor, tangent: Tensor) -> Tensor:
    """The value, moving along the tangent (within `torch.autograd.forward_ad.dual_level`)."""
    with warnings.catch_warnings():  # the first call in a process makes PyTorch warn of itself
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        found: Tensor = forward_ad.make_dual(value, tangent)
    return found


def _forward_over_reverse(
    loss: Callable[[Tensors], Tensor], at: Tensors, vector: Tensors, by: Tensors | None
) -> dict[str, Tensor]:
    with forward_ad.dual_level(), forward_differentiable():
        # Where `at` itself is not asked for, its gradients need not be prepared in the graph.
        at = {name: value.detach().requires_grad_(by is None) for name, value in at.items()}
        moving = {name: dual(value, vector[name]) for name, value in at.items()}
        wanted = at if by is None else by
        found = gradient(loss(moving), wanted)
        moved = {name: forward_ad.unpack_dual(value).tangent for name, value in found.items()}
    return {name: torch.zeros_like(wanted[name]) if t is None else t for name, t in moved.items()}


def _double_backward(
    loss: Callable[[Tensors], Tensor], at: Tensors, vector: Tensors, by: Tensors | None
) -> dict[str, Tensor]:
    at = leaves(at)
    first = gradient(loss(at), at, create_graph=True)
    _refuse_once_differentiable(first)
    names = [name for name in at if first[name].requires_grad]
    wanted = at if by is None else by
    if not names:  # the loss is linear in all that moves
        return {name: torch.zeros_like(value) for name, value in wanted.items()}
    product = sum((first[name] * vector[name]).sum() for name in names)
    assert isinstance(product, Tensor)
    return gradient(product, wanted)


def _refuse_once_differentiable(first: Tensors) -> None:
    """What `once_differentiable` leaves in a graph fails where it is reached, but leads nowhere."""
    nodes = [value.grad_fn for value in first.values() if value.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node.name() == "torch::autograd::Error":
            raise OnceDifferentiable(
                "a layer of this model can be differentiated only once (its autograd function is "
                "marked once_differentiable), and a second derivative is asked for; use a method "
                "of first order, or darts_2nd with estimator=finite_difference"
            )
        new = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= new
        nodes += new

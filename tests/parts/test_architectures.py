"""Architectures drawn from groups, and the mixing weights that compute one alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from archgrad.architecture import Architecture
from archgrad.networks.choice import Choice
from archgrad.networks.choices import InputChoice
from archgrad.networks.operations import Zero
from archgrad.networks.supernet import Supernet
from archgrad.parts.architectures import alone, drawn
from archgrad.parts.relaxation import UniformPath
from archgrad.parts.state import State
from archgrad.spaces import SearchSpace, space
from archgrad.spaces.own import OwnModel


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pick = InputChoice(3, picks=2, name="pick")
        self.act = Choice({"none": Zero(), "tanh": nn.Tanh()}, "act")


SPACES = [
    space("darts-cnn"), space("s2"), space("nas-bench-201"), space("mbconv"), OwnModel(Two())
]  # fmt: skip


@pytest.mark.parametrize("where", SPACES, ids=lambda s: s.name)
def test_drawn_architectures_are_of_the_space_and_repeat_with_the_generator(
    where: SearchSpace,
) -> None:
    def draw(seed: int) -> list[Architecture]:
        generator = torch.Generator().manual_seed(seed)
        cells = [drawn(where.groups, generator) for _ in range(20)]
        return [Architecture(space=where.name, cells=one) for one in cells]

    for architecture in draw(0):
        where.validate(architecture)
    assert draw(0) == draw(0)
    assert len(set(draw(0))) > 1


def test_every_choice_of_edges_and_operations_is_equally_likely() -> None:
    groups = space("darts-cnn", nodes=2).groups
    generator, seen = torch.Generator().manual_seed(0), Counter[object]()
    draws = 6000
    for _ in range(draws):
        (edges,) = [cell.nodes[1] for cell in drawn(groups, generator) if cell.name == "normal"]
        seen[tuple(source for _, source in edges)] += 1
        seen[edges[0][0]] += 1
    pairs = [seen[pair] for pair in ((0, 1), (0, 2), (1, 2))]
    operations = [seen[name] for name in groups[0].candidates[0] if name != "none"]
    assert sum(pairs) == sum(operations) == draws and seen["none"] == 0
    assert all(abs(n / draws - 1 / 3) < 0.03 for n in pairs)
    assert all(abs(n / draws - 1 / 7) < 0.03 for n in operations)


def test_an_architecture_alone_is_what_a_mixture_with_its_weights_is() -> None:
    where = space("darts-cnn", channels=4, cells=3, nodes=2, in_channels=1, image_size=(8, 8))
    torch.manual_seed(0)
    net = Supernet(where.supernet(), where.groups, counting=True)
    x = torch.randn(4, 1, 8, 8)
    cells = drawn(where.groups, torch.Generator().manual_seed(0))
    path = alone(where.groups, cells, net.alpha)
    spent = []
    outputs = []
    for mixing in (dict(path), path):
        before = net.spent
        outputs.append(net.forward(mixing, x).detach())
        spent.append(net.spent - before)
    torch.testing.assert_close(outputs[0], outputs[1])
    assert spent[1] < spent[0] / 2
    kept = {n: b.clone() for n, b in net.model.named_buffers()}
    net.forward(path, x)
    assert all(torch.equal(b, kept[n]) for n, b in net.model.named_buffers())


def test_a_uniform_path_minds_the_seed_and_not_alpha() -> None:
    groups = space("nas-bench-201").groups
    path = UniformPath()
    alpha = {g.name: torch.randn(g.shape) for g in groups}
    other = {name: -value for name, value in alpha.items()}
    state = State(None, path, groups=groups, seed=1)  # type: ignore[arg-type]
    another = State(None, path, groups=groups, seed=2)  # type: ignore[arg-type]
    typical = State(None, path, groups=groups, seed=1, sample=False)  # type: ignore[arg-type]
    assert path(alpha, state).active == path(other, state).active
    assert path(alpha, state).active != path(alpha, another).active
    strongest = {n: [[i] for i in a.argmax(-1).tolist()] for n, a in alpha.items()}
    assert path(alpha, typical).active == strongest

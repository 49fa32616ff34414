"""Children: scores and prices against hand-made ones, and what changes a score."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import archgrad
from archgrad.architecture import Architecture, Cell
from archgrad.baselines import Proposal
from archgrad.baselines.children import STREAM, Children
from archgrad.costing.cost import cost
from archgrad.data import Data
from archgrad.data.own import OwnData
from archgrad.searching.loaders import Loaders
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace, space
from archgrad.spaces.own import OwnModel
from archgrad.system.loops import cosine
from archgrad.task import Task
from helpers import digits

CPU = torch.device("cpu")
TINY = SearchConfig(
    epochs=4, batch_size=8, seed=3, device="cpu", kernel="torch", learning_rate=0.2
)  # fmt: skip
BY_LOSS = Task(metric=None)  # scores that are no counts: any change of the weights shows in them


class Net(nn.Module):
    """64 -> 8 by one of two ways, then two classes."""

    def __init__(self, **more: nn.Module) -> None:
        super().__init__()
        narrow = nn.Sequential(nn.Linear(64, 2, bias=False), nn.Linear(2, 8, bias=False))
        candidates = {"wide": nn.Linear(64, 8, bias=False), "narrow": narrow, **more}
        self.choice = archgrad.Choice(candidates)
        self.out = nn.Linear(8, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.choice(x.flatten(1)).relu())


def own(task: Task = BY_LOSS) -> tuple[OwnModel, OwnData]:
    """The model as a space that knows an example, and the digits as own data."""
    x, y = digits()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made = OwnModel(Net())
    made.example = Task(), (x[:8], y[:8])
    return made, OwnData((x, y), task=task)


def chosen(name: str, choice: str = "choice") -> Architecture:
    cell = Cell(name=choice, inputs=1, nodes=(((name, 0),),), output=(1,))
    return Architecture(space="own", cells=(cell,))


def tiny_space() -> SearchSpace:
    return space("darts-cnn", channels=2, cells=3, nodes=1, in_channels=1, image_size=(8, 8),
                 classes=2)  # fmt: skip


def drawn(made: SearchSpace, seed: int = 0) -> Architecture:
    return made.random_architecture(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "multiply_adds"), [("wide", 512 + 16), ("narrow", 144 + 16)])
@pytest.mark.parametrize(("share", "epochs"), [(1.0, 2), (0.5, 1), (1 / 9, 1)])
def test_the_price_is_passes_times_multiply_adds(
    name: str, multiply_adds: int, share: float, epochs: int
) -> None:
    made, data = own()
    children = Children(made, data, TINY.model_copy(update={"train_fraction": 0.75}))
    price = (3 * epochs * 36 + 12) * multiply_adds
    assert children.price(Proposal(chosen(name), share)) == price


def test_the_price_of_a_named_space_leaves_out_what_is_watched(two_digits: Data) -> None:
    made = tiny_space()
    found = drawn(made)
    config = TINY.model_copy(update={"watch_fraction": 0.25, "child_epochs": 5})
    examples = 3 * 5 * 24 + 24 - 6
    expected = examples * cost(made, found).multiply_adds
    before = torch.get_rng_state()
    assert Children(made, two_digits, config).price(Proposal(found)) == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_the_score_is_that_of_a_training_made_by_hand() -> None:
    made, data = own()
    number, epochs = 2, 2
    found = Children(made, data, TINY).score(Proposal(chosen("narrow")), number)

    net = made.derive(chosen("narrow"))
    sgd = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, weight_decay=3e-4)
    loaders = Loaders.of(data, TINY, data.augmentation, CPU)
    for epoch in range(epochs):
        sgd.param_groups[0]["lr"] = cosine(0.2, 0.001, epoch, epochs)
        for x, y in loaders.train.epoch(number * epochs + epoch):
            sgd.zero_grad()
            F.cross_entropy(net(x), y).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            sgd.step()
    batches = list(loaders.check.epoch(0))
    x, y = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    assert len(x) == 24
    with torch.no_grad():
        assert found == pytest.approx(-float(F.cross_entropy(net(x), y)), rel=1e-6)


def test_a_named_child_begins_with_the_weights_of_its_seed(two_digits: Data) -> None:
    """Without a step worth the name the score is the accuracy of the fresh network."""
    made, found = tiny_space(), drawn(tiny_space())
    config = TINY.model_copy(
        update={"learning_rate": 0.0, "final_learning_rate": 0.0, "weight_decay": 0.0}
    )
    children = Children(made, two_digits, config)
    with torch.random.fork_rng([]):
        torch.manual_seed(TINY.seed * STREAM + 7)
        net = made.derive(found)
    net.train()
    for epoch in range(2):  # running statistics move all the same
        for x, _ in children.loaders.train.epoch(7 * 2 + epoch):
            net(x)
    net.eval()
    images = list(children.loaders.check.epoch(0))
    right = torch.cat([net(x).argmax(1) == y for x, y in images])
    assert children.score(Proposal(found), 7) == pytest.approx(float(right.double().mean()))


def test_a_child_depends_on_seed_and_number_alone() -> None:
    made, data = own()
    proposal = Proposal(chosen("wide"))
    first = Children(made, data, TINY)
    scores = [first.score(proposal, number) for number in (0, 1, 2)]
    assert len(set(scores)) == 3
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    again = Children(made, data, TINY)
    assert again.score(proposal, 2) == scores[2]
    assert again.score(proposal, 0) == scores[0]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "change",
    [{"child_epochs": 3}, {"seed": 4}, {"learning_rate": 0.1}, {"final_learning_rate": 0.1},
     {"momentum": 0.5}, {"weight_decay": 0.1}, {"clip": 0.01}, {"batch_size": 6},
     {"train_fraction": 0.25}, {"precision": "bf16"}, {"epochs": 8}],
    ids=str,
)  # fmt: skip
def test_every_knob_changes_the_score(change: dict[str, Any]) -> None:
    made, data = own()
    config = SearchConfig.model_validate({**TINY.model_dump(), **change})
    plain, changed = (Children(made, data, c) for c in (TINY, config))
    assert plain.score(Proposal(chosen("wide")), 0) != changed.score(Proposal(chosen("wide")), 0)


def test_a_smaller_share_is_a_shorter_training() -> None:
    made, data = own()
    children = Children(made, data, TINY)
    half = children.score(Proposal(chosen("wide"), 0.5), 0)
    assert half != children.score(Proposal(chosen("wide")), 0)
    short = TINY.model_copy(update={"child_epochs": 1})
    assert half == Children(made, data, short).score(Proposal(chosen("wide")), 0)


@pytest.mark.parametrize("rate", [1e30, 1e12])
def test_a_child_that_diverges_has_no_score(rate: float) -> None:
    config = TINY.model_copy(update={"learning_rate": rate, "clip": 1e30})
    made, data = own()
    assert Children(made, data, config).score(Proposal(chosen("narrow")), 0) == -math.inf


def test_weights_that_overflow_in_the_last_step_are_seen() -> None:
    """The training's losses are finite, the accuracy is too: the loss of the evaluation is not."""
    made, data = own(Task())
    config = TINY.model_copy(
        update={"learning_rate": 1e38, "clip": 1e30, "batch_size": 24, "child_epochs": 1}
    )
    assert Children(made, data, config).score(Proposal(chosen("wide")), 0) == -math.inf


def test_a_child_without_weights_is_scored_as_it_is() -> None:
    model = nn.Sequential(archgrad.Choice({"none": nn.Identity(), "some": nn.Linear(2, 2)}))
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(8, 1)
    y = torch.arange(16) % 2
    made = OwnModel(model)
    children = Children(made, OwnData((x, y)), TINY)
    assert children.score(Proposal(chosen("none", "0")), 0) == 1.0


def test_a_loader_with_a_generator_begins_each_child_anew() -> None:
    made, _ = own()

    def children() -> Children:
        generator = torch.Generator().manual_seed(5)
        loader = DataLoader(TensorDataset(*digits()), 8, shuffle=True, generator=generator)
        return Children(made, OwnData(loader, digits(), BY_LOSS), TINY)

    proposal, used = Proposal(chosen("wide")), children()
    assert used.exact_resume
    first = used.score(proposal, 0)
    assert used.score(proposal, 0) == first
    used.score(proposal, 1)
    assert used.score(proposal, 3) == children().score(proposal, 3)

"""Searches of a user's own model: every method, any data, resume, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)

import archgrad
from archgrad.data.own import LoaderBatches, OwnData, batches
from archgrad.errors import ArchgradError
from archgrad.methods import RECIPES, Method
from archgrad.networks.choice import Choice
from archgrad.networks.choices import InputChoice, Picked, Repeat, Width
from archgrad.networks.operations import Zero
from archgrad.parts.augmentation import RandomCutout
from archgrad.parts.discretization import Threshold
from archgrad.parts.relaxation import EdgeNormalized, Sigmoid
from archgrad.parts.stage import Stage
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.spaces.own import OwnModel
from helpers import same


class Net(nn.Module):
    """A choice of every kind, one inside another; the first layer is a choice."""

    def __init__(self) -> None:
        super().__init__()
        deep = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.2))
        self.first = Choice({"linear": nn.Linear(4, 6), "deep": lambda: deep}, name="first")
        self.depth = Repeat(lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU()), [0, 1, 2])
        self.width = Width([nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6)], [3, 8])
        self.merge = InputChoice(3, picks=2)
        inner = Choice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, name="inner")
        self.last = Choice(
            {"none": Zero(), "skip": nn.Identity(), "deep": nn.Sequential(nn.Linear(6, 6), inner)}
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        deep = self.depth(first)
        output: Tensor = self.head(self.last(self.merge([first, deep, self.width(deep)])))
        return output


def examples(count: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator), torch.arange(count) % 3


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


TINY: dict[str, Any] = {"epochs": 1, "batch_size": 6, "guard": "off", "device": "cpu"}
TWO = {**TINY, "epochs": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "darts_pt": {"tuning_epochs": 1},
    "shapley": {"samples": 2},
    "p_darts": {"more_cells": 1},
    "random_ws": {"samples": 4},
}
CHANNELS = "must know its channels, and a choice of an own model does not say them"
REFUSED = {"pc_darts": "PartialChannels", "darts_minus": "AuxiliarySkip", "p_darts": "SkipDropout"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_method_searches_an_own_model_or_says_why_not(recipe: str, tmp_path: Path) -> None:
    out, options = tmp_path / "run", {"method_options": OPTIONS.get(recipe, {}), **TINY}
    if recipe in REFUSED:
        with pytest.raises(ArchgradError, match=rf"\({REFUSED[recipe]}\) that {CHANNELS}"):
            archgrad.search(
                net(), train=examples(), method=recipe, out=out, **{**options, "epochs": 3}
            )
        assert not out.exists()
        return
    result = archgrad.search(net(), train=examples(), method=recipe, out=out, **options)
    OwnModel(net()).validate(result.architecture)
    left = {type(m) for m in result.derive().modules() if type(m).__module__.startswith("archgrad")}
    assert left <= {Picked, Zero}
    assert result.derive().eval()(examples()[0]).shape == (24, 3)
    assert len(result.architecture.cell("merge").operations) == 2


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (archgrad.method("robust_darts", form="drop_path"), "augments images"),
        (archgrad.method("drnas", progressive=1), rf"\(PartialChannels\) that {CHANNELS}"),
        (Method(augmentation=RandomCutout()), r"augments images \(RandomCutout\)"),
        (Method(stages=(Stage(0.5), Stage(0.5, more_cells=1))), "growing number of cells"),
        (Method(without=("none", "skip", "deep", "linear")), "choice first has no other"),
    ],
)
def test_what_a_method_needs_and_a_model_lacks_is_told(
    method: Method, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchgradError, match=said):
        archgrad.search(net(), train=examples(), method=method, out=tmp_path / "a", **TWO)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "method",
    [
        Method(stages=(Stage(0.5), Stage(0.5, 1, inherit=True))),
        Method(relaxation=EdgeNormalized()),
        Method(relaxation=Sigmoid(), discretization=Threshold(0.9)),
    ],
)
def test_parts_of_methods_serve_own_models(method: Method) -> None:
    options = {**TINY, "epochs": len(method.stages) or 1}
    result = archgrad.search(net(), train=examples(), method=method, **options)
    OwnModel(net()).validate(result.architecture)
    result.derive()(examples()[0])


def last_first(shapes: Mapping[str, tuple[int, ...]], _: object) -> dict[str, Tensor]:
    """An alpha that prefers the last candidates."""
    return {n: torch.arange(s[-1]).float().expand(s).clone() for n, s in shapes.items()}


def test_staged_searches_inherit_weights_by_candidate() -> None:
    """With learning rates of 0 the second stage has the weights that the model was given.

    The last candidates alone are left, so they and the choice inside one have other numbers.
    """
    stages = (Stage(0.5), Stage(0.5, 1, inherit=True))
    method = Method(initial=last_first, stages=stages)
    still = {**TINY, "epochs": 2, "learning_rate": 0.0, "final_learning_rate": 0.0}
    result = archgrad.search(net(), train=examples(), method=method, **still)
    assert result.architecture.cell("last").operations == ("deep",)
    expected = dict(OwnModel(net()).derive(result.architecture).named_parameters())
    found = dict(result.derive().named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_the_guard_and_the_diagnostics_serve_own_models(tmp_path: Path) -> None:
    options = {**TINY, "guard": "warn", "epochs": 4}
    result = archgrad.search(net(), train=examples(), out=tmp_path / "a", **options)
    last = result.metrics[-1]
    assert {"valid_loss", "valid_accuracy", "train_accuracy", "entropy"} <= last.keys()
    measured = {name for line in result.metrics for name in line}
    assert {"eigenvalue", "discrete_accuracy", "layer_alignment"} <= measured
    off = archgrad.search(net(), train=examples(), **{**options, "guard": "off"})
    assert same(off.alpha, result.alpha)


def test_without_a_metric_the_loss_is_reported() -> None:
    x, _ = examples()
    model = nn.Sequential(Choice({"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}))
    result = archgrad.search(
        model, train=(x, x[:, :1]), loss=F.mse_loss, **{**TINY, "guard": "warn"}
    )
    (line,) = result.metrics
    assert line["valid_loss"] == -line["valid_metric"]
    assert "valid_accuracy" not in line and "train_metric" not in line


def test_shapley_values_need_no_metric_above_zero() -> None:
    """Without any order cut off, what adds nothing is worth least; the others bring 1 of 100."""
    x, _ = examples()
    linear = nn.Linear(4, 4, bias=False)
    linear.load_state_dict({"weight": torch.eye(4)})
    model = nn.Sequential(
        linear, Choice({"keep": nn.Identity(), "zero": Zero(), "also": nn.Identity()})
    )
    options = {**TINY, "method_options": {"samples": 2, "warm_up": 0.0, "truncation": 0.0}}
    options |= {"learning_rate": 0.0, "final_learning_rate": 0.0}
    result = archgrad.search(
        model, train=(x, 100 * x), loss=F.mse_loss, method="shapley", **options
    )
    (row,) = result.alpha["1"]
    assert int(row.argmin()) == 1


# --- data of any structure, and resume -----------------------------------------------------------


class Dicts(Dataset[dict[str, Tensor]]):
    def __init__(self) -> None:
        self.x, self.y = examples()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "y": self.y[index]}


class Drawing(Dataset[tuple[Tensor, Tensor]]):
    """Augments by the global random numbers of Python, numpy and torch."""

    def __init__(self) -> None:
        self.x, self.y = examples()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        drawn = random.random(), np.random.random(), float(torch.rand(()))
        return self.x[index] * torch.tensor([1.0, *drawn]), self.y[index]


class Shuffled:
    """A loader that draws its order, and knows how to be taken up."""

    def __init__(self, seed: int) -> None:
        self.data, self.generator = examples(18, seed), torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = self.data
        for chosen in torch.randperm(18, generator=self.generator).split(6):
            yield x[chosen], y[chosen]

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])


def from_dicts(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    return model(batch["x"]), batch["y"]


def data(kind: str) -> dict[str, Any]:
    if kind == "arrays":
        x, y = examples()
        return {"train": (x.numpy(), y.numpy())}
    if kind == "dataset":
        return {"train": Dicts(), "forward": from_dicts}
    if kind == "stateful":
        return {"train": Shuffled(0), "valid": Shuffled(1)}
    if kind == "drawing":
        return {"train": Drawing()}
    halves = [TensorDataset(*examples(18, seed)) for seed in (0, 1)]
    if kind == "generator":
        given = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        made = [DataLoader(h, 6, shuffle=True, generator=g) for h, g in zip(halves, given)]
        return {"train": made[0], "valid": made[1]}
    loaders = [DataLoader(half, batch_size=6, shuffle=True) for half in halves]
    return {"train": loaders[0], "valid": loaders[1]}


class Killed(BaseException):
    pass


class KillAfter(Callback):
    """A callback that ends the search after an epoch, or in the next one."""

    def __init__(self, epoch: int, step: int | None = None) -> None:
        self.after, self.at, self.epochs = epoch, step, 0

    def step(self, done: int, steps: int) -> None:
        if self.epochs == self.after and done == self.at:
            raise Killed

    def epoch_end(self, event: EpochEnd) -> None:
        self.epochs = event.epoch
        if self.at is None and self.epochs == self.after:
            raise Killed


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "kind", ["arrays", "dataset", "drawing", "stateful", "generator", "loader"]
)
@pytest.mark.parametrize("method", ["darts", pytest.param("gdas", marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted(method: str, kind: str, tmp_path: Path) -> None:
    options = {**TINY, "epochs": 3, "guard": "warn"}
    whole = archgrad.search(net(), **data(kind), method=method, **options)
    for step in (None, 1):
        run = tmp_path / f"killed at {step}"
        with pytest.raises(Killed):
            archgrad.search(
                net(), **data(kind), method=method, out=run,
                callbacks=[KillAfter(1, step)], **options,
            )  # fmt: skip
        said = "without state_dict.* goes on after epoch 1, and may differ"
        with pytest.warns(UserWarning, match=said) if kind == "loader" else nullcontext():
            resumed = archgrad.search(net(), **data(kind), resume=run)
        assert resumed.model is not None and whole.model is not None
        assert same(resumed.alpha, whole.alpha)
        assert same(dict(resumed.model.state_dict()), dict(whole.model.state_dict()))
        assert [line["valid_loss"] for line in resumed.metrics] == [
            line["valid_loss"] for line in whole.metrics
        ]


@pytest.mark.parametrize("kind", ["drawing", "stateful", "generator"])
def test_looking_at_a_search_leaves_the_order_of_a_loader_alone(kind: str) -> None:
    found = [
        archgrad.search(net(), **data(kind), **{**TINY, "epochs": 3, "guard": guard}).alpha
        for guard in ("off", "warn")
    ]
    assert same(*found)


def test_an_epoch_of_a_dataset_repeats_and_leaves_the_random_states_alone() -> None:
    half = batches(Drawing(), 6, seed=1, shuffle=True, device=torch.device("cpu"))
    drawn = [values[:, 1:3] for values, _ in [*half.epoch(0), *half.epoch(1)]]
    assert len({float(value) for batch in drawn for value in batch.flatten()}) == 2 * 48
    before = random.getstate(), repr(np.random.get_state())
    walks = half.epoch(0), half.epoch(1)
    again = [next(walk)[0][:, 1:3] for _ in range(4) for walk in walks]  # one beside the other
    assert (random.getstate(), repr(np.random.get_state())) == before
    scales = [[batch for batch in again[i::2]] for i in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(drawn, scales[0] + scales[1], strict=True))


def test_a_loader_whose_order_another_generator_draws_is_not_exact() -> None:
    half, mine = TensorDataset(*examples(18)), torch.Generator()
    for sampler, exact in ((RandomSampler(half), False), (SequentialSampler(half), True)):
        loader = DataLoader(half, 6, sampler=sampler, generator=mine)
        found = batches(loader, 6, seed=0, shuffle=True, device=torch.device("cpu"))
        assert isinstance(found, LoaderBatches)
        assert found.exact_resume is exact and (found.state_dict() is None) is not exact
        found.load_state_dict({"generator": torch.Generator().manual_seed(5).get_state()})
        assert (mine.initial_seed() == 5) is exact


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint16])
def test_integers_behind_the_inputs_become_int64(kind: Any) -> None:
    x, y = torch.arange(12).view(6, 2).to(torch.uint8), np.arange(6)[::-1].astype(kind)
    train, valid = OwnData((x, y, y > 2)).halves(0.5)
    for part in (train, valid):
        (batch,) = batches(part, 3, seed=0, shuffle=True, device=torch.device("cpu")).epoch(0)
        assert [t.dtype for t in batch] == [torch.uint8, torch.int64, torch.bool]
        assert torch.equal(batch[1], 5 - batch[0][:, 0].long() // 2)
        assert torch.equal(batch[2], batch[1] > 2)


def test_lists_of_numbers_are_arrays() -> None:
    x, y = examples()
    listed = [
        archgrad.search(net(), train=train, **TINY).alpha
        for train in ((x, y), (x.tolist(), y.tolist()), [x.tolist(), y], (x, tuple(y.tolist())))
    ]
    assert all(same(listed[0], other) for other in listed[1:])
    device = torch.device("cpu")
    for loader in ([(x, y)] * 2, [[x.tolist(), 3]], [[1, 2, 3], [4, 5]], [[1, "a"]]):
        part, _ = OwnData(loader, loader).halves(0.5)
        found = batches(part, 2, seed=0, shuffle=False, device=device)
        assert len(list(found.epoch(0))) == len(loader)  # as they come


def test_a_rehearsal_leaves_loaders_as_they_were() -> None:
    train, valid = Shuffled(0), Shuffled(1)
    states = [train.state_dict(), valid.state_dict()]
    with pytest.raises(Killed):  # in the first step
        archgrad.search(net(), train=train, valid=valid, callbacks=[KillAfter(0, 1)], **TINY)
    orders = [torch.Generator(), torch.Generator()]
    for generator, state, loader in zip(orders, states, (train, valid), strict=True):
        generator.set_state(state["generator"])
        torch.randperm(18, generator=generator)
        assert torch.equal(generator.get_state(), loader.generator.get_state())  # one walk


def loss_of_mine(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"loss": loss_of_mine}, "begun with other loss, metric or forward"),
        ({"train": examples(30)}, "begun with other data"),
        ({"train": (examples()[0].roll(1, 0), examples()[1])}, "begun with other data"),
        ({"space": nn.Sequential(Choice({"a": nn.Linear(4, 3)}))}, "begun with other choices"),
        ({"epochs": 3}, "keeps its options; leave out .'epochs'"),
    ],
)
def test_a_search_is_not_resumed_with_something_else(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    archgrad.search(net(), train=examples(), out=tmp_path / "a", **TINY)
    with pytest.raises(ArchgradError, match=said):
        archgrad.search(**{"space": net(), "train": examples(), **changed}, resume=tmp_path / "a")


# --- weights -------------------------------------------------------------------------------------


def test_saved_weights_fit_into_a_built_model_and_give_the_same_outputs(tmp_path: Path) -> None:
    result = archgrad.search(net(), train=examples(), **{**TINY, "epochs": 2})
    derived = result.derive().eval()
    torch.save(derived.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "a.json").write_text(result.architecture.to_json())
    kept = archgrad.Architecture.from_json((tmp_path / "a.json").read_text())
    built = archgrad.build(Net, kept)
    built.load_state_dict(torch.load(tmp_path / "weights.pt"))
    x, _ = examples(50, seed=3)
    assert torch.equal(built.eval()(x), derived(x))


def test_kept_weights_are_those_of_the_supernet_and_fresh_ones_are_not() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Choice({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}))
    result = archgrad.search(model, train=examples(), **TINY)
    assert isinstance(result.model, nn.Sequential)
    kept, fresh = result.derive(), result.derive(weights="fresh")
    assert isinstance(kept, nn.Sequential) and isinstance(fresh, nn.Sequential)
    assert torch.equal(kept[0].weight, result.model[0].weight)
    assert not torch.equal(kept[0].weight, model[0].weight)  # trained
    for place in (0, 1):
        assert not torch.equal(kept[place].weight, fresh[place].weight)
    with pytest.raises(ArchgradError, match='weights "new" is not known; .*fresh, kept'):
        result.derive(weights="new")  # type: ignore[arg-type]


def test_frozen_weights_stay_and_the_others_train() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Choice({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}))
    model[0].requires_grad_(False)
    result = archgrad.search(model, train=examples(), method="darts_2nd", **TINY)
    assert isinstance(result.model, nn.Sequential)
    assert torch.equal(result.model[0].weight, model[0].weight)
    for ours, before in zip(result.model[1].parameters(), model[1].parameters(), strict=True):
        assert not torch.equal(ours, before)


def test_fresh_weights_are_drawn_where_weights_are_trained_alone() -> None:
    frozen = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).requires_grad_(False)
    torch.nn.init.ones_(frozen[1].running_mean)
    model = nn.Sequential(frozen.eval(), Choice({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}))
    options = {**TINY, "learning_rate": 0.0, "final_learning_rate": 0.0}
    result = archgrad.search(model, train=examples(), **options)
    kept, fresh = result.derive().state_dict(), result.derive(weights="fresh").state_dict()
    same_as_before = {name for name in kept if torch.equal(kept[name], fresh[name])}
    assert same_as_before == {name for name in kept if name.startswith("0.")}


class Viewed(nn.Module):
    """Uses ``view``, so its maps must come channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Choice({"a": nn.Conv2d(2, 2, 3, padding=1), "b": nn.Identity()})
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.conv(x).view(len(x), -1))
        return output


def test_tensors_keep_their_order_and_may_have_any_rank() -> None:
    x, y = torch.randn(12, 2, 4, 4), torch.arange(12) % 3
    archgrad.search(Viewed(), train=(x, y), **{**TINY, "batch_size": 3})
    volume = Choice({"a": nn.Conv3d(2, 2, 1), "b": nn.Identity()})
    model = nn.Sequential(volume, nn.Flatten(), nn.Linear(32, 3))
    archgrad.search(model, train=(x.view(12, 2, 4, 2, 2), y), **{**TINY, "batch_size": 3})

"""Two processes make the search of one: same gradients, same alphas, one writer, one clear end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archgrad
from archgrad import spaces
from archgrad.cli.main import main
from archgrad.errors import ArchgradError
from archgrad.kernels.division import Division, add_gradients, divided
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Supernet
from archgrad.parts.hypergradient import Exact, FiniteDifference, Neumann, first_order
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import SGD, State
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.searching.passes import Passes
from archgrad.spaces.own import OwnModel
from archgrad.system import loops
from archgrad.system.distributed import World, _Joined, from_first, refuse_apart, summed, world
from pairs import Own, flat, float64, rows, together

ESTIMATES = {
    "first order": first_order,
    "finite difference": FiniteDifference(),
    "exact": Exact(),
    "Neumann": Neumann(1),
}


def estimated() -> dict[str, torch.Tensor]:
    """Hypergradients, weight gradients and running statistics on batches of 7, in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        sizes = {"channels": 4, "cells": 3, "nodes": 2}
        space = spaces.space(
            "darts-cnn", **sizes, in_channels=3, image_size=(8, 8), classes=5, dims=2
        )
        net = Supernet(space.supernet(()), space.groups)
        train, valid = ((torch.randn(7, 3, 8, 8), torch.randint(5, (7,))) for _ in range(2))
        state = State(
            problem=net,
            relaxation=Softmax(),
            train=train,
            valid=valid,
            optimizer=SGD(0.1, 0.9, 3e-4),
            groups=space.groups,
            progress=0.0,
            seed=3,
        )
        found = {
            name: flat(estimate(net.alpha, state).gradient) for name, estimate in ESTIMATES.items()
        }
        with torch.no_grad():
            mixing = Softmax()(net.alpha, state)
        learned = Passes(net, first_order).learn(mixing, train)
        found["weights"] = flat({n: g for n, g in learned.gradient.items() if g is not None})
        found["statistics"] = flat({n: b.double() for n, b in net.model.named_buffers()})
    finally:
        torch.set_default_dtype(torch.float32)
    return found


def test_every_gradient_is_that_of_one_process(tmp_path: Path) -> None:
    first, second = together(estimated, tmp_path)
    alone = estimated()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - value).abs().max() <= 1e-12 * value.abs().max(), name


DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda x: F.dropout(x, 0.5),
    "its function": lambda x: torch.dropout(x, 0.5, True),
    "of channels": lambda x: F.dropout2d(x[:, :, None, None], 0.5),
    "in place": lambda x: (y := x.clone(), nn.Dropout(0.5, inplace=True)(y))[0],
    "by name": lambda x: F.dropout(input=x, p=0.5),
    "alpha": lambda x: F.alpha_dropout(x, 0.5, True),
    "Bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "Gumbel": lambda x: F.gumbel_softmax(x),
    "exponential": lambda x: x + torch.empty_like(x).exponential_(),
    "drop path": lambda x: x * x.new_empty(len(x), 1).bernoulli_(0.5),
}


def draws() -> dict[str, Tensor]:
    """What each gives for 8 examples, the gradient of the first, and the next random number."""
    found = {}
    for name, draw in DRAWS.items():
        torch.manual_seed(3)
        x = torch.randn(8, 6, requires_grad=True)
        found[name] = torch.cat([divided(draw, x).detach().flatten(), torch.rand(1)])
    torch.manual_seed(3)
    divided(DRAWS["dropout"], x).sum().backward()
    found["gradient"] = summed(x.grad) if not world().alone else x.grad
    return found


def test_draws_for_each_example_are_those_of_one_process(tmp_path: Path) -> None:
    first, second = together(draws, tmp_path)
    for name, value in draws().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, msg=name)


class Itself(nn.Module):
    """A model that does something by itself with its inputs."""

    def __init__(self, does: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.own, self.does = Own(), does

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.own(self.does(x))
        return torch.cat([found, found.new_full((len(x), 1), -torch.inf)], dim=1)  # no such class


KNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "divided": lambda x: x,
    "its own statistics": lambda x: x - x.mean(0),
    "draws of an own kind": lambda x: x * torch.rand(len(x), 1).round(),
    "noise on weights": lambda x: x @ F.dropout(torch.eye(6).repeat(4, 1), 0.5)[:6],
}


def refused() -> list[str]:
    """What is said of models that processes cannot divide, and of batches that are not the same."""
    said = []
    for name, does in [*KNOWN.items(), ("other batches", KNOWN["divided"])]:
        torch.manual_seed(1)
        x, y = rows(28)
        x = x + world().rank if name == "other batches" else x
        try:
            archgrad.search(Itself(does), train=(x, y), batch_size=8, epochs=1, guard="off")
            said.append("")
        except ArchgradError as error:
            said.append(str(error))
    return said


def test_what_cannot_be_divided_is_refused_before_the_search(tmp_path: Path) -> None:
    for divided_one, *others, batches in together(refused, tmp_path):
        assert divided_one == ""
        assert all("another output in 2 processes than in one" in said for said in others)
        assert "no longer hold the same first batch of train" in batches


class Parts(Own):
    """A model whose running statistics are not those of the other process."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.norm.running_mean.add_(world().rank)  # type: ignore[union-attr, operator]
        return super().forward(x)


def parted(method: str) -> str:
    try:
        sizes = {"batch_size": 8, "epochs": 1, "guard": "off"}
        archgrad.search(Parts(), train=rows(28), method=method, **sizes)
    except ArchgradError as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("method", ["darts", "random"])
def test_processes_that_part_are_stopped(tmp_path: Path, method: str) -> None:
    for said in together(parted, tmp_path, method):
        assert "no longer hold the same norm.running_mean" in said


class Ends(Callback):
    """Ends the second process after the first epoch."""

    def epoch_end(self, event: EpochEnd) -> None:
        if not world().first:
            os._exit(1)


def lost(folder: str) -> str:
    """What ends a search whose other process is gone."""
    try:
        archgrad.search(
            Own(), train=rows(28), batch_size=7, epochs=3, callbacks=[Ends()], out=folder
        )
    except ArchgradError as error:
        return str(error)
    return "nothing"


def test_a_lost_process_ends_the_other_with_a_clear_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):  # of the process that died
        together(lost, tmp_path, str(tmp_path / "run"))
    said = torch.load(tmp_path / "0.pt", weights_only=True)
    assert "process 1 of 2 lost another one (" in said and "--resume" in said
    assert "/" not in said  # as of the file in which torch raised it
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


def told() -> list[Any]:
    """What the first process makes; what it raises; and weights that have parted."""
    found: list[Any] = [from_first(lambda: {"rank": world().rank, "x": torch.ones(2)})]
    try:
        from_first(lambda: 1 // 0)
    except (ArchgradError, ZeroDivisionError) as error:
        found.append(str(error))
    refuse_apart({"alpha": torch.ones(3)})
    try:
        refuse_apart({"alpha": torch.ones(3), "weight": torch.full((2,), float(world().rank))})
    except ArchgradError as error:
        found.append(str(error))
    return found


def test_what_the_first_process_says_and_what_has_parted(tmp_path: Path) -> None:
    first, second = together(told, tmp_path)
    assert first[0]["rank"] == second[0]["rank"] == 0
    assert second[1] == f"the first process ended: {first[1]}"
    assert "no longer hold the same weight" in first[2] and "no longer hold" in second[2]


def test_other_commands_are_refused_under_torchrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as ended:
        main(["compare", "darts"])
    assert ended.value.code == 2
    assert "2 processes of archgrad compare; expected one" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(SystemExit) as ended:
        main(["methods"])
    assert ended.value.code == 0


def test_a_gpu_for_each_process_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(loops, "world", lambda: World(1, 2))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert loops.resolve_device("cpu").type == "cpu"
    with pytest.raises(ArchgradError, match="found 1 GPU for 2 processes on this machine"):
        loops.resolve_device("auto")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # on two machines
    assert str(loops.resolve_device("auto")) == "cuda:0"


def test_a_batch_is_divided_only_among_several_processes() -> None:
    assert Division.of(torch.ones(8, 2)) is None


class Routed(Own):
    """With an expert that is called only where an example asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.expert = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        asks = x[:, :1] > 5
        return super().forward(torch.where(asks, self.expert(x), x) if asks.any() else x)


def routed() -> dict[str, torch.Tensor]:
    """Gradients where the last example alone asks for the expert."""
    with float64():
        torch.manual_seed(0)
        model = Routed()
        space = OwnModel(model)
        net = Supernet(space.supernet(), space.groups)
        (x, y), state = rows(7), {}
        x[-1, 0] = 6
        mixing = Mixing({"block": net.alpha["block"].detach().softmax(-1)})
        torch.manual_seed(1)
        learned = Passes(net, first_order).learn(mixing, (x, y))
        state["learned"] = flat({n: g for n, g in learned.gradient.items() if g is not None})
        torch.manual_seed(1)
        chosen = space.derive(space.random_architecture(torch.Generator().manual_seed(0)))
        divided(chosen, x).square().sum().backward()
        add_gradients(chosen.parameters(), x)
        state["added"] = flat({n: p.grad for n, p in chosen.named_parameters()})
    return state


def test_a_module_that_some_examples_ask_for_has_its_gradient(tmp_path: Path) -> None:
    first, second = together(routed, tmp_path)
    for name, value in routed().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-12, atol=1e-14)


def alone_in_a_group() -> int:
    """What a group that nobody asked to work together is."""
    _Joined.now = False
    return world().size


def test_processes_work_together_only_where_they_are_asked_to(tmp_path: Path) -> None:
    assert together(alone_in_a_group, tmp_path) == [1, 1]

"""Two processes make the search of one: same gradients, same alphas, one writer, one clear end."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

import archgrad
from archgrad import spaces
from archgrad.callbacks import Callback, EpochEnd
from archgrad.cli import main
from archgrad.distributed import from_first, refuse_apart, world
from archgrad.division import Division
from archgrad.errors import ArchgradError
from archgrad.parts.hypergradient import Exact, FiniteDifference, Neumann, first_order
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import SGD, State
from archgrad.passes import Passes
from archgrad.supernet import Supernet

ESTIMATES = {
    "first order": first_order,
    "finite difference": FiniteDifference(),
    "exact": Exact(),
    "Neumann": Neumann(1),
}


def _begin(work: Callable[..., Any], rank: int, port: int, out: Path, arguments: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.save(work(*arguments), out / f"{rank}.pt")
    dist.barrier()
    os._exit(0)


def together(work: Callable[..., Any], out: Path, *arguments: Any) -> list[Any]:
    """What ``work`` returns in each of two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    begun = [
        context.Process(target=_begin, args=(work, rank, port, out, arguments)) for rank in (0, 1)
    ]
    for process in begun:
        process.start()
    for process in begun:
        process.join(60)
    return [torch.load(out / f"{r}.pt", weights_only=True) for r in (0, 1)]


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
            name: _flat(estimate(net.alpha, state).gradient) for name, estimate in ESTIMATES.items()
        }
        with torch.no_grad():
            mixing = Softmax()(net.alpha, state)
        learned = Passes(net, first_order).learn(mixing, train)
        found["weights"] = _flat({n: g for n, g in learned.gradient.items() if g is not None})
        found["statistics"] = _flat({n: b.double() for n, b in net.model.named_buffers()})
    finally:
        torch.set_default_dtype(torch.float32)
    return found


def _flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors.values()])


def test_every_gradient_is_that_of_one_process(tmp_path: Path) -> None:
    first, second = together(estimated, tmp_path)
    alone = estimated()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - value).abs().max() <= 1e-12 * value.abs().max(), name


class Own(nn.Module):
    """A model with batch normalization and dropout, in which a step sees all that is divided."""

    def __init__(self) -> None:
        super().__init__()
        wide = {"a": nn.Linear(6, 6), "b": nn.Sequential(nn.Linear(6, 6), nn.Tanh())}
        self.choice = archgrad.Choice(wide, "block")
        self.norm, self.dropout, self.out = nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.dropout(self.norm(self.choice(x))))
        return found


class Alphas(Callback):
    """Alpha after every epoch; ``ends`` the process after the first."""

    def __init__(self, ends: bool = False) -> None:
        self.seen: list[torch.Tensor] = []
        self.ends = ends

    def epoch_end(self, event: EpochEnd) -> None:
        self.seen.append(event.alpha["block"].clone())
        if self.ends:
            os._exit(1)


def searched(folder: str | None, method: str, epochs: int = 2, ends: bool = False) -> Any:
    """Alphas of a search of 10 steps an epoch in float64, or what ended it."""
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(140, 6, generator=generator)
    data = x, (x[:, 0] > 0).long() + (x[:, 1] > 1).long()
    heard = Alphas(ends and world().rank == 1)
    out = {"out": folder} if folder is not None and world().first else {}
    options = {"batch_size": 7, "epochs": epochs, "guard": "off", "learning_rate": 0.1}
    try:
        torch.manual_seed(1)
        result = archgrad.search(
            Own(), train=data, method=method, callbacks=[heard], **out, **options
        )
    except ArchgradError as error:
        return str(error)
    finally:
        torch.set_default_dtype(torch.float32)
    statistics = dict(result.model.named_buffers()) if result.model is not None else {}
    return [*heard.seen, statistics["norm.running_var"]]


@pytest.mark.parametrize("method", ["darts", "darts_2nd", "proxyless"])
def test_alphas_are_bit_identical_and_those_of_one_process(tmp_path: Path, method: str) -> None:
    first, second = together(searched, tmp_path, str(tmp_path / "run"), method)
    alone = searched(None, method)
    assert len(first) == len(alone) == 3
    for one, two, single in zip(first, second, alone, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(one, single, rtol=1e-9, atol=1e-12)
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 2  # one writer


def test_a_lost_process_ends_the_other_with_a_clear_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):  # of the process that died
        together(searched, tmp_path, str(tmp_path / "run"), "darts", 3, True)
    said = torch.load(tmp_path / "0.pt", weights_only=True)
    assert "process 1 of 2 lost another one" in said and "--resume" in said
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
        main(["train", "DARTS_V2"])
    assert ended.value.code == 2
    assert "2 processes of archgrad train; expected one" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(SystemExit) as ended:
        main(["methods"])
    assert ended.value.code == 0


def test_a_batch_is_divided_only_among_several_processes() -> None:
    assert Division.of(torch.ones(8, 2)) is None

"""What a search of an own model refuses, before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad.cli.main import main
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.networks.operations import Zero

TINY: dict[str, Any] = {"epochs": 1, "batch_size": 6, "guard": "off", "device": "cpu"}


def examples(count: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, generator=generator), torch.arange(count) % 3


class Boom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("boom")


def linear(**candidates: Any) -> nn.Module:
    return nn.Sequential(Choice({"a": nn.Linear(4, 3), **candidates}, name="here"))


def unsized() -> Iterator[Any]:
    yield examples()


def fails(*_: object) -> Any:
    raise KeyError("mine")


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "shapes": ({"space": linear(b=nn.Linear(4, 5))}, ArchgradError,
               r"choice here has .* a: \(6, 3\); b: \(6, 5\)"),
    "a zero of another shape": ({"space": linear(none=Zero())}, ArchgradError,
                                r"choice here: candidate none .*\(6, 4\), the others \(6, 3\)"),
    "no choices": ({"space": nn.Linear(4, 3)}, ArchgradError, "this Linear has no choices"),
    "one name, two choices": (
        {"space": nn.Sequential(linear(b=nn.Linear(4, 3)), linear(c=nn.Linear(3, 3)))},
        ArchgradError, r"two choices are called here, .* \['a', 'b'\], one 1 of \['a', 'c'\]"),
    "one name, other picks": (
        {"space": nn.Sequential(archgrad.InputChoice(2, 1, "m"), archgrad.InputChoice(2, 2, "m"))},
        ArchgradError, r"called m, one keeps 1 of the candidates .* one 2 of \['0', '1'\]"),
    "a candidate that raises": ({"space": linear(b=Boom())}, ValueError,
                                r"boom\nin choice here, candidate b, called with a tensor of"),
    "weights without a shape": ({"space": nn.Sequential(nn.LazyLinear(4), linear())},
                                ArchgradError, "parameter 0.weight of the model has no shape yet"),
    "frozen": ({"space": linear().requires_grad_(False)}, ArchgradError, "requires a gradient"),
    "a model on meta": ({"space": linear().to("meta")}, ArchgradError,
                        "0.candidates.0.weight of the model is on the meta device"),
    "data on meta": ({"train": (examples()[0].to("meta"), examples()[1])}, ArchgradError,
                     "train holds a tensor .* on the meta device"),
    "a loss on meta": ({"loss": nn.CrossEntropyLoss(torch.ones(3, device="meta"))},
                       RuntimeError, "meta(.|\n)*first batch of train.* were put on cpu"),
    "no data": ({"train": None}, ArchgradError, "found neither train nor data"),
    "a dict": ({"train": {"x": 1}}, ArchgradError, "train is a dict with the keys"),
    "one array": ({"train": examples()[0]}, ArchgradError, "train is a tensor of shape"),
    "lengths": ({"train": (torch.ones(3), torch.ones(4))}, ArchgradError, r"lengths \[3, 4\]"),
    "nothing": ({"train": []}, ArchgradError, "train is a list without a length, or empty"),
    "not finite": ({"train": (examples()[0] / 0, examples()[1])}, ArchgradError, "not finite"),
    "too few": ({"train": examples(8)}, ArchgradError, "found 4 examples in one half .* size 6"),
    "no length": ({"train": unsized(), "valid": unsized()}, ArchgradError, "without a length"),
    "no valid": ({"train": [examples()]}, ArchgradError, "a loader cannot be cut in two"),
    "empty valid": ({"valid": []}, ArchgradError, "valid is a list without a length, or empty"),
    "batches of three": ({"train": [(*examples(), 3)], "valid": [examples()]}, ArchgradError,
                         "a batch is a tuple of 3; expected(.|\n)*first batch of train"),
    "batches of text": ({"valid": ["ab"]}, ArchgradError,
                        "a batch is a str; expected(.|\n)*first batch of valid"),
    "forward": ({"forward": lambda model, batch: model(batch[0])}, ArchgradError,
                "forward returned a tensor .*expected .output, target."),
    "a loss a batch": ({"loss": nn.CrossEntropyLoss(reduction="none")}, ArchgradError,
                       r"the loss returned a tensor of shape \(6,\)"),
    "a loss that is a number": ({"loss": lambda output, target: 1.0}, ArchgradError,
                                "the loss returned a float; expected a scalar tensor"),
    "a detached loss": ({"loss": lambda output, target: output.detach().mean()}, ArchgradError,
                        "the loss does not depend on the weights or the choices"),
    "an infinite loss": ({"loss": lambda output, target: output.mean() / 0}, ArchgradError,
                         "the loss of the first batch of train is -?(inf|nan)"),
    "a metric that fails": ({"metric": fails}, KeyError, "mine(.|\n)*in the metric fails, called"),
    "a metric of text": ({"metric": lambda output, target: "good"}, ArchgradError,
                         "the metric metric returned a str; expected a single number"),
    "a loss that fails": ({"loss": fails}, KeyError,
                          "mine(.|\n)*in the loss fails, called with a tensor of shape"),
    "a loss by name": ({"loss": "mse"}, ArchgradError, "loss is a str; expected a function"),
    "a metric by name": ({"metric": "f1"}, ArchgradError, "metric is a str; expected a function"),
    "forward by name": ({"forward": "f"}, ArchgradError, "forward is a str; expected a function"),
    "batches of nothing": ({"valid": [None]}, ArchgradError, "a batch is a NoneType; expected"),
    "batches of numpy": (
        {"train": [tuple(map(np.asarray, examples(6)))], "valid": [examples(6)]}, ArchgradError,
        r"a numpy array of shape \(6, 4\) and type float32; expected tensors: let the loader",
    ),
    "a metric of each": ({"metric": lambda output, target: output}, ArchgradError,
                         r"the metric metric returned a tensor of shape \(6, 3\)"),
    "channels": ({"channels": 8}, ArchgradError, "channels: these go with a named space"),
    "subset": ({"subset": 8, "classes": 3}, ArchgradError, "classes, subset: these go with a"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_told_before_anything_is_written(kind: str, tmp_path: Path) -> None:
    wrong, expected, said = BAD[kind]
    arguments = {"space": linear(b=nn.Linear(4, 3)), "train": examples(), **TINY, **wrong}
    with pytest.raises(expected, match=said):
        archgrad.search(**arguments, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loader_that_ends_for_good_is_told() -> None:
    class Once:
        def __init__(self) -> None:
            self.batches = iter([examples(6)] * 2)

        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[Any]:
            return self.batches

    with pytest.raises(ArchgradError, match="loaders that begin anew every epoch"):
        archgrad.search(
            linear(b=nn.Linear(4, 3)), train=Once(), valid=[examples(6)], **{**TINY, "epochs": 2}
        )


def test_a_batch_that_fails_later_is_numbered() -> None:
    with pytest.raises(ArchgradError, match="a batch is a str(.|\n)*in epoch 1, step 2"):
        archgrad.search(
            linear(b=nn.Linear(4, 3)), train=[examples(6), "ab"], valid=[examples(6)] * 2, **TINY
        )


def test_a_batch_that_fails_in_the_diagnostics_names_the_epoch() -> None:
    with pytest.raises(ArchgradError, match="a str(.|\n)*in the diagnostics after epoch 1"):
        archgrad.search(
            linear(b=nn.Linear(4, 3)), train=[examples(6)], valid=[examples(6), "ab"], **TINY
        )


def test_batches_without_tensors_are_run() -> None:
    def read(model: nn.Module, batch: str) -> tuple[Tensor, Tensor]:
        count = int(batch)
        return model(examples(count)[0]), examples(count)[1]

    found = archgrad.search(
        linear(b=nn.Linear(4, 3)), train=["6", "8"], valid=["6"], forward=read, **TINY
    )
    assert found.metrics[-1]["train_loss"] > 0


def test_a_factory_that_fails_is_named() -> None:
    for wrong in (nn.Linear, torch.relu):
        with pytest.raises(TypeError, match="argument(.|\n)*in choice here, candidate b, called"):
            linear(b=wrong)


def test_building_takes_a_function_that_makes_a_model() -> None:
    model = linear(b=nn.Linear(4, 3))
    found = archgrad.search(model, train=examples(), **TINY).architecture
    for wrong, said in ((model, "found a Sequential"), (dict, "found a dict")):
        with pytest.raises(ArchgradError, match=f"{said}.*; expected a function that makes"):
            archgrad.build(wrong, found)  # type: ignore[arg-type]


def test_verbs_of_images_send_own_models_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    result = archgrad.search(linear(b=nn.Linear(4, 3)), train=examples(), out=run, **TINY)
    with pytest.raises(ArchgradError, match="train result.derive"):
        archgrad.train(result, data=examples())
    for verb, said in (("train", "train result.derive"), ("export", "archgrad.export.module")):
        with pytest.raises(SystemExit, match="2"):
            main([verb, str(run)])
        assert re.search(said, capsys.readouterr().err)
    with pytest.raises(ArchgradError, match="perturbation judges .* search by the method darts_pt"):
        archgrad.derive(run, rule="perturbation", data=examples())
    with pytest.raises(ArchgradError, match=r"of an own model archgrad.search.model, train="):
        archgrad.search(resume=run)
    with pytest.raises(ArchgradError, match=r"an own model is searched by archgrad.search"):
        archgrad.run(space=linear(b=nn.Linear(4, 3)), data=examples())  # type: ignore[arg-type]
    with pytest.raises(ArchgradError, match="an own model has one size"):
        result.derive(channels=8)

"""The verb export on modules that are not the library's: any inputs, any outputs, no source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import archgrad
from archgrad.errors import ArchgradError
from archgrad.exporting.formats import FORMATS
from exports import FILES


class Two(nn.Module):
    """Takes images and class numbers, gives two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.names = nn.Embedding(5, 4)
        self.mix = nn.Linear(6, 4)

    def forward(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.mix(x) + self.names(index)
        return mixed.relu(), mixed.sum(dim=1)


@pytest.mark.parametrize("format", ["onnx", "torch", "safetensors"])
def test_any_module_is_exported(format: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(2),
    )
    network(torch.randn(5, 3, 6, 6))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    exported = archgrad.export(network, format, tmp_path, example=torch.zeros(1, 3, 6, 6))
    assert exported.difference <= FORMATS[format].limit
    assert [path.name for path in exported.files] == FILES[format]
    assert network.training  # left as it was
    assert all(torch.equal(state[n], t) for n, t in network.state_dict().items())
    if format == "safetensors":
        assert load_file(tmp_path / "weights.safetensors").keys() == state.keys()
        inputs = json.loads((tmp_path / "model.json").read_text())["inputs"]
        assert inputs == [{"shape": ["batch", 3, 6, 6], "type": "float32"}]


def test_several_inputs_and_outputs_share_an_open_batch(tmp_path: Path) -> None:
    network, example = Two(), (torch.randn(2, 6), torch.tensor([4, 1]))
    for format in ("onnx", "torch", "safetensors"):
        archgrad.export(network, format, tmp_path, example=example)
    program = torch.export.load(tmp_path / "model.pt2").module()
    x, index = torch.randn(6, 6), torch.tensor([0, 1, 2, 3, 4, 0])
    for a, b in zip(program(x, index), network(x, index), strict=True):
        torch.testing.assert_close(a, b)


class Named(nn.Module):
    """Gives a dict with a tuple in it."""

    def __init__(self, more: object = None) -> None:
        super().__init__()
        self.linear, self.more = nn.Linear(4, 3), more

    def forward(self, x: Tensor) -> dict[str, object]:
        found = self.linear(x)
        extra = {} if self.more is None else {"more": self.more}
        return {"scores": found, "parts": (found.relu(), x.sum(dim=1)), **extra}


@pytest.mark.parametrize("format", ["onnx", "torch", "safetensors"])
def test_dicts_of_outputs_are_exported(format: str, tmp_path: Path) -> None:
    network = Named().eval()
    exported = archgrad.export(network, format, tmp_path, example=torch.zeros(1, 4))
    assert exported.difference < 1e-6
    if format == "torch":
        x = torch.randn(5, 4)
        found = torch.export.load(tmp_path / "model.pt2").module()(x)
        torch.testing.assert_close(found, network(x))
    with pytest.raises(ArchgradError, match="a dict with the keys .'more', .*of tensors alone"):
        archgrad.export(Named("text"), format, tmp_path / "a", example=torch.zeros(1, 4))


class Decided(nn.Module):
    """Gives a truth and a class number for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.linear(x)
        return found > 0, found.argmax(dim=1)


@pytest.mark.parametrize("format", ["onnx", "torch", "safetensors"])
def test_outputs_that_are_no_floats_are_compared_for_equality(format: str, tmp_path: Path) -> None:
    exported = archgrad.export(Decided(), format, tmp_path, example=torch.zeros(1, 4))
    assert exported.difference == 0


def test_truths_that_differ_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Decided()

    def other(x: Tensor) -> tuple[Tensor, Tensor]:
        truths, numbers = network(x)
        return truths.logical_not(), numbers

    wrong = FORMATS["safetensors"]._replace(load=lambda subject, folder: other)
    monkeypatch.setitem(FORMATS, "safetensors", wrong)
    with pytest.raises(ArchgradError, match="is not the same network: its outputs differ by 1"):
        archgrad.export(network, "safetensors", tmp_path, example=torch.zeros(1, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "example", "expected"),
    [
        ("source", torch.zeros(1, 3), "found an own model, whose source archgrad cannot write"),
        ("torch", None, "give example=, an input tensor"),
        ("torch", torch.zeros(0, 3), "give example=, an input tensor"),
        ("torch", torch.zeros(1, 4), r"does not run on the example of shape \[\(1, 4\)\]"),
        (
            "tarball",
            torch.zeros(1, 3),
            'export format "tarball" is not known.*Known: onnx, safetensors',
        ),
    ],
)
def test_what_an_own_model_lacks_is_named(
    format: str, example: Tensor | None, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchgradError, match=expected):
        archgrad.export(nn.Linear(3, 2), format, tmp_path, example=example)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_torch_cannot_export_is_told_in_one_line(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ArchgradError, match="cannot export this network as torch") as error:
        archgrad.export(Branches(), "torch", tmp_path, example=torch.ones(2, 3))
    assert "\n" not in str(error.value)


class Masked(nn.Module):
    """Called by name, in another order than its example."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.linear(x) * mask[:, None]
        return out


class Structured(nn.Module):
    """Takes one dict with a tuple in it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Masked()

    def forward(self, batch: dict[str, Any]) -> Tensor:
        more, mask = batch["parts"]
        out: Tensor = self.inner(batch["x"] + 2 * more, mask)
        return out


BY_NAME = {"mask": torch.tensor([1, 0]), "x": torch.randn(2, 4)}
ONE_DICT = ({"x": torch.randn(2, 4), "parts": (torch.randn(2, 4), torch.tensor([1, 0]))},)


@pytest.mark.parametrize("format", ["onnx", "torch", "safetensors"])
@pytest.mark.parametrize(
    ("network", "example", "names"),
    [(Masked, BY_NAME, ["x", "mask"]),
     (Structured, ONE_DICT, ["input0_x", "input0_parts_0", "input0_parts_1"])],
)  # fmt: skip
def test_inputs_by_name_and_structures_of_inputs(
    format: str, network: type[nn.Module], example: object, names: list[str], tmp_path: Path
) -> None:
    made = network()
    exported = archgrad.export(made, format, tmp_path, example=example)
    assert exported.difference <= FORMATS[format].limit
    if format == "safetensors":
        inputs = json.loads((tmp_path / "model.json").read_text())["inputs"]
        assert [entry["name"] for entry in inputs] == names
    elif format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(exported.files[0].read_bytes())
        assert [entry.name for entry in session.get_inputs()] == names
    elif isinstance(example, dict):
        program = torch.export.load(exported.files[0]).module()
        given = {"x": torch.randn(5, 4), "mask": torch.tensor([1, 0, 1, 1, 0])}
        torch.testing.assert_close(program(**given), made(**given))


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (
            {"x": torch.randn(2, 4), "mask": None},
            "the example has a NoneType; .* dict of inputs by",
        ),
        ({"x": torch.randn(2, 4), "mask": torch.tensor(1)}, r"a tensor of shape \(\)"),
        (({"x": torch.randn(2, 4)},), "does not run on the example .* a dict is given by name"),
        ({"y": torch.randn(2, 4)}, "unexpected keyword argument 'y'"),
        (7, "the example has a int"),
    ],
)
def test_examples_that_are_no_inputs_are_refused(example: object, said: str) -> None:
    with pytest.raises(ArchgradError, match=said):
        archgrad.export(Masked(), "torch", "never", example=example)

"""Exports: files that need no archgrad, each loaded again and compared before it is kept."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save
from torch import Tensor

import archgrad
from archgrad.errors import ArchgradError, out_of_memory, unknown
from archgrad.exporting.rebuilding import Sizes
from archgrad.exporting.source import source, weights
from archgrad.exporting.source_recurrent import VOCABULARY
from archgrad.exporting.stepping import ONE_STEP, Step
from archgrad.exporting.subjects import (
    BATCH,
    Computing,
    Subject,
    inputs_of,
    outputs_of,
)
from archgrad.exporting.trained import MODEL, rebuilt
from archgrad.retraining.training import WEIGHTS
from archgrad.storage.files import write
from archgrad.tensors.trees import mapped, tensors

Files = dict[str, bytes]
BATCHES = (2, 3)  # images of the two passes that are compared


@dataclass(frozen=True)
class Exported:
    """An export that has passed its check.

    `difference`: the largest between its outputs and the network's own on random inputs in
    float32, relative to the largest output or 1; `note`: how it is called, where that is not as
    the network.
    """

    format: str
    files: tuple[Path, ...]
    difference: float
    note: str = ""

    def __str__(self) -> str:
        names = " and ".join(str(file) for file in self.files)
        checked = f"{names}: checked, the outputs differ by {self.difference:.1e} at most"
        return f"{checked}; {self.note}" if self.note else checked


def export_to(subject: Subject, name: str, folder: Path, *, replace: bool = False) -> Exported:
    """Write, load as a user would, compare, and only then keep; `replace`: earlier files.

    Raises `ArchgradError` where the format cannot hold the network or the outputs differ.
    """
    if name not in FORMATS:
        raise unknown("export format", name, FORMATS)
    form = FORMATS[name]
    files = form.write(subject) | _vocabulary(subject)
    paths = tuple(folder / file for file in files)
    for path in paths:
        if path.exists() and not replace:
            raise ArchgradError(f"file {path} already exists; choose another folder as out")
    with tempfile.TemporaryDirectory() as place:
        for file, content in files.items():
            (Path(place) / file).write_bytes(content)
        difference = _difference(subject, form.load(subject, Path(place)))
    limit = max(form.limit, subject.rounding)
    if not difference <= limit:
        raise ArchgradError(
            f"the export as {name} is not the same network: its outputs differ by "
            f"{difference:.1e}, expected at most {limit:.0e}; nothing is kept: try another format"
        )
    for path, content in zip(paths, files.values(), strict=True):
        write(path, content)
    stepped = isinstance(subject.network, Step) and form.traced
    return Exported(name, paths, difference, ONE_STEP if stepped else "")


def _vocabulary(subject: Subject) -> Files:
    """The words of a language model by their numbers, where they are known."""
    words = subject.trained and subject.trained.vocabulary
    if words is None:
        return {}
    return {VOCABULARY: json.dumps(words, ensure_ascii=False, indent=0).encode() + b"\n"}


def _write_source(subject: Subject) -> Files:
    if subject.trained is None or subject.sizes is None:
        what = "an own model" if subject.trained is None else "a network of an own space"
        raise ArchgradError(
            f"found {what}, whose source archgrad cannot write; choose the format onnx, torch or "
            "safetensors"
        )
    if isinstance(subject.sizes, Sizes) and len(subject.sizes.image_size) != 2:
        raise ArchgradError(
            f"found a network for inputs of shape {subject.sizes.shape}; archgrad writes the "
            "source of networks for images and text: choose the format onnx, torch or safetensors"
        )
    text = source(subject.trained, subject.sizes)
    content = _packed(weights(subject.trained, subject.sizes))
    return {"model.py": text.encode(), "model.safetensors": content}


def _load_source(subject: Subject, folder: Path) -> Computing:
    spec = importlib.util.spec_from_file_location("archgrad_exported_model", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return subject.part(module.load())


def _write_safetensors(subject: Subject) -> Files:
    trained = subject.trained
    description = {
        "format": "archgrad-model/1",
        "archgrad": archgrad.__version__,
        "model": type(subject.whole).__name__,
        "inputs": subject.described(),
        "sizes": subject.sizes and asdict(subject.sizes),
        "architecture": trained and trained.architecture.model_dump(mode="json"),
        "story": trained and trained.story(),
    }
    lines = (
        f'  "{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in description.items()
    )
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    content = _packed(subject.whole.state_dict())
    return {WEIGHTS: content, MODEL: text.encode()}


def _load_safetensors(subject: Subject, folder: Path) -> Computing:
    if subject.sizes is not None:
        return subject.part(rebuilt(folder))
    fresh = copy.deepcopy(subject.network)
    with torch.no_grad():
        for tensor in fresh.state_dict().values():
            tensor.zero_()
    fresh.load_state_dict(load_file(folder / WEIGHTS))
    return fresh


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()})


def _write_torch(subject: Subject) -> Files:
    buffer = io.BytesIO()
    with _exporting("torch"):
        program = torch.export.export(
            subject.network, *inputs_of(subject, BATCHES[0]), dynamic_shapes=_open_batch(subject)
        )
        torch.export.save(program, buffer)
    return {"model.pt2": buffer.getvalue()}


def _load_torch(subject: Subject, folder: Path) -> Computing:
    return torch.export.load(folder / "model.pt2").module()


def _write_onnx(subject: Subject) -> Files:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ArchgradError(
                f"format onnx needs the package {package}, which is not installed; run: pip "
                'install "archgrad[export]"'
            )
    if _random(subject):
        raise ArchgradError(
            "the network gives other outputs in every pass (noise), so an export as onnx cannot be "
            "checked; choose the format source, torch or safetensors"
        )
    images = subject.trained is not None and not subject.options
    names = ["images"] if images else [*subject.inputs]
    given, options = inputs_of(subject, BATCHES[0])
    with _exporting("onnx"):
        program = torch.onnx.export(
            subject.network,
            (*given, options),  # torch takes a last dict for options, also one of `given`
            dynamo=True,
            dynamic_shapes=_open_batch(subject),
            input_names=names,
            output_names=subject.outputs,
            verbose=False,
        )
        assert program is not None
        content = program.model_proto.SerializeToString()
    return {"model.onnx": content}


def _load_onnx(subject: Subject, folder: Path) -> Computing:
    import onnxruntime

    content = (folder / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def compute(*inputs: Any, **options: Any) -> list[Tensor]:
        called = tensors((inputs, options))
        given = {name: x.numpy() for name, x in zip(names, called, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, given)]

    return compute


class Format(NamedTuple):
    """What an export writes, how it is loaded again, and the largest difference allowed.

    `traced`: it holds a recorded pass, of a language model that of one step.
    """

    write: Callable[[Subject], Files]
    load: Callable[[Subject, Path], Computing]
    limit: float
    traced: bool = False


FORMATS = {
    "source": Format(_write_source, _load_source, 1e-6),
    "onnx": Format(_write_onnx, _load_onnx, 1e-4, traced=True),
    "torch": Format(_write_torch, _load_torch, 1e-6, traced=True),
    "safetensors": Format(_write_safetensors, _load_safetensors, 1e-6),
}


def _open_batch(subject: Subject) -> Any:
    """The dimension that stays open, of every tensor in the place where it is given."""
    return mapped(lambda _: {0: torch.export.Dim(BATCH)}, subject.options or subject.example)


@contextmanager
def _exporting(name: str) -> Iterator[None]:
    """Silences what torch's exporters say of themselves, and says in one line why one failed."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
            warnings.filterwarnings(
                "ignore", "# The axis name: batch will not be used", UserWarning
            )
            log.setLevel(logging.ERROR)  # it misses torchvision, which need not be there
            yield
    except Exception as error:  # each exporter has types of its own
        if out_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArchgradError(
            f"torch cannot export this network as {name} with an open batch ({reason}); choose "
            "another format"
        ) from error
    finally:
        log.setLevel(level)


def _difference(subject: Subject, found: Computing) -> float:
    """The largest at the two batch sizes; nan where the export gives a value that is none.

    Truths and whole numbers are equal, or differ by 1.
    """
    differences = []
    for batch in BATCHES:
        inputs = inputs_of(subject, batch)
        networks: tuple[Computing, ...] = (subject.network, found)
        expected, got = (outputs_of(subject.compared(one), inputs) for one in networks)
        if [x.shape for x in expected] != [x.shape for x in got]:
            raise ArchgradError(
                f"the export gives outputs of shape {[tuple(x.shape) for x in got]}, expected "
                f"{[tuple(x.shape) for x in expected]}; choose another format"
            )
        for exact, value in zip(expected, got, strict=True):
            if not bool(exact.isfinite().all()):
                raise ArchgradError(
                    "the network gives outputs that are not finite on random inputs, so no export "
                    "of it can be checked; look at its weights"
                )
            if not exact.is_floating_point():
                differences.append(exact.ne(value).any().double())
                continue
            scale = exact.abs().max().clamp_min(1)
            differences.append((value.double() - exact.double()).abs().max() / scale)
    return float(torch.stack(differences).max())


def _random(subject: Subject) -> bool:
    """Whether the outputs depend on the random state."""
    inputs = inputs_of(subject, BATCHES[0])
    passes = [outputs_of(subject.network, inputs, seed) for seed in (0, 1)]
    return not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(*passes))

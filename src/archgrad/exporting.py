"""Exports: files that need no archgrad, each loaded again and compared before it is kept."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

import archgrad
from archgrad.errors import ArchgradError, out_of_memory, unknown
from archgrad.folder import write
from archgrad.retraining import WEIGHTS
from archgrad.source import source, weights
from archgrad.trained import MODEL, Sizes, Trained, rebuilt
from archgrad.trees import describe, leaves, mapped, named, tensors

Files = dict[str, bytes]
Computing = Callable[..., Any]  # inputs -> output, as a module is called
BATCHES = (2, 3)  # images of the two passes that are compared
BATCH = "batch"


@dataclass(frozen=True)
class Exported:
    """An export that has passed its check.

    ``difference``: the largest between its outputs and the network's own on random inputs in
    float32, relative to the largest output or 1.
    """

    format: str
    files: tuple[Path, ...]
    difference: float

    def __str__(self) -> str:
        names = " and ".join(str(file) for file in self.files)
        return f"{names}: checked, the outputs differ by {self.difference:.1e} at most"


@dataclass(frozen=True)
class Subject:
    """What is exported: a network in eval mode in float32 on the CPU, and inputs to run it with.

    ``example``: what it is called with, tensors or structures of them, ``options`` by name. The
    first dimension of every tensor is the batch, which the export leaves open.
    """

    network: nn.Module
    example: tuple[Any, ...]
    trained: Trained | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The tensors by the names that an export gives them, in the order of the call."""
        numbered = {f"input{i}": value for i, value in enumerate(self.example)}
        return dict(named({**numbered, **self.options}))

    @property
    def sizes(self) -> Sizes | None:
        """The sizes of a network of the library's spaces."""
        return self.trained.sizes if self.trained else None


def subject_of(trained: Trained) -> Subject:
    """A network of a space, to be run on images."""
    shape = trained.sizes.shape if trained.sizes else trained.score["input_shape"]
    return Subject(trained.network, (torch.zeros(1, *shape),), trained)


def own_subject(network: nn.Module, example: Any) -> Subject:
    """A copy of any module, to be called like ``example``.

    A tensor is its only input; of a tuple or list each entry is one, a tensor or a structure of
    tensors; a mapping gives inputs by their names.
    """
    given = (example,) if isinstance(example, Tensor) else example
    found = list(leaves(given)) if isinstance(given, tuple | list | Mapping) else []
    if not found or any(not isinstance(x, Tensor) or not x.dim() or not len(x) for x in found):
        odd = next((x for x in found if not isinstance(x, Tensor) or not x.dim()), example)
        raise ArchgradError(
            f"an own model is run to be exported, and the example has {describe(odd)}; give "
            "example=, an input tensor, a tuple of inputs or a dict of inputs by name, made of "
            "tensors alone, whose first dimension is the batch"
        )
    given = mapped(_plain, given)
    plain = copy.deepcopy(network).cpu().float().eval()
    if isinstance(given, Mapping):
        subject = Subject(plain, (), options=_in_order(plain, given))
    else:
        subject = Subject(plain, tuple(given))
    try:
        _outputs(plain, (subject.example, subject.options))
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        if isinstance(error, ArchgradError) or out_of_memory(error):
            raise
        shapes, reason = [tuple(x.shape) for x in found], str(error).strip().splitlines()[0]
        raise ArchgradError(
            f"the model does not run on the example of shape {shapes} ({reason}); give inputs that "
            "it takes as example=: a dict is given by name, as one input it is the entry of a tuple"
        ) from error
    return subject


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def _in_order(network: nn.Module, options: Mapping[Any, Any]) -> dict[str, Any]:
    """As the network names its inputs: exporters number them so."""
    known = [name for name in inspect.signature(network.forward).parameters if name in options]
    return {str(name): options[name] for name in dict.fromkeys([*known, *options])}


def export_to(subject: Subject, name: str, folder: Path, *, replace: bool = False) -> Exported:
    """Write, load as a user would, compare, and only then keep; ``replace``: earlier files.

    Raises `ArchgradError` where the format cannot hold the network or the outputs differ.
    """
    if name not in FORMATS:
        raise unknown("export format", name, FORMATS)
    form = FORMATS[name]
    files = form.write(subject)
    paths = tuple(folder / file for file in files)
    for path in paths:
        if path.exists() and not replace:
            raise ArchgradError(f"file {path} already exists; choose another folder as out")
    with tempfile.TemporaryDirectory() as place:
        for file, content in files.items():
            (Path(place) / file).write_bytes(content)
        difference = _difference(subject, form.load(subject, Path(place)))
    if not difference <= form.limit:
        raise ArchgradError(
            f"the export as {name} is not the same network: its outputs differ by "
            f"{difference:.1e}, expected at most {form.limit:.0e}; nothing is kept: try another "
            "format"
        )
    for path, content in zip(paths, files.values(), strict=True):
        write(path, content)
    return Exported(name, paths, difference)


def _write_source(subject: Subject) -> Files:
    if subject.trained is None or subject.sizes is None:
        what = "an own model" if subject.trained is None else "a network of an own space"
        raise ArchgradError(
            f"found {what}, whose source archgrad cannot write; choose the format onnx, torch or "
            "safetensors"
        )
    if len(subject.sizes.image_size) != 2:
        raise ArchgradError(
            f"found a network for inputs of shape {subject.sizes.shape}; archgrad writes the "
            "source of networks for images alone: choose the format onnx, torch or safetensors"
        )
    text = source(subject.trained, subject.sizes)
    content = _packed(weights(subject.trained, subject.sizes))
    return {"model.py": text.encode(), "model.safetensors": content}


def _load_source(subject: Subject, folder: Path) -> Computing:
    spec = importlib.util.spec_from_file_location("archgrad_exported_model", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: nn.Module = module.load()
    return found


def _write_safetensors(subject: Subject) -> Files:
    trained = subject.trained
    plain = not subject.options and all(isinstance(x, Tensor) for x in subject.example)
    description = {
        "format": "archgrad-model/1",
        "archgrad": archgrad.__version__,
        "model": type(subject.network).__name__,
        "inputs": [
            {
                **({} if plain else {"name": name}),
                "shape": [BATCH, *x.shape[1:]],
                "type": str(x.dtype).removeprefix("torch."),
            }
            for name, x in subject.inputs.items()
        ],
        "sizes": subject.sizes and asdict(subject.sizes),
        "architecture": trained and trained.architecture.model_dump(mode="json"),
        "story": trained and trained.story(),
    }
    lines = (
        f'  "{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in description.items()
    )
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    content = _packed(subject.network.state_dict())
    return {WEIGHTS: content, MODEL: text.encode()}


def _load_safetensors(subject: Subject, folder: Path) -> Computing:
    if subject.sizes is not None:
        return rebuilt(folder)
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
            subject.network, *_inputs(subject, BATCHES[0]), dynamic_shapes=_open_batch(subject)
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
    names = ["images"] if subject.trained else [*subject.inputs]
    given, options = _inputs(subject, BATCHES[0])
    with _exporting("onnx"):
        program = torch.onnx.export(
            subject.network,
            (*given, options),  # torch takes a last dict for options, also one of `given`
            dynamo=True,
            dynamic_shapes=_open_batch(subject),
            input_names=names,
            output_names=["logits"] if subject.trained else None,
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
    """What an export writes, how it is loaded again, and the largest difference allowed."""

    write: Callable[[Subject], Files]
    load: Callable[[Subject, Path], Computing]
    limit: float


FORMATS = {
    "source": Format(_write_source, _load_source, 1e-6),
    "onnx": Format(_write_onnx, _load_onnx, 1e-4),
    "torch": Format(_write_torch, _load_torch, 1e-6),
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
        inputs = _inputs(subject, batch)
        expected, got = _outputs(subject.network, inputs), _outputs(found, inputs)
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
    inputs = _inputs(subject, BATCHES[0])
    passes = [_outputs(subject.network, inputs, seed) for seed in (0, 1)]
    return not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(*passes))


Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def _inputs(subject: Subject, batch: int) -> Inputs:
    """Normal values for floats; what is no float is repeated from the example."""
    generator = torch.Generator().manual_seed(batch)

    def made(x: Tensor) -> Tensor:
        if x.is_floating_point():
            return torch.randn(batch, *x.shape[1:], generator=generator)
        return x[torch.arange(batch) % len(x)]

    found: Inputs = mapped(made, (subject.example, subject.options))
    return found


@torch.no_grad()
def _outputs(compute: Computing, inputs: Inputs, seed: int = 0) -> list[Tensor]:
    given, options = inputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        output = compute(*given, **options)
    outputs = list(leaves(output))
    if not outputs or not all(isinstance(x, Tensor) for x in outputs):
        raise ArchgradError(
            f"the network gives {describe(output)}, expected a tensor, or a tuple, a list or a "
            "dict of tensors alone; wrap it in a module that gives these"
        )
    return outputs

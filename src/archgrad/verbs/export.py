"""The verb `export`: trained networks as files that need no archgrad."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from archgrad.errors import ArchgradError
from archgrad.exporting.formats import Exported, export_to
from archgrad.exporting.subjects import own_subject, subject_of
from archgrad.exporting.trained import TrainResult, of_folder

if TYPE_CHECKING:
    pass


def export(
    what: str | Path | TrainResult | nn.Module,
    format: str = "source",
    out: str | Path | None = None,
    *,
    seed: int | None = None,
    example: Any = None,
) -> Exported:
    """Write a trained network to files that need no archgrad; each export is checked at once.

    - `what`: the folder of a main job or of a retraining, an `archgrad.TrainResult`, or any module,
      which is exported with inputs like `example`.
    - `format`: "source" (one readable Python file and its weights; not for a module), "onnx",
      "torch" (torch.export) or "safetensors" (weights beside a JSON file).
    - `out`: the folder to write to (default: the run folder, where an earlier export is replaced).
    - `seed`: of the retraining (default: the first).
    - `example`: of a module: a tensor, a tuple of inputs (tensors, or structures of them), or a
      dict of inputs by name, the batch first in every tensor.

    Batches of any size can be given to the export. Raises `ArchgradError` where the outputs differ
    from the network's own by more than 1e-6 (onnx: 1e-4) of max(1, largest output), booleans and
    integers at all, and keeps nothing; and where the package that a format needs is not installed.

    >>> import archgrad, torch
    >>> network = torch.nn.Linear(4, 2)
    >>> made = archgrad.export(network, "safetensors", "exported", example=torch.randn(3, 4))
    >>> [file.name for file in made.files], made.difference
    (['weights.safetensors', 'model.json'], 0.0)
    """
    if isinstance(what, nn.Module):
        subject = own_subject(what, example)
    elif isinstance(what, TrainResult):
        subject = subject_of(what.trained(seed))
    elif isinstance(what, str | Path):
        subject = subject_of(of_folder(what, seed))
        if out is None:
            return export_to(subject, format, Path(what), replace=True)
    else:
        raise ArchgradError(
            f"found a {type(what).__name__}, expected a run folder, what archgrad.train returned, "
            "or a module"
        )
    if out is None:
        raise ArchgradError("found no folder to write to; give one as out=")
    return export_to(subject, format, Path(out))

"""Whether the files of a run are whole, and what of them has to be equal in every run."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load

from archgrad.storage import checkpoints

CPU = torch.device("cpu")
MARKED = '<script type="text/plain" id="document">'
CHANGING = ("seconds", "memory_mb", "environment", "search_seconds", "started", "process")


def damaged(folder: Path) -> Iterator[str]:
    """Files that are not whole, one sentence each."""
    readers = {
        ".json": lambda path: json.loads(path.read_bytes()),
        ".jsonl": lambda path: [json.loads(x) for x in path.read_bytes().split(b"\n")[:-1]],
        ".yaml": lambda path: yaml.safe_load(path.read_text()).keys(),
        ".pt": lambda path: checkpoints.load(path, CPU),
        ".safetensors": lambda path: load(path.read_bytes()),
        ".svg": lambda path: _ends(path, b"</svg>"),
        ".html": lambda path: _ends(path, b"</html>"),
        ".png": lambda path: _ends(path, b"IEND\xaeB`\x82"),
    }
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (read := readers.get(path.suffix)) is not None:
            try:
                read(path)
            except Exception as error:
                yield f"{path.relative_to(folder)}: {type(error).__name__}: {error}"


def _ends(path: Path, end: bytes) -> None:
    content = path.read_bytes()
    if not content.rstrip().endswith(end):
        raise ValueError(f"{len(content)} bytes without their end")


def result(folder: Path) -> dict[str, Any]:
    """All that a run keeps, but for times, memory, and drawings of these."""
    kept: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".jsonl":
            kept[name] = [stable(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.suffix == ".json" and path.name != "environment.json":
            kept[name] = stable(json.loads(path.read_text()))
        elif path.name == "last.pt" and not (path.parent.parent / "result.json").exists():
            kept[name] = flat(checkpoints.load(path, CPU))
        elif path.suffix in (".safetensors", ".svg", ".py"):
            kept[name] = path.read_bytes()
    if not kept:
        raise ValueError(f"{folder} holds nothing")
    return kept


def shown(page: Path) -> dict[str, Any]:
    """What a page shows, but for when it was made."""
    code = page.read_text().partition(MARKED)[2].partition("<")[0]
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(code)))
    del found["made"]
    return found


def stable(value: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(value, dict):
        return {key: stable(item) for key, item in value.items() if key not in CHANGING}
    return [stable(item) for item in value] if isinstance(value, list) else value


def flat(value: Any) -> Any:
    """Tensors as bytes, so that equality is that of every bit."""
    if hasattr(value, "numpy"):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    return [flat(item) for item in value] if isinstance(value, list | tuple) else value

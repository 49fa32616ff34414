"""The run folder: configuration, environment, metrics, checkpoints; never half-written."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import archgrad
from archgrad import config as configuration
from archgrad.config import RunConfig
from archgrad.errors import ArchgradError

CHECKPOINT_FORMAT = "archgrad-checkpoint/1"


def write(path: Path, content: str | bytes) -> None:
    """Write a file to the side and rename it: a reader sees the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with side.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(side, path)
    except OSError:
        side.unlink(missing_ok=True)
        raise


class Run:
    """A folder that holds everything about one run."""

    def __init__(self, path: str | Path, config: RunConfig) -> None:
        self.path = Path(path)
        self.config = config

    @classmethod
    def create(cls, path: str | Path, config: RunConfig) -> Run:
        """A new folder; one that already holds a run is refused, nothing is overwritten."""
        path = Path(path)
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise ArchgradError(
                f"output folder {path} already exists and is not empty; choose another --out, "
                f"or continue the run in it with --resume {path}"
            )
        run = cls(path, config)
        write(path / "config.yaml", config.to_yaml())  # with it, the folder can be resumed
        write(path / "environment.json", json.dumps(environment(), indent=2) + "\n")
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing folder."""
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise ArchgradError(
                f"folder {path} holds no run (no config.yaml); give the folder that a search or "
                "a run wrote"
            )
        return cls(path, configuration.load(path / "config.yaml"))

    def append(self, name: str, entry: Mapping[str, Any]) -> None:
        """Add one line to a JSON-lines file."""
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(self, name: str, epochs: int | None = None) -> list[dict[str, Any]]:
        """The whole lines of a JSON-lines file, of the first ``epochs`` epochs if given."""
        path = self.path / name
        if not path.is_file():
            return []
        try:
            lines = path.read_bytes().split(b"\n")[:-1]  # the last is empty or cut off
            entries = [json.loads(line) for line in lines]
            return [entry for entry in entries if epochs is None or entry["epoch"] <= epochs]
        except (ValueError, KeyError, TypeError) as error:
            raise ArchgradError(
                f"{path} is damaged ({error!r}); expected one JSON object an epoch: restore or "
                "remove it"
            ) from None

    def truncate(self, name: str, epochs: int) -> list[dict[str, Any]]:
        """Keep the lines of the first ``epochs`` epochs: what came after the checkpoint goes."""
        kept = self.lines(name, epochs)
        write(self.path / name, "".join(json.dumps(entry) + "\n" for entry in kept))
        return kept


def save_checkpoint(folder: Path, content: Mapping[str, Any]) -> None:
    """Write last.pt, keeping the one before as previous.pt."""
    buffer = io.BytesIO()
    torch.save({"format": CHECKPOINT_FORMAT, **content}, buffer)
    last = folder / "last.pt"
    if last.exists():
        os.replace(last, folder / "previous.pt")
    write(last, buffer.getvalue())


def load_checkpoint(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint of a folder, or None where there is none; tensors and numbers only."""
    path = next((p for n in ("last.pt", "previous.pt") if (p := folder / n).is_file()), None)
    if path is None:
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if content["format"] != CHECKPOINT_FORMAT:
            raise ValueError(f"format {content['format']}, expected {CHECKPOINT_FORMAT}")
    except Exception as error:  # torch.load raises many types on damaged files
        reason = re.split(r"[\n.]", str(error).strip())[0]
        other = folder / "previous.pt"
        remedy = (
            f"remove it to continue from {other}"
            if path.name == "last.pt" and other.is_file()
            else "remove it to begin again"
        )
        raise ArchgradError(f"checkpoint {path} cannot be read ({reason}); {remedy}") from None
    return content


def environment() -> dict[str, Any]:
    """Versions, device and command of this process."""
    cuda = torch.cuda.is_available()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "archgrad": archgrad.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else _processor(),
        "cpu_cores": os.cpu_count(),
        "platform": platform.platform(),
    }


def _processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _commit() -> str | None:
    """The commit of the library where it runs from a checkout."""
    here = Path(__file__).resolve().parent
    if not (here.parent.parent / ".git").exists():
        return None
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None

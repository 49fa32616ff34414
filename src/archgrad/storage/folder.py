"""The run folder: configuration, environment, metrics, checkpoints; never half-written."""

from __future__ import annotations

import fcntl
import io
import itertools
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

import archgrad
from archgrad import untrusted
from archgrad.errors import ArchgradError, out_of_memory
from archgrad.settings import config as configuration
from archgrad.settings.config import RunConfig
from archgrad.storage import checkpoints
from archgrad.storage.files import (
    CONFIG,
    ENVIRONMENT,
    read_lines,
    write,
)

CHECKPOINT_FORMAT = "archgrad-checkpoint/1"
UNFITTING = (
    LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError,
    SafetensorError,
)  # fmt: skip


class Run:
    """A folder that holds everything about one run."""

    def __init__(self, path: str | Path, config: RunConfig) -> None:
        self.path = Path(path)
        self.config = config
        self._held = False

    @classmethod
    def create(
        cls, path: str | Path, config: RunConfig, files: Mapping[str, str] | None = None
    ) -> Run:
        """A new folder; one that already holds a run is refused, nothing is overwritten.

        `files`: name -> text, written with it. config.yaml comes last: with it there is a run.
        """
        path, files = Path(path), files or {}
        refuse_used(path, "run", files)
        for name, text in {**files, CONFIG: config.to_yaml()}.items():
            write(path / name, text)
        return cls(path, config)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing folder."""
        path = Path(path)
        if not (path / CONFIG).is_file():
            raise ArchgradError(
                f"folder {path} holds no run (no config.yaml); give the folder that a search or "
                "a run wrote, or restore its config.yaml"
            )
        return cls(path, configuration.load(path / CONFIG))

    def keep(self) -> None:
        """Write config.yaml again where somebody removed it while the run goes on."""
        if not (self.path / CONFIG).is_file():
            write(self.path / CONFIG, self.config.to_yaml())

    @property
    def device(self) -> str:
        """The device of the run, as the configuration names it."""
        section = self.config.search or self.config.train
        return section.device if section else "auto"

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the folder for this process, as `held` does."""
        if self._held:  # further out
            yield
            return
        with held(self.path, self.device):
            self._held = True
            try:
                yield
            finally:
                self._held = False


def refuse_used(path: Path, what: str, files: Mapping[str, str] | None = None) -> None:
    """Refuse a folder for new work that holds more than a killed process left of these files."""

    def other(found: Path) -> bool:
        text = (files or {}).get(found.name)
        same = text is not None and found.is_file() and found.read_bytes() == text.encode()
        return not same and not found.match(".*.part")

    if path.is_file() or (path.is_dir() and any(map(other, path.iterdir()))):
        raise ArchgradError(
            f"output folder {path} already exists and is not empty; choose another --out, or "
            f"continue the {what} in it with --resume {path}"
        )


@contextmanager
def held(path: Path, device: str) -> Iterator[None]:
    """Hold a folder for this process; another that works in it is refused.

    Tidies what a killed process left, and notes the environment where it goes on with a run.
    """
    with _locked(path):
        for rest in path.rglob(".*.part"):
            rest.unlink(missing_ok=True)
        entries, here = environments(path), environment(device)
        if not entries or entries[-1].get("process") != here["process"]:
            write(path / ENVIRONMENT, _json([*entries, here]))
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the file .lock, and the folder itself, since a file may be removed.

    Not every file system locks folders. A forked process, such as one that reads images, does not
    keep the locks of a parent that has died.
    """
    found = [os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o666), os.open(path, os.O_RDONLY)]
    _LOCKS.update(found)
    try:
        for descriptor, needed in zip(found, (True, False), strict=True):
            _lock(descriptor, path, needed)
        yield
    finally:
        for descriptor in _LOCKS.intersection(found):
            _LOCKS.remove(descriptor)
            os.close(descriptor)


def _lock(descriptor: int, path: Path, needed: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ArchgradError(
            f"another process is working in {path}; wait for it, or end it"
        ) from None
    except OSError as error:
        if needed:
            error.filename = str(path / ".lock")
            raise


_LOCKS: set[int] = set()  # file descriptors


def _let_go() -> None:
    """In a forked process."""
    for descriptor in _LOCKS:
        with suppress(OSError):
            os.close(descriptor)
    _LOCKS.clear()


os.register_at_fork(after_in_child=_let_go)


def environments(path: Path) -> list[dict[str, Any]]:
    """Of each process that worked in a folder, one after the other."""
    try:
        found = untrusted.from_json(untrusted.content(path / ENVIRONMENT))
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    except (FileNotFoundError, ValueError):
        return []


def truncate(path: Path, epochs: int) -> list[dict[str, Any]]:
    """Keep the lines of the first `epochs` epochs: what came after the checkpoint goes."""
    kept = read_lines(path, epochs)
    if path.is_file():
        write(path, "".join(json.dumps(entry) + "\n" for entry in kept))
    return kept


def save_checkpoint(folder: Path, content: Mapping[str, Any]) -> None:
    """Write last.pt, keeping the one before as previous.pt."""
    buffer = io.BytesIO()
    torch.save({"format": CHECKPOINT_FORMAT, **content}, buffer)
    last = folder / "last.pt"
    with suppress(FileNotFoundError):
        os.replace(last, folder / "previous.pt")
    write(last, buffer.getvalue())


def keep_checkpoint(folder: Path, epoch: int, count: int) -> None:
    """Keep last.pt as that of an epoch too, and the `count` latest of these."""
    write(folder / f"epoch-{epoch}.pt", (folder / "last.pt").read_bytes())
    (folder / f"epoch-{epoch - count}.pt").unlink(missing_ok=True)


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Turns what goes wrong while kept state is taken up into one clear error."""
    try:
        yield
    except UNFITTING as error:
        if isinstance(error, ArchgradError) or out_of_memory(error):
            raise
        reason = str(error).strip().split("\n")[0]
        raise ArchgradError(
            f"what is kept in {path} does not fit this run ({type(error).__name__}: {reason}); "
            "was a file changed? Restore it, or begin a new run"
        ) from None


def refuse_other(kept: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Refuse to go on with what was begun with other options or other data."""
    for what in now:
        if kept.get(what) != now[what]:
            raise ArchgradError(
                f"{where} was begun with other {what} than now given; restore config.yaml and the "
                f"data as they were, or begin a new run"
            )


def load_checkpoint(
    folder: Path, device: torch.device, name: str | None = None
) -> dict[str, Any] | None:
    """The newest checkpoint of a folder, or the one of that name; tensors and numbers only.

    None where there is none.
    """
    names = ("last.pt", "previous.pt") if name is None else (name,)
    path = next((p for n in names if (p := folder / n).is_file()), None)
    if path is None:
        return None
    try:
        content: dict[str, Any] = checkpoints.load(path, device)
        if content["format"] != CHECKPOINT_FORMAT:
            raise ValueError(f"format {content['format']}, expected {CHECKPOINT_FORMAT}")
    except Exception as error:  # damaged files raise errors of almost every type
        if out_of_memory(error):
            raise
        reason = re.split(r"[\n.]", str(error).strip())[0]
        other = folder / "previous.pt"
        remedy = (
            f"remove it to continue from {other}"
            if path.name == "last.pt" and other.is_file()
            else "remove it to begin again"
        )
        raise ArchgradError(f"checkpoint {path} cannot be read ({reason}); {remedy}") from None
    return content


def free_folder(config: RunConfig, name: str | None = None) -> Path:
    """A new, empty folder runs/NAME-N, made so that no other process gets the same."""
    data = re.split(r"[:/\\]", config.data.data)[0]
    stem = name or f"{data}-{config.search.method if config.search else 'train'}"
    for number in itertools.count():
        path = Path("runs") / f"{stem}-{number}"
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError  # count() does not end


def environment(device: str = "auto") -> dict[str, Any]:
    """Versions, device and command of this process."""
    cuda = torch.cuda.is_available() and device != "cpu"
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "process": os.getpid(),
        "command": _command(),
        "archgrad": archgrad.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name() if cuda else _processor(),
        "cpu_cores": os.cpu_count(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "platform": platform.platform(),
    }


def _command() -> str:
    """This process's command as a shell takes it; of `python -m archgrad` archgrad."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


def _json(value: object) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def device_name(device: torch.device) -> str:
    """The name of a GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def _processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _commit() -> str | None:
    """The commit of the library where it runs from a checkout."""
    here = Path(archgrad.__file__).resolve().parent
    if not (here.parent.parent / ".git").exists():
        return None
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None

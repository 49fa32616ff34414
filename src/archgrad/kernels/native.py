"""The native kernels: C++ for the CPU, built on demand and cached; else PyTorch's own.

`library` builds and loads them, `use` chooses. Nothing here is needed to install or to import.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from archgrad.errors import ArchgradError

Kernel = Literal["auto", "native", "torch"]

SOURCES = Path(__file__).parent / "cpp"
FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread")
SUFFIX = {torch.float32: "float", torch.float64: "double"}

_chosen: ContextVar[Kernel] = ContextVar("kernel", default="auto")


class Built(NamedTuple):
    """The library, or None and the reason; `note` says in a few words which is in use."""

    library: ctypes.CDLL | None
    note: str


@contextmanager
def use(kernel: Kernel) -> Iterator[None]:
    """Within this context: `native`, `torch` (PyTorch's), or `auto`: native if possible."""
    if kernel == "native" and build().library is None:
        raise ArchgradError(f"kernel native is not available: {build().note}; use auto or torch")
    token = _chosen.set(kernel)
    try:
        yield
    finally:
        _chosen.reset(token)


def to_build(device: torch.device) -> bool:
    """Whether the library is wanted on this device and has yet to be built."""
    found = compiler()
    if device.type != "cpu" or _chosen.get() == "torch" or found is None:
        return False
    try:
        return not (_folder() / f"{_key(found)}.so").exists()
    except (OSError, subprocess.SubprocessError):
        return False


def note(device: torch.device) -> str:
    """Which kernels a run on this device uses, in a few words."""
    if device.type != "cpu" or _chosen.get() == "torch":
        return "PyTorch kernels"
    return build().note


def library(*tensors: Tensor) -> ctypes.CDLL | None:
    """The library, if it is to be used and can work on these: (B, C, H, W) on a CPU, one dtype."""
    first = tensors[0]
    if any(tensor.ndim != 4 for tensor in tensors):
        return None
    if any(t.dtype != first.dtype or t.device.type != "cpu" for t in tensors):
        return None
    return usable(first)


def usable(tensor: Tensor) -> ctypes.CDLL | None:
    """The library, if it is to be used and knows the type and the device of this."""
    if _chosen.get() == "torch" or tensor.device.type != "cpu" or tensor.dtype not in SUFFIX:
        return None
    return build().library


def call(name: str, table: Sequence[int], dtype: torch.dtype, *flags: bool) -> None:
    """Call function `name` for this dtype with a table of sizes and addresses."""
    found = build().library
    assert found is not None
    if getattr(found, f"{name}_{SUFFIX[dtype]}")(array(table), *map(int, flags)):
        raise MemoryError("the native kernels found no memory for their buffers")


def array(values: Sequence[int]) -> Any:
    """Integers of 64 bits, one after the other; keep it while its address is in use."""
    return (ctypes.c_int64 * len(values))(*values)


def laid_out(tensor: Tensor | None) -> Tensor | None:
    """The same values as the native code expects them: images as (B, H, W, C)."""
    if tensor is None:
        return None
    image = tensor.ndim == 4 and tensor.shape[1] > 1 and tensor.shape[2:] != (1, 1)
    order = torch.channels_last if image else torch.contiguous_format
    return tensor.contiguous(memory_format=order)


def address(tensor: Tensor | None) -> int:
    """Where a tensor lies; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


@cache
def build() -> Built:
    """Build the library or take it from the cache; the first time takes about 20 seconds."""
    found = compiler()
    if found is None:
        return Built(None, "PyTorch kernels (no C++ compiler found; with one, faster)")
    try:
        path = _folder() / f"{_key(found)}.so"
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process builds, the others wait for it
            if not path.exists():
                _compile(found, path)
            return Built(ctypes.CDLL(str(path)), "native kernels")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return Built(
            None, f"PyTorch kernels (building the native ones failed: {said[:200].strip()})"
        )


def compiler() -> str | None:
    """The C++ compiler: the one that CXX names, or the system's."""
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "c++"]
    return next((path for name in names if (path := shutil.which(name))), None)


def _compile(compiler: str, path: Path) -> None:
    part = path.with_suffix(f".{os.getpid()}")
    command = [compiler, *FLAGS, *map(str, sorted(SOURCES.glob("*.cpp"))), "-o", str(part)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _folder() -> Path:
    """Where built libraries are kept: the user's cache, or a temporary folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        (base / "archgrad").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=base / "archgrad"):
            return base / "archgrad"
    except OSError:
        found = Path(tempfile.gettempdir()) / f"archgrad-{os.getuid()}"
        found.mkdir(mode=0o700, exist_ok=True)
        if found.stat().st_uid != os.getuid():  # another user's code is not to be loaded
            raise OSError(f"{found} belongs to another user") from None
        return found


def _key(compiler: str) -> str:
    """Changes with the sources, the flags, the compiler and the processor."""
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True, timeout=60)
    processor = platform.processor() + platform.machine()
    with_flags = Path("/proc/cpuinfo")
    if with_flags.exists():
        lines = with_flags.read_text().splitlines()
        processor += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    parts = [*FLAGS, compiler, processor, *(p.read_text() for p in sorted(SOURCES.iterdir()))]
    return hashlib.sha256(version.stdout + "\0".join(parts).encode()).hexdigest()[:20]

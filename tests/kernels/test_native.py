"""Building the native kernels: once, cached, and without them the same numbers."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from archgrad.errors import ArchgradError
from archgrad.kernels import native

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and nothing built yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.build.cache_clear()
    yield tmp_path / "archgrad"
    native.build.cache_clear()


def fake_compiler(folder: Path, text: str) -> Path:
    path = folder / "fake-c++"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_no_compiler_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cache))
    monkeypatch.delenv("CXX", raising=False)
    assert native.build().library is None and "no C++ compiler" in native.note(CPU)
    assert native.library(torch.ones(1, 1, 1, 1)) is None and not native.to_build(CPU)
    wanted = pytest.raises(ArchgradError, match="no C\\+\\+ compiler.*use auto or torch")
    with wanted, native.use("native"):
        pass


def test_a_failing_compiler_is_said_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path, "echo flag -march is new >&2; exit 1")))
    assert native.build().library is None
    assert not list(cache.glob("*.so")) and "failed" in native.build().note


def test_a_compiler_that_writes_rubbish_is_said(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'for last; do :; done; [ "$1" = --version ] || echo rubbish > "$last"'
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path, script)))
    assert native.build().library is None and "failed" in native.build().note


def test_it_is_built_once_by_many(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that start together build once; here threads with an own cache of `build` each."""
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    script = 'for last; do :; done; [ "$1" = --version ] || { echo x >> $LOG; : > "$last"; }'
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path, script)))
    assert native.to_build(CPU)
    threads = [threading.Thread(target=native.build.__wrapped__) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "log").read_text() == "x\n" and not native.to_build(CPU)


def test_the_key_tells_compilers_and_sources_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = native._key(str(fake_compiler(tmp_path, "echo version 1")))
    two = native._key(str(fake_compiler(tmp_path, "echo version 2")))
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-O1"))
    assert len({one, two, native._key(str(tmp_path / "fake-c++"))}) == 3


def test_a_cache_that_cannot_be_written_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert native._folder().parent == tmp_path and native._folder().is_dir()


def test_the_choice_holds_within_its_context() -> None:
    x = torch.ones(1, 2, 3, 3)
    with native.use("torch"):
        assert native.library(x) is None and native.note(CPU) == "PyTorch kernels"
    if native.build().library is None:
        pytest.skip(native.build().note)
    with native.use("native"):
        assert native.library(x) is not None and native.note(CPU) == "native kernels"
        assert native.library(x, x.double()) is None and native.library(x.bfloat16()) is None
    assert native.note(torch.device("cuda")) == "PyTorch kernels"


def test_the_sources_compile_without_a_warning() -> None:
    compiler = native.compiler()
    if compiler is None:
        pytest.skip("no C++ compiler")
    for source in native.SOURCES.glob("*.cpp"):
        command = [compiler, "-fsyntax-only", "-std=c++17", "-Wall", "-Wextra", "-Wno-psabi"]
        done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=True)
        assert not done.stderr

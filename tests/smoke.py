"""Checks an installed archgrad from outside its checkout: ``make test-core`` and ``make dist``.

The main job, its report, an export, the native kernels with and without a compiler; and what says
every command that needs an extra that is not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

TINY = (
    "--channels 2 --cells 3 --epochs 1 --subset 200 --random-cells 2 --train-channels 2 "
    "--train-cells 3 --train-epochs 1 --train-seeds 2"
)
IMAGES = "--data folder:photographs --image-size 8"  # made by `photographs`
# The packages of each extra, and the commands that need them; `run` is a finished main job.
EXTRAS = {
    "data": (["PIL"], [f"search {IMAGES}", f"train DARTS_V2 {IMAGES}", f"plan {IMAGES}"]),
    "export": (["onnx", "onnxscript", "onnxruntime"], ["export run --format onnx --out other"]),
    "hpo": (
        ["optuna"],
        [
            "search --method halving",
            "compare --methods halving --budget 1G",
            "sweep --vary method=halving",
        ],
    ),
    "plot": (["matplotlib"], []),  # figures are made in Python alone
    "ray": (["ray"], ["compare --address head:6379", "sweep --vary seed=0,1 --pool ray"]),
    "track": (
        ["tensorboard"],
        [f"{verb} --tensorboard" for verb in ("run", "search", "train run")],
    ),
}


def photographs() -> None:
    """A folder of images by their names; none of them is opened."""
    for name in ("cats/1.png", "cats/2.png", "dogs/1.png", "dogs/2.png"):
        path = Path("photographs/train", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def archgrad(command: str, status: int = 0, **environment: str) -> str:
    """What a command of the installed program tells; it has to end with this status."""
    program = Path(sys.executable).with_name("archgrad")
    done = subprocess.run(
        [program, *command.split()],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == status, f"{command}: status {done.returncode}\n{done.stdout}"
    return done.stdout


def python(code: str) -> str:
    """What Python prints that sees the installed packages and the working folder alone."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def works() -> None:
    """The core: everything that needs no extra."""
    place, version = python(
        "import archgrad; print(archgrad.__file__, archgrad.__version__)"
    ).split()
    assert Path(place).is_relative_to(sys.prefix), f"archgrad comes from {place}"
    assert archgrad("--version").split()[-1] == version
    told = archgrad(f"run --data digits {TINY} --out run", XDG_CACHE_HOME=os.getcwd())
    assert "native kernels" in told and list(Path("archgrad").glob("*.so")), told
    assert "found - random" in told, told
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and len(page) > 500_000 and "</html>" in page
    archgrad("export run --out exported")
    code = "import sys, model; print('archgrad' in sys.modules, len(model.__file__) > 0)"
    os.chdir("exported")
    assert python(code) == "False True"
    os.chdir("..")
    search = "search --channels 2 --cells 3 --epochs 1 --subset 200 --guard off"
    assert "no C++ compiler found" in archgrad(f"{search} --out torch", CXX="none")


def lacks() -> int:
    """How many commands say in one line which extra they need, and write nothing."""
    photographs()
    before, said = sorted(Path().rglob("*")), 0
    for extra, (packages, commands) in EXTRAS.items():
        if any(find_spec(package) for package in packages):
            print(f"extra {extra} is installed: its messages are not checked")
            continue
        for command in commands:
            told = archgrad(command, status=2)
            assert told.count("\n") == 1 and f'pip install "archgrad[{extra}]"' in told, told
            said += 1
    assert sorted(Path().rglob("*")) == before
    return said


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        begin = time.monotonic()
        works()
        count = lacks()
        print(
            f"archgrad works; {count} commands name their extra ({time.monotonic() - begin:.0f} s)"
        )

"""Ctrl-C and SIGTERM: how a command ends and what it says, wherever they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archgrad.system import interruption
from archgrad.system.interruption import PLAIN, continue_with, ending, held_back

BEGIN = (
    "import signal, sys, time\nfrom archgrad.system import interruption\nfrom pathlib import Path\n"
    "signal.signal(2, signal.default_int_handler)"
)
LINE = "archgrad: interrupted; continue with: archgrad search --resume r\n"


class Left(BaseException):
    """The process would have ended."""


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is told, then the status."""
    found: list[object] = []

    def leave(status: int) -> None:
        found.append(status)
        raise Left

    monkeypatch.setattr(interruption, "_course", interruption._Course())
    monkeypatch.setattr(interruption, "_print", found.append)
    monkeypatch.setattr(os, "_exit", leave)
    return found


def interrupted(error: BaseException) -> None:
    with pytest.raises(Left), ending():
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(130)])  # the second of typer
def test_before_a_folder_keeps_anything_the_command_is_to_be_given_again(
    error: BaseException, told: list[object]
) -> None:
    interrupted(error)
    assert told == [f"archgrad: interrupted; {PLAIN}", 130]


def test_once_a_folder_keeps_something_the_line_goes_on_with_it(told: list[object]) -> None:
    continue_with("sweep", Path("my runs"), page=False)
    interrupted(KeyboardInterrupt())
    assert told[0] == "archgrad: interrupted; continue with: archgrad sweep --resume 'my runs'"


def test_whatever_becomes_of_the_interruption_is_one(told: list[object]) -> None:
    interruption._course.heard = signal.SIGTERM
    interrupted(ImportError("torch was half imported"))
    assert told == [f"archgrad: interrupted; {PLAIN}", 143]


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit(2), ValueError("a fault")])
def test_other_ends_are_left_alone(error: BaseException, told: list[object]) -> None:
    with pytest.raises(type(error)), ending():
        raise error
    assert told == []


def test_a_command_that_ends_well_all_the_same_has_ended_well(told: list[object]) -> None:
    interruption._course.heard = signal.SIGINT
    with pytest.raises(SystemExit), ending():
        raise SystemExit(0)
    assert told == []


def test_signals_wait_while_they_are_held_back_and_processes_get_no_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    done: list[str] = []
    show = ["sed", "-n", "s/SigBlk:.//p", "/proc/self/status"]
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        done.append(subprocess.run(show, capture_output=True, text=True, check=True).stdout)
    assert int(done[0], 16) & 1 << (signal.SIGINT - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def process(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"{BEGIN}\n{code}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def working(code: str) -> subprocess.Popen[str]:
    """A process that has begun the last line of a command."""
    one = process(
        "import hashlib\nwith interruption.ending():\n interruption.heed()\n"
        f" interruption.continue_with('search', Path('r'), False)\n print(flush=True)\n {code}"
    )
    assert one.stdout is not None
    one.stdout.readline()
    time.sleep(0.3)
    return one


def test_a_long_native_step_does_not_hold_it_up() -> None:
    one = working("hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)")  # for minutes
    begun = time.monotonic()
    one.send_signal(signal.SIGTERM)
    assert (one.communicate()[1], one.returncode) == (LINE, 143)
    assert interruption.PATIENCE * 0.9 < time.monotonic() - begun < 5


def test_a_second_ctrl_c_ends_at_once() -> None:
    deaf = "try: time.sleep(600)\n except BaseException: time.sleep(600)"
    one = working(f"interruption.PATIENCE = 600\n {deaf}")
    one.send_signal(signal.SIGINT)
    time.sleep(0.1)
    one.send_signal(signal.SIGINT)
    assert (one.communicate()[1], one.returncode) == (LINE, 130)


@pytest.mark.parametrize("module", ["typer", "torch.nn"])
def test_it_is_heard_while_modules_are_imported(module: str) -> None:
    code = (
        "class At:\n"
        " def find_spec(name, *_):\n"
        f"  name == '{module}' and signal.raise_signal(15)\n"
        "sys.meta_path.insert(0, At)\n"
        "from archgrad.__main__ import main\nmain(['search'])"
    )
    one = process(code)
    assert one.communicate()[1] == f"archgrad: interrupted; {PLAIN}\n"
    assert one.returncode == 143

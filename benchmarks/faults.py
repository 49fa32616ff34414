"""SIGKILL, SIGTERM and Ctrl-C at random moments of commands: what is left, what a resume gives.

Each command runs once undisturbed; then again and again, hit by a signal at a moment drawn from
that duration, counted from the start of the process, and is resumed until it ends by itself.
Looked at after each hit: whether every file is whole, status, seconds to the exit, the line that
says how to go on, that there is no traceback, that no process outlives; at the end every result is
compared with the undisturbed one, bit for bit. Every eighth process is a new one, which imports
everything; the others are forked from a server that has done so.

    python benchmarks/faults.py                   writes benchmarks/results/faults.json
    python benchmarks/faults.py --signals 5 --commands search --out other.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from faults_files import damaged, result, shown
from page import keep, load

HERE = Path(__file__).parent
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LIMIT = 2.0  # seconds to the exit
NEW = 8  # every so many processes is a new one
MARK = "ARCHGRAD_FAULTS"  # in the environment of all processes that a trial begins
NETWORK = "--channels 2 --cells 3 --batch-size 20 --subset 40 --device cpu"
SEARCHED = "SEARCHED"  # stands for the folder of a search
COMPARED = (
    "compare --methods random,darts --seeds 1 --channels 2 --cells 3 --nodes 1 --epochs 1 "
    "--batch-size 10 --subset 40 --guard off --device cpu --short-epochs 1 --train-channels 2 "
    "--train-cells 3 --train-epochs 1 --train-batch-size 10 --train-device cpu"
)
COMMANDS = {  # and its part of the signals
    "report": (f"report {SEARCHED}", 0.25),
    "train, side by side": (f"train {SEARCHED} {NETWORK} --epochs 2 --seeds 2 --jobs 2", 0.02),
    "compare, side by side": (f"{COMPARED} --pool processes --parallel 2", 0.02),
    "train": (f"train {SEARCHED} {NETWORK} --epochs 2 --seeds 2 --jobs 1", 0.23),
    "compare": (f"{COMPARED} --parallel 1", 0.23),
    "search": (f"search {NETWORK} --nodes 1 --epochs 3 --guard off", 0.25),
}
Child = subprocess.Popen[bytes] | BaseProcess
CONFIGS = ("config.yaml", "comparison.yaml")


def begin(arguments: Sequence[str], err: Path, new: bool) -> Child:
    """A process of the command line."""
    if new:
        with err.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "archgrad", *arguments], preexec_fn=heeding,
                stdout=subprocess.DEVNULL, stderr=file, env={**os.environ, MARK: str(err)},
            )  # fmt: skip
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["archgrad.cli.main", "archgrad.verbs.compare", "archgrad.verbs.experiment",
         "archgrad.progress.display", "archgrad.progress.session", "archgrad.cli.answers",
         "archgrad.verbs.search", "archgrad.reporting.page", "archgrad.reporting.cells",
         "sklearn.datasets", "torch._dynamo"]
    )  # fmt: skip
    process = context.Process(target=forked, args=(list(arguments), str(err)))
    process.start()
    return process


def heeding() -> None:
    """Children of a shell's background job would ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def forked(arguments: list[str], err: str) -> None:
    """The same in a process of the server."""
    from archgrad.__main__ import main

    os.environ[MARK] = err
    sys.argv = ["archgrad", *arguments]
    heeding()
    with open(err, "wb") as file, open(os.devnull, "wb") as nowhere:
        os.dup2(file.fileno(), 2)
        os.dup2(nowhere.fileno(), 1)
    main()


def status(process: Child) -> int | None:
    return process.exitcode if isinstance(process, BaseProcess) else process.poll()


def ended(process: Child, seconds: float) -> float | None:
    """Seconds until it has ended; None: it has not."""
    begun = time.monotonic()
    while status(process) is None:
        if time.monotonic() - begun > seconds:
            return None
        time.sleep(0.002)
    return time.monotonic() - begun


def outliving(err: Path) -> list[int]:
    """Processes that a trial began and that go on."""
    mark, found = f"{MARK}={err}".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:
            pass
    return found


class Trials:
    """One command, hit again and again."""

    def __init__(self, name: str, place: Path, hits: int, drawn: random.Random) -> None:
        self.name, self.place, self.drawn = name, place, drawn
        self.searched, self.seconds = place / "searched", dict[bool, float]()
        self.words = COMMANDS[name][0].replace(SEARCHED, str(self.searched)).split()
        self.wanted = Counter({number.name: hits for number in SIGNALS})
        self.counts, self.findings = Counter[str](), list[str]()
        self.exits = {number.name: list[float]() for number in SIGNALS}
        self.outlived = {number.name: 0.0 for number in SIGNALS}
        self.begun = self.rounds = 0

    def undisturbed(self) -> None:
        """The result that all others have to equal, and how long it takes."""
        if str(self.searched) in self.words:
            search = COMMANDS["search"][0].split()
            self._whole([*search, "--out", str(self.searched)], True)
        self.folder = self.place / "undisturbed"
        self._whole(["--version"], False)  # the server is there
        for new in (True, False):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.seconds[new] = self._whole(self._arguments(), new)
        self.expected = self._result()

    def _whole(self, arguments: Sequence[str], new: bool) -> float:
        err, begun = self.place / "err", time.monotonic()
        process = begin(arguments, err, new)
        if ended(process, 600) is None or status(process) != 0:
            raise RuntimeError(f"{arguments} ended with {status(process)}: {err.read_text()}")
        return time.monotonic() - begun

    def _arguments(self) -> list[str]:
        if self.words[0] == "report":
            return [*self.words, "--out", str(self.folder / "page.html")]
        if any((self.folder / name).is_file() for name in CONFIGS):
            return [self.words[0], "--resume", str(self.folder)]
        return [*self.words, "--out", str(self.folder)]

    def _result(self) -> dict[str, Any]:
        if self.words[0] == "report":
            return shown(self.folder / "page.html")
        return result(self.folder)

    def round(self) -> None:
        """A run that is hit until it ends by itself, or there are enough hits."""
        self.folder = self.place / f"run-{self.rounds}"
        self.rounds += 1
        while self.wanted.total():
            if not self._hit():
                break
        else:
            self._whole(self._arguments(), False)
        found = self._result()
        if found != self.expected:
            apart = [k for k in {**found, **self.expected} if found.get(k) != self.expected.get(k)]
            self.findings.append(f"{self.name}: the result differs in {', '.join(apart)}")
        left = [path for path in self.folder.rglob("*.part")]
        self.counts["side files left at the end"] += len(left)
        shutil.rmtree(self.folder)

    def _hit(self) -> bool:
        """Begin the command and hit it; False: it had ended, or ended well in spite of that."""
        number = signal.Signals[self.drawn.choice(list(self.wanted.elements()))]
        new, self.begun = self.begun % NEW == 0, self.begun + 1
        err, arguments = self.place / f"err-{self.begun}", self._arguments()
        moment, self.resumed = self.drawn.uniform(0, self.seconds[new]), "--resume" in arguments
        process = begin(arguments, err, new)
        while not err.exists():
            time.sleep(0.001)
        if ended(process, moment) is None and process.pid is not None:
            os.kill(process.pid, number)
        seconds = ended(process, 30)
        if seconds is None:
            process.kill()
            seconds = 30.0 + (ended(process, 30) or 0.0)
        found, told = status(process), err.read_text() if err.exists() else ""
        say = f"{self.name}, {number.name} after {moment:.2f} s of {' '.join(arguments[:2])}: "
        if found == 0:
            self.counts["ended before the signal"] += 1
            return False
        self.wanted[number.name] -= 1
        self.counts[f"{number.name} in {'a new' if new else 'a forked'} process"] += 1
        self.exits[number.name].append(seconds)
        if seconds > LIMIT:
            self.findings.append(f"{say}the exit took {seconds:.2f} s")
        if number != signal.SIGKILL:
            self.findings += [say + text for text in self._wrong(number, found, told, new)]
        elif found != -signal.SIGKILL:
            self.findings.append(f"{say}status {found}, {told[-300:]!r}")
        self._wait_for_others(number, err, say)
        if self.folder.is_dir():
            self.findings += [f"{say}half-written {text}" for text in damaged(self.folder)]
            self.counts["side files left by a hit"] += sum(1 for _ in self.folder.rglob("*.part"))
        err.unlink(missing_ok=True)
        return True

    def _wrong(self, number: int, found: int | None, told: str, new: bool) -> Iterator[str]:
        """What is not as it should be in status and line."""
        lines = [line for line in told.splitlines() if line.startswith("archgrad: ")]
        if not lines and (found == -number or (new and not self.folder.exists())):
            where = "the results" if self.folder.exists() else "Python is ready"
            self.counts[f"no line, {'after' if self.folder.exists() else 'before'} {where}"] += 1
            return
        if found != 128 + number:
            yield f"status {found}, {told[-600:]!r}"
        if "Traceback" in told or "Exception" in told:
            yield f"a traceback, {told[-1500:]!r}"
        again = f"archgrad: interrupted; continue with: archgrad {self.words[0]} --resume "
        kept = any((self.folder / name).is_file() for name in CONFIGS)
        if lines == [again + str(self.folder)]:
            self.counts["the line says how to resume"] += 1
        elif len(lines) == 1 and "interrupted; nothing is half-written" in lines[0]:
            self.counts["the line says to give the command again"] += 1
            if kept and not self.resumed:
                yield "the line does not say how to resume"
        else:
            yield f"the line is {lines}"

    def _wait_for_others(self, number: signal.Signals, err: Path, say: str) -> None:
        begun = time.monotonic()
        while others := outliving(err):
            if time.monotonic() - begun > 15:
                self.findings.append(f"{say}{len(others)} processes outlive")
                break
            time.sleep(0.01)
        outlived = time.monotonic() - begun
        self.outlived[number.name] = max(self.outlived[number.name], outlived)
        if number != signal.SIGKILL and outlived > LIMIT:
            self.findings.append(f"{say}a process outlived it by {outlived:.2f} s")

    def summary(self) -> dict[str, Any]:
        return {
            "command": f"archgrad {COMMANDS[self.name][0]}",
            "seconds_undisturbed": {
                "new process": round(self.seconds[True], 2),
                "forked process": round(self.seconds[False], 2),
            },
            "hits": {name: len(found) for name, found in self.exits.items()},
            "rounds_compared": self.rounds,
            "worst_seconds_to_exit": {
                n: round(max(x, default=0.0), 3) for n, x in self.exits.items()
            },
            "worst_seconds_outlived": {n: round(x, 3) for n, x in self.outlived.items()},
            "counts": dict(sorted(self.counts.items())),
            "findings": self.findings,
        }


def measure(names: Sequence[str], hits: int, seed: int) -> Iterator[dict[str, Any]]:
    """All that is known after each round; ``hits``: of each signal, over all commands together."""
    from archgrad.storage.folder import environment

    drawn, found, here = random.Random(seed), dict[str, Any](), environment("cpu")
    whole = sum(COMMANDS[name][1] for name in names)
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            count = max(1, round(hits * COMMANDS[name][1] / whole))
            trials = Trials(name, Path(place), count, drawn)
            trials.undisturbed()
            while trials.wanted.total():
                trials.round()
                found[name] = trials.summary()
                yield {"environment": here, "seed": seed, **overall(found), "commands": found}
            print(json.dumps({name: found[name]}, indent=2), flush=True)


def overall(found: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of all commands together."""
    total = {
        number.name: {
            "hits": sum(one["hits"][number.name] for one in found.values()),
            "worst_seconds_to_exit": max(
                one["worst_seconds_to_exit"][number.name] for one in found.values()
            ),
        }
        for number in SIGNALS
    }
    return {"total": total, "findings": sum(len(one["findings"]) for one in found.values())}


def joined(contents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The results of calls with different commands; each names its commit."""
    found = {
        name: {"commit": one["environment"]["commit"], **value}
        for one in contents
        for name, value in one["commands"].items()
    }
    environment = {**contents[0]["environment"], "command": "faults.py"}
    return {
        "environment": environment,
        "seed": contents[0]["seed"],
        **overall(found),
        "commands": found,
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--signals", type=int, default=100, help="hits of each signal, in all")
    parser.add_argument("--commands", help="names, with semicolons between [all]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--join", type=Path, nargs="+", help="results of calls, put together")
    parser.add_argument("--out", type=Path, help="file of results [kept of a default run]")
    options = parser.parse_args(arguments)
    names = options.commands.split(";") if options.commands else list(COMMANDS)
    if unknown := [name for name in names if name not in COMMANDS]:
        parser.error(f"found --commands {unknown[0]}; known: {'; '.join(COMMANDS)}")
    if options.out is None and arguments:
        parser.error("found other options than the defaults and no --out; expected a file for them")
    out = options.out or HERE / "results" / "faults.json"
    if options.join:
        keep(out, joined([load(path) for path in options.join]))
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
    sys.path.insert(0, str(HERE))
    for content in measure(names, options.signals, options.seed):
        keep(out, content)
    return min(1, content["findings"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Bad and hostile files, many of them, for every reader of a file that a user may be given.

Two engines: hypothesis changes valid files where their structure says (values of JSON, entries of
archives, numbers and words), atheris changes bytes and follows which lines they reach. A finding is
an exception other than `ArchgradError` (or OSError, which the command line tells), a folder made by
a file's code (the canary), memory above a bound, time above a bound, or a process that dies.

    pip install atheris
    python benchmarks/fuzz.py                          writes benchmarks/results/fuzz.json
    python benchmarks/fuzz.py --inputs 100 --only npz  a few; writes only where --out says
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

HERE = Path(__file__).parent
SECONDS, BYTES = 2.0, 2**30  # of an input: of the processor, and more memory than before it
SPACE = 16 * 2**30  # addresses of the process
ENGINES = ("hypothesis", "atheris")
SHARE = {"hypothesis": 4, "atheris": 1}  # a drawn structure takes longer than changed bytes
HEAVY = {"trained networks": 10, "report's readers": 5, "command line": 40, "exports": 10}
RUN = (
    "run --data digits --space nas-bench-201 --epochs 1 --train-epochs 1 --channels 2 --cells 1 "
    "--train-channels 2 --train-cells 1 --train-seeds 1 --random-cells 2 --guard off --quiet --out"
)


class Finding(NamedTuple):
    """What an input did that no input may do."""

    kind: str
    told: str
    file: str
    content: bytes


class Attempts:
    """One target in a folder of its own, with what was tried and found."""

    def __init__(self, target: Any, folder: Path, canary: Path) -> None:
        self.target, self.folder, self.canary = target, folder, canary
        if target.beside is not None:
            shutil.copytree(target.beside, folder, dirs_exist_ok=True)
        self.tried, self.findings = 0, dict[str, Finding]()

    def attempt(self, file: str, content: bytes) -> None:
        """Read once; a finding is kept once a place in the code."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.tried += 1
        before, begun = _peak(), time.process_time()
        found = self._read()
        took, grown = time.process_time() - begun, _peak() - before
        if self.canary.exists():
            self.canary.rmdir()
            found = found or "code of the file was run"
        if found is None and took > SECONDS:
            found = f"time: {took:.1f} s"
        if found is None and grown > BYTES:
            found = f"memory: {grown / 2**20:,.0f} MiB"
        if found is not None:
            kind = found.partition(": ")[0]
            if ": at " in found:  # an exception: once a place in the code
                kind += found.rpartition(": at ")[2]
            self.findings.setdefault(kind, Finding(kind, found, file, content))
        self._tidy(path, file)

    def _read(self) -> str | None:
        from archgrad.errors import ArchgradError

        try:
            self.target.read(self.folder)
        except (ArchgradError, OSError):
            return None
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            ours = [
                f for f in traceback.extract_tb(error.__traceback__) if "archgrad" in f.filename
            ]
            inside = (ours or [place])[-1]
            name = f"{type(error).__name__}: {str(error)[:200]!r}: at "
            return name + f"{Path(inside.filename).name}:{inside.lineno}"
        return None

    def _tidy(self, path: Path, file: str) -> None:
        if self.target.beside is None:
            path.unlink(missing_ok=True)
        elif self.target.name.startswith("command line"):  # which may write others
            shutil.rmtree(self.folder)
            shutil.copytree(self.target.beside, self.folder)
        else:
            path.write_bytes(self.target.files[file][0])


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def by_hypothesis(attempts: Attempts, inputs: int, seed: int) -> None:
    """Changes where the structure of valid files says."""
    from fuzz_changes import changed

    for file, contents in attempts.target.files.items():
        for content in contents:
            attempts.attempt(file, content)

    @hypothesis.seed(seed)
    @settings(
        max_examples=inputs, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(changed(attempts.target.files))
    def run(case: tuple[str, bytes]) -> None:
        attempts.attempt(*case)

    run()


def by_atheris(attempts: Attempts, inputs: int, seed: int, corpus: Path, done: Any) -> None:
    """Changes bytes; never returns, since libFuzzer ends the process."""
    import atheris

    files = sorted(attempts.target.files)
    corpus.mkdir()
    for place, file in enumerate(files[:256]):
        for number, content in enumerate(attempts.target.files[file]):
            if len(content) < 2**16:
                (corpus / f"{place}-{number}").write_bytes(bytes([place]) + content)

    def one(data: bytes) -> None:
        if data:
            attempts.attempt(files[data[0] % len(files)], data[1:])
        if attempts.tried >= inputs:
            done()
            os._exit(0)

    options = [f"-seed={seed}", f"-runs={20 * inputs}", "-max_len=65536", "-verbosity=0",
               "-rss_limit_mb=0", "-timeout=60", "-len_control=10"]  # fmt: skip
    atheris.Setup([sys.argv[0], str(corpus), *options], one)
    atheris.Fuzz()


def work(options: argparse.Namespace) -> None:
    """One engine in a process of its own, which a process for each target is forked from."""
    resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
    if options.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["archgrad", "yaml", "zipfile", "tarfile"]):
            from fuzz_targets import CANARY, targets
    else:
        from fuzz_targets import CANARY, targets
    for number, target in enumerate(targets(options.run)):
        if not any(word in target.name for word in options.only):
            continue
        kept = options.work / f"{options.engine}-{number:02}.json"
        child = os.fork()
        if child == 0:
            folder = options.work / f"{options.engine}-{number:02}"
            (folder / "files").mkdir(parents=True)
            try_one(options, Attempts(target, folder / "files", CANARY), kept)
        _, status = os.waitpid(child, 0)
        if not kept.is_file():
            died = [[f"the process died with status {status}", "", ""]]
            kept.write_text(json.dumps({"target": target.name, "inputs": 0, "findings": died}))
        found = json.loads(kept.read_text())
        print(options.engine, target.name, found["inputs"], len(found["findings"]), flush=True)
        for told, file, content in found["findings"]:
            print(f"FOUND {told} in {file} {content[:400]}", flush=True)


def try_one(options: argparse.Namespace, attempts: Attempts, kept: Path) -> None:
    """All inputs of one target; ends the process."""
    name = attempts.target.name
    fewer = next((by for start, by in HEAVY.items() if name.startswith(start)), 1)
    inputs = max(20, options.inputs // SHARE[options.engine] // fewer)

    def done() -> None:
        found = [[f.told, f.file, f.content.hex()] for f in attempts.findings.values()]
        content = {"target": name, "inputs": attempts.tried, "findings": found}
        kept.write_text(json.dumps(content))

    if options.engine == "atheris":
        by_atheris(attempts, inputs, options.seed, attempts.folder.with_name("corpus"), done)
    by_hypothesis(attempts, inputs, options.seed)
    done()
    os._exit(0)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All targets by all engines."""
    from archgrad.storage.folder import environment

    options.run = options.work / "run"
    command = [sys.executable, "-m", "archgrad", *RUN.split(), str(options.run)]
    subprocess.run(command, check=True, capture_output=True)
    variables = os.environ | {"ARCHGRAD_FUZZ_CANARY": str(options.work / "canary")}
    running = []
    for engine in options.engines:
        command = [sys.executable, __file__, "--engine", engine, "--work", str(options.work)]
        command += ["--run", str(options.run), "--inputs", str(options.inputs)]
        command += ["--seed", str(options.seed), "--only", *options.only]
        running.append(subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL))
    if any([process.wait() for process in running]):
        raise SystemExit("an engine did not end well; run it alone with --engine to see why")
    rows: dict[str, dict[str, Any]] = {}
    for engine in options.engines:
        for path in sorted(options.work.glob(f"{engine}-*.json"), key=lambda path: path.stem):
            found = json.loads(path.read_text())
            counts = {"inputs": found["inputs"], "findings": len(found["findings"])}
            rows.setdefault(found["target"], {"target": found["target"]})[engine] = counts
    counts = {e: sum(row[e]["inputs"] for row in rows.values()) for e in options.engines}
    return {
        "settings": {"seed": options.seed, "seconds": SECONDS, "bytes": BYTES, "space": SPACE},
        "environment": environment("cpu"),
        "engines": {e: importlib.metadata.version(e) for e in options.engines},
        "inputs": {**counts, "all": sum(counts.values())},
        "findings": sum(row[e]["findings"] for row in rows.values() for e in options.engines),
        "targets": list(rows.values()),
    }


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; those without help are for the processes that this one starts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--inputs", type=int, default=4000, help="of atheris, a target; a quarter of hypothesis"
    )
    parser.add_argument("--only", nargs="*", default=[""], help="targets with one of these words")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--out", type=Path, help="where to write")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; 1 where something was found."""
    options = parsed(arguments)
    if options.engine:
        work(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        options.work = Path(folder)
        content = measured(options)
    out = options.out or (HERE / "results" / "fuzz.json" if options.only == [""] else None)
    if out is not None:
        out.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{content['inputs']} inputs, {content['findings']} findings")
    return int(content["findings"] > 0)


if __name__ == "__main__":
    sys.exit(main())

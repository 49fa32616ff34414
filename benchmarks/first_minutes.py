"""From ``git clone`` to the first found cell: how long a newcomer waits.

``python benchmarks/first_minutes.py`` clones this repository into an empty folder, runs ``make
demo`` there, and prints the seconds to the end of the clone, of the set-up (packages are fetched,
or taken from pip's cache), to the first cells, to the cell that was found, and to the end of the
main job. ``--until found`` ends it with the found cell.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIGNS = {  # a line that begins so is the first of its stage
    "set-up": "archgrad ",
    "first cell": "cells ",
    "found cell": "found ",
}


def stages(lines: Iterable[tuple[float, str]]) -> dict[str, float]:
    """When each stage was reached, from lines with the seconds at which they came."""
    reached: dict[str, float] = {}
    for seconds, line in lines:
        for stage, sign in SIGNS.items():
            if stage not in reached and line.startswith(sign):
                reached[stage] = seconds
    return reached


def measured(place: Path, until: str) -> dict[str, float]:
    """Seconds from the beginning of the clone to the end of each stage."""
    begun = time.monotonic()
    checkout = place / "archgrad"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    cloned = time.monotonic() - begun
    process = subprocess.Popen(
        ["make", "demo"], cwd=checkout, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    seen: list[tuple[float, str]] = []
    for line in process.stdout:
        seen.append((time.monotonic() - begun, line))
        print(f"{seen[-1][0]:7.1f} s  {line}", end="", flush=True)
        if until == "found" and line.startswith(SIGNS["found cell"]):
            os.killpg(process.pid, signal.SIGTERM)
            break
    process.stdout.close()
    status = process.wait()
    if until == "end" and status:
        raise SystemExit(f"make demo ended with status {status}; see its lines above")
    ended = {"end": time.monotonic() - begun} if until == "end" else {}
    return {"clone": cloned, **stages(seen), **ended}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time from git clone to the first found cell.")
    parser.add_argument("--until", choices=("found", "end"), default="end")
    until = parser.parse_args().until
    with tempfile.TemporaryDirectory() as place:
        found = measured(Path(place), until)
    print(f"on {os.cpu_count()} cores, with a load of {os.getloadavg()[2]:.1f} in 15 minutes:")
    for stage, seconds in found.items():
        print(f"{stage:12s}{seconds:8.1f} s")


if __name__ == "__main__":
    main()

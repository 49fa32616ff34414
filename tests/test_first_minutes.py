"""The stages that benchmarks/first_minutes.py tells are those of the output of a main job."""

from __future__ import annotations

from pathlib import Path

import pytest

from archgrad.cli import main as cli
from first_minutes import SIGNS, stages


def test_every_stage_is_told_by_a_line_of_the_main_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--subset 60 --space s2 --channels 2 --cells 3 --nodes 1 --epochs 1 --batch-size 20 "
        "--guard off --train-channels 2 --train-cells 3 --train-epochs 1 --train-batch-size 20 "
        "--train-seeds 1 --train-jobs 1 --random-cells 2"
    ).split()
    with pytest.raises(SystemExit, match="0"):
        cli.main(["run", *options, "--out", str(tmp_path / "run")])
    lines = capsys.readouterr().err.splitlines()
    reached = stages((float(number), line) for number, line in enumerate(lines))
    assert [*reached] == [*SIGNS]
    assert list(reached.values()) == sorted(reached.values())

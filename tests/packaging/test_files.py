"""Every file of the package is in the wheel, and nothing else of the checkout."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_a_wheel_holds_every_file_of_the_package() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    listed = wheel.WheelBuilder(str(ROOT)).recurse_included_files()
    found = {file.distribution_path for file in listed}
    tracked = subprocess.run(
        ["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    if not tracked:
        pytest.skip("not in a git checkout")
    assert {path.removeprefix("src/") for path in tracked} <= found
    assert all(path.startswith("archgrad/") for path in found)
    assert {"archgrad/py.typed", "archgrad/published.json"} <= found

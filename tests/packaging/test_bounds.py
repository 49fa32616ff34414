"""Lower bounds of the dependencies are the versions that `make test-lowest` installs."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _numbers(version: str) -> tuple[int, ...]:
    """Of a version, without zeros at its end: 2.13.0 is 2.13."""
    return tuple(map(int, re.sub(r"(\.0)+$", "", version).split(".")))


def test_every_lower_bound_is_the_version_that_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {
        name: _numbers(lowest)
        for name, lowest in (
            re.match(r"([\w-]+)>=([\d.]+)", line).groups() for line in project["dependencies"]
        )
    }
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints-lowest.txt").read_text().splitlines()
    )
    assert len(bounds) == len(project["dependencies"]) == 9
    assert bounds == {name: _numbers(pinned[name]) for name in bounds}

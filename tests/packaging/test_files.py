"""Every file of the package is in the wheel and the sdist, and nothing else of the checkout."""

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package() -> set[str]:
    """The files of the package, by their paths under src/."""
    listed = subprocess.run(
        ["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    if not listed:
        pytest.skip("not in a git checkout")
    found = {path.removeprefix("src/") for path in listed}
    assert {f"archgrad/{name}" for name in ("py.typed", "published.json")} < found
    assert {Path(name).suffix for name in found} > set(".py .cpp .h .html .css .js .json".split())
    return found


def test_a_wheel_holds_the_package_and_its_licences(package: set[str], tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    (built,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(built).namelist())
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == package
    ends = {name.partition(".dist-info/")[2] for name in about}
    assert ends == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt"),
        *("licenses/LICENSE", "licenses/NOTICE"),
        *(f"licenses/src/{name}" for name in package if name.endswith(".LICENSE")),
    }


def test_an_sdist_holds_what_builds_the_wheel(package: set[str], tmp_path: Path) -> None:
    sdist = pytest.importorskip("hatchling.builders.sdist", reason="hatchling is not installed")
    (built,) = sdist.SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(built) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert names == {
        *("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO", ".gitignore"),
        *("CITATION.cff", "NOTICE", "docs/sources.md"),
        *(f"src/{name}" for name in package),
    }

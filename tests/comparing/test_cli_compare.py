"""archgrad compare on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import archgrad
from archgrad.cli import main as cli
from archgrad.findings.results import Results
from archgrad.system import interruption
from small import FLAGS, OPTIONS, arrays, timeless


def run(*arguments: str | Path) -> int:
    """The status of archgrad compare."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["compare", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.slow
def test_processes_side_by_side_reach_the_same_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "digits.npz", **arrays())
    text = f"npz:{tmp_path / 'digits.npz'}"
    methods, two = "random,evolution", tmp_path / "two"
    arguments = ["--methods", methods, "--data", text, "--out", two, *FLAGS]
    assert run(*arguments, "--parallel", "2") == 0
    told = capsys.readouterr()
    assert "2/2" in told.err
    assert "random" in told.out
    assert f"everything is in {two}" in told.out
    assert f"report   {two / 'report.html'}\n" in told.out
    one = archgrad.compare(methods, text, out=tmp_path / "one", **OPTIONS)
    assert (tmp_path / "one" / "report.html").is_file()
    other = Results.load(two / "results.json")
    assert timeless(other) == timeless(one).replace('"parallel": 1', '"parallel": 2')
    assert run("--resume", two, "--seeds", "4", "--out", two) == 2
    error = capsys.readouterr().err
    assert "keeps its options; leave out seeds, out" in error
    assert run("--resume", two) == 0
    assert "2 of 2" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "darts,darts"], 'found "darts" twice'),
        (["--methods", "dartz"], 'method "dartz" is not known; did you mean "darts"'),
        (["--data", "digits,digits"], "data digits is there twice"),
        (["--data", "digits,cifar"], 'data set "digits,cifar" is not known'),
        (["--method", "darts"], "No such option: --method"),
        (["--train-seed", "1"], "No such option: --train-seed"),
    ],
)
def test_wrong_input_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--out", tmp_path / "c") == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_failed_search_is_told_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "digits.npz", **arrays())
    monkeypatch.setattr("archgrad.comparing.jobs.checked", lambda *_: 1 / 0)
    text, folder = f"npz:{tmp_path / 'digits.npz'}", tmp_path / "c"
    assert run("--methods", "random", "--data", text, "--out", folder, *FLAGS) == 1
    told = capsys.readouterr()
    assert "1/1  random on npz:" in told.err
    *_, ended, advice = told.err.splitlines()
    assert ended.endswith(", failed")
    again = f"try them again with: archgrad compare --resume {folder}"
    assert advice == f"1 of 1 searches failed; {again}"
    assert "0 of 1 (1 failed)" in told.out


def test_an_interruption_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    np.savez(tmp_path / "digits.npz", **arrays())
    monkeypatch.setattr("archgrad.comparing.jobs.checked", interrupt)
    text, folder = f"npz:{tmp_path / 'digits.npz'}", tmp_path / "c"
    assert run("--methods", "random", "--data", text, "--out", folder, *FLAGS) == 130
    assert interruption.again() == f"archgrad compare --resume {folder}"


def test_help_says_the_defaults_of_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "retrainings of each architecture found [1]" in text
    assert "--method-option" not in text

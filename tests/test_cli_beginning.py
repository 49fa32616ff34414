"""What the command line says to somebody who has not used it yet."""

from __future__ import annotations

import pytest

from archgrad.cli import main as cli


def test_alone_it_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([])
    told, error = capsys.readouterr()
    assert error == ""
    lines = told.splitlines()
    assert len(lines) <= 10 and max(map(len, lines)) <= 100
    for word in (
        "archgrad run ",
        "--data npz:FILE",
        "archgrad.search(",
        "archgrad --help",
        "docs/",
    ):
        assert word in told


def test_every_command_is_summed_up_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cut off in a terminal of 80 columns, and each line is a sentence."""
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    listed = capsys.readouterr().out.partition("Commands:")[2].strip().splitlines()
    assert len(listed) == len(cli.app.registered_commands)
    for line in listed:
        assert line.endswith(".") and not line.endswith("...") and len(line) <= 80


def test_help_lists_options_by_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["sweep", "--help"])
    lines = capsys.readouterr().out.splitlines()
    at = {line: number for number, line in enumerate(lines)}
    heads = ["Options:", "Data:", "Search:", "Where searches run:", "Language models:"]
    assert [line for line in lines if line.endswith(":") and not line.startswith(" ")] == heads
    for option, head in {
        "--vary": 0,
        "--data": 1,
        "--epochs": 2,
        "--parallel": 3,
        "--bptt": 4,
    }.items():
        (place,) = [n for n, line in enumerate(lines) if line.split()[:1] == [option]]
        ends = [at[name] for name in heads[1:]] + [len(lines)]
        assert at[heads[head]] < place < ends[head]

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

"""What files bring along is shown in a terminal and not obeyed by it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from archgrad.architecture import published
from archgrad.cli.main import main
from archgrad.errors import ArchgradError, printable
from archgrad.progress.terminal import console, print_result, table, tell
from archgrad.storage import failures

BAD = "a\x1b]0;b\x07\x1b[2Jc\nd\re\x9bf\u202eg\udcff"
SHOWN = r"a\x1b]0;b\x07\x1b[2Jc\nd\re\x9bf\u202eg\udcff"


def test_every_control_character_is_escaped() -> None:
    every = "".join(map(chr, (*range(32), *range(127, 160))))
    assert printable(BAD) == SHOWN
    assert printable(every).isprintable() and len(printable(every)) > 2 * len(every)
    turning = "".join(map(chr, (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F))))
    assert len(printable(turning)) == 6 * len(turning)
    assert printable("é ± 漢 ~\\") == "é ± 漢 ~\\"
    assert str(ArchgradError(BAD)) == SHOWN


def test_what_is_printed_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    tell(BAD)
    print_result({}, "one\n" + BAD, as_json=False)
    out, err = capsys.readouterr()
    assert (out, err) == ("one\n" + SHOWN.replace(r"\n", "\n") + "\n", SHOWN + "\n")


@pytest.mark.parametrize("colours", [False, True])
def test_tables_and_progress_keep_their_own_sequences_alone(
    colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if colours:
        monkeypatch.setenv("FORCE_COLOR", "1")
    place = io.StringIO()
    made = console(place)
    made.print(table([["name"], ["x\x1b[31my\x9b"]]))
    made.print("x\x1b[31my\x9b", soft_wrap=True, markup=False)
    assert place.getvalue().count(r"x\x1b[31my\x9b") == 2
    assert "\x9b" not in place.getvalue()
    assert ("\x1b[1m" in place.getvalue(), "\x1b[31m" in place.getvalue()) == (colours, False)


def said(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    with pytest.raises(SystemExit, match="2"):
        main([*arguments])
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("\n") and err[:-1].isprintable()
    return err


def test_errors_of_the_command_line_are_one_clean_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text('data: {data: digits}\n"\\e[31mx\\ny": 1\n')
    assert r"field \x1b[31mx\ny is not known" in said(["search", "--config", str(config)], capsys)
    folder = tmp_path / "r\x1b[2J\nun"
    folder.mkdir()
    assert r"r\x1b[2J\nun holds no run" in said(["derive", str(folder)], capsys)
    (folder / "a.json").write_text(published("DARTS_V2").to_json().replace("skip", r"\u001b\n"))
    assert r"\x1b\n_connect" in said(["train", str(folder / "a.json")], capsys)


def test_names_and_reasons_of_files_are_one_clean_line(tmp_path: Path) -> None:
    text = published("DARTS_V2").to_json().replace("normal", r"\u001b\n")
    assert str(type(published("DARTS_V2")).from_json(text)).count("\n") == 1
    (tmp_path / "failed.json").write_text(json.dumps({"error": BAD[:-1]}))
    assert failures.of(tmp_path) == SHOWN.removesuffix(r"\udcff")

"""The code in the documentation runs, page by page, and no block of it stays unexecuted in silence.

One test a page: its blocks follow from each other, so they have to run in one process.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pages import PageError, execute

DOCS = Path(__file__).parent.parent / "docs"
FOLDERS = ("tutorials", "howto", "coming_from")
PAGES = [
    DOCS / "start.md",
    *(path for folder in FOLDERS for path in sorted((DOCS / folder).glob("**/*.md"))),
]


@pytest.mark.parametrize("page", [str(path.relative_to(DOCS)) for path in PAGES])
def test_all_blocks_of_the_page_run(page: str, tmp_path: Path) -> None:
    print(*execute(DOCS / page, tmp_path), sep="\n")  # what it skips: pytest -rP shows it


# --- the mechanism itself ---------------------------------------------------------------------


def ran(tmp_path: Path, text: str) -> list[str]:
    page, folder = tmp_path / "page.md", tmp_path / "folder"
    page.write_text(text)
    folder.mkdir()
    return execute(page, folder)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(PageError) as error:
        ran(tmp_path, text)
    return str(error.value).removeprefix(f"{tmp_path}/")


def test_blocks_share_names_and_an_empty_folder_and_hidden_blocks_check(tmp_path: Path) -> None:
    skipped = ran(
        tmp_path,
        "```python\nfrom dataclasses import dataclass\nfrom pathlib import Path\n"
        "assert not [*Path().iterdir()]\n\n@dataclass\nclass One:\n    n: int = 1\n```\n"
        "> A command over two lines:\n\n"
        "```bash\n# a comment\narchgrad methods \\\n    darts\n```\n"
        "```text\nnot checked\n```\n"
        "<!-- invisible-code-block: python\nPath('seen').write_text(repr(One().n + 1))\n-->\n",
    )
    assert skipped == []
    assert (tmp_path / "folder" / "seen").read_text() == "2"


def test_a_failing_block_names_page_and_line(tmp_path: Path) -> None:
    said = refused(
        tmp_path, "# A page\n\n```python\na = 1\n```\n\n```python\nb = 2\nassert a == b\n```\n"
    )
    assert said.startswith("page.md:9: AssertionError")
    assert "in the block at line 7:\n```python\nb = 2\n" in said


def test_a_hidden_block_can_fail(tmp_path: Path) -> None:
    said = refused(
        tmp_path, "Text\n\n<!-- invisible-code-block: python\nx = 1\nassert x == 2\n-->\n"
    )
    assert said.startswith("page.md:5: AssertionError")


def test_a_failing_example_session_names_its_line(tmp_path: Path) -> None:
    said = refused(tmp_path, "\n```python\n>>> 1 + 1\n2\n>>> 1 + 2\n4\n```\n")
    assert said.startswith("page.md:5: ")
    assert "Expected:" in said


def test_a_command_that_fails_names_its_line(tmp_path: Path) -> None:
    said = refused(tmp_path, "```bash\narchgrad methods\narchgrad methods \\\n  no-such\n```\n")
    assert said.startswith("page.md:3: status 2: archgrad methods   no-such\n")


@pytest.mark.parametrize("command", ["pip install archgrad", "OMP_NUM_THREADS=1 archgrad data"])
def test_an_unknown_command_is_refused(tmp_path: Path, command: str) -> None:
    said = refused(tmp_path, f"```bash\narchgrad methods\n{command}\n```\n")
    assert said.startswith(f"page.md:3: unknown command '{command.split()[0]}'; expected archgrad")


@pytest.mark.parametrize("language", ["sh", "", "py", " python", "{code-block} sh"])
def test_a_block_in_an_unknown_language_is_refused(tmp_path: Path, language: str) -> None:
    said = refused(tmp_path, f"Text\n```{language}\narchgrad methods\n```\n")
    assert said.startswith(f"page.md:2: a block in {language or 'no language'}; expected ")


def test_what_cannot_run_here_is_skipped_with_its_reason(tmp_path: Path) -> None:
    skipped = ran(
        tmp_path,
        '<!-- skip: next "needs four GPUs" -->\n\n```bash\ntorchrun -m archgrad search\n```\n'
        "```python\ndone = True\n```\n"
        '<!-- skip: next if(done, reason="done") -->\n```python\n1 / 0\n```\n'
        '<!-- skip: next if(not done, reason="not done") -->\n```python\ndone = 2\n```\n'
        "```python\nassert done == 2\n```\n",
    )
    told = [line.removeprefix(f"{tmp_path}/") for line in skipped]
    assert told == ["page.md:3: skipped: needs four GPUs", "page.md:10: skipped: done"]


def test_a_skip_without_a_reason_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, "<!-- skip: next -->\n```python\n1 / 0\n```\n")
    assert said.startswith("page.md:1: AssertionError: no reason; expected <!-- skip: next ")

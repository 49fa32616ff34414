"""Executes the code blocks of a page of the documentation, in order (CONTRIBUTING.md, "Pages")."""

from __future__ import annotations

import random
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from types import ModuleType
from unittest import SkipTest

import numpy as np
import torch
from sybil import Document, Example
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

from archgrad.cli import main as cli

SHOWN = {"text", "yaml", "json", "toml"}  # the languages of blocks that nobody executes


class PageError(AssertionError):
    """A block of a page that does not do what the page says."""


def execute(page: Path, folder: Path) -> list[str]:
    """Run all blocks of a page in an empty folder; give what it skips, one line each.

    Python blocks share one namespace, that of a module, so that classes of theirs are as in a
    script. A block that fails, or that nothing would execute, is a `PageError` with page and line.
    """
    bash = CodeBlockParser("bash", _run_commands)
    document = Document.parse(str(page), PythonCodeBlockParser(), bash, SkipParser())
    _refuse_unknown_languages(document)
    module = ModuleType(f"page_{page.stem}")
    document.namespace = module.__dict__
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    skipped: list[str] = []
    sys.modules[module.__name__] = module
    try:
        with chdir(folder):
            for example in document:
                _evaluate(example, skipped)
    finally:
        del sys.modules[module.__name__]
    return skipped


def _evaluate(example: Example, skipped: list[str]) -> None:
    try:
        if isinstance(example.parsed, tuple) and example.parsed[0] != "end":  # a skip comment
            assert example.parsed[1], 'no reason; expected <!-- skip: next "the reason" -->'
        example.evaluate()
    except SkipTest as reason:
        skipped.append(f"{example.path}:{example.line}: skipped: {reason}")
    except PageError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == example.path]
        line = lines[-1] if lines else example.line
        raise _failed(example, line, f"{type(error).__name__}: {error}") from error


def _failed(example: Example, line: int | None, told: str) -> PageError:
    text = example.document.text[example.start : example.end]
    return PageError(f"{example.path}:{line}: {told}\nin the block at line {example.line}:\n{text}")


def _run_commands(example: Example) -> None:
    """The evaluator of bash blocks: archgrad's command line in this process, and nothing else."""
    for line, command in _commands(example.parsed, example.line + 1):
        name, *arguments = shlex.split(command, comments=True) or ["archgrad", None]
        if arguments == [None]:  # a comment
            continue
        if name != "archgrad":
            told = f"unknown command {name!r}; expected archgrad, or a skip comment with the reason"
            raise _failed(example, line, told)
        try:
            cli.main(arguments)
        except SystemExit as ended:
            if ended.code:
                raise _failed(example, line, f"status {ended.code}: {command}") from None


def _commands(text: str, first: int) -> Iterator[tuple[int, str]]:
    """The commands of a block with their lines; a backslash continues one on the next line."""
    begun, command = first, ""
    for number, line in enumerate(text.splitlines(), start=first):
        if not command:
            begun = number
        command += line.removesuffix("\\")
        if not line.endswith("\\"):
            yield begun, command
            command = ""
    if command:
        yield begun, command


def _refuse_unknown_languages(document: Document) -> None:
    for region in FencedCodeBlockLexer(language=".*")(document):
        language = region.lexemes["language"]
        directive = language.startswith("{") and not language.startswith("{code")
        if language not in {"python", "bash", *SHOWN} and not directive:
            line = document.text.count("\n", 0, region.start) + 1
            raise PageError(
                f"{document.path}:{line}: a block in {language or 'no language'}; expected python "
                f"or bash, which are executed, or one of {', '.join(sorted(SHOWN))}"
            )

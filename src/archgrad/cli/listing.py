"""The commands that list what there is: methods, spaces, data, recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from archgrad.progress.terminal import AsJson, print_result, table


def methods_command(
    name: Annotated[
        str | None, typer.Argument(help="a method, to print in full: text, slots, options")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods with their papers, or describe one.

    The list says what each has beside plain DARTS.
    """
    from archgrad.cli import answers
    from archgrad.cli import methods_table as listing

    if name is None:
        print_result(answers.methods(), listing.table(), as_json)
    else:
        print_result(answers.method(name), listing.describe(name), as_json)


def spaces_command(as_json: AsJson = False) -> None:
    """List the search spaces with their papers."""
    from archgrad.spaces import SPACES

    _print(
        [(name, (space.__doc__ or "").split("\n")[0]) for name, space in SPACES.items()],
        "space",
        as_json,
    )


def data_command(as_json: AsJson = False) -> None:
    """List the data sets and the forms in which they are read."""
    from archgrad.data import DATASETS

    _print(list(DATASETS.items()), "data", as_json)


def recipes_command(
    name: Annotated[
        str | None, typer.Argument(help="a recipe, to print in full: source and values")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes of retraining with their papers, or one."""
    from archgrad.cli import answers
    from archgrad.settings.recipes import RECIPES, describe, rows

    if name is None:
        print_result([answers.recipe(each) for each in RECIPES], table(rows()), as_json)
    else:
        print_result(answers.recipe(name), describe(name), as_json)


def _print(rows: Sequence[tuple[str, str]], header: str, as_json: bool) -> None:
    """Names and what they are."""
    value = [{header: name, "what": what} for name, what in rows]
    print_result(value, table([[header, "what"], *map(list, rows)]), as_json)

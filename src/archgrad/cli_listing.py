"""The commands that list what there is: methods, spaces, data, recipes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from archgrad.terminal import table


def methods_command(
    name: Annotated[
        str | None, typer.Argument(help="a method, to print in full: text, slots, options")
    ] = None,
) -> None:
    """List the methods: what each has beside plain DARTS, and its paper; or one in full."""
    from archgrad.methods import listing

    typer.echo(listing.table() if name is None else listing.describe(name))


def spaces_command() -> None:
    """List the search spaces, each with its paper."""
    from archgrad.spaces import SPACES

    rows = [[name, (space.__doc__ or "").split("\n")[0]] for name, space in SPACES.items()]
    Console(file=sys.stdout).print(table([["space", "what"], *rows]))


def data_command() -> None:
    """List the data sets and the forms in which they are read."""
    from archgrad.data import DATASETS

    rows = [["data", "what"], *([name, what] for name, what in DATASETS.items())]
    Console(file=sys.stdout).print(table(rows))


def recipes_command(
    name: Annotated[
        str | None, typer.Argument(help="a recipe, to print in full: source and values")
    ] = None,
) -> None:
    """List the recipes of retraining with their papers; or one in full."""
    from archgrad.recipes import describe, rows

    if name is None:
        Console(file=sys.stdout).print(table(rows()))
    else:
        typer.echo(describe(name), nl=False)

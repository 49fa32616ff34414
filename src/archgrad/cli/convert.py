"""The command `archgrad convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archgrad.errors import ArchgradError
from archgrad.progress.terminal import AsJson, print_result


def convert_command(
    source: Annotated[
        str,
        typer.Argument(
            help="a text or a file of another tool, such as a log; or a published name, a .json "
            "file or a run folder of archgrad"
        ),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="look for this alone: archgrad, genotype, nas-bench-201, nni or naslib [any]",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option(help="archgrad (JSON), genotype (of DARTS) or nas-bench-201 (a string)")
    ] = "archgrad",
    epoch: Annotated[
        int | None, typer.Option(help="of a log, as it counts its epochs [the last]")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="of several in a file, such as genotypes.py [the only one]")
    ] = None,
    space: Annotated[
        str, typer.Option(help="of convolutional cells: darts-cnn or s1 to s4")
    ] = "darts-cnn",
    out: Annotated[
        Path | None, typer.Option(help="write the architecture to this new file [print it]")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="write what a log says of every epoch to this new CSV file [none]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn architectures of other tools into ours, or back.

    Reads what DARTS and its descendants, NNI, NASLib and AutoDL-Projects print and export, as text:
    nothing of it is run. Weights are not converted. See docs/coming_from/index.md.
    """
    from archgrad.cli import answers
    from archgrad.conversion import convert, written
    from archgrad.storage.files import write

    for path in (out, table):
        if path is not None and path.exists():
            raise ArchgradError(f"file {path} already exists; choose another name")
    if out is not None and table is not None and out.absolute() == table.absolute():
        raise ArchgradError(f"found {out} as --out and as --table; choose two names")
    found = convert(source, form, space)
    numbers_alone = not found.found and table is not None and out is None
    chosen = None if numbers_alone else found.chosen(epoch, name)
    told, text = "", None if chosen is None else written(chosen, to)
    lines = "" if table is None else found.table()  # before anything is written
    if chosen is not None and text is not None:
        told = text.removesuffix("\n") if out is None else str(chosen)
        if out is not None:
            write(out, text.removesuffix("\n") + "\n")
    if table is not None:
        write(table, lines)
        told += f"\ntable    {table}"
    value = answers.conversion(found, chosen, text, {"file": out, "table": table})
    print_result(value, told.strip("\n"), as_json)

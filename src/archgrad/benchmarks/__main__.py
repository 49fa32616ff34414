"""`python -m archgrad.benchmarks convert SOURCE DESTINATION` writes a small table file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from archgrad.benchmarks import convert
from archgrad.errors import ArchgradError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 for input that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m archgrad.benchmarks")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("convert", help="write a small table file from another form")
    verb.add_argument("source", help="CSV, JSON, or a file with the official structure")
    verb.add_argument("destination", help="a new file, .csv or .csv.gz")
    verb.add_argument("--partial", action="store_true", help="take a source without all cells")
    options = parser.parse_args(arguments)
    try:
        print(convert(options.source, options.destination, partial=options.partial))
    except ArchgradError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

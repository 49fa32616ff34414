"""`archgrad` and `python -m archgrad` are the command line."""

from archgrad.system.interruption import ending, heed


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; Ctrl-C and SIGTERM end it, also while it is imported."""
    with ending():
        heed()
        from archgrad.cli import main as cli

        cli.main(arguments)


if __name__ == "__main__":
    main()

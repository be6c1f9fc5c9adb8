"""`python -m dialogpt` is `dialogpt`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is being imported, seconds from a cold disk, ends in its sentence, too."""
    try:
        from dialogpt.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("\nerror: interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

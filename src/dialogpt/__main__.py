"""`python -m dialogpt` is `dialogpt`."""

from dialogpt.cli import main

if __name__ == "__main__":
    main()

"""``python -m dreamzoo``: the command where it is not installed."""

from dreamzoo.cli import main

if __name__ == "__main__":
    main()

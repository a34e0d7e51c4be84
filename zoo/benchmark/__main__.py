"""``python -m dreamzoo.benchmark``: the command ``dreamzoo benchmark``."""

from dreamzoo.cli.benchmark import main

if __name__ == "__main__":
    main()

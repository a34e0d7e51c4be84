"""``python -m dreamzoo.rl_zoo``: the command where it is not installed."""

from dreamzoo.rl_zoo.commands import main

if __name__ == "__main__":
    main()

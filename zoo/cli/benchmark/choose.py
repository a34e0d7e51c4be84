"""What the commands that train let a user choose: agents, tasks, seeds, a budget."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dreamzoo.benchmark.budgets import BUDGETS
from dreamzoo.benchmark.comparisons import COMPARISONS, Comparison, of_envs, of_suite
from dreamzoo.benchmark.run_config import Run
from dreamzoo.benchmark.suites import suite
from dreamzoo.cli.arguments import device_anywhere, seed, whole
from dreamzoo.common.storage.agents import agent_class

#: What stands beside a world model where nobody says what else.
AGENTS = ("dreamer_v3", "ppo")


class Chosen(NamedTuple):
    """
    What a command line has chosen.

    :param comparison: of which agents on which tasks
    :param runs: of it
    :param folder: for them and what they score
    """

    comparison: Comparison
    runs: list[Run]
    folder: Path


def add_choice(parser: argparse.ArgumentParser) -> None:
    """
    Let a command line choose runs.

    :param parser: of the command
    """
    parser.add_argument(
        "comparison", nargs="?", help=f"one with settings of its own: {', '.join(COMPARISONS)}"
    )
    parser.add_argument("--suite", help="instead: all tasks of a suite; dreamzoo suites lists them")
    parser.add_argument(
        "--tasks",
        nargs="+",
        help="which of them, default: all; without a suite names for dreamzoo train --env",
    )
    parser.add_argument(
        "--agents",
        nargs="+",
        help="names for dreamzoo train --agent, or labels of a comparison; default: all of it, of "
        f"a suite {' and '.join(AGENTS)}",
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", nargs="+", help="how many, from 0 on; default: 3")
    seeds.add_argument("--seed", nargs="+", type=seed, help="instead: these and no others")
    parser.add_argument("--budget", choices=BUDGETS, help="of a suite or tasks, default: laptop")
    parser.add_argument("--frames", type=whole(1), help="of a training instead of the budget's")
    parser.add_argument("--device", type=device_anywhere, default="auto")
    parser.add_argument("--threads", type=whole(1), default=1, help="of each run, default: 1")
    parser.add_argument("--out", type=Path, help="default: runs/COMPARISON or runs/SUITE-BUDGET")


def choose(args: argparse.Namespace) -> Chosen:
    """
    Make the runs that a command line names.

    :param args: of a parser with :func:`add_choice`
    :raises ValueError: if it names nothing, too much, or what there is not
    """
    comparison, name = _comparison(args)
    folder = args.out or Path("runs") / name
    preset = args.comparison is not None
    runs = comparison.seeded(
        _seeds(args),
        tasks=args.tasks if preset else None,
        agents=args.agents if preset else None,
        folder=folder,
    )
    shared = {"device": args.device, "threads": args.threads}
    chosen = [replace(run, **shared) for run in runs]
    if not chosen:
        raise ValueError(
            f"{args.comparison} has no run of {' or '.join(args.agents or comparison.agents)} on "
            f"{' or '.join(args.tasks or comparison.frames)}; dreamzoo benchmark commands "
            f"{args.comparison} shows those that it has."
        )
    for run in chosen:
        agent_class(run.agent)  # there is none: told by all commands, which say what is near
    return Chosen(comparison, chosen, folder)


def _comparison(args: argparse.Namespace) -> tuple[Comparison, str]:
    """Find or make the comparison, and name its folder."""
    if args.comparison is not None:
        if args.comparison not in COMPARISONS:
            raise ValueError(
                f"There is no comparison {args.comparison!r}; there are {', '.join(COMPARISONS)}. "
                "For a suite or tasks of your own say --suite or --tasks."
            )
        given = [n for n in ("suite", "budget", "frames") if getattr(args, n) is not None]
        if given:
            raise ValueError(
                f"The comparison {args.comparison} has its own tasks, settings and frames: leave "
                f"out --{' and --'.join(given)}, or leave out its name."
            )
        return COMPARISONS[args.comparison], args.comparison
    budget = args.budget or "laptop"
    agents = args.agents or AGENTS
    if args.suite is not None:
        of = of_suite(args.suite, agents, tasks=args.tasks, budget=budget, frames=args.frames)
        return of, f"{suite(args.suite).name}-{budget}"
    if args.tasks is None:
        raise ValueError(
            "Name what to compare: a comparison (dreamzoo benchmark list), or --suite, or --tasks."
        )
    return of_envs(args.tasks, agents, budget=budget, frames=args.frames), f"tasks-{budget}"


def _seeds(args: argparse.Namespace) -> list[int]:
    if args.seed is not None:
        return list(dict.fromkeys(args.seed))
    count = args.seeds or ["3"]
    if len(count) > 1:
        raise ValueError(
            f"--seeds is how many: --seeds 3 are 0, 1 and 2. These and no others: --seed "
            f"{' '.join(count)}"
        )
    try:
        return list(range(whole(1)(count[0])))
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"--seeds {error}; --seed names seeds one by one.") from None

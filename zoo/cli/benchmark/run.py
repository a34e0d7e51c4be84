r"""
Train agents on tasks, or go on where an earlier call was, and show what they score.

    dreamzoo benchmark run --suite dmc_proprio --tasks cartpole-swingup \
        --agents dreamer_v3 dreamer_v2 sac ppo --seeds 3 --budget laptop
    dreamzoo benchmark run --tasks CartPole-v1 --agents dreamer_v2 dqn --budget smoke
    dreamzoo benchmark run discrete --jobs 2
    dreamzoo benchmark run dmc_proprio --agents dreamer_v2 --tasks dmc/walker-walk --seed 0
    dreamzoo benchmark run discrete --backend ray --address auto --out /shared/discrete

Agents by tasks by seeds, of a suite, of any environments, or of a comparison that has settings of
its own; dreamzoo benchmark list names them and the budgets. Agents of SB3 (ppo, a2c, sac, td3,
ddpg, dqn) and sb3-contrib's recurrent_ppo are trained and evaluated in the same way, with SB3's own
settings. What does not fit, such as sac with discrete actions, is named before anything begins.

Each run is dreamzoo train in a process of its own, under --out, with what it prints in a file
beside it. In a terminal a table shows which runs, where, how far it is and when it will be
finished. A run whose process is killed goes on from its last save; one that fails by its own error
stops no other, and is named at the end. Interrupted, everything stops, and goes on from the last
saves when the command is called again; several calls, of several terminals, share the work. After
each run, and at the end, all that was evaluated by then is collected into results.csv. At the end
there are also the table (table.md), curves.png, a picture of each task (pictures/) and one page
with all of it (report.html).

A run of earlier may lie in a folder with other settings. You are asked what to do with it: keep it
with its own settings, begin it anew, or skip it; --changed answers for all. Without a terminal such
runs are skipped, and named at the end.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dreamzoo.benchmark.comparisons import Comparison
from dreamzoo.benchmark.fitting import refuse_unfit
from dreamzoo.benchmark.many_runs import collect_all, train_all
from dreamzoo.benchmark.results.evaluations import Progress, ends, read_rows
from dreamzoo.benchmark.results.plot import DPI, plot_results, plot_tasks
from dreamzoo.benchmark.results.report import report
from dreamzoo.benchmark.results.table import result_table
from dreamzoo.benchmark.run_config import Run, as_begun, changes
from dreamzoo.cli.arguments import device_here, make_parser, plain_errors, whole
from dreamzoo.cli.benchmark.choose import Chosen, add_choice, choose
from dreamzoo.common.storage.files import check_folder, locked, replaced_file
from dreamzoo.launch import Backend, NotReady
from dreamzoo.launch.on_ray import RayTasks

ANSWERS = ("keep", "anew", "skip")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("benchmark run", __doc__)
    add_choice(parser)
    of_ray = "with --backend ray"
    parser.add_argument(
        "--backend", choices=("local", "ray"), default="local", help="where runs are made"
    )
    parser.add_argument(
        "--address",
        help=f"{of_ray}: host:port of the cluster's head, or auto; default: what RAY_ADDRESS "
        "names, else a cluster of this machine's own",
    )
    parser.add_argument(
        "--gpus",
        type=float,
        help=f"{of_ray}: that each run asks for, such as 0.5; default: 1 with --device cuda, and "
        "with auto on a cluster that has any",
    )
    parser.add_argument("--memory", type=float, help=f"{of_ray}: GiB that each run asks for")
    parser.add_argument("--jobs", type=whole(1), help=f"runs at once, default: 1; {of_ray}: all")
    parser.add_argument(
        "--retries",
        type=whole(0),
        default=3,
        help="of a run that is killed without coming to another save, default: 3",
    )
    parser.add_argument(
        "--changed", choices=ANSWERS, help="what to do with runs that have other settings"
    )
    args = parser.parse_args(argv)
    if args.backend == "local":
        try:
            device_here(args.device)
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument --device: {error}")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with plain_errors():
        backend = _backend(args)
        chosen = choose(args)
        refuse_unfit(chosen.comparison.seeded([0], tasks=_tasks(chosen), agents=_agents(chosen)))
        check_folder(chosen.folder)
        results = chosen.folder / "results.csv"
        read_rows(results)  # a damaged one is told before anything is trained
        runs, anew, skipped = decide(chosen.runs, args.changed)

    def grow() -> None:
        # What cannot be read by now is read, or said, at the end.
        with suppress(ValueError, OSError):
            collect_all(runs, results, skipped)

    try:
        failed = train_all(
            runs,
            args.jobs,
            anew=anew,
            after_each=grow,
            backend=backend,
            retries=args.retries,
        )
    except NotReady as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Interrupted; the same command goes on from the last saves.") from None
    with plain_errors():
        found = collect_all(runs, results, skipped)
        show(chosen, found.unfinished, ["dreamzoo", "benchmark", "run", *(argv or [])])
    left = [f"{why} It was left out." for why in found.unreadable.values()]
    if failed:
        names = ", ".join(run.out.name for run in failed)
        left.append(
            f"{len(failed)} of {len(chosen.runs)} runs failed: {names}. What each has printed "
            "lies beside its folder."
        )
    if skipped:
        names = ", ".join(run.out.name for run in skipped)
        left.append(
            f"{len(skipped)} skipped, whose settings have changed: {names}. Say --changed keep, "
            f"anew or skip. {results.name} has no evaluations of other settings; dreamzoo "
            "benchmark collect puts those of such a run into a file of its own."
        )
    if failed or found.unreadable or (skipped and args.changed is None):
        raise SystemExit(" ".join(left))


def _backend(args: argparse.Namespace) -> Backend | None:
    """
    Make what starts runs; None: what starts them on this machine.

    :raises ValueError: for what only the other backend knows
    """
    given = [name for name in ("address", "gpus", "memory") if getattr(args, name) is not None]
    if args.backend == "ray":
        memory = None if args.memory is None else int(args.memory * 2**30)
        return RayTasks(args.address, args.gpus, memory)
    if given:
        raise ValueError(f"--{' and --'.join(given)} are for a cluster: say --backend ray, too.")
    return None


def _tasks(chosen: Chosen) -> list[str]:
    return list(dict.fromkeys(run.env for run in chosen.runs))


def _agents(chosen: Chosen) -> list[str]:
    return list(dict.fromkeys(run.label or run.agent for run in chosen.runs))


def decide(
    runs: list[Run], answer: str | None, ask: Callable[[str], str] = input
) -> tuple[list[Run], set[Path], list[Run]]:
    """
    Decide what becomes of runs whose folders hold others.

    :param runs: as they are asked for
    :param answer: for all of them, in :data:`ANSWERS`; None: ask, or skip where nobody is there
    :param ask: shows a question, returns what is typed
    :return: runs to train, some of them as they were begun; folders to begin anew; those skipped
    """
    kept: list[Run] = []
    anew: set[Path] = set()
    skipped: list[Run] = []
    for run in runs:
        try:
            different = changes(run)
        except ValueError:  # its process says what is wrong with the folder
            different = ""
        if not different:
            kept.append(run)
            continue
        print(f"{run.out} holds a run with other settings; asked for: {different}.", flush=True)
        what = answer or (_ask(ask) if sys.stdin.isatty() else "skip")
        if what == "skip":
            skipped.append(run)
        elif what == "keep":
            kept.append(as_begun(run))
        else:
            kept.append(run)
            anew.add(run.out)
    return kept, anew, skipped


def _ask(ask: Callable[[str], str]) -> str:
    """Ask until the answer is one of those that there are."""
    question = "[k]eep it with its own settings, begin it [a]new and remove it, or [s]kip it? "
    while True:
        typed = ask(question).strip().lower()
        found = [answer for answer in ANSWERS if typed and answer.startswith(typed)]
        if found:
            return found[0]


def show(chosen: Chosen, unfinished: dict[Path, Progress], command: list[str]) -> None:
    """
    Print the table of the results and write what shows them.

    :param chosen: what was trained
    :param unfinished: what :func:`collect_all` has said of them
    :param command: that trained it, for the page, which also has those of earlier
    """
    folder, comparison = chosen.folder, chosen.comparison
    rows = read_rows(folder / "results.csv")
    frames = _frames(comparison, ends(rows))
    if not frames:
        print("Nothing is evaluated yet.")
        return
    table = result_table(rows, frames, comparison.window)
    (folder / "table.md").write_text(f"{table.markdown}\n")
    plot_results(rows, frames).savefig(folder / "curves.png", dpi=DPI)
    plot_tasks(rows, frames, folder / "pictures")
    page = report(
        rows,
        frames,
        title=comparison.about,
        window=comparison.window,
        commands=_commands(folder / "commands.txt", shlex.join(command)),
    )
    (folder / "report.html").write_text(page)
    print(table.markdown)
    for path, progress in unfinished.items():
        print(f"{path.name} is at {progress.evaluated:,} of {progress.steps:,} steps.")
    print(
        "Wrote results.csv, table.md, curves.png, pictures/, report.html and commands.txt to "
        f"{folder}."
    )


def _commands(file: Path, command: str) -> list[str]:
    """Add a command to those that have filled a folder, perhaps at the same time, and list them."""
    with locked(f"{file}.lock"):
        earlier = file.read_text().splitlines() if file.exists() else []
        commands = list(dict.fromkeys([*earlier, command]))
        with replaced_file(file, "txt") as new:
            new.write("".join(f"{command}\n" for command in commands).encode())
    return commands


def _frames(comparison: Comparison, reached: dict[str, int]) -> dict[str, int]:
    """Say at which frames the returns of tasks are shown: where runs end, or where they are now."""
    return {t: min(end, reached[t]) for t, end in comparison.frames.items() if t in reached}

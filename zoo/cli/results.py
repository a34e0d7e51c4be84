"""
Collect finished runs of dreamzoo train, set them beside published curves.

    dreamzoo results collect runs/dmc/*-sac-? --to scripts/results/dmc_proprio.csv
    dreamzoo results table --frames 50000
    dreamzoo results plot --frames 50000 --out runs/curves.png
    dreamzoo results metrics runs/cartpole-reference-? --names imagined_return cont_loss
    dreamzoo results scores runs/cartpole-reference-?

``collect`` adds one row for each evaluation, in place of earlier rows of the same agent, task and
seed. Three seeds carry no interval worth its name and no bootstrap (so no rliable): table and
picture show the mean over the seeds and the range from the lowest to the highest.

``metrics`` shows how training went, as its logs say: means over windows of steps. ``scores`` shows
what the episodes of training returned, as the replay says: the mean over environments of the mean
of each one's last ten.

``results/published.csv`` holds what the authors of DreamerV3 released with their code
(github.com/danijar/dreamerv3, folder scores): means over windows of 25,000 frames.
"""

import argparse
import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from stable_baselines3.common.save_util import load_from_pkl

from dreamzoo.cli.arguments import make_parser

FOLDER = Path("scripts/results")
PUBLISHED = Path(__file__).parents[1] / "benchmark" / "published.csv"
TASKS = ["dmc/walker-walk", "dmc/cartpole-swingup", "dmc/reacher-easy"]
AGENTS = {"dreamer_v3": "DreamerV3", "planet": "PlaNet", "sac": "SAC", "ppo": "PPO"}
#: What is published for them, by its name in published.csv.
METHODS = {"dreamerv3": "DreamerV3", "d4pg": "D4PG", "ppo_fixhp": "PPO"}
SUITES = {"dmc": "dmc_proprio", "dmc_pixels": "dmc_vision"}
COLORS = {
    "DreamerV3": "tab:red",
    "PlaNet": "tab:orange",
    "SAC": "tab:blue",
    "PPO": "tab:green",
    "D4PG": "tab:purple",
}
#: Frames of a step where a run does not say: the defaults of ``dreamzoo.envs.make_env``.
REPEATS = {"dmc": 2, "dmc_pixels": 2, "atari": 4, "atari100k": 4}
PUBLISHED_WINDOW = 25_000  # frames
LATE = 5_000  # frames; an evaluation that much before the asked frames says nothing of them


class Evaluation(NamedTuple):
    """One evaluation of a run: a row of the files that ``collect`` writes."""

    agent: str
    task: str
    seed: int
    steps: int
    frames: int  # steps * action repeat
    mean_return: float
    std_return: float  # over the episodes
    episodes: int
    deterministic: int  # 1: most likely actions, 0: sampled ones
    commit: str


class Published(NamedTuple):
    """One window of a published curve: a row of published.csv."""

    suite: str
    method: str
    task: str
    env_frames_window_end: int
    seeds: int
    mean: float
    std: float  # over the seeds


def read(path: Path, kind: Any) -> list[Any]:
    """Read the rows of a file as tuples of a kind; no file, no rows."""
    if not path.exists():
        return []
    types = kind.__annotations__
    with path.open(newline="") as file:
        return [kind(**{k: types[k](v) for k, v in row.items()}) for row in csv.DictReader(file)]


def read_run(folder: Path) -> list[Evaluation]:
    """
    Read the evaluations of a finished run.

    :param folder: what was ``--out`` of dreamzoo train
    :raises SystemExit: if the run is not finished
    """
    config = json.loads((folder / "config.json").read_text())
    args, path = config[-1]["args"], folder / "evaluations.npz"
    table = np.load(path) if path.exists() else {"timesteps": np.zeros(1, int)}
    spacing = max(args["eval_every"] // args["n_envs"], 1) * args["n_envs"]
    last = table["timesteps"][-1]
    if args["steps"] - last >= spacing:
        raise SystemExit(
            f"{folder} is not finished: evaluated at {last} of {args['steps']} steps. Wait for it, "
            "or go on with dreamzoo train --resume."
        )
    repeat = dict(args["env_kwargs"]).get(
        "action_repeat", REPEATS.get(args["env"].partition("/")[0], 1)
    )
    return [
        Evaluation(
            agent=args["agent"],
            task=args["env"],
            seed=args["seed"],
            steps=int(steps),
            frames=int(steps) * repeat,
            mean_return=round(float(returns.mean()), 2),
            std_return=round(float(returns.std()), 2),
            episodes=len(returns),
            deterministic=int(args["deterministic_eval"]),
            commit="+".join(dict.fromkeys(entry["commit"] for entry in config)),
        )
        for steps, returns in zip(table["timesteps"], table["results"], strict=True)
        if steps <= args["steps"]  # PPO completes its last rollout
    ]


def collect(folders: list[Path], to: Path) -> None:
    """Put the evaluations of finished runs into a file, beside those of other runs."""
    new = [row for folder in folders for row in read_run(folder)]
    replaced = {(row.agent, row.task, row.seed) for row in new}
    if len(replaced) < len(folders):
        raise SystemExit("Two of these runs are of the same agent, task and seed.")
    kept = [r for r in read(to, Evaluation) if (r.agent, r.task, r.seed) not in replaced]
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Evaluation._fields)
        writer.writerows(sorted([*kept, *new]))
    print(f"Wrote {len(new)} evaluations of {len(replaced)} runs to {to}.")


def final_returns(curves: Iterable[Evaluation], frames: int, window: int) -> list[float]:
    """
    Average the last evaluations of each seed at or before some frames.

    :param curves: evaluations of one agent at one task
    :param frames: frames asked for
    :param window: frames over which to average, counted back from the last evaluation
    :return: one number for each seed that got so far
    """
    by_seed: dict[int, list[Evaluation]] = {}
    for row in curves:
        if row.frames <= frames:
            by_seed.setdefault(row.seed, []).append(row)
    finals = []
    for rows in by_seed.values():
        last = max(row.frames for row in rows)
        if frames - last < LATE:
            finals.append(np.mean([r.mean_return for r in rows if r.frames > last - window]))
    return [float(x) for x in finals]


def of_task(published: Iterable[Published], task: str, method: str) -> list[Published]:
    """Pick a published curve by this package's name of the task."""
    suite, _, rest = task.partition("/")
    key = (SUITES.get(suite), method, "dmc_" + rest.replace("-", "_"))
    return [row for row in published if (row.suite, row.method, row.task) == key]


def last_window(curve: Iterable[Published], frames: int) -> Published | None:
    """Pick the last window that ends at or before some frames, unless it is long over."""
    ends = [r for r in curve if 0 <= frames - r.env_frames_window_end < PUBLISHED_WINDOW]
    return max(ends, key=lambda row: row.env_frames_window_end, default=None)


def table(own: list[Evaluation], published: list[Published], args: argparse.Namespace) -> str:
    """Write a markdown table, tasks by agents, and a caption that says what the numbers are."""
    agents = present(own)
    columns = [*agents.values(), *(f"{name}, published" for name in METHODS.values())]
    lines = ["| task | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    ends: dict[str, int] = {}
    for task in args.tasks:
        cells = [task.rpartition("/")[2]]
        for agent in agents:
            curves = [row for row in own if (row.agent, row.task) == (agent, task)]
            x = final_returns(curves, args.frames, args.window)
            cells.append(f"{np.mean(x):.0f} ({min(x):.0f} to {max(x):.0f}; {len(x)})" if x else "-")
        for method, name in METHODS.items():
            row = last_window(of_task(published, task, method), args.frames)
            cells.append(f"{row.mean:.0f} +- {row.std:.0f} ({row.seeds})" if row else "-")
            if row:
                ends[name] = row.env_frames_window_end
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", caption(own, ends, args)])


def present(own: list[Evaluation]) -> dict[str, str]:
    """Names of the agents that have runs, in the order of :data:`AGENTS`."""
    found = {row.agent for row in own}
    return {agent: name for agent, name in AGENTS.items() if agent in found}


def caption(own: list[Evaluation], ends: dict[str, int], args: argparse.Namespace) -> str:
    """Say what the numbers of the table are."""
    shown = [row for row in own if row.task in args.tasks and row.agent in AGENTS]
    episodes = max((row.episodes for row in shown), default=0)
    modes = {AGENTS[r.agent] + (" most likely" if r.deterministic else " sampled") for r in shown}
    commits = {row.commit for row in shown}
    windows = ", ".join(f"{end:,} ({name})" for name, end in ends.items())
    return (
        f"Returns at {args.frames:,} frames. Own runs: mean over the seeds (lowest to highest; "
        f"number of seeds) of the evaluations in the last {args.window:,} frames, {episodes} "
        f"episodes each; actions: {listed(modes)}; commits: {listed(commits)}. Published: mean +- "
        "standard deviation over the seeds (their number) in the window of about "
        f"{PUBLISHED_WINDOW:,} frames that ends at {windows or '-'}; DreamerV3 is there the agent "
        "of 2023 at size S, train ratio 512, action repeat 2, its returns those of training "
        "episodes, not of evaluations."
    )


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "-"


def draw(axis: Axes, own: list[Evaluation], published: list[Published], task: str) -> None:
    """Draw the curves of one task."""
    for agent, name in present(own).items():
        by_frames: dict[int, list[float]] = {}
        for row in own:
            if (row.agent, row.task) == (agent, task):
                by_frames.setdefault(row.frames, []).append(row.mean_return)
        x = sorted(by_frames)
        color = COLORS[name]
        axis.plot(x, [np.mean(by_frames[f]) for f in x], color=color, linewidth=2, label=name)
        low, high = ([pick(by_frames[f]) for f in x] for pick in (min, max))
        axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    for method, name in METHODS.items():
        curve = of_task(published, task, method)
        axis.plot(
            # The mean of a window belongs to its middle.
            [row.env_frames_window_end - PUBLISHED_WINDOW / 2 for row in curve],
            [row.mean for row in curve],
            "o--",
            color=COLORS[name],
            markersize=4,
            label=f"{name}, published",
        )


def plot(own: list[Evaluation], published: list[Published], args: argparse.Namespace) -> Figure:
    """Draw one panel for each task."""
    figure = Figure(figsize=(4 * len(args.tasks), 4.4), layout="constrained")
    panels = figure.subplots(1, len(args.tasks), sharey=True, squeeze=False)[0]
    for axis, task in zip(panels, args.tasks, strict=True):
        draw(axis, own, published, task)
        axis.set_title(task.rpartition("/")[2], fontsize=13)
        axis.set_xlabel("frames, thousands", fontsize=12)
        axis.set_xlim(0, args.frames)
        axis.set_ylim(0, 1_000)  # every return of the suite lies there
        axis.xaxis.set_major_formatter(lambda frames, _: f"{frames / 1_000:g}")
        axis.tick_params(labelsize=11)
        axis.grid(alpha=0.3)
    panels[0].set_ylabel("return", fontsize=12)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=2 * len(args.tasks),
        fontsize=11,
        frameon=False,
    )
    return figure


def read_metric(folder: Path, name: str) -> list[tuple[int, float]]:
    """
    Read what a run has logged of its training.

    :param folder: what was ``--out`` of dreamzoo train
    :param name: without "train/"
    :return: steps and values; of what a resumed run did twice, the second time
    :raises SystemExit: if it has not logged that
    """
    logs = {int(p.stem.partition("_")[2] or 0): p for p in folder.glob("progress*.csv")}
    found: list[tuple[int, float]] = []
    for start, path in sorted(logs.items()):
        found = [(step, value) for step, value in found if step <= start]
        with path.open(newline="") as file:
            rows = [
                (r["time/total_timesteps"], r.get(f"train/{name}")) for r in csv.DictReader(file)
            ]
        found += [(int(step), float(value)) for step, value in rows if step and value]
    if not found:
        raise SystemExit(f"{folder} has no train/{name} in its progress.csv.")
    return found


def metrics(folders: list[Path], names: list[str], window: int) -> str:
    """Write a markdown table, metrics by windows of steps: means over the runs' own means."""
    means: dict[str, dict[int, list[float]]] = {name: {} for name in names}
    for name in names:
        for folder in folders:
            values: dict[int, list[float]] = {}
            for step, value in read_metric(folder, name):
                values.setdefault(-(-step // window) * window, []).append(value)
            for end, found in values.items():
                means[name].setdefault(end, []).append(float(np.mean(found)))
    averaged = {
        name: {end: float(np.mean(found)) for end, found in by_end.items()}
        for name, by_end in means.items()
    }
    return by_steps(averaged)


def by_steps(rows: dict[str, dict[int, float]]) -> str:
    """Write a markdown table: a row for each name, a column for each number of steps."""
    ends = sorted({end for row in rows.values() for end in row})
    lines = ["| steps | " + " | ".join(map(str, ends)) + " |", "|---" * (len(ends) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{row[end]:.3g}" if end in row else "-" for end in ends]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def read_scores(folder: Path, window: int, last: int = 10) -> dict[int, float]:
    """
    Read from a run's replay what its training episodes returned.

    :param folder: what was ``--out`` of dreamzoo train
    :param window: steps of all environments together between two scores
    :param last: newest episodes of each environment that count
    :return: by steps, the mean over environments of the mean return of each one's last episodes
    :raises SystemExit: if the replay has forgotten the first of them
    """
    replay = load_from_pkl(folder / "replay_buffer.pkl")
    # Streams of short episodes have more records: the longest begins anew while others still grow.
    if replay.full or replay.pos < replay.size():
        raise SystemExit(f"The replay of {folder} no longer holds the first episodes.")
    ended = []  # for each environment: steps and returns at the ends of its episodes
    for env in range(replay.n_envs):
        starts, ends = replay.episode_starts[:, env], np.flatnonzero(replay.dones[:, env])
        begun = np.flatnonzero(starts)
        # Not the end before: an episode that a run was cut off in has none.
        begun = begun[np.searchsorted(begun, ends) - 1]
        # The first record of an episode is no step, and has no reward.
        steps = np.cumsum(~starts)[ends] * replay.n_envs
        earned = replay.rewards[:, env].cumsum(dtype=float)
        ended.append((steps, earned[ends] - earned[begun]))
    latest = max((int(steps[-1]) for steps, _ in ended if len(steps)), default=0)
    scores = {}
    for end in range(window, latest + window, window):
        newest = [returns[steps <= end][-last:] for steps, returns in ended]
        if means := [returns.mean() for returns in newest if len(returns)]:
            scores[end] = float(np.mean(means))
    return scores


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser("results", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect", help="add finished runs to a file")
    collecting.add_argument("runs", nargs="+", type=Path)
    collecting.add_argument("--to", type=Path, required=True)
    for name, purpose in [("table", "print a markdown table"), ("plot", "draw the curves")]:
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--results", type=Path, default=FOLDER / "dmc_proprio.csv")
        command.add_argument("--published", type=Path, default=PUBLISHED)
        command.add_argument("--tasks", nargs="+", default=TASKS, help="of dm_control")
        command.add_argument("--frames", type=int, default=50_000)
        if name == "plot":
            command.add_argument("--out", type=Path, required=True)
        else:
            # As the published numbers: the last evaluation alone is higher while one learns.
            command.add_argument("--window", type=int, default=PUBLISHED_WINDOW, help="in frames")
    logged = commands.add_parser("metrics", help="print how training went")
    logged.add_argument("--names", nargs="+", required=True, help='without "train/"')
    scored = commands.add_parser("scores", help="print what the episodes of training returned")
    for command in (logged, scored):
        command.add_argument("runs", nargs="+", type=Path)
        command.add_argument("--window", type=int, default=2_000, help="steps of a column")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.command == "collect":
        collect(args.runs, args.to)
        return
    if args.command == "metrics":
        print(metrics(args.runs, args.names, args.window))
        return
    if args.command == "scores":
        print(by_steps({run.name: read_scores(run, args.window) for run in args.runs}))
        return
    own, published = read(args.results, Evaluation), read(args.published, Published)
    if args.command == "table":
        print(table(own, published, args))
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    plot(own, published, args).savefig(args.out, dpi=120)
    print(f"Wrote {args.out}.")

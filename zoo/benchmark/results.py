"""Evaluations of finished runs as committed files, and published curves to set beside them."""

import csv
import json
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Style(NamedTuple):
    """How tables and pictures show an agent."""

    name: str
    color: str


#: Agents by their names in ``dreamzoo train``, in the order in which they are shown. Runs with a
#: label of their own follow, in :data:`MORE_COLORS`.
AGENTS = {
    "dreamer_v3": Style("DreamerV3", "tab:red"),
    "dreamer_v2": Style("DreamerV2", "tab:purple"),
    "dreamer_v1": Style("DreamerV1", "tab:brown"),
    "planet": Style("PlaNet", "tab:orange"),
    "merlin": Style("MERLIN", "crimson"),
    "rl_mem": Style("RL-MEM", "darkorange"),
    "rl_lstm": Style("RL-LSTM", "slateblue"),
    "discrete_sac": Style("DiscreteSAC", "deeppink"),
    "sac": Style("SAC", "tab:blue"),
    "ppo": Style("PPO", "tab:green"),
    "recurrent_ppo": Style("RecurrentPPO", "tab:olive"),
    "dqn": Style("DQN", "tab:cyan"),
    "td3": Style("TD3", "teal"),
    "ddpg": Style("DDPG", "navy"),
    "a2c": Style("A2C", "darkkhaki"),
}
MORE_COLORS = ("black", "gray", "tab:pink", "gold", "limegreen", "steelblue", "orchid", "salmon")


class Method(NamedTuple):
    """An agent with published curves."""

    name: str
    color: str
    suites: dict[str, str]  # suite of a task here: suite of the curve that stands beside it


_PROPRIO = {"dmc": "dmc_proprio"}
_VISION = {"dmc": "dmc_vision", "dmc_pixels": "dmc_vision"}
#: What is published for which agent, by its name in published.csv.
METHODS = {
    "dreamerv3": Method("DreamerV3, published", "tab:red", _PROPRIO),
    "dreamer_v2": Method("DreamerV2, published (pixels)", "tab:purple", _VISION),
    "dreamer_v1": Method("DreamerV1, published (pixels)", "tab:brown", _VISION),
    "d4pg": Method("D4PG, published", "dimgray", _PROPRIO),
    "ppo_fixhp": Method("PPO, published", "tab:green", _PROPRIO),
}
#: Released with the code of DreamerV3 (github.com/danijar/dreamerv3, folder scores), which has
#: means over windows of frames, and with that of DreamerV1 and DreamerV2, which have evaluations.
PUBLISHED = Path(__file__).parent / "published.csv"
WINDOW = 25_000  # frames, about as in what is published of DreamerV3
#: Frames of a step where a run does not say: the defaults of ``dreamzoo.envs.make_env``.
REPEATS = {"dmc": 2, "dmc_pixels": 2, "atari": 4, "atari100k": 4}
LATE = 5_000  # frames; an evaluation that much before the asked frames says nothing of them


class Evaluation(NamedTuple):
    """One evaluation of a run: a row of the files that :func:`collect` writes."""

    agent: str  # or the run's label
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
    """One point of a published curve: a row of published.csv."""

    suite: str
    method: str
    task: str
    frames: int  # at the end of the window
    window: int  # frames over which the mean goes; 0: an evaluation
    seeds: int
    mean: float
    std: float  # over the seeds


def read_rows(path: Path, kind: Any) -> list[Any]:
    """
    Read the rows of a file as tuples of a kind; no file, no rows.

    :raises ValueError: for a file of something else
    """
    if not path.exists():
        return []
    types = kind.__annotations__
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or set(rows.fieldnames) != types.keys():
            raise ValueError(f"{path} has not the columns {', '.join(types)}.")
        return [kind(**{k: types[k](v) for k, v in row.items()}) for row in rows]


def read_run(folder: Path) -> list[Evaluation]:
    """
    Read the evaluations of a finished run.

    :param folder: what was ``--out`` of dreamzoo train
    :raises ValueError: if the run is not finished
    """
    config = json.loads((folder / "config.json").read_text())
    args, path = config[-1]["args"], folder / "evaluations.npz"
    table = np.load(path) if path.exists() else {"timesteps": np.zeros(1, int)}
    spacing = max(args["eval_every"] // args["n_envs"], 1) * args["n_envs"]
    last = table["timesteps"][-1]
    if args["steps"] - last >= spacing:
        raise ValueError(
            f"{folder} is not finished: evaluated at {last} of {args['steps']} steps. Wait for it, "
            "or go on with dreamzoo train --resume."
        )
    repeat = dict(args["env_kwargs"]).get(
        "action_repeat", REPEATS.get(args["env"].partition("/")[0], 1)
    )
    return [
        Evaluation(
            agent=args.get("label") or args["agent"],
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


def collect(folders: list[Path], to: Path) -> int:
    """
    Put the evaluations of finished runs into a file, beside those of other runs.

    :param folders: of the runs
    :param to: file; earlier rows of the same agent, task and seed are replaced
    :return: number of the new evaluations
    :raises ValueError: if a run is not finished, or two are of the same agent, task and seed
    """
    new = [row for folder in folders for row in read_run(folder)]
    replaced = {(row.agent, row.task, row.seed) for row in new}
    if len(replaced) < len(folders):
        raise ValueError("Two of these runs are of the same agent, task and seed.")
    kept = [r for r in read_rows(to, Evaluation) if (r.agent, r.task, r.seed) not in replaced]
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Evaluation._fields)
        writer.writerows(sorted([*kept, *new]))
    return len(new)


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


def short_name(task: str) -> str:
    """Name a task without its suite: ``walker-walk``, ``TMaze/50``, ``CartPole-v1``."""
    return task.partition("/")[2] or task


def of_task(published: Iterable[Published], task: str, method: str) -> list[Published]:
    """Pick a published curve by this package's name of the task."""
    suite, _, rest = task.partition("/")
    key = (METHODS[method].suites.get(suite), method, "dmc_" + rest.replace("-", "_"))
    return [row for row in published if (row.suite, row.method, row.task) == key]


def last_point(curve: Iterable[Published], frames: int) -> Published | None:
    """Pick the last point of a published curve at or before some frames, unless it is long over."""
    ends = [r for r in curve if 0 <= frames - r.frames < WINDOW]
    return max(ends, key=lambda row: row.frames, default=None)


def styles(own: Iterable[Evaluation]) -> dict[str, Style]:
    """How to show the agents that have runs, in order: those of :data:`AGENTS`, then labels."""
    found = {row.agent for row in own}
    labels = sorted(found - AGENTS.keys())
    known = {agent: style for agent, style in AGENTS.items() if agent in found}
    return known | {x: Style(x, c) for x, c in zip(labels, cycle(MORE_COLORS), strict=False)}

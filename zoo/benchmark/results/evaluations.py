"""Evaluations of runs, finished or not, as one file that grows."""

import csv
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from dreamzoo.benchmark.run_config import CONFIG
from dreamzoo.common.storage.files import locked, replaced_file, with_suffix

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


class Progress(NamedTuple):
    """
    How far a run is.

    :param evaluated: steps before its last evaluation
    :param steps: it is to make
    :param spacing: steps between two evaluations
    """

    evaluated: int
    steps: int
    spacing: int

    @property
    def is_finished(self) -> bool:
        """Whether it has made its last evaluation."""
        return self.steps - self.evaluated < self.spacing


class Collected(NamedTuple):
    """
    What :func:`collect` has done.

    :param evaluations: number of rows that it wrote
    :param unfinished: runs that are not finished, and how far they are
    :param unreadable: folders that were left out, and why
    """

    evaluations: int
    unfinished: dict[Path, Progress]
    unreadable: Mapping[Path, str] = MappingProxyType({})


def frames_of_a_step(env: str, env_kwargs: Mapping[str, Any]) -> int:
    """
    Tell how many frames a step of an environment is.

    Example:
        >>> from dreamzoo.benchmark.results.evaluations import frames_of_a_step
        >>> frames_of_a_step("dmc/walker-walk", {}), frames_of_a_step("CartPole-v1", {})
        (2, 1)

    :param env: as :func:`~dreamzoo.envs.make_env` names it
    :param env_kwargs: of the environment
    """
    return int(env_kwargs.get("action_repeat", REPEATS.get(env.partition("/")[0], 1)))


def read_rows(path: Path) -> list[Evaluation]:
    """
    Read the evaluations in a file; no file, none.

    :raises ValueError: for a file of something else, or with a damaged line
    """
    if not path.exists():
        return []
    types, found = Evaluation.__annotations__, list[Evaluation]()
    with path.open(newline="") as file:
        lines = csv.reader(file)
        head = next(lines, [])
        if set(head) != types.keys():
            strange = ", ".join(sorted(set(head) ^ types.keys()))
            raise ValueError(
                f"{path} has not the columns {', '.join(types)}, no more and no less (other than "
                f"these or missing: {strange}). Give another file, or move this one away."
            )
        for line in lines:
            try:
                values = dict(zip(head, line, strict=True))
                found.append(Evaluation(**{k: types[k](v) for k, v in values.items()}))
            except ValueError:
                raise ValueError(
                    f"{path}, line {lines.line_num}: {','.join(line)!r} is not an evaluation, "
                    f"{', '.join(head)}. Mend the line or take it out; dreamzoo benchmark collect "
                    "writes the rows of a run anew."
                ) from None
    return found


def read_progress(folder: Path) -> Progress:
    """
    Read how far a run is.

    :param folder: what was ``--out`` of dreamzoo train
    :raises ValueError: if no run lies there
    """
    args, table = _read_config(folder)[-1]["args"], _read_table(folder)
    spacing = max(args["eval_every"] // args["n_envs"], 1) * args["n_envs"]
    return Progress(max(map(int, table["timesteps"]), default=0), args["steps"], spacing)


def read_run(folder: Path) -> list[Evaluation]:
    """
    Read the evaluations of a run, as many as there are by now.

    :param folder: what was ``--out`` of dreamzoo train
    :raises ValueError: if no run lies there
    """
    config, table = _read_config(folder), _read_table(folder)
    args = config[-1]["args"]
    repeat = frames_of_a_step(args["env"], dict(args["env_kwargs"]))
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


def _read_config(folder: Path) -> list[dict[str, Any]]:
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"There is no run in {folder}: it has no {CONFIG}.")
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text())
        needed = "agent", "env", "env_kwargs", "seed", "steps", "eval_every", "n_envs"
        if all(name in entries[-1]["args"] for name in needed) and "commit" in entries[0]:
            return entries
    except (ValueError, LookupError, TypeError):
        pass
    raise ValueError(f"{path} is not what dreamzoo train writes.")


def _read_table(folder: Path, tries: int = 5) -> Mapping[str, np.ndarray]:
    """Read evaluations.npz, which a training that is at it may be writing just now."""
    path = folder / "evaluations.npz"
    if not path.exists():
        return {"timesteps": np.zeros(0, int), "results": np.zeros((0, 1))}
    try:
        with np.load(path) as table:
            return {name: table[name] for name in ("timesteps", "results")}
    except (BadZipFile, EOFError, ValueError) as error:
        if tries > 1:
            time.sleep(0.1)
            return _read_table(folder, tries - 1)
        raise ValueError(f"{path} is damaged: {error}") from error


def collect(
    folders: Sequence[Path], to: Path, *, without: Iterable[tuple[str, str, int]] = ()
) -> Collected:
    """
    Put the evaluations of runs into a file, beside those of other runs; several may do so at once.

    :param folders: of the runs, which may be unfinished
    :param to: file, to which ``.csv`` is added where it has no suffix; earlier rows of the same
        agent, task and seed are replaced
    :param without: agents, tasks and seeds whose earlier rows go, too
    :return: what was written, and which runs are unfinished
    :raises ValueError: if a folder holds no run, or two are of the same agent, task and seed
    """
    runs = {folder: read_run(folder) for folder in folders}
    progress = {folder: read_progress(folder) for folder in folders}
    owners: dict[tuple[str, str, int], Path] = {}
    for folder, rows in runs.items():
        for key in {(row.agent, row.task, row.seed) for row in rows}:
            if key in owners:
                raise ValueError(
                    f"{owners[key]} and {folder} are of the same agent, task and seed. Leave one "
                    "out, or give it another name (dreamzoo train --label)."
                )
            owners[key] = folder
    new = [row for rows in runs.values() for row in rows]
    gone = {*owners, *without}
    to = with_suffix(to, "csv")
    to.parent.mkdir(parents=True, exist_ok=True)
    with locked(f"{to}.lock"):
        kept = [r for r in read_rows(to) if (r.agent, r.task, r.seed) not in gone]
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(Evaluation._fields)
        writer.writerows(sorted([*kept, *new]))
        with replaced_file(to, "csv") as file:
            file.write(table.getvalue().encode())
    return Collected(len(new), {f: p for f, p in progress.items() if not p.is_finished})


def ends(own: Iterable[Evaluation], tasks: Iterable[str] | None = None) -> dict[str, int]:
    """
    Tell how far the runs of each task got.

    :param own: evaluations
    :param tasks: which tasks, in order; None: all, by the alphabet
    :return: by tasks, the frames of the last evaluation of any agent
    :raises ValueError: for a task without evaluations
    """
    found: dict[str, int] = {}
    for row in own:
        found[row.task] = max(row.frames, found.get(row.task, 0))
    asked = sorted(found) if tasks is None else list(dict.fromkeys(tasks))
    unknown = [task for task in asked if task not in found]
    if unknown:
        known = ", ".join(sorted(found)) or "none"
        raise ValueError(f"There are no evaluations on {unknown[0]}; there are some on: {known}.")
    return {task: found[task] for task in asked}


def final_returns(curves: Iterable[Evaluation], frames: int, window: int) -> dict[int, float]:
    """
    Average the last evaluations of each seed at or before some frames.

    :param curves: evaluations of one agent at one task
    :param frames: frames asked for
    :param window: frames over which to average, counted back from the last evaluation
    :return: a number for each seed that got so far, by seeds
    """
    by_seed: dict[int, list[Evaluation]] = {}
    for row in curves:
        if row.frames <= frames:
            by_seed.setdefault(row.seed, []).append(row)
    finals = {}
    for seed, rows in sorted(by_seed.items()):
        last = max(row.frames for row in rows)
        if frames - last < min(LATE, max(frames // 10, 1)):
            late = [r.mean_return for r in rows if r.frames > last - window]
            finals[seed] = float(np.mean(late))
    return finals


def short_name(task: str) -> str:
    """Name a task without its suite: ``walker-walk``, ``TMaze/50``, ``CartPole-v1``."""
    return task.partition("/")[2] or task

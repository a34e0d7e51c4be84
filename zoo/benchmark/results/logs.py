"""How training went, by the logs and the replay of finished runs."""

import csv
from pathlib import Path

import numpy as np

from dreamzoo.common.replay_files import read_earlier_replay
from dreamzoo.common.storage.container import OtherFormat
from dreamzoo.common.storage.replay_file import read_parts
from dreamzoo.common.storage.saves import newest as newest_save


def read_log(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """
    Read all that a run has logged.

    :param folder: what was ``--out`` of dreamzoo train
    :return: steps and values by name, in the order of the names; of what a resumed run did twice,
        the second time. Empty if there is no log
    """
    logs = {int(p.stem.partition("_")[2] or 0): p for p in folder.glob("progress*.csv")}
    found: dict[str, list[tuple[int, float]]] = {}
    for start, path in sorted(logs.items()):
        found = {k: [(at, x) for at, x in pairs if at <= start] for k, pairs in found.items()}
        # A line that was cut off, when the process was killed or the disk was full, is none.
        text = path.read_text()
        rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
        try:
            for row in rows:
                if step := row["time/total_timesteps"]:
                    for name, value in row.items():
                        if value:
                            found.setdefault(name, []).append((int(step), float(value)))
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path}, line {rows.line_num}, is not what dreamzoo train logs. Mend or move it."
            ) from None
    return dict(sorted(found.items()))


def read_metric(folder: Path, name: str) -> list[tuple[int, float]]:
    """
    Read what a run has logged of its training.

    :param folder: what was ``--out`` of dreamzoo train
    :param name: without "train/"
    :return: steps and values; of what a resumed run did twice, the second time
    :raises ValueError: if it has not logged that
    """
    found = read_log(folder).get(f"train/{name}")
    if not found:
        raise ValueError(f"{folder} has no train/{name} in its progress.csv.")
    return found


def metrics_table(folders: list[Path], names: list[str], window: int) -> str:
    """
    Write a markdown table, metrics by windows of steps: means over the runs' own means.

    :param folders: of the runs
    :param names: of the metrics, without "train/"
    :param window: steps of a column
    """
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
    return table_by_steps(averaged)


def table_by_steps(rows: dict[str, dict[int, float]]) -> str:
    """Write a markdown table: a row for each name, a column for each number of steps."""
    ends = sorted({end for row in rows.values() for end in row})
    lines = ["| steps | " + " | ".join(map(str, ends)) + " |", "|---" * (len(ends) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{row[end]:.3g}" if end in row else "-" for end in ends]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def read_scores(
    folder: Path, window: int, last: int = 10, trusted: bool = False
) -> dict[int, float]:
    """
    Read from a run's replay what its training episodes returned.

    :param folder: what was ``--out`` of dreamzoo train
    :param window: steps of all environments together between two scores
    :param last: newest episodes of each environment that count
    :param trusted: also read replays of dreamzoo 0.1, which run whatever code is in them
    :return: by steps, the mean over environments of the mean return of each one's last episodes
    :raises ValueError: if there is no replay, or it has forgotten the first of them
    """
    names = "episode_starts", "dones", "rewards"
    if not any(newest_save(folder).glob("replay_buffer*")):
        raise ValueError(
            f"{folder} has no replay with episodes of training: it is no run of dreamzoo train, "
            "nothing of it is saved yet, or its agent keeps none (as PPO). What was evaluated, "
            "dreamzoo benchmark collect gathers from any run."
        )
    try:
        parts = read_parts(newest_save(folder) / "replay_buffer", *names)
    except OtherFormat:
        if not trusted:
            raise
        replay, *_ = read_earlier_replay(folder / "replay_buffer")
        parts = {"count": replay._count, **{name: getattr(replay, name) for name in names}}
    begins, dones, rewards = (parts[name] for name in names)
    # Streams of short episodes have more records: the longest begins anew before others do.
    if parts["count"].max() > len(rewards):
        raise ValueError(f"The replay of {folder} no longer holds the first episodes.")
    n_envs = rewards.shape[1]
    ended = []  # for each environment: steps and returns at the ends of its episodes
    for env in range(n_envs):
        starts, ends = begins[:, env], np.flatnonzero(dones[:, env])
        begun = np.flatnonzero(starts)
        # Not the end before: an episode that a run was cut off in has none.
        begun = begun[np.searchsorted(begun, ends) - 1]
        # The first record of an episode is no step, and has no reward.
        steps = np.cumsum(~starts)[ends] * n_envs
        earned = rewards[:, env].cumsum(dtype=float)
        ended.append((steps, earned[ends] - earned[begun]))
    latest = max((int(steps[-1]) for steps, _ in ended if len(steps)), default=0)
    scores = {}
    for end in range(window, latest + window, window):
        newest = [returns[steps <= end][-last:] for steps, returns in ended]
        if means := [returns.mean() for returns in newest if len(returns)]:
            scores[end] = float(np.mean(means))
    return scores

"""Published curves, to set beside own runs."""

import csv
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Method(NamedTuple):
    """An agent with published curves."""

    name: str
    color: str
    suites: dict[str, str]  # suite of a task here: suite of the curve that stands beside it


#: Suites of curves by those of tasks. What an agent reaches from images stands beside runs from
#: numbers, too, where it is published of nothing else.
_SAME = {
    **{"dmc": "dmc_proprio", "dmc_pixels": "dmc_vision", "atari": "atari57"},
    **{"atari100k": "atari100k", "procgen": "procgen", "minecraft": "minecraft_diamond"},
}
_VISION = {"dmc": "dmc_vision", "dmc_pixels": "dmc_vision"}
#: What is published for which agent, by its name in published.csv.
METHODS = {
    "dreamerv3": Method("DreamerV3, published", "tab:red", _SAME),
    "dreamer_v2": Method("DreamerV2, published (pixels)", "tab:purple", _VISION),
    "dreamer_v1": Method("DreamerV1, published (pixels)", "tab:brown", _VISION),
    "d4pg": Method("D4PG, published", "dimgray", {"dmc": "dmc_proprio"}),
    "drqv2": Method("DrQ-v2, published", "dimgray", {"dmc_pixels": "dmc_vision"}),
    "ppg": Method("PPG, published", "dimgray", {"procgen": "procgen"}),
    "ppo_fixhp": Method("PPO, published", "tab:green", _SAME),
}
#: What the tasks of a suite are called in published.csv, before their own names.
_PREFIXES = {"dmc_pixels": "dmc", "atari100k": "atari"}
#: Released with the code of DreamerV3 (github.com/danijar/dreamerv3, folder scores), which has
#: means over windows of frames, and with that of DreamerV1 and DreamerV2, which have evaluations.
PUBLISHED = Path(__file__).parent / "published.csv"
#: Frames after which a published number without a window no longer counts.
LATE = 25_000


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


@cache
def published_curves() -> dict[tuple[str, str, str], list[Published]]:
    """Read all published curves: points by suite, method and task, as the file has them."""
    curves: dict[tuple[str, str, str], list[Published]] = {}
    with PUBLISHED.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for suite, method, task, frames, window, seeds, mean, std in rows:
            numbers = int(frames), int(window), int(seeds), float(mean), float(std)
            point = Published(suite, method, task, *numbers)
            curves.setdefault((suite, method, task), []).append(point)
    return curves


def of_task(task: str, method: str) -> list[Published]:
    """
    Pick a published curve.

    Example:
        >>> from dreamzoo.benchmark.results.published import of_task
        >>> curve = of_task("dmc/walker-walk", "dreamerv3")
        >>> curve[1].frames, curve[1].mean, curve[-1].frames
        (49000, 175.55, 490000)

    :param task: as :func:`~dreamzoo.envs.make_env` names it
    :param method: in :data:`METHODS`
    :return: its points in order; none if nothing is published
    """
    suite, _, rest = task.partition("/")
    name = f"{_PREFIXES.get(suite, suite)}_{rest.replace('-', '_')}"
    key = (METHODS[method].suites.get(suite, ""), method, name)
    return published_curves().get(key, [])


def last_point(curve: Iterable[Published], frames: int) -> Published | None:
    """Pick the last point of a published curve at or before some frames, unless it is long over."""
    ends = [r for r in curve if 0 <= frames - r.frames < (r.window or LATE)]
    return max(ends, key=lambda row: row.frames, default=None)


def window_of(task: str, frames: int) -> int:
    """
    Say over how many frames to average what runs return, so that it can be compared.

    Example:
        >>> from dreamzoo.benchmark.results.published import window_of
        >>> window_of("dmc/walker-walk", 50_000), window_of("CartPole-v1", 50_000)
        (25000, 10000)

    :param task: as :func:`~dreamzoo.envs.make_env` names it
    :param frames: at which the returns are shown
    :return: as many as in what is published of the task, if there are so many; else a fifth of all
    """
    windows = [row.window for method in METHODS for row in of_task(task, method)]
    widest = max(windows, default=0)
    return widest if 0 < widest < frames else max(frames // 5, 1)

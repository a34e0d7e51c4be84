"""
Scores over many tasks: interquartile means with intervals, as rliable has them.

"Deep reinforcement learning at the edge of the statistical precipice" (arXiv:2108.13264) and its
package rliable, whose newest version, 1.2.0, does not run beside pandas 3; tests hold these to its
numbers.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from dreamzoo.benchmark.results.evaluations import Evaluation, final_returns
from dreamzoo.benchmark.suites import Task, suite, suite_names

#: As many tasks and seeds as an interval needs to mean something.
ENOUGH = 3
SAMPLES = 2_000  # of the bootstrap
#: Who stands at 0 and at 1 of a suite, where returns do not say that by themselves.
_SCALES = (("random", "human"), ("blind", "best"))


class Aggregate(NamedTuple):
    """
    An agent's score over all tasks and seeds.

    :param iqm: interquartile mean
    :param low: lower end of its interval of 95 %
    :param high: upper end
    :param seeds: how many of each task count: of those with more, the first
    """

    iqm: float
    low: float
    high: float
    seeds: int


def interquartile_mean(scores: np.ndarray) -> float:
    """
    Average the middle half of all scores.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.benchmark.results.aggregates import interquartile_mean
        >>> interquartile_mean(np.array([[0.0, 1.0], [3.0, 100.0]]))
        2.0

    :param scores: of runs, in any shape; of NaN there is no mean
    """
    if np.isnan(scores).any():  # sorted, it would count as the best
        return math.nan
    flat = np.sort(scores, axis=None)
    cut = flat.size // 4
    return float(flat[cut : flat.size - cut].mean())


def stratified_interval(
    scores: np.ndarray, samples: int = SAMPLES, seed: int = 0
) -> tuple[float, float]:
    """
    Estimate between which interquartile means other seeds would lie, 95 % of the time.

    Runs are drawn anew, with replacement, task by task; the tasks stay.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.benchmark.results.aggregates import stratified_interval
        >>> stratified_interval(np.ones((3, 5)))
        (1.0, 1.0)

    :param scores: (seeds, tasks)
    :param samples: how many times all runs are drawn
    :param seed: of the draws
    :return: the ends of the interval
    """
    if np.isnan(scores).any():
        return math.nan, math.nan
    seeds, tasks = scores.shape
    rows = np.random.default_rng(seed).integers(seeds, size=(samples, seeds, tasks))
    drawn = np.sort(scores[rows, np.arange(tasks)].reshape(samples, -1), axis=1)
    cut = drawn.shape[1] // 4
    means = drawn[:, cut : drawn.shape[1] - cut].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def scale_of(task: str) -> tuple[float, float] | None:
    """
    Say which returns of a task are 0 and 1, so that tasks can be averaged.

    Example:
        >>> from dreamzoo.benchmark.results.aggregates import scale_of
        >>> scale_of("dmc/walker-walk"), scale_of("atari/pong"), scale_of("CartPole-v1")
        ((0.0, 1000.0), (-20.7, 14.6), None)

    :param task: as :func:`~dreamzoo.envs.make_env` names it
    :return: those of dm_control's tasks; of others random actions and people, or ProcGen's own;
        None if there are no such returns
    """
    if task.partition("/")[0] in ("dmc", "dmc_pixels"):
        return 0.0, 1_000.0
    known = find_task(task)
    for low, high in _SCALES:
        if known is not None and low in known.returns and high in known.returns:
            return known.returns[low], known.returns[high]
    return None


def find_task(env: str) -> Task | None:
    """Find the task of the suites that an environment is, if it is one."""
    found = (task for name in suite_names() for task in suite(name).tasks if env in task.envs)
    return next(found, None)


def aggregates(
    own: Iterable[Evaluation], frames: Mapping[str, int], windows: Mapping[str, int]
) -> dict[str, Aggregate]:
    """
    Score agents over all tasks.

    :param own: evaluations
    :param frames: tasks, and the frames at which their returns count
    :param windows: by tasks, frames before, over whose evaluations is averaged
    :return: by agents; only those that have at least :data:`ENOUGH` seeds of every task. None at
        all for fewer tasks, or if one has no scale
    """
    scales = {task: scale for task in frames if (scale := scale_of(task)) is not None}
    if len(scales) < max(ENOUGH, len(frames)):
        return {}
    curves: dict[tuple[str, str], list[Evaluation]] = {}
    for row in own:
        curves.setdefault((row.agent, row.task), []).append(row)
    found = {}
    for agent in dict.fromkeys(agent for agent, _ in curves):
        finals = [
            final_returns(curves.get((agent, task), ()), end, windows[task])
            for task, end in frames.items()
        ]
        seeds = min(map(len, finals))
        if seeds < ENOUGH:
            continue
        columns = [
            (np.array(list(final.values())[:seeds]) - low) / (high - low)
            for final, (low, high) in zip(finals, scales.values(), strict=True)
        ]
        scores = np.stack(columns, axis=1)  # (seeds, tasks)
        interval = stratified_interval(scores)
        found[agent] = Aggregate(interquartile_mean(scores), *interval, seeds)
    return found

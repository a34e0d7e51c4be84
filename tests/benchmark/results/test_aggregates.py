"""Scores over many tasks."""

import numpy as np
import pytest

from dreamzoo.benchmark.results.aggregates import (
    aggregates,
    interquartile_mean,
    scale_of,
    stratified_interval,
)
from dreamzoo.benchmark.results.evaluations import Evaluation

#: (seeds, tasks), and what rliable 1.2.0 (with arch 7.2, pandas 2.3) says of them: the mean, the
#: ends of the interval from 4,000 samples.
OF_RLIABLE = [
    (
        [
            *([0.1, 0.5, 0.9, 0.3], [0.2, 0.4, 1.0, 0.35], [0.15, 0.7, 0.8, 0.2]),
            *([0.4, 0.45, 0.95, 0.1], [0.05, 0.6, 0.85, 0.5]),
        ],
        (0.44, 0.365, 0.51),
    ),
    ([[0.0, 0.6, 0.3], [0.9, 0.2, 0.4], [0.5, 0.1, 1.2]], (0.4, 0.2, 0.7)),
]


@pytest.mark.parametrize(("scores", "expected"), OF_RLIABLE)
def test_means_and_intervals_are_those_of_rliable(
    scores: list[list[float]], expected: tuple[float, float, float]
) -> None:
    array = np.array(scores)
    assert interquartile_mean(array) == pytest.approx(expected[0], abs=1e-9)
    low, high = stratified_interval(array, samples=20_000)
    assert (low, high) == pytest.approx(expected[1:], abs=0.011)


def test_tasks_are_no_sample_of_tasks() -> None:
    """Seeds that agree leave nothing open, however far apart their tasks are."""
    assert stratified_interval(np.array([[0.0, 0.5, 1.0]] * 4)) == (0.5, 0.5)


def test_returns_are_scaled_as_suites_are() -> None:
    assert scale_of("dmc_pixels/walker-walk") == (0, 1_000)
    assert scale_of("atari100k/pong") == (-20.7, 14.6)
    assert scale_of("procgen/coinrun") == (5, 10)
    assert scale_of("crafter") is None  # people's achievements are known, not their return
    assert scale_of("minatar/breakout") is None


TASKS = {f"dmc/{name}": 100 for name in ("walker-walk", "walker-run", "walker-stand")}


def rows(agent: str, tasks: list[str], seeds: int) -> list[Evaluation]:
    return [
        Evaluation(agent, task, seed, 50, 100, 100.0 * (seed + 1), 0.0, 10, 0, "abc")
        for task in tasks
        for seed in range(seeds)
    ]


def test_agents_are_scored_with_three_seeds_of_every_task() -> None:
    windows = dict.fromkeys(TASKS, 100)
    tasks = list(TASKS)
    own = rows("sac", tasks, 3) + rows("ppo", tasks, 2) + rows("a2c", tasks[:2], 3)
    found = aggregates(own, TASKS, windows)
    assert list(found) == ["sac"]
    # Nine scores, 0.1, 0.2 and 0.3 thrice each, of which two at either end are left out.
    assert found["sac"].iqm == pytest.approx(0.2)
    assert found["sac"].low < 0.2 < found["sac"].high
    assert found["sac"].seeds == 3


def test_tasks_without_a_common_scale_are_not_averaged() -> None:
    own = rows("sac", [*TASKS, "CartPole-v1"], 3)
    mixed = {**TASKS, "CartPole-v1": 100}
    assert aggregates(own, mixed, dict.fromkeys(mixed, 100)) == {}
    few = dict(list(TASKS.items())[:2])
    assert aggregates(own, few, dict.fromkeys(few, 100)) == {}

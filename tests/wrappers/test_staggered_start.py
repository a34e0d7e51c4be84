"""Environments that are stepped together begin apart."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo.benchmark.run_config import Run
from dreamzoo.benchmark.runs import make_envs
from dreamzoo.envs import TMaze
from dreamzoo.wrappers import StaggeredStart


def episode(env: gym.Env, seed: int | None = None) -> tuple[int, bool, bool]:
    """Play one; return its length, and whether it was terminated or truncated."""
    env.reset(seed=seed)
    length, terminated, truncated = 0, False, False
    while not (terminated or truncated):
        _, _, terminated, truncated, _ = env.step(0)
        length += 1
    return length, terminated, truncated


def test_only_the_first_episode_is_cut_off() -> None:
    firsts = []
    for seed in range(60):
        env = StaggeredStart(TMaze(length=9), max_steps=10)
        length, terminated, truncated = episode(env, seed)
        assert (terminated, truncated) == (length == 10, length < 10)
        firsts.append(length)
        assert [episode(env) for _ in range(3)] == [(10, True, False)] * 3
    assert set(firsts) == set(range(2, 11))


def test_a_seed_decides_when_it_ends_and_begins_anew() -> None:
    env = StaggeredStart(TMaze(length=50), max_steps=51)
    lengths = [episode(env, seed)[0] for seed in (3, 3, 4)]
    assert lengths[0] == lengths[1] != lengths[2]


def test_resets_before_the_first_step_leave_it_the_first() -> None:
    env = StaggeredStart(TMaze(length=50), max_steps=51)
    env.reset(seed=3)
    env.reset()
    env.step(0)
    env.reset()  # the first is over now, though it was not cut off
    assert episode(env) == (51, True, False)


def test_an_end_that_comes_first_stands() -> None:
    env = StaggeredStart(TMaze(length=1), max_steps=1_000)
    assert episode(env, seed=0) == (2, True, False)
    assert episode(env) == (2, True, False)


def test_values_go_on_beyond_the_cut() -> None:
    env = make_vec_env(lambda: StaggeredStart(TMaze(length=20), 20), n_envs=4, seed=0)
    env.reset()
    cut: dict[int, tuple[int, bool]] = {}
    for step in range(20):
        _, _, dones, infos = env.step(np.zeros(4, int))
        cut |= {i: (step, infos[i]["TimeLimit.truncated"]) for i in range(4) if dones[i]}
    assert len({step for step, _ in cut.values()}) > 1
    assert all(truncated for _, truncated in cut.values())


def test_runs_stagger_training_and_not_evaluation(tmp_path: Path) -> None:
    run = Run("ppo", "CartPole-v1", tmp_path, n_envs=2, stagger=7, eval_episodes=1)
    env, eval_env = make_envs(run)
    assert env.env_is_wrapped(StaggeredStart) == [True, True]
    assert env.get_attr("max_steps") == [7, 7]
    assert eval_env.env_is_wrapped(StaggeredStart) == [False]


def test_a_single_step_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2, not 1"):
        StaggeredStart(TMaze(), 1)
    for fraction in (5.5, "5"):
        with pytest.raises(TypeError, match="as an integer"):
            StaggeredStart(TMaze(), fraction)  # type: ignore[arg-type]

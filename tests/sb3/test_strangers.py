"""The environment belongs to the user, too: who steps it between the agent's steps is noticed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from tests.facts import HAS_REPLAY
from tests.resuming import load, save
from tests.sb3.conftest import of_replays
from tests.sb3.stored import Windows, records

LENGTH = 10


class Counter(gym.Env):
    """Shows the numbers of its episode and of its step; the reward is that of the step."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.episode = self.age = 0

    def observe(self) -> np.ndarray:
        return np.array([self.episode, self.age], np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.age = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.age += 1
        return self.observe(), float(self.age), self.age >= LENGTH, False, {}


def _records(agent: Any, windows: Windows) -> list[tuple[int, int, bool]]:
    """List episode, step and start of all that is stored; check that it happened so."""
    for env in range(agent.n_envs):
        obs, rewards, first, last = records(agent, windows, env)
        np.testing.assert_array_equal(obs[:, 1] == 0, first)
        follows = (np.diff(obs[:, 1]) == 1) & (np.diff(obs[:, 0]) == 0)
        assert (follows | first[1:]).all()
        np.testing.assert_array_equal(rewards, obs[:, 1])
        np.testing.assert_array_equal(last, obs[:, 1] == LENGTH)
    obs, _, first, _ = records(agent, windows)
    return [(int(e), int(s), bool(f)) for (e, s), f in zip(obs, first, strict=True)]


@pytest.fixture
def make_agent(make_agent: Any, agent_name: str) -> Any:
    """Make agents that have not begun to learn; without a replay, after windows of ``every``."""

    def make(env: Any, every: int) -> Any:
        settings = {"learning_starts": 10**6} if agent_name in HAS_REPLAY else {"n_steps": every}
        return make_agent(env, **settings)

    return make


def _evaluate(agent: Any, env: Any) -> None:
    evaluate_policy(agent, env, n_eval_episodes=2, warn=False)


#: What users do with the environment that they passed, and with that of the agent.
BETWEEN: dict[str, Callable[[Any, Any], Any]] = {
    "evaluate": lambda agent, env: _evaluate(agent, agent.get_env()),
    "evaluate what was passed": _evaluate,
    "reset": lambda agent, env: agent.get_env().reset(),
    "reset what was passed": lambda agent, env: env.reset(),
    "reset one": lambda agent, env: agent.get_env().envs[0].reset(),
    "step": lambda agent, env: agent.get_env().step(np.zeros((1, 1), np.float32)),
}


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: DummyVecEnv([lambda: e])])
@pytest.mark.parametrize("name", BETWEEN)
def test_between_two_calls_of_learn(make_agent: Any, name: str, wrap: Any) -> None:
    env, windows = wrap(Counter()), Windows()
    agent = make_agent(env, every=2).learn(14, windows)
    BETWEEN[name](agent, env)
    agent.learn(6, windows, reset_num_timesteps=False)
    found = _records(agent, windows)
    assert [step for _, step, _ in found] == [*range(11), *range(4), *range(6)]
    assert found[15][0] > found[14][0]


class At(BaseCallback):
    """Does something at a moment of the training."""

    def __init__(self, steps: int, what: Callable[[Any], Any], moment: str = "step") -> None:
        super().__init__()
        self.steps, self.what, self.moment, self.done = steps, what, moment, False

    def _do(self, moment: str) -> None:
        if self.moment == moment and self.model.num_timesteps == self.steps and not self.done:
            self.done = True
            self.what(self.model)

    def _on_step(self) -> bool:
        self._do("step")
        return True

    def _on_rollout_end(self) -> None:
        self._do("rollout")

    def _on_training_start(self) -> None:
        self._do("start")


def _do(what: Callable[[Any, Any], Any], env: gym.Env, agent: Any) -> None:
    what(agent, env)


@pytest.mark.parametrize("name", BETWEEN)
@pytest.mark.parametrize("moment", ["step", "rollout"])
def test_in_the_middle_of_learn(make_agent: Any, name: str, moment: str) -> None:
    """The step that had been taken is kept, and so is the end of an episode."""
    for steps in (13, 10):
        env, windows = Counter(), Windows()
        stranger = At(steps, partial(_do, BETWEEN[name], env), moment)
        every = 4 if moment == "step" else 1
        agent = make_agent(env, every).learn(20, [stranger, windows])
        assert stranger.done
        first = [*range(11), *range(3)] if steps == 13 else [*range(11)]
        then = [*range(7)] if steps == 13 else [*range(11)]
        assert [step for _, step, _ in _records(agent, windows)] == [*first, *then]
        assert agent.num_timesteps == 20


def test_before_the_first_step(make_agent: Any) -> None:
    stranger = At(0, lambda agent: _evaluate(agent, agent.get_env()), "start")
    windows = Windows()
    agent = make_agent(Counter(), every=5).learn(5, [stranger, windows])
    assert [step for _, step, _ in _records(agent, windows)] == [*range(5)]


def test_evaluation_on_the_training_environment(make_agent: Any) -> None:
    env = DummyVecEnv([Counter] * 2)
    evaluation = EvalCallback(env, eval_freq=7, n_eval_episodes=3, verbose=0, warn=False)
    windows = Windows()
    agent = make_agent(env, every=5).learn(60, [evaluation, windows])
    assert sum(first for _, _, first in _records(agent, windows)) == 1 + 30 // 7


class Skipping(gym.Wrapper):
    """Steps twice, and resets twice."""

    def reset(self, **kwargs: Any) -> Any:
        self.env.reset()
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        self.env.step(action)
        return self.env.step(action)


def test_wrappers_that_step_more_often_are_no_strangers(make_agent: Any) -> None:
    agent, windows = make_agent(Skipping(Counter()), every=3), Windows()
    for _ in range(3):
        agent.learn(9, windows, reset_num_timesteps=False)
    obs, _, first, _ = records(agent, windows)
    assert obs[:12, 1].tolist() == [*range(0, 12, 2), *range(0, 12, 2)]
    assert np.flatnonzero(first[:12]).tolist() == [0, 6]


def test_two_agents_on_one_environment(make_agent: Any) -> None:
    env = Counter()
    one, two = (make_agent(env, every=4) for _ in range(2))
    seen = Windows(), Windows()
    for _ in range(2):
        for agent, windows in zip((one, two), seen, strict=True):
            agent.learn(4, windows, reset_num_timesteps=False)
    one.learn(4, seen[0])
    one.learn(4, seen[0], reset_num_timesteps=False)  # nobody was there in between
    assert [step for _, step, _ in _records(one, seen[0])] == [*range(4), *range(4), *range(8)]
    assert [step for _, step, _ in _records(two, seen[1])] == [*range(4), *range(4)]


def test_another_environment(make_agent: Any) -> None:
    """Whether the one before is stepped is of no interest any more."""
    old, new, windows = Counter(), Counter(), Windows()
    agent = make_agent(old, every=4).learn(4, windows)
    agent.set_env(new)
    agent.learn(4, windows, reset_num_timesteps=False)
    old.reset()
    agent.learn(4, windows, reset_num_timesteps=False)
    assert [step for _, step, _ in _records(agent, windows)] == [*range(4), *range(8)]


def test_after_loading(make_agent: Any, tmp_path: Path) -> None:
    """What is restored is gone on from, unless someone steps it before."""
    before = Windows()
    agent = make_agent(Counter(), every=2).learn(4, before)
    save(agent, tmp_path)
    for stranger in (False, True):
        env, windows = Counter(), Windows()
        windows.kept += before.kept
        again = load(type(agent), tmp_path, env)
        if stranger:
            env.step(np.zeros(1))
        again.learn(4, windows, reset_num_timesteps=False)
        expected = [*range(4), *range(4)] if stranger else [*range(8)]
        assert [step for _, step, _ in _records(again, windows)] == expected


def _normalized() -> VecEnv:
    return VecNormalize(DummyVecEnv([Counter]))


@of_replays
@pytest.mark.parametrize("steps", [13, 10])
def test_behind_a_normalizer_the_step_is_left_out(make_agent: Any, steps: int) -> None:
    """It remembers the raw numbers of the last step only, which is the stranger's."""
    stranger = At(steps, lambda agent: _evaluate(agent, agent.get_env()))
    agent = make_agent(_normalized(), every=1).learn(20, stranger)
    buffer = agent.replay_buffer
    found = buffer.observations[: buffer.size(), 0, 1].tolist()
    assert (
        found
        == {
            13: [*range(11), *range(2), *range(7)],
            10: [*range(9), *range(11)],
        }[steps]
    )
    np.testing.assert_array_equal(buffer.episode_starts[: len(found), 0], np.array(found) == 0)
    np.testing.assert_allclose(buffer.rewards[: len(found), 0], found, rtol=1e-6)


def test_in_subprocesses(make_agent: Any) -> None:
    env, windows = SubprocVecEnv([Counter], "fork"), Windows()
    try:
        agent = make_agent(env, every=2).learn(4, windows)
        agent.learn(4, windows, reset_num_timesteps=False)
        env.env_method("reset")
        agent.learn(4, windows, reset_num_timesteps=False)
        env.reset()
        agent.learn(2, windows, reset_num_timesteps=False)
    finally:
        env.close()
    found = [step for _, step, _ in _records(agent, windows)]
    assert found == [*range(8), *range(4), *range(2)]

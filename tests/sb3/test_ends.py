"""Ends of episodes as simulators tell them: in numbers, or without the last observation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from dreamzoo import PlaNet
from tests.facts import KINDS_OF_LOOP
from tests.resuming import has_replay
from tests.sb3.conftest import TINY, TINY_POLICY, RandomEnv
from tests.sb3.stored import Windows, n_steps, numbers, records

Change = Callable[[VecEnvStepReturn], Any]


class Changed(VecEnvWrapper):
    """Returns other types than SB3's own environments do."""

    def __init__(self, venv: VecEnv, change: Change) -> None:
        super().__init__(venv)
        self.change = change

    def reset(self) -> VecEnvObs:
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        return self.change(self.venv.step_wait())


def dones_as(kind: Any) -> Change:
    return lambda step: (*step[:2], kind(step[2]), step[3])


def rewards_as(kind: Any) -> Change:
    return lambda step: (step[0], kind(step[1]), *step[2:])


def without_last(step: VecEnvStepReturn) -> Any:
    for info in step[3]:
        info.pop("terminal_observation", None)
    return step


SAME: dict[str, Change] = {
    "int64": dones_as(lambda x: x.astype(np.int64)),  # Isaac Gym, Brax
    "uint8": dones_as(lambda x: x.astype(np.uint8)),  # SuperSuit
    "float": dones_as(lambda x: x.astype(np.float32)),  # Brax
    "column": dones_as(lambda x: x[:, None]),
    "list": dones_as(list),
    "rewards in a column": rewards_as(lambda x: x[:, None]),
    "rewards in float64": rewards_as(lambda x: x.astype(np.float64)),
}


def _make_env(change: Change | None, n_envs: int = 2) -> VecEnv:
    env = DummyVecEnv([lambda: RandomEnv(length=7)] * n_envs)
    env.seed(3)
    return env if change is None else Changed(env, change)


@pytest.mark.parametrize("agent_name", KINDS_OF_LOOP)
@pytest.mark.parametrize("name", SAME)
def test_numbers_train_as_flags_do(
    make_agent: Any, same_parameters: Callable[..., bool], name: str
) -> None:
    plain, other = (make_agent(_make_env(change)).learn(36) for change in (None, SAME[name]))
    assert plain._n_updates > 3
    assert same_parameters(plain, other)
    assert other._last_episode_starts.dtype == np.bool_
    for array, same in zip(numbers(plain), numbers(other), strict=True):
        np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize("name", ["uint8", "float", "column"])
def test_planets_episodes_are_counted(name: str) -> None:
    """Its updates follow episodes."""
    settings = {**TINY["planet"], "learning_starts": None, "train_ratio": None}
    agent = PlaNet(
        "MlpPolicy",
        _make_env(SAME[name]),
        seed_episodes=2,
        collect_interval=3,
        policy_kwargs=TINY_POLICY["planet"],
        **settings,
    )
    agent.learn(42)  # three episodes of seven steps in two environments
    assert agent._episodes == 6
    assert agent._n_updates == 3 + 2 * 2 * 3


BAD: dict[str, tuple[Change, str]] = {
    "two": (dones_as(lambda x: 2 * x), "dones that are no flags"),
    "nan": (dones_as(lambda x: np.where(x, np.nan, 0.0)), "dones that are no flags"),
    "too many": (dones_as(lambda x: np.repeat(x, 2)), r"dones shape \(4,\) .*expected 2 flags"),
    "one reward": (rewards_as(lambda x: x[:1]), r"reward shape \(1,\) .*expected 2"),
    "no last": (
        without_last,
        r"end of an episode of environment 0 .*infos\[0\] has no 'terminal",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_understood_is_refused(make_agent: Any, name: str) -> None:
    change, message = BAD[name]
    agent = make_agent(_make_env(change))
    with pytest.raises(ValueError, match=message):
        agent.learn(50)
    stored = 0 if name in ("too many", "one reward") else 6
    learned_from = 0 if has_replay(agent) else agent._n_updates * agent.n_steps
    assert learned_from + n_steps(agent) == stored
    agent.set_env(_make_env(None))
    windows = Windows()
    agent.learn(14, windows, reset_num_timesteps=False)
    assert records(agent, windows).first[stored if has_replay(agent) else 0]


@pytest.mark.parametrize("name", ["uint8", "int64", "rewards in a column"])
def test_a_normalizer_does_not_understand_numbers(make_agent: Any, name: str) -> None:
    """It takes dones for indices, and makes a matrix of a column and a row."""
    env = VecNormalize(_make_env(SAME[name]))
    with pytest.raises(ValueError, match="Put a wrapper inside of VecNormalize that returns"):
        make_agent(env).learn(50)
    usual = VecNormalize(Changed(_make_env(SAME[name]), lambda s: (*_usual(s), s[3])))
    assert make_agent(usual).learn(30)._n_updates > 0


def _usual(step: VecEnvStepReturn) -> Any:
    return step[0], step[1].reshape(-1), step[2].astype(bool)

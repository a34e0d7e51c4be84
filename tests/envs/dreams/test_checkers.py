"""Both environment checkers, and membership of every value, for all spaces and agents."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector.utils import iterate
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.envs import DreamEnv, DreamVectorEnv
from tests.envs.dreams.conftest import BOX, Toy
from tests.facts import HAS_MODEL, HAS_REPLAY
from tests.sb3.conftest import ACTIONS, TINY_POLICY

IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
OBSERVATIONS: dict[str, spaces.Space] = {
    "box": spaces.Box(-2, 2, (3,), np.float32),
    "matrix": spaces.Box(-0.1, np.inf, (2, 2), np.float64),
    "half": spaces.Box(-0.1, 0.1, (3,), np.float16),
    "integers": spaces.Box(-3, 250, (4,), np.int16),
    "bytes": spaces.Box(0, 7, (4,), np.uint8),
    "discrete": spaces.Discrete(3, start=-1),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(4),
    "image": IMAGE,
    "dict": spaces.Dict(
        {
            "image": IMAGE,
            "vector": spaces.Box(-1, 1, (2,), np.float64),
            "number": spaces.Discrete(4),
            "flags": spaces.MultiBinary([2, 2]),
            "choices": spaces.MultiDiscrete([3, 2], start=[1, -1]),
        }
    ),
}
ACTION_SPACES: dict[str, spaces.Space] = {
    "box": BOX,
    "integers": spaces.Box(-2, 3, (2,), np.int32),
    "double": spaces.Box(-1, 1, (1,), np.float64),
    "discrete": spaces.Discrete(3, start=2),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(3),
}

#: Said of the spaces of the toy itself, which a dream has to take over.
SAID_OF_SPACES = [
    ".*ormalized",
    ".*symmetric",
    ".*infinity",
    ".*extra check",
    ".*It seems .* image",
    ".*start",
    "Your action space has dtype",
    ".*unconventional shape",
]


def make_agent(name: str, observations: spaces.Space, actions: spaces.Space) -> HasWorldModel:
    """Make an untrained agent; one that has not learned dreams of everything that it can."""
    policy = "MultiInputPolicy" if isinstance(observations, spaces.Dict) else "MlpPolicy"
    policy = "CnnPolicy" if observations is IMAGE else policy
    size = {"buffer_size": 10} if name in HAS_REPLAY else {}
    env = Toy(observations, actions)
    agent = HAS_MODEL[name](policy, env, policy_kwargs=TINY_POLICY[name], seed=0, **size)
    assert isinstance(agent, HasWorldModel)
    decoder: Any = agent.world_model.decoder
    for parameter in decoder.parameters():
        parameter.data *= 3.0  # out of the bounds
    return agent


def check_dreams(agent: HasWorldModel) -> None:
    """Check every form of a dream."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for said in SAID_OF_SPACES:
            warnings.filterwarnings("ignore", message=said)
        check_env(DreamEnv(agent), skip_render_check=True)
        sb3_check_env(DreamEnv(agent, render_mode="rgb_array"))
    dream = DreamVectorEnv(agent, 4, horizon=3)
    vec = agent.dream_env(4, horizon=3)
    obs: Any = dream.reset(seed=0)[0]
    shown: Any = vec.reset()
    batched: Any = dream.observation_space
    single: Any = agent.observation_space
    for _ in range(5):
        for value in (_on_host(obs), shown):
            assert len(list(iterate(batched, value))) == 4
            for i in range(4):
                row = {k: v[i] for k, v in value.items()} if isinstance(value, dict) else value[i]
                assert single.contains(row), (single, row)
        actions = np.stack([dream.single_action_space.sample() for _ in range(4)])
        obs, reward, terminated, truncated, _ = dream.step(actions)
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (th.float32, th.bool, th.bool)
        shown, rewards, dones, infos = vec.step(actions)
        assert (rewards.dtype, dones.dtype) == (np.float32, bool)
        for info in infos:
            if "terminal_observation" in info:
                assert single.contains(info["terminal_observation"])


def _on_host(obs: Any) -> Any:
    if isinstance(obs, dict):
        return {name: part.numpy() for name, part in obs.items()}
    return obs.numpy()


@pytest.mark.parametrize("name", HAS_MODEL)
@pytest.mark.parametrize("observations", OBSERVATIONS)
def test_checkers_find_nothing_in_any_observation(name: str, observations: str) -> None:
    check_dreams(make_agent(name, OBSERVATIONS[observations], BOX))


@pytest.mark.parametrize("name", HAS_MODEL)
@pytest.mark.parametrize("actions", ACTION_SPACES)
def test_checkers_find_nothing_in_any_action(name: str, actions: str) -> None:
    if not isinstance(ACTION_SPACES[actions], ACTIONS[name]):
        pytest.skip(f"{name} does not act in {actions}")
    check_dreams(make_agent(name, OBSERVATIONS["box"], ACTION_SPACES[actions]))

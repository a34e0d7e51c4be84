"""Dreams as the VecEnv of Stable-Baselines3."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dreamzoo import DreamerV3
from dreamzoo.envs import DreamEnv, DreamVecEnv, DreamVectorEnv
from dreamzoo.nn import Latent
from tests.envs.dreams.conftest import DISCRETE, make_agent


def test_sb3_agents_train_inside_a_dream(agent: DreamerV3, image_agent: DreamerV3) -> None:
    model = PPO("MlpPolicy", agent.dream_env(n_envs=8, horizon=6), n_steps=8, batch_size=32)
    model.learn(128)
    evaluate_policy(model, agent.dream_env(n_envs=2, horizon=5), n_eval_episodes=4)
    PPO("CnnPolicy", image_agent.dream_env(n_envs=2), n_steps=8, batch_size=16, n_epochs=1).learn(
        16
    )
    DQN("MlpPolicy", agent.dream_env(n_envs=1), learning_starts=10, buffer_size=100).learn(20)
    DreamerV3(
        "MlpPolicy",
        agent.dream_env(n_envs=2, horizon=5),
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=8,
        train_ratio=1,
    ).learn(60)


def test_the_policy_of_the_real_environment_runs_unchanged(agent: DreamerV3) -> None:
    """The agent itself, with its memory, evaluated in its own dream."""
    rewards, lengths = evaluate_policy(
        agent, agent.dream_env(n_envs=2, horizon=6), 4, return_episode_rewards=True
    )
    assert np.shape(rewards) == (4,)
    assert np.max(lengths) <= 6


def test_vec_env_reports_ends_as_sb3_reads_them(agent: DreamerV3) -> None:
    env = agent.dream_env(n_envs=3, horizon=3, termination=None)
    env.seed(0)
    env.reset()
    for step in range(1, 4):
        obs, _, dones, infos = env.step(np.ones(3, int))
        assert dones.tolist() == [step == 3] * 3
    assert isinstance(obs, np.ndarray)
    for i in range(3):
        assert infos[i]["TimeLimit.truncated"]
        assert not np.array_equal(infos[i]["terminal_observation"], obs[i])
    env = agent.dream_env(n_envs=20)
    env.seed(0)
    env.reset()
    _, _, dones, infos = env.step(np.ones(20, int))
    assert dones.any()
    assert [("terminal_observation" in info) for info in infos] == dones.tolist()
    assert not any(info.get("TimeLimit.truncated") for info in infos)


def test_vec_env_wrappers_and_attributes(agent: DreamerV3) -> None:
    env = agent.dream_env(n_envs=3, horizon=3)
    wrapped: VecEnv = VecNormalize(env)
    wrapped.seed(0)
    first = wrapped.reset()
    episodes = 0
    for _ in range(6):
        _, _, _, infos = wrapped.step(np.ones(3, int))
        episodes += sum("episode" in info for info in infos)
    assert episodes >= 3
    assert env.get_attr("horizon") == [3] * 3
    env.set_attr("horizon", 5)
    assert env.dream.horizon == 5
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3
    assert np.asarray(env.get_images()[0]).shape == (300, 400, 3)
    with pytest.raises(ValueError, match="leave indices out"):
        env.set_attr("horizon", 5, indices=[0])
    for i, latent in enumerate(env.get_attr("latent", [2, 0])):
        assert th.equal(latent.feat, env.dream.latent.feat[2 - 2 * i])
    env.seed(0)
    assert isinstance(first, np.ndarray)
    same = [env.reset(), (env.seed(0), env.reset())[1]]
    np.testing.assert_array_equal(same[0], same[1])


def test_every_step_returns_arrays_of_its_own(agent: DreamerV3) -> None:
    env = agent.dream_env(n_envs=2, horizon=50, termination=None)
    first = env.reset()
    assert isinstance(first, np.ndarray)
    copy = first.copy()
    env.step(np.ones(2, int))
    np.testing.assert_array_equal(first, copy)


def test_dream_vec_env_is_what_dream_env_makes(agent: DreamerV3) -> None:
    env = agent.dream_env(n_envs=3, horizon=4)
    assert isinstance(env, DreamVecEnv)
    assert isinstance(env.dream.reset(seed=0)[0], th.Tensor)
    assert isinstance(env.dream.latent, Latent)


def test_ended_episodes_are_monitored(agent: DreamerV3) -> None:
    env = agent.dream_env(n_envs=3, horizon=4)
    assert env.env_is_wrapped(Monitor, [0, 2]) == [True] * 2
    env.seed(3)
    env.reset()
    env.step(np.ones(3, int))
    env.reset()  # begins to count anew
    returns, lengths, ended = np.zeros(3), np.zeros(3, int), 0
    for _ in range(12):
        _, rewards, dones, infos = env.step(np.ones(3, int))
        returns += rewards
        lengths += 1
        for i, info in enumerate(infos):
            assert ("episode" in info) == dones[i]
            if dones[i]:
                assert info["episode"]["r"] == pytest.approx(returns[i], abs=1e-6)
                assert info["episode"]["l"] == lengths[i]
                assert 0 <= info["episode"]["t"] < 600
                returns[i], lengths[i], ended = 0.0, 0, ended + 1
    assert ended >= 9


def test_an_agent_in_a_dream_logs_its_returns(agent: DreamerV3) -> None:
    model = PPO("MlpPolicy", agent.dream_env(4, horizon=4), n_steps=8, batch_size=32, n_epochs=1)
    model.learn(32, log_interval=None)  # type: ignore[arg-type]
    model.dump_logs()
    assert model.ep_info_buffer is not None
    assert len(model.ep_info_buffer) >= 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # SB3 asks for a Monitor
        evaluate_policy(model, agent.dream_env(2, horizon=4), 2)


def context(value: float, rows: int = 1, steps: int = 3) -> dict[str, Any]:
    """Real steps, all alike."""
    return {
        "observations": np.full((rows, steps, 3), value, np.float32),
        "actions": np.ones((rows, steps - 1), int),
    }


def test_every_dream_can_begin_after_its_own_context(agent: DreamerV3) -> None:
    env = agent.dream_env(3, horizon=4)
    env.set_options([{"context": context(value)} for value in (-1.0, 0.0, 1.0)])
    env.seed(0)
    obs = env.reset()
    joined = {name: np.concatenate([context(v)[name] for v in (-1.0, 0.0, 1.0)]) for name in JOINED}
    other = agent.dream_env(3, horizon=4)
    other.set_options({"context": joined})
    other.seed(0)
    np.testing.assert_array_equal(obs, other.reset())
    assert len(np.unique(env.dream.latent.deter, axis=0)) == 3
    env.set_options([{"context": context(1.0)}] * 3)  # one object: one context for all
    env.reset()
    assert len(np.unique(env.dream.latent.deter, axis=0)) == 1


JOINED = ("observations", "actions")

UNFIT: dict[str, list[dict[str, Any]]] = {
    "some only": [{"context": context(1.0)}, {}, {}],
    "lengths": [{"context": context(1.0, steps=2 + i)} for i in range(3)],
    "keys": [{"context": context(1.0)}] * 2 + [{"context": {"observations": np.ones((1, 3, 3))}}],
    "no dictionary": [{"context": context(1.0)}] * 2 + [{"context": 3}],
    "masks": [{"reset_mask": np.arange(3) == i} for i in range(3)],
    "too few": [{}] * 2,
}


@pytest.mark.parametrize("name", UNFIT)
def test_options_that_do_not_go_together_are_refused(agent: DreamerV3, name: str) -> None:
    env = agent.dream_env(3)
    env.set_options({"context": context(1.0)})
    with pytest.raises(ValueError, match="set_options"):
        env.set_options(UNFIT[name])
    env.reset()  # with the options of before
    assert len(np.unique(env.dream.latent.deter, axis=0)) == 1


def test_a_list_of_actions_gets_no_warning(agent: DreamerV3) -> None:
    env = agent.dream_env(2)
    env.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.step([np.array(1), np.array(2)])  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_integers_of_any_dtype_stay_members_of_their_space(dtype: type[np.integer]) -> None:
    space = spaces.Discrete(3, start=2, dtype=dtype)
    agent = make_agent(space, DISCRETE, steps=0)
    single, batch, rows = DreamEnv(agent), DreamVectorEnv(agent, 4), DreamVecEnv(agent, 4)
    for obs in (single.reset(seed=0)[0], single.step(1)[0]):
        assert type(obs) is dtype
        assert obs in single.observation_space
    for tensor in (batch.reset(seed=0)[0], batch.step(np.ones(4, int))[0]):
        assert isinstance(tensor, th.Tensor)
        assert tensor.numpy() in batch.observation_space
        assert tensor.numpy().dtype == dtype
    for array in (rows.reset(), rows.step(np.ones(4, int))[0]):
        assert isinstance(array, np.ndarray)
        assert all(row in rows.observation_space for row in array)

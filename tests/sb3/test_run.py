"""Constructing and learning, as every SB3 algorithm does."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from dreamzoo.common.noise import fit_noise
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.envs import make_atari, make_dmc
from tests.facts import HAS_REPLAY
from tests.resuming import has_replay
from tests.sb3.conftest import of_replays, of_windows
from tests.sb3.stored import Windows

#: Arguments that all algorithms of SB3 have, those off-policy, and those on-policy.
VOCABULARY = {
    "policy", "env", "learning_rate", "gamma", "stats_window_size", "tensorboard_log",
    "policy_kwargs", "verbose", "seed", "device", "_init_setup_model",
}  # fmt: skip
OFF_POLICY = {
    "buffer_size", "learning_starts", "batch_size", "train_freq", "gradient_steps",
    "action_noise", "replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage",
}  # fmt: skip
ON_POLICY = {"n_steps", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm"}


def test_agents_run_on_one_of_sb3s_loops(agent_class: Any) -> None:
    assert issubclass(agent_class, OffPolicyAlgorithm) == has_replay(agent_class)
    assert issubclass(agent_class, OnPolicyAlgorithm) != has_replay(agent_class)
    assert {"MlpPolicy", "CnnPolicy", "MultiInputPolicy"} <= set(agent_class.policy_aliases)
    assert all(issubclass(policy, BasePolicy) for policy in agent_class.policy_aliases.values())


def test_constructors_speak_sb3s_language(agent_class: Any) -> None:
    parameters = inspect.signature(agent_class).parameters
    own, others = (OFF_POLICY, ON_POLICY) if has_replay(agent_class) else (ON_POLICY, OFF_POLICY)
    assert set(parameters) >= VOCABULARY - {"gamma"} | own
    assert not set(parameters) & (others - ON_POLICY)
    assert list(parameters)[2] == "learning_rate"
    assert list(parameters)[-1] == "_init_setup_model"


@pytest.mark.usefixtures("actor_critic")
def test_critics_have_sb3s_words(make_agent: Any, agent_class: Any) -> None:
    slow = {"tau"} if hasattr(make_agent().policy, "critic_target") else set()
    assert set(inspect.signature(agent_class).parameters) >= {"gamma", *slow}


def test_a_total_may_be_a_float(make_agent: Any) -> None:
    assert make_agent().learn(64.0).num_timesteps == 64


@pytest.mark.parametrize("vec_env", [DummyVecEnv, SubprocVecEnv])
def test_several_environments(make_agent: Any, vec_env: Any) -> None:
    # Of gymnasium, not of conftest, which a subprocess could not import.
    env = vec_env([partial(gym.make, "CartPole-v1")] * 2)
    agent = make_agent(env).learn(24)
    assert agent.num_timesteps == 24
    assert agent._n_updates > 0
    env.close()


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_real_environments(make_agent: Any, env_id: str) -> None:
    agent = make_agent(env_id).learn(50, log_interval=1000)
    assert agent._n_updates > 0
    assert np.isfinite(list(agent.logger.name_to_value.values())).all()


def test_environments_by_name(agent_class: Any, tiny_policy: dict[str, Any]) -> None:
    agent = agent_class("MlpPolicy", "Pendulum-v1", policy_kwargs=tiny_policy)
    steps = 2 if has_replay(agent) else agent.n_steps
    assert agent.learn(2).num_timesteps == steps


def test_atari(make_agent: Any) -> None:
    agent = make_agent(make_atari("pong"), "CnnPolicy").learn(16)
    assert agent._n_updates > 0


def test_control_suite(make_agent: Any) -> None:
    env = make_dmc("cartpole", "balance")
    policy = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
    agent = make_agent(env, policy).learn(16)
    assert agent._n_updates > 0


# ---------------------------------------------------------------------- when updates happen


@of_replays
def test_minus_one_gives_an_update_for_every_step(make_agent: Any) -> None:
    agent = make_agent(n_envs=2, train_freq=3, learning_starts=0, gradient_steps=-1).learn(6)
    assert agent.logger.name_to_value["train/n_updates"] == 6


@of_replays
@pytest.mark.parametrize(
    ("settings", "updates"),
    [
        ({"gradient_steps": 0, "learning_starts": 0}, 0),
        ({"gradient_steps": 2, "learning_starts": 5}, 10),  # steps 6 to 10
        ({"gradient_steps": 2, "learning_starts": 5, "train_freq": 4}, 4),  # 8 and 12
        ({"gradient_steps": 1, "learning_starts": 0, "train_freq": (2, "step")}, 5),
        ({"gradient_steps": 3, "learning_starts": 0, "train_freq": (1, "episode")}, 3),
    ],
)
def test_updates_come_as_in_sb3(make_agent: Any, settings: dict[str, Any], updates: int) -> None:
    assert make_agent(**settings).learn(10)._n_updates == updates


@of_replays
def test_whole_episodes_are_collected(make_agent: Any) -> None:
    agent = make_agent(train_freq=(1, "episode")).learn(15)
    assert agent.num_timesteps == 20


@of_replays
@pytest.mark.parametrize("train_freq", ["4", ("1", "episode"), (1, "close")])
def test_senseless_frequencies_are_refused(make_agent: Any, train_freq: Any) -> None:
    with pytest.raises(ValueError, match=r"[Ff]requency|train_freq|convert"):
        make_agent(train_freq=train_freq).learn(4)


@of_replays
def test_a_small_buffer_is_enough_once_it_is_full(make_agent: Any) -> None:
    agent = make_agent(buffer_size=6, batch_size=16).learn(12)
    assert agent._n_updates > 0


@of_windows
@pytest.mark.parametrize(("n_envs", "n_steps"), [(1, 5), (2, 3), (3, 1)])
def test_every_window_is_learned_from_once(make_agent: Any, n_envs: int, n_steps: int) -> None:
    """Windows are whole, as in SB3: the last one may go beyond the steps that were asked for."""
    windows = Windows()
    agent = make_agent(n_envs=n_envs, n_steps=n_steps).learn(14, windows)
    assert agent._n_updates == len(windows.kept) == -(-14 // (n_envs * n_steps))
    assert agent.num_timesteps == agent._n_updates * n_envs * n_steps
    assert all(window.rewards.shape == (n_envs, n_steps) for window in windows.kept)
    agent.learn(1, reset_num_timesteps=False)
    assert agent._n_updates == len(windows.kept) + 1


@of_windows
def test_a_window_that_was_stopped_is_not_learned_from(make_agent: Any) -> None:
    agent = make_agent(n_steps=4)
    agent.learn(20, callback=lambda *_: agent.num_timesteps < 11)
    assert (agent.num_timesteps, agent._n_updates) == (11, 2)
    windows = Windows()
    agent.learn(4, windows, reset_num_timesteps=False)
    assert windows.kept[0].is_first[:, 0].all()  # its last step was lost


# ---------------------------------------------------------------------- settings


def test_learning_rate_schedules_are_followed(make_agent: Any, agent_name: str) -> None:
    every = {"train_freq" if agent_name in HAS_REPLAY else "n_steps": 5}
    agent = make_agent(learning_rate=lambda progress: 1e-3 * progress, **every)
    agent.learn(20, log_interval=1000)
    assert agent.logger.name_to_value["train/learning_rate"] == 0.0
    assert agent.policy.optimizer.param_groups[0]["lr"] == 0.0
    agent.learn(20, callback=lambda locals_, _: agent.num_timesteps < 16)
    assert agent.policy.optimizer.param_groups[0]["lr"] == pytest.approx(0.25e-3)


@of_replays
def test_action_noise_reaches_environment_and_replay(make_agent: Any, make_env: Any) -> None:
    env = make_env(length=100)
    noise = NormalActionNoise(np.full(2, 10.0), np.zeros(2))
    agent = make_agent(DummyVecEnv([lambda: env]), action_noise=noise)
    if hasattr(agent, "exploration_noise"):
        agent.exploration_noise = 0.0  # its own, which comes on top
    agent.learn(20)
    assert agent._n_updates > 0
    # Noise is for the policy's actions; an agent may begin with random ones.
    assert np.array_equal(np.stack(env.actions)[12:], np.ones((8, 2)))
    # What the environment was given is what is stored and remembered, as in SB3.
    assert (agent.replay_buffer.actions[12:20] == 1.0).all()


@of_replays
def test_every_environment_has_its_own_action_noise(
    make_agent: Any, make_env: Any, tmp_path: Path
) -> None:
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(2), np.ones(2))
    agent = make_agent(n_envs=2, action_noise=noise).learn(22)
    assert agent._n_updates > 0
    assert agent.action_noise.n_envs == 2
    agent.save(tmp_path / "agent")
    for n_envs in (3, 1):
        env = DummyVecEnv([make_env] * n_envs)
        type(agent).load(tmp_path / "agent", env=env).learn(12 * n_envs)


@of_replays
@pytest.mark.parametrize("n_envs", [1, 2])
def test_one_number_of_noise_is_added_to_all_actions_of_its_environment(
    make_agent: Any, n_envs: int
) -> None:
    """As in SB3; with as many environments as actions, they must not be mistaken for these."""
    agent = make_agent(n_envs=n_envs, action_noise=NormalActionNoise(np.zeros(1), np.ones(1)))
    agent.action_noise = fit_noise(agent.action_noise, agent.action_space, n_envs)
    latent = agent.policy.initial_state(n_envs).latent
    plain = agent.policy.choose(latent, th.Generator().manual_seed(0))
    np.random.seed(1)
    noisy = WorldModelAlgorithm._choose(agent, latent, th.Generator().manual_seed(0), False)
    np.random.seed(1)
    noise = np.random.normal(size=n_envs)[:, None]
    expected = (plain.detach().numpy() + np.tile(noise, 2)).clip(-1, 1)
    np.testing.assert_allclose(noisy.detach().numpy(), expected, atol=1e-6)


@of_replays
@pytest.mark.parametrize(("mean", "sigma"), [(np.zeros(3), np.ones(3)), (0.0, 0.1)])
def test_noise_of_another_size_is_refused_at_once(make_agent: Any, mean: Any, sigma: Any) -> None:
    noise = NormalActionNoise(mean, sigma)
    with pytest.raises(ValueError, match=r"action_noise=.* needs 2"):
        make_agent(n_envs=3, action_noise=noise)
    agent = make_agent(action_noise=NormalActionNoise(np.zeros(2), np.ones(2)))
    good, agent.action_noise = agent.action_noise, noise
    with pytest.raises(ValueError, match=r"action_noise=.* needs 2"):
        agent.learn(4)
    agent.action_noise = good
    assert agent.learn(4).num_timesteps == 4


@of_replays
def test_hindsight_replay_is_refused(make_agent: Any) -> None:
    with pytest.raises(ValueError, match="HerReplayBuffer"):
        make_agent(replay_buffer_class=HerReplayBuffer)

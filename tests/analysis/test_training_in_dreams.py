"""SB3's agents, trained in a dream and in reality."""

import math
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import DreamerV3
from dreamzoo.analysis.evaluation import RandomPolicy
from dreamzoo.analysis.sb3_agents import SETTINGS, load_policy, train_sb3
from dreamzoo.analysis.training_in_dreams import compare_in_reality, train_in_dream
from dreamzoo.common.storage.agents import SB3_AGENTS


def make_model(env_id: str) -> DreamerV3:
    return DreamerV3("MlpPolicy", env_id, policy_kwargs=dict(size="debug"), seed=0)


@pytest.mark.parametrize(
    ("env_id", "name", "kind", "settings"),
    [
        ("Pendulum-v1", "sac", SAC, dict(gamma=0.9, use_sde=True, learning_starts=8)),
        ("Pendulum-v1", "td3", TD3, dict(tau=0.1, learning_starts=8)),
        ("Pendulum-v1", "ppo", PPO, dict(gamma=0.9, use_sde=True, n_steps=8, batch_size=16)),
        ("CartPole-v1", "a2c", A2C, dict(n_steps=4)),
        ("CartPole-v1", "dqn", DQN, dict(learning_starts=8)),
    ],
)
def test_an_agent_is_trained_in_a_dream_with_its_settings(
    env_id: str, name: str, kind: type[BaseAlgorithm], settings: dict[str, Any]
) -> None:
    dream = make_model(env_id).dream_env(4, horizon=5)
    trained = train_in_dream(name, dream, 64, seed=3, **settings)
    agent = trained.agent
    assert type(agent) is kind
    assert {key: getattr(agent, key) for key in settings} == settings
    assert agent.num_timesteps == 64
    assert agent.seed == 3
    assert agent._n_updates > 0
    assert agent.get_env() is dream
    assert trained.promised is not None
    assert math.isfinite(trained.promised)


def test_settings_of_the_caller_come_before_the_defaults() -> None:
    env = make_vec_env("CartPole-v1", 2)
    agent = train_sb3("ppo", env, 16, n_steps=8, batch_size=16)
    assert isinstance(agent, PPO)
    assert (agent.n_steps, agent.batch_size) == (8, 16)
    assert agent.gae_lambda == SETTINGS["ppo"]["gae_lambda"]
    with pytest.raises(TypeError, match="no_such_setting"):
        train_sb3("ppo", env, 16, no_such_setting=1)


def test_nothing_is_promised_where_no_dream_has_ended() -> None:
    dream = make_model("Pendulum-v1").dream_env(4, horizon=50, termination=None)
    assert train_in_dream("sac", dream, 16, learning_starts=100).promised is None


def test_comparing_trains_as_long_in_reality_as_the_model_was() -> None:
    model, env = make_model("CartPole-v1"), make_vec_env("CartPole-v1", 2)
    model.num_timesteps = 40
    seen: list[int] = []

    class Counting(PPO):
        def learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> Any:
            seen.append(total_timesteps)
            return super().learn(total_timesteps, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SB3_AGENTS, "ppo", Counting)
        dreamed = train_sb3("ppo", model.dream_env(2), 64)
        returns = compare_in_reality(model, dreamed, env, "ppo", episodes=3)
    assert seen == [64, 40]
    assert set(returns) == {"random", "model", "ppo_in_dream", "ppo_real"}
    for interval in returns.values():
        assert interval["mean"] is not None
        assert interval["mean"] > 5


def test_policies_are_loaded_by_name(tmp_path: Path) -> None:
    env = make_vec_env("CartPole-v1")
    model = DQN("MlpPolicy", env)
    model.save(tmp_path / "dqn")
    assert load_policy("agent", model, env) is model
    assert isinstance(load_policy("random", model, env), RandomPolicy)
    name = f"dqn:{tmp_path / 'dqn'}"
    with pytest.raises(ValueError, match=r"dqn is of SB3, whose files can run code .* --trusted"):
        load_policy(name, model, env)
    assert isinstance(load_policy(name, model, env, trusted=True), DQN)
    for wrong in ("dqn", "dqn:", "dreamer:x"):
        with pytest.raises(ValueError, match="expected agent, random or one of"):
            load_policy(wrong, model, env)

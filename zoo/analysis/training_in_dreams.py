"""An agent that has seen nothing but a dream, beside one trained in reality."""

import time
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.analysis.evaluation import (
    RandomPolicy,
    confidence_interval,
    play_episodes,
    seed_episodes,
)
from dreamzoo.analysis.sb3_agents import train_sb3
from dreamzoo.common.has_world_model import HasWorldModel


class TrainedInDream(NamedTuple):
    """
    An agent and what its training in a dream was like.

    Example:
        >>> from dreamzoo.analysis.training_in_dreams import TrainedInDream
        >>> from stable_baselines3 import PPO
        >>> agent = PPO("MlpPolicy", "CartPole-v1", device="cpu")
        >>> trained = TrainedInDream(agent, promised=180.0, steps_per_second=4_000.0)
        >>> trained.promised
        180.0

    :param agent: to act in reality
    :param promised: mean return in the dream at the end of training; None if no episode has ended
    :param steps_per_second: of dreaming and training together
    """

    agent: BaseAlgorithm
    promised: float | None
    steps_per_second: float


def train_in_dream(
    name: str, dream: VecEnv, steps: int, *, seed: int = 0, **settings: Any
) -> TrainedInDream:
    """
    Train an agent of SB3 inside a dream.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.training_in_dreams import train_in_dream
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> dream = model.dream_env(n_envs=8, horizon=20)
        >>> trained = train_in_dream("ppo", dream, steps=256, n_epochs=1)
        >>> trained.agent.num_timesteps, trained.promised is not None
        (256, True)

    :param name: of the agent in :data:`~dreamzoo.common.storage.agents.SB3_AGENTS`
    :param dream: made by ``model.dream_env()``
    :param steps: of all dreams together
    :param seed: of the agent
    :param settings: of the agent's constructor
    """
    start = time.monotonic()
    agent = train_sb3(name, dream, steps, seed=seed, **settings)
    rate = steps / (time.monotonic() - start)
    assert agent.ep_info_buffer is not None
    returns = [episode["r"] for episode in agent.ep_info_buffer]
    return TrainedInDream(agent, float(np.mean(returns)) if returns else None, rate)


def compare_in_reality(
    model: HasWorldModel,
    dreamed: BaseAlgorithm,
    env: VecEnv,
    name: str,
    *,
    episodes: int = 50,
    seed: int = 0,
    **settings: Any,
) -> dict[str, dict[str, float | None]]:
    """
    Let an agent trained in a dream act in reality, beside others, all in the same episodes.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.training_in_dreams import compare_in_reality, train_in_dream
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> dream, env = model.learn(32).dream_env(n_envs=8, horizon=20), model.get_env()
        >>> dreamed = train_in_dream("ppo", dream, steps=256, n_epochs=1).agent
        >>> list(compare_in_reality(model, dreamed, env, "ppo", episodes=2, n_epochs=1))
        ['random', 'model', 'ppo_in_dream', 'ppo_real']

    :param model: whose dream it was; also acts itself
    :param dreamed: the agent trained in the dream
    :param env: real environment; an agent like ``dreamed`` is trained in it for as many steps as
        ``model`` was
    :param name: of such agents in :data:`~dreamzoo.common.storage.agents.SB3_AGENTS`
    :param episodes: of each
    :param seed: of that agent; the episodes have others
    :param settings: of that agent's constructor
    :return: mean returns with 95 % confidence intervals
    """
    policies = {
        "random": RandomPolicy(env),
        "model": model,
        f"{name}_in_dream": dreamed,
        f"{name}_real": train_sb3(name, env, model.num_timesteps, seed=seed, **settings),
    }
    returns = {}
    for policy_name, policy in policies.items():
        seed_episodes(env, seed + 10_000)
        returns[policy_name] = confidence_interval(play_episodes(policy, env, episodes))
    return returns

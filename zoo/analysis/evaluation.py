"""What an agent earns, what it is compared with, and whether it can be."""

import inspect
import pathlib
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.common.arguments import refuse_unknown
from dreamzoo.common.environments.normalizer import RewardUnit, normalizers
from dreamzoo.common.policies.hears_rewards import HearsRewards
from dreamzoo.common.storage.agents import load


def check_spaces(model: BaseAlgorithm, env: VecEnv) -> None:
    """
    Refuse an environment that a model does not know; images may have their channels first or last.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.evaluation import check_spaces
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> check_spaces(model, make_vec_env("CartPole-v1"))
        >>> check_spaces(model, make_vec_env("Acrobot-v1"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: Observation spaces do not match: Box(...) != Box(...)

    :raises ValueError: names both spaces
    """
    seen = model._wrap_env(env, verbose=0, monitor_wrapper=False)
    check_for_correct_spaces(seen, model.observation_space, model.action_space)


def load_changed(
    path: pathlib.Path, settings: dict[str, Any], trusted: bool = False
) -> BaseAlgorithm:
    """
    Load an agent, with a world model or without one, with some of its settings changed.

    Example:
        >>> import pathlib
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.evaluation import load_changed
        >>> path = pathlib.Path("agent.zip")
        >>> DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug")).save(path)
        >>> load_changed(path, {"horizon": 5}).horizon
        5

    :param path: of the model
    :param settings: arguments of the agent's constructor
    :param trusted: also load a file that runs code, see ``dreamzoo.load``
    :raises TypeError: for a setting that the agent does not have
    """
    model = load(path, trusted=trusted)
    known = inspect.signature(type(model)).parameters
    refuse_unknown(f"{type(model).__name__}", settings, known, known, "Nothing was loaded")
    return load(path, trusted=trusted, **settings) if settings else model


def seed_episodes(env: VecEnv, seed: int) -> None:
    """
    Decide which episodes are played next, and the actions that are sampled in them.

    Example:
        >>> from dreamzoo.analysis.evaluation import RandomPolicy, play_episodes, seed_episodes
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> env, returns = make_vec_env("CartPole-v1"), []
        >>> for _ in range(2):
        ...     seed_episodes(env, seed=0)
        ...     returns.append(play_episodes(RandomPolicy(env), env, episodes=3).tolist())
        >>> returns[0] == returns[1]
        True
    """
    env.seed(seed)
    env.action_space.seed(seed)


def tell_rewards(played: dict[str, Any], _: dict[str, Any] | None = None) -> None:
    """
    Tell a policy what its last actions have earned: a ``callback`` for SB3's ``evaluate_policy``.

    Nothing happens to policies that do not listen. It is an alternative to
    :class:`dreamzoo.wrappers.VecPreviousActionReward` around the environment, which cannot be put
    around ``VecNormalize`` where SB3's ``EvalCallback`` hands statistics over.

    Example:
        >>> from dreamzoo import RLLSTM
        >>> from dreamzoo.analysis.evaluation import tell_rewards
        >>> from stable_baselines3.common.evaluation import evaluate_policy
        >>> model = RLLSTM("MlpPolicy", "CartPole-v1", seed=0)
        >>> mean, _ = evaluate_policy(model, model.get_env(), callback=tell_rewards)

    :param played: local variables of ``evaluate_policy`` after a step. Whether an agent has learned
        normalized rewards its own environment says; of a policy alone, the one that it acts in
    """
    model, env, rewards = (played[name] for name in ("model", "env", "rewards"))
    if not hears(model):
        return
    if not any(normalizer.norm_reward for normalizer in normalizers(env)):
        agent = model if isinstance(model, BaseAlgorithm) else None
        rewards = RewardUnit.of(agent, env).learned(rewards)  # as in training
    tell(model, played["states"], rewards)


def hears(model: Any) -> bool:
    """
    Return whether an agent, or a policy, listens to what its actions have earned.

    Example:
        >>> from dreamzoo import RLLSTM
        >>> from dreamzoo.analysis.evaluation import hears
        >>> hears(RLLSTM("MlpPolicy", "CartPole-v1", seed=0))
        True

    :param model: an agent, its policy, or anything else that acts
    """
    return isinstance(getattr(model, "policy", model), HearsRewards)


def tell(model: Any, state: Any, rewards: np.ndarray) -> None:
    """
    Write into what a policy remembers what its last actions have earned, if it listens.

    Example:
        >>> from dreamzoo import RLLSTM
        >>> from dreamzoo.analysis.evaluation import tell
        >>> model = RLLSTM("MlpPolicy", "CartPole-v1", seed=0)
        >>> env = model.get_env()
        >>> action, state = model.predict(env.reset())
        >>> _, rewards, _, _ = env.step(action)
        >>> tell(model, state, rewards)
        >>> state[model.policy.memory.names.index("reward")].tolist()
        [[1.0]]

    :param model: an agent, its policy, or anything else that acts
    :param state: what its ``predict`` has returned for these actions
    :param rewards: (n,)
    """
    if not hears(model):
        return
    policy = getattr(model, "policy", model)
    parts = dict(zip(policy.memory.names, state, strict=True))
    parts["reward"][:] = np.reshape(rewards, (-1, 1))
    parts["told"][:] = 1.0


def play_episodes(
    policy: Any,
    env: VecEnv,
    episodes: int,
    deterministic: bool = False,
    ends: list[dict[str, Any]] | None = None,
) -> np.ndarray:
    """
    Play whole episodes; policies that listen are told what they earn, as in training.

    Example:
        >>> from dreamzoo.analysis.evaluation import RandomPolicy, play_episodes
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> env = make_vec_env("Pendulum-v1", n_envs=2, seed=0)
        >>> play_episodes(RandomPolicy(env), env, episodes=4).shape
        (4,)

    :param policy: with the ``predict`` of SB3's agents
    :param env: to play in
    :param episodes: their number, E
    :param deterministic: take the most likely actions instead of sampled ones
    :param ends: to which the information on the last step of each episode is added; where a
        ``Monitor`` sees longer episodes, as across lost lives, that of its own ends
    :return: their returns, (E,)
    """

    def after_step(played: dict[str, Any], _: dict[str, Any]) -> None:
        tell_rewards(played)
        has_ended = played["done"] and (
            not played["is_monitor_wrapped"] or "episode" in played["info"]
        )
        if ends is not None and has_ended:
            ends.append(played["info"])

    returns, _ = evaluate_policy(
        policy,
        env,
        episodes,
        deterministic=deterministic,
        return_episode_rewards=True,
        callback=after_step,
    )
    return np.asarray(returns)


def confidence_interval(returns: np.ndarray) -> dict[str, float | None]:
    """
    Mean and half width of its 95 % confidence interval (normal approximation), if it has one.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.analysis.evaluation import confidence_interval
        >>> confidence_interval(np.array([90.0, 100.0, 110.0]))
        {'mean': 100.0, 'half_width_95': 11.32}
    """
    mean = round(float(returns.mean()), 2)
    if len(returns) < 2:
        return {"mean": mean, "half_width_95": None}
    half = 1.96 * returns.std(ddof=1) / np.sqrt(len(returns))
    return {"mean": mean, "half_width_95": round(float(half), 2)}


class RandomPolicy:
    """
    Act at random, behind the interface that ``evaluate_policy`` takes.

    Example:
        >>> from dreamzoo.analysis.evaluation import RandomPolicy
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> env = make_vec_env("CartPole-v1", n_envs=3)
        >>> actions, _ = RandomPolicy(env).predict(env.reset())
        >>> actions.shape
        (3,)

    :param env: whose actions
    """

    def __init__(self, env: VecEnv) -> None:
        self.env = env

    def predict(self, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        return np.stack([self.env.action_space.sample() for _ in range(self.env.num_envs)]), None

"""Agents of Stable-Baselines3, to compare with and to train in dreams."""

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.analysis.evaluation import RandomPolicy
from dreamzoo.common.storage.agents import SB3_AGENTS

#: What a dream of many rows needs of an agent, where it is not SB3's default: more epochs and a
#: shorter discount for PPO, as RL Zoo has them for small tasks.
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": dict(n_steps=32, batch_size=256, gamma=0.98, gae_lambda=0.8)
}


def load_policy(name: str, model: BaseAlgorithm, env: VecEnv, trusted: bool = False) -> Any:
    """
    Load the policy that a command line names.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.sb3_agents import load_policy, train_sb3
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> env = model.get_env()
        >>> load_policy("agent", model, env) is model
        True
        >>> train_sb3("dqn", env, steps=10).save("dqn.zip")
        >>> type(load_policy("dqn:dqn.zip", model, env, trusted=True)).__name__
        'DQN'

    :param name: ``agent``, ``random``, or a saved agent of SB3: ``ppo:path``
    :param model: the agent that ``agent`` stands for
    :param env: whose actions are sampled for ``random``
    :param trusted: files of SB3 run code when they are loaded; they are not without it
    :raises ValueError: for any other name
    """
    if name == "agent":
        return model
    if name == "random":
        return RandomPolicy(env)
    kind, _, path = name.partition(":")
    if kind not in SB3_AGENTS or not path:
        raise ValueError(
            f"--policy {name}: expected agent, random or one of {sorted(SB3_AGENTS)}:FILE"
        )
    if not trusted:
        raise ValueError(
            f"{path} is of SB3, whose files can run code when they are loaded. If you trust where "
            "it comes from, say --trusted."
        )
    return SB3_AGENTS[kind].load(path)


def train_sb3(
    name: str, env: VecEnv, steps: int, *, seed: int = 0, **settings: Any
) -> BaseAlgorithm:
    """
    Train an agent of SB3 in an environment or a dream.

    Example:
        >>> from dreamzoo.analysis.sb3_agents import train_sb3
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> env = make_vec_env("CartPole-v1", n_envs=2)
        >>> ppo = train_sb3("ppo", env, steps=64, n_epochs=1)
        >>> type(ppo).__name__, ppo.num_timesteps
        ('PPO', 64)

    :param name: of the agent in :data:`SB3_AGENTS`
    :param env: its policy is chosen by the observations: images, dictionaries, numbers
    :param steps: of all rows together
    :param seed: of the agent
    :param settings: of the agent's constructor, before those of :data:`SETTINGS`
    """
    return make_sb3(name, env, seed=seed, **settings).learn(steps)


def make_sb3(name: str, env: VecEnv, *, seed: int = 0, **settings: Any) -> BaseAlgorithm:
    """
    Make an agent of SB3 that has learned nothing, see :func:`train_sb3`.

    Example:
        >>> from dreamzoo.analysis.sb3_agents import make_sb3
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> make_sb3("sac", make_vec_env("Pendulum-v1"), gamma=0.9).gamma
        0.9

    :param name: of the agent in :data:`SB3_AGENTS`
    :param env: its policy is chosen by the observations
    :param seed: of the agent
    :param settings: of the agent's constructor, before those of :data:`SETTINGS`
    """
    space, policy = env.observation_space, "MlpPolicy"
    if isinstance(space, spaces.Dict):
        policy = "MultiInputPolicy"
    elif is_image_space(space):
        policy = "CnnPolicy"
    settings = {"device": "cpu"} | SETTINGS.get(name, {}) | settings
    return SB3_AGENTS[name](policy, env, seed=seed, **settings)

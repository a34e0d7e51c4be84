"""What is recorded, learned and dreamed for the table of worlds from recorded data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dreamzoo.hyperparams import dreamer_v3

#: Of DreamerV3: a laptop's, but for what says how often it is updated, which is written below.
_MODEL: dict[str, Any] = {k: v for k, v in dreamer_v3.LAPTOP.items() if k != "train_ratio"}


@dataclass(frozen=True)
class OfflineTask:
    """
    An environment, who is recorded in it, and who learns from the record.

    Example:
        >>> from dreamzoo.benchmark.offline import TASKS
        >>> task = TASKS["CartPole-v1"]
        >>> task.episodes, task.moments[0]
        (50, 0)

    :param env: as :func:`dreamzoo.envs.make_env` names it
    :param behavior: agent of SB3 that is recorded while it is trained
    :param moments: after how many steps of its training; at 0 it acts at random
    :param episodes_each: recorded at each moment, with sampled actions
    :param updates: of DreamerV3 on what is recorded
    :param dream_horizon: steps after which a dream of PPO's training is cut
    :param dream_steps: of PPO, all dreams together
    :param behavior_kwargs: of the behavior's constructor
    :param behavior_envs: in which it is trained
    :param model_kwargs: of DreamerV3
    :param ppo_kwargs: of PPO
    :param n_dreams: side by side
    :param share: of the episodes to learn from; the others are held out
    :param real_episodes: of every policy in the real environment, sampled actions
    :param episode_steps: of a real episode, at most
    :param dataset: its name for Minari
    """

    env: str
    behavior: str
    moments: tuple[int, ...]
    updates: int
    dream_horizon: int
    dream_steps: int
    dataset: str
    episodes_each: int = 10
    behavior_kwargs: Mapping[str, Any] = field(default_factory=dict)
    behavior_envs: int = 1
    model_kwargs: Mapping[str, Any] = field(default_factory=lambda: dict(_MODEL))
    ppo_kwargs: Mapping[str, Any] = field(default_factory=dict)
    n_dreams: int = 64
    share: float = 0.9
    real_episodes: int = 50
    episode_steps: int = 500

    @property
    def episodes(self) -> int:
        """The number of all that is recorded."""
        return len(self.moments) * self.episodes_each


TASKS: dict[str, OfflineTask] = {
    task.env: task
    for task in (
        OfflineTask(
            "CartPole-v1",
            behavior="ppo",
            behavior_envs=8,
            moments=(0, 8_192, 16_384, 24_576, 32_768),
            updates=2_000,
            dream_horizon=200,
            dream_steps=200_000,
            model_kwargs=_MODEL | {"batch_length": 16},
            dataset="dreamzoo/cartpole-mixed-v0",
        ),
        OfflineTask(
            "dmc/cartpole-swingup",
            behavior="sac",
            moments=(0, 2_500, 5_000, 7_500, 10_000),
            updates=2_000,
            dream_horizon=100,
            dream_steps=400_000,
            ppo_kwargs=dict(n_steps=64, batch_size=512, gamma=0.99, gae_lambda=0.95),
            real_episodes=20,
            dataset="dreamzoo/cartpole-swingup-mixed-v0",
        ),
    )
}

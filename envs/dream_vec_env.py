"""Dreams for Stable-Baselines3: a learned world model as a ``VecEnv``."""

from copy import deepcopy
from typing import Any

from dreamzoo.envs.dream_vector_env import DreamVectorEnv, Model
from dreamzoo.envs.vector_env_to_vec_env import VectorEnvToVecEnv


class DreamVecEnv(VectorEnvToVecEnv):
    """
    N dreams as Stable-Baselines3 steps them: ``PPO("MlpPolicy", model.dream_env(n_envs=256))``.

    One batch of tensors inside, one copy to the host a step. With ``details=True`` every ``info``
    also holds latent, value and entropy of its row, at the price of a Python loop.

    :param model: see :class:`DreamVectorEnv`
    :param n_envs: dreams side by side
    :param render_mode: ``rgb_array`` or None
    :param details: see :class:`DreamVectorEnv`
    :param kwargs: its further options
    """

    def __init__(
        self,
        model: Model,
        n_envs: int = 1,
        render_mode: str | None = "rgb_array",
        *,
        details: bool = False,
        **kwargs: Any,
    ) -> None:
        self.dream = DreamVectorEnv(
            model, n_envs, render_mode=render_mode, details=details, **kwargs
        )
        super().__init__(self.dream)

    def __copy__(self) -> "DreamVecEnv":
        return deepcopy(self)

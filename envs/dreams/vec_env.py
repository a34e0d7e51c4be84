"""Dreams for Stable-Baselines3: a learned world model as a ``VecEnv``."""

import time
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from dreamzoo.envs.dreams.vector_env import DreamVectorEnv, Model
from dreamzoo.envs.vector_env_to_vec_env import VectorEnvToVecEnv, to_host


class DreamVecEnv(VectorEnvToVecEnv):
    """
    N dreams as Stable-Baselines3 steps them: ``PPO("MlpPolicy", model.dream_env(n_envs=256))``.

    One batch of tensors inside, one copy to the host a step. With ``details=True`` every ``info``
    also holds latent, value and entropy of its row, at the price of a Python loop. Where an
    episode ends ``info["episode"]`` holds its return, length and time, as SB3's ``make_vec_env``
    has them; there is no need for a ``VecMonitor``, which could not be copied.

    ``set_options`` takes a context for every row, of 1 row each and equally long, beside one for
    all of them.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from stable_baselines3 import PPO
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> dream = model.dream_env(n_envs=8, horizon=20)
        >>> type(dream).__name__
        'DreamVecEnv'
        >>> ppo = PPO("MlpPolicy", dream, n_steps=16, device="cpu").learn(128)

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
        self._start_time = time.time()
        self._returns = np.zeros(n_envs)
        self._lengths = np.zeros(n_envs, int)

    def __copy__(self) -> "DreamVecEnv":
        return deepcopy(self)

    def reset(self) -> np.ndarray | dict[str, np.ndarray]:
        obs = super().reset()
        self._returns[:], self._lengths[:] = 0.0, 0
        return obs

    def step_wait(self) -> VecEnvStepReturn:
        obs, rewards, dones, infos = super().step_wait()
        self._returns += rewards
        self._lengths += 1
        for i in np.flatnonzero(dones):
            infos[i]["episode"] = {
                "r": round(float(self._returns[i]), 6),
                "l": int(self._lengths[i]),
                "t": round(time.time() - self._start_time, 6),
            }
        self._returns[dones], self._lengths[dones] = 0.0, 0
        return obs, rewards, dones, infos

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def _join_options(self, options: list[dict[str, Any]]) -> dict[str, Any]:
        contexts = [row.get("context") for row in options]
        if len({id(context) for context in contexts}) > 1 and None not in contexts:
            try:
                joined = _concatenate([to_host(context) for context in contexts])
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    "set_options: the contexts of the dreams do not go together; expected the same "
                    f"keys and numbers of steps in all of them, one row each: {error!r}."
                ) from error
            options = [{**row, "context": joined} for row in options]
        return super()._join_options(options)


def _concatenate(parts: list[Any]) -> Any:
    """Put contexts of single rows, (1, ...), below one another."""
    if not isinstance(parts[0], dict):
        return np.concatenate(parts)
    names = set().union(*(part.keys() for part in parts))
    return {name: _concatenate([part[name] for part in parts]) for name in names}

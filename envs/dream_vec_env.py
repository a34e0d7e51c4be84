"""Dreams for Stable-Baselines3: a learned world model as a ``VecEnv``."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from dreamzoo.envs.dream_vector_env import DreamVectorEnv, Model
from dreamzoo.nn.observations import Observation


class DreamVecEnv(VecEnv):
    """
    N dreams as Stable-Baselines3 steps them: ``PPO("MlpPolicy", model.dream_env(n_envs=256))``.

    One batch of tensors inside, one copy to the host a step. ``infos`` hold what SB3 reads
    (``terminal_observation``, ``TimeLimit.truncated``); for latents, values and entropies use the
    :class:`DreamVectorEnv` in ``env.dream``. Wrap it in ``VecMonitor`` for episode statistics.

    :param model: see :class:`DreamVectorEnv`
    :param n_envs: dreams side by side
    :param render_mode: ``rgb_array`` or None
    :param kwargs: further options of :class:`DreamVectorEnv`
    """

    def __init__(
        self, model: Model, n_envs: int = 1, render_mode: str | None = "rgb_array", **kwargs: Any
    ) -> None:
        kwargs = {"details": False, **kwargs}
        self.dream = DreamVectorEnv(model, n_envs, render_mode=render_mode, **kwargs)
        self._actions: np.ndarray | None = None
        super().__init__(
            n_envs, self.dream.single_observation_space, self.dream.single_action_space
        )
        self.metadata = self.dream.metadata

    def reset(self) -> np.ndarray | dict[str, np.ndarray]:  # type: ignore[override]
        # One stream drives all dreams: the first seed counts, as all follow from it.
        obs, _ = self.dream.reset(seed=self._seeds[0], options=self._options[0] or None)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return to_host(obs)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        assert self._actions is not None
        obs, reward, terminated, truncated, info = self.dream.step(self._actions)
        ended, limit = terminated.cpu().numpy(), truncated.cpu().numpy()
        dones = ended | limit
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            last = to_host(info["final_obs"])
            for i in np.flatnonzero(dones):
                infos[i]["terminal_observation"] = (
                    {name: part[i] for name, part in last.items()}
                    if isinstance(last, dict)
                    else last[i]
                )
                infos[i]["TimeLimit.truncated"] = bool(limit[i] and not ended[i])
        return to_host(obs), reward.cpu().numpy(), dones, infos  # type: ignore[return-value]

    def close(self) -> None:
        self.dream.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        return self.dream.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(self.dream, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        self._only_all("set_attr", indices)
        setattr(self.dream, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        self._only_all("env_method", indices)
        return [getattr(self.dream, method_name)(*args, **kwargs)] * self.num_envs

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def _only_all(self, name: str, indices: VecEnvIndices) -> None:
        if len(set(self._get_indices(indices))) != self.num_envs:
            raise ValueError(
                f"{name}(indices={indices}): dreams are one batch; leave indices out to mean all."
            )


def to_host(obs: Observation) -> np.ndarray | dict[str, np.ndarray]:
    """Copy a batch of observations to the host, as arrays of their own."""
    if isinstance(obs, dict):
        return {name: part.cpu().numpy() for name, part in obs.items()}
    assert isinstance(obs, th.Tensor)
    return obs.cpu().numpy()

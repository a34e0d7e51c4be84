"""Between vector environments in torch and agents in numpy, and the other way round."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from dreamzoo.wrappers.array_conversion import Device, to_numpy, to_torch
from dreamzoo.wrappers.arrays import cast


class TorchToNumpy(VectorWrapper, gym.utils.RecordConstructorArgs):
    """
    Use a vector environment that computes with torch as if it computed with numpy.

    The vector version of :class:`dreamzoo.wrappers.TorchToNumpy`. ``final_obs`` becomes an array
    of single observations, as in gymnasium's vector environments.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers.vector import NumpyToTorch, TorchToNumpy
        >>> torch_envs = NumpyToTorch(gym.make_vec("Pendulum-v1", num_envs=2))
        >>> envs = TorchToNumpy(torch_envs)
        >>> obs, _ = envs.reset(seed=0)
        >>> type(obs), envs.step(envs.action_space.sample())[2]
        (<class 'numpy.ndarray'>, array([False, False]))

    :param env: vector environment to wrap
    :param device: where the environment wants its actions
    """

    def __init__(self, env: VectorEnv, device: Device | None = None) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, device=device)
        VectorWrapper.__init__(self, env)
        self.device = device

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, infos = self.env.reset(seed=seed, options=to_torch(options, self.device))
        return to_numpy(obs), to_numpy(infos)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        obs, rewards, terminations, truncations, infos = to_numpy(
            self.env.step(to_torch(actions, self.device))
        )
        ended = cast(terminations, bool) | cast(truncations, bool)
        infos = self._split_final_obs(infos, ended)
        return obs, rewards, terminations, truncations, infos

    def _split_final_obs(self, infos: dict[str, Any], ended: np.ndarray) -> dict[str, Any]:
        final_obs = infos.pop("final_obs", None)
        if final_obs is None:
            return infos
        if not ended.any():
            # An environment that does not look at its flags has to tell these at every step.
            return {key: infos[key] for key in infos if key.lstrip("_") not in _FINAL}
        rows = np.full(self.num_envs, None, dtype=object)
        for i, row in enumerate(iterate(self.observation_space, final_obs)):
            rows[i] = row if ended[i] else None
        return {**infos, "final_obs": rows, "_final_obs": ended}


class NumpyToTorch(VectorWrapper, gym.utils.RecordConstructorArgs):
    """
    Use a vector environment that computes with numpy as if it computed with torch.

    The vector version of :class:`dreamzoo.wrappers.NumpyToTorch`. ``final_obs`` becomes a batch;
    the rows that have none, by ``_final_obs``, hold the observation of another.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers.vector import NumpyToTorch
        >>> envs = NumpyToTorch(gym.make_vec("CartPole-v1", num_envs=2))
        >>> obs, _ = envs.reset(seed=0)
        >>> type(obs)
        <class 'torch.Tensor'>

    :param env: vector environment to wrap
    :param device: where observations, rewards, flags and infos shall be
    """

    def __init__(self, env: VectorEnv, device: Device | None = None) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, device=device)
        VectorWrapper.__init__(self, env)
        self.device = device

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, infos = self.env.reset(seed=seed, options=to_numpy(options))
        return to_torch(obs, self.device), to_torch(infos, self.device)

    def step(self, actions: Any) -> tuple[Any, th.Tensor, th.Tensor, th.Tensor, dict[str, Any]]:
        obs, rewards, terminations, truncations, infos = self.env.step(to_numpy(actions))
        results = (obs, rewards, terminations, truncations, self._join_final_obs(infos))
        return to_torch(results, self.device)

    def _join_final_obs(self, infos: dict[str, Any]) -> dict[str, Any]:
        rows = infos.get("final_obs")
        if rows is None or not isinstance(rows, np.ndarray) or rows.dtype != object:
            return infos
        some = next(row for row in rows if row is not None)
        space = self.env.single_observation_space
        batch: Any = create_empty_array(space, self.num_envs)
        filled = [some if row is None else row for row in rows]
        return {**infos, "final_obs": concatenate(space, filled, batch)}


_FINAL = ("final_obs", "final_info")

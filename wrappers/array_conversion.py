"""
Between environments in torch and agents in numpy, and the other way round.

gymnasium's ``ArrayConversion`` and ``NumpyToTorch`` are not used: they need array-api-compat, lose
their spaces when pickled, break strings in infos, and their vector forms fail where an episode
ends under SAME_STEP autoreset.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch as th

Device: TypeAlias = str | th.device


class TorchToNumpy(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Use an environment that computes with torch as if it computed with numpy.

    A vector version exists, :class:`dreamzoo.wrappers.vector.TorchToNumpy`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers import NumpyToTorch, TorchToNumpy
        >>> torch_env = NumpyToTorch(gym.make("Pendulum-v1"))
        >>> env = TorchToNumpy(torch_env)
        >>> obs, _ = env.reset(seed=0)
        >>> type(obs), env.step(env.action_space.sample())[0].dtype
        (<class 'numpy.ndarray'>, dtype('float32'))

    :param env: environment to wrap
    :param device: where the environment wants its actions
    """

    def __init__(self, env: gym.Env, device: Device | None = None) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, device=device)
        gym.Wrapper.__init__(self, env)
        self.device = device

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=to_torch(options, self.device))
        return to_numpy(obs), to_numpy(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(to_torch(action, self.device))
        return to_numpy(obs), float(reward), bool(terminated), bool(truncated), to_numpy(info)


class NumpyToTorch(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Use an environment that computes with numpy as if it computed with torch.

    A vector version exists, :class:`dreamzoo.wrappers.vector.NumpyToTorch`.

    Example:
        >>> import gymnasium as gym
        >>> import torch
        >>> from dreamzoo.wrappers import NumpyToTorch
        >>> env = NumpyToTorch(gym.make("CartPole-v1"))
        >>> obs, _ = env.reset(seed=0)
        >>> obs, reward, *_ = env.step(torch.tensor(1))
        >>> type(obs), reward
        (<class 'torch.Tensor'>, 1.0)

    :param env: environment to wrap
    :param device: where observations and infos shall be
    """

    def __init__(self, env: gym.Env, device: Device | None = None) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, device=device)
        gym.Wrapper.__init__(self, env)
        self.device = device

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=to_numpy(options))
        return to_torch(obs, self.device), to_torch(info, self.device)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(to_numpy(action))
        obs, info = to_torch(obs, self.device), to_torch(info, self.device)
        return obs, float(reward), bool(terminated), bool(truncated), info


def to_numpy(value: Any) -> Any:
    """
    Turn all tensors in a tree into copies as numpy arrays; nothing else is changed.

    :param value: tensor, or Mapping, tuple or list with some
    """
    if isinstance(value, th.Tensor):
        # Indexed, so that a single number becomes a numpy scalar: a valid key, unlike an array.
        return value.detach().to("cpu", copy=True).numpy()[()]
    return _map(to_numpy, value)


def to_torch(value: Any, device: Device | None = None) -> Any:
    """
    Turn all numpy arrays and numbers in a tree into new tensors; nothing else is changed.

    :param value: array, number, or Mapping, tuple or list with some
    :param device: of the tensors
    """
    is_array = isinstance(value, np.ndarray) and value.dtype.kind in "biufc"
    if is_array:  # torch takes neither negative strides nor another order of bytes
        value = np.array(value, value.dtype.newbyteorder("="), order="C")
    if is_array or isinstance(value, (bool, int, float, np.number, np.bool_)):
        return th.tensor(value, device=device)
    return _map(lambda part: to_torch(part, device), value)


def _map(convert: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: convert(part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return type(value)._make(convert(part) for part in value)
    return type(value)(map(convert, value)) if isinstance(value, (tuple, list)) else value

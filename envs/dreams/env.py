"""One dream, in numpy: a learned world model as a gymnasium environment."""

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from dreamzoo.envs.dreams.shared_model import SpecOfDream
from dreamzoo.envs.dreams.vector_env import DreamVectorEnv, Model


class DreamEnv(SpecOfDream, gym.Env):
    """
    A learned world model as an environment: the real one's spaces, the model's dynamics.

    ``gymnasium.make("dreamzoo/DreamEnv-v0", model="model.zip")`` makes one from a saved agent.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.envs import DreamEnv
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> env = DreamEnv(model, horizon=50)
        >>> obs, info = env.reset(seed=0)
        >>> obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
        >>> obs.shape, sorted(info)
        ((4,), ['continue', 'entropy', 'latent', 'value'])

    :param model: see :class:`DreamVectorEnv`
    :param render_mode: ``rgb_array`` or None
    :param kwargs: further options of :class:`DreamVectorEnv`: ``horizon``, ``observation``,
        ``start``, ``sample_reward``, ``termination``, ``details``, ``device``
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": DreamVectorEnv.metadata["render_modes"],
        "render_fps": DreamVectorEnv.metadata["render_fps"],
    }

    def __init__(self, model: Model, render_mode: str | None = None, **kwargs: Any) -> None:
        self.dream = DreamVectorEnv(
            model,
            1,
            autoreset_mode=AutoresetMode.DISABLED,
            render_mode=render_mode,
            **kwargs,
        )
        self.render_mode = render_mode
        self.observation_space = self.dream.single_observation_space
        self.action_space = self.dream.single_action_space
        self._running = False

    def __copy__(self) -> "DreamEnv":
        return deepcopy(self)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """
        Begin a new dream.

        :param seed: of everything random
        :param options: ``context`` of :meth:`DreamVectorEnv.reset`, with 1 row
        """
        super().reset(seed=seed)
        # Every reset takes its seed from this environment's own stream, as gymnasium asks.
        stream = int(self.np_random.integers(2**31))
        obs, info = self.dream.reset(seed=stream, options=options)
        self._running = True
        return to_numpy(obs), to_numpy(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """
        Dream one step.

        :param action: in the environment's units; continuous actions are clipped to their bounds
        :raises ResetNeeded: before the first reset and after the end of an episode
        """
        if not self._running:
            raise ResetNeeded("The episode has not begun or has ended: call reset() first.")
        batch = self.dream.policy.action_codec.as_array(action, "action")[None]
        obs, reward, terminated, truncated, info = self.dream.step(batch)
        end = bool(terminated), bool(truncated)
        self._running = not any(end)
        return to_numpy(obs), float(reward), *end, to_numpy(info)

    def render(self) -> Any:
        """Draw the dream: an RGB frame, or None without a render mode."""
        frames = self.dream.render()
        return None if frames is None else frames[0]


def to_numpy(value: Any) -> Any:
    """Take the only row of every tensor to the host, as an array of its own."""
    if isinstance(value, dict):
        return {name: to_numpy(part) for name, part in value.items()}
    array = value[0].cpu().numpy().copy() if isinstance(value, th.Tensor) else value
    return array[()] if isinstance(array, np.ndarray) and array.ndim == 0 else array

"""The policy side that all world-model agents share: acting with a memory."""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from dreamzoo.nn.heads import ActionCodec
from dreamzoo.nn.observations import Observation, ObservationCodec
from dreamzoo.nn.rssm import Latent
from dreamzoo.nn.world_model import WorldModel


class ActingState(NamedTuple):
    """
    What an agent remembers between two steps.

    :param latent: state after the previous observation, (n, ...)
    :param prev_action: encoded action chosen then, (n, A)
    """

    latent: Latent
    prev_action: th.Tensor


class WorldModelPolicy(BasePolicy):
    """
    Owns every network of an agent; acts through a filtered latent.

    Subclasses build ``world_model`` and choose actions from latents.

    :param observation_space: observation space
    :param action_space: action space
    :param images: whether uint8 images are read by a CNN
    :param kwargs: passed to SB3's ``BasePolicy``
    """

    world_model: WorldModel

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        images: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space, squash_output=True, **kwargs)
        self.observation_codec = ObservationCodec(
            observation_space, images=images, normalize_images=self.normalize_images
        )
        self.action_codec = ActionCodec(action_space)

    @abstractmethod
    def choose(
        self, latent: Latent, generator: th.Generator | None = None, deterministic: bool = False
    ) -> th.Tensor:
        """
        Choose actions from filtered latents.

        :param latent: (n, ...)
        :param generator: source of randomness
        :param deterministic: take the mode
        :return: actions in replay form, (n, dims)
        """

    def value(self, latent: Latent) -> th.Tensor | None:
        """Estimate the return that follows states, (n, ...) to (n,); None without a critic."""
        return None

    def initial_state(self, n: int) -> ActingState:
        """Return what an agent remembers before the first step of n episodes."""
        latent = self.world_model.initial(n)
        return ActingState(latent, latent.deter.new_zeros(n, self.action_codec.dim))

    @th.no_grad()
    def step(
        self,
        obs: Observation,
        state: ActingState,
        is_first: th.Tensor,
        generator: th.Generator | None = None,
        *,
        deterministic: bool = False,
    ) -> tuple[th.Tensor, ActingState]:
        """
        Filter one observation and act, all in torch.

        :param obs: observation in the environment's shape and dtype, (n, ...)
        :param state: what was remembered; rows that start an episode are forgotten here
        :param is_first: bool, (n,)
        :param generator: source of randomness; None is torch's global one
        :param deterministic: most likely latent and action: a pure function of the arguments
        :return: actions in replay form (n, dims) and what to remember
        """
        latent = self.world_model.observe(
            state.latent, state.prev_action, obs, is_first, generator, mode=deterministic
        )
        action = self.choose(latent, generator, deterministic)
        return action, ActingState(latent, self.action_codec.encode(action))

    def to_env_action(self, action: np.ndarray) -> np.ndarray:
        """
        Turn actions in replay form into what the environment takes.

        Box actions are clipped to [-1, 1] and scaled to the bounds of the space.

        :param action: (n, dims)
        :return: (n, *action_space.shape), dtype of the space
        """
        action = action.reshape(-1, *self.action_space.shape)  # type: ignore[misc]
        if isinstance(self.action_space, spaces.Box):
            action = self.unscale_action(np.clip(action, -1.0, 1.0))
            action = np.clip(action, self.action_space.low, self.action_space.high)
        elif isinstance(self.action_space, (spaces.Discrete, spaces.MultiDiscrete)):
            action = action + self.action_space.start
        return action.astype(self.action_space.dtype)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Choose actions for observations; pass the returned state to the next call.

        :param observation: one observation or a batch of n
        :param state: what the last call returned; None starts new episodes in every row
        :param episode_start: rows whose state is to be forgotten, (n,) bool
        :param deterministic: most likely latent and action instead of samples
        :return: actions, and the state: ``(deter (n, D), stoch (n, S * C), prev_action (n, A))``
        """
        if self.training:  # telling every module once more takes a third of a prediction
            self.set_training_mode(False)
        if isinstance(observation, tuple) and len(observation) == 2:
            raise ValueError(
                "You have passed a tuple to predict() instead of a numpy array or a dict. You are "
                "probably mixing Gym API with SB3 VecEnv API: `obs, info = env.reset()` (Gym), "
                "`obs = vec_env.reset()` (SB3 VecEnv)."
            )
        obs, vectorized = self.obs_to_tensor(observation)
        n = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        if state is None:
            memory, is_first = self.initial_state(n), np.ones(n, bool)
        else:
            memory = self._unpack(state, n)
            is_first = np.zeros(n, bool)
            if episode_start is not None:
                is_first = np.asarray(episode_start, bool).reshape(-1)
        action, memory = self.step(
            obs, memory, th.as_tensor(is_first, device=self.device), deterministic=deterministic
        )
        actions = self.to_env_action(action.cpu().numpy())
        return actions if vectorized else actions.squeeze(axis=0), self._pack(memory)

    def _pack(self, memory: ActingState) -> tuple[np.ndarray, ...]:
        flat = (*memory.latent, memory.prev_action)
        return tuple(x.flatten(1).cpu().numpy() for x in flat)

    def _unpack(self, state: tuple[np.ndarray, ...], n: int) -> ActingState:
        empty = self.initial_state(n)
        likes = (*empty.latent, empty.prev_action)
        expected = [(n, like[0].numel()) for like in likes]
        found = [tuple(np.shape(part)) for part in state]
        if found != expected:
            raise ValueError(
                f"state has parts of the shapes {found}; expected {expected}, as the last "
                "predict() call returned them for the same number of environments. Pass state=None "
                "to start anew."
            )
        parts = [
            th.as_tensor(part, device=self.device).view(like.shape)
            for part, like in zip(state, likes, strict=True)
        ]
        return ActingState(Latent(*parts[:-1]), parts[-1])

    def _predict(self, observation: Observation, deterministic: bool = False) -> th.Tensor:
        """Act on the first observation of episodes; BasePolicy asks for a memoryless form."""
        n = len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
        is_first = th.ones(n, dtype=th.bool, device=self.device)
        return self.step(observation, self.initial_state(n), is_first, deterministic=deterministic)[
            0
        ]

    def forward(self, obs: Observation, deterministic: bool = False) -> th.Tensor:
        return self._predict(obs, deterministic)

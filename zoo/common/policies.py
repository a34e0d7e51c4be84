"""The policy side that all world-model agents share: acting with a memory."""

from abc import abstractmethod
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from dreamzoo.nn.dynamics import Latent
from dreamzoo.nn.heads import ActionCodec
from dreamzoo.nn.observations import SINGLE, Observation, ObservationCodec
from dreamzoo.nn.process import restores_process
from dreamzoo.nn.world_model import WorldModel


class ActingState(NamedTuple):
    """
    What an agent remembers between two steps.

    :param latent: state after the previous observation, (n, ...)
    :param prev_action: encoded action chosen then, (n, A)
    """

    latent: Latent
    prev_action: th.Tensor


class Choice(Protocol):
    """How actions follow from states."""

    def __call__(
        self, latent: Latent, generator: th.Generator | None, deterministic: bool
    ) -> th.Tensor:
        """Choose actions in replay form, (n, dims), for latents (n, ...)."""


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
    #: What a subclass was built with beside what every policy gets.
    _arguments: dict[str, Any]

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        images: bool,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("features_extractor_class") is None:
            kwargs["features_extractor_class"] = (
                FlattenExtractor  # named, as SB3 wants, never built
            )
        super().__init__(observation_space, action_space, squash_output=True, **kwargs)
        self.observation_codec = ObservationCodec(
            observation_space, images=images, normalize_images=self.normalize_images
        )
        self.action_codec = ActionCodec(action_space)

    def _own_encoder(self, extractor: type[BaseFeaturesExtractor] | None) -> nn.Module | None:
        """Build an encoder from the user's ``features_extractor_class``, if there is one."""
        if extractor is None:
            return None
        built = extractor(self.observation_space, **self.features_extractor_kwargs)
        return ExtractorEncoder(built, self.observation_codec)

    def _set_world_model(self, world_model: WorldModel) -> None:
        """Own a world model; its encoder also gets the name that SB3 has for it."""
        self.world_model = world_model
        memory = self.initial_state(1)
        self._memory_shapes = [part.shape[1:] for part in (*memory.latent, memory.prev_action)]
        encoder = world_model.encoder
        # Not a second registration: its parameters would be saved twice.
        object.__setattr__(self, "features_extractor", getattr(encoder, "extractor", encoder))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "normalize_images": self.normalize_images,
            "lr_schedule": self._dummy_schedule,  # not needed for acting
            **self._arguments,
        }

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
        choose: Choice | None = None,
    ) -> tuple[th.Tensor, ActingState]:
        """
        Filter one observation and act, all in torch.

        :param obs: observation in the environment's shape and dtype, (n, ...)
        :param state: what was remembered; rows that start an episode are forgotten here
        :param is_first: bool, (n,)
        :param generator: source of randomness; None is torch's global one
        :param deterministic: most likely latent and action: a pure function of the arguments
        :param choose: how to choose; None: :meth:`choose`
        :return: actions in replay form (n, dims) and what to remember
        """
        latent = self.world_model.observe(
            state.latent, state.prev_action, obs, is_first, generator, mode=deterministic
        )
        action = (choose or self.choose)(latent, generator, deterministic)
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
            if np.issubdtype(self.action_space.dtype, np.integer):
                action = np.rint(action)
        elif isinstance(self.action_space, (spaces.Discrete, spaces.MultiDiscrete)):
            action = action + self.action_space.start
        return action.astype(self.action_space.dtype)

    @restores_process
    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        *,
        choose: Choice | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Choose actions for observations; pass the returned state to the next call.

        :param observation: one observation or a batch of n
        :param state: what the last call returned; None starts new episodes in every row
        :param episode_start: rows whose state is to be forgotten, (n,) bool
        :param deterministic: most likely latent and action instead of samples
        :param choose: how to choose actions; None: as the agent does
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
        first_part = next(iter(obs.values())) if isinstance(obs, dict) else obs
        n, device = len(first_part), first_part.device  # asking the policy walks its modules
        if state is None:
            memory, is_first = self.initial_state(n), np.ones(n, bool)
        else:
            memory = self._unpack(state, n, device)
            is_first = np.zeros(n, bool)
            if episode_start is not None:
                is_first = np.asarray(episode_start, bool).reshape(-1)
        action, memory = self.step(
            obs,
            memory,
            th.as_tensor(is_first, device=device),
            deterministic=deterministic,
            choose=choose,
        )
        actions = self.to_env_action(action.cpu().numpy())
        return actions if vectorized else actions.squeeze(axis=0), self._pack(memory)

    def _pack(self, memory: ActingState) -> tuple[np.ndarray, ...]:
        flat = (*memory.latent, memory.prev_action)
        return tuple(x.flatten(1).cpu().numpy() for x in flat)

    def _unpack(self, state: tuple[np.ndarray, ...], n: int, device: th.device) -> ActingState:
        expected = [(n, shape.numel()) for shape in self._memory_shapes]
        found = [np.shape(part) for part in state]
        if found != expected:
            raise ValueError(
                f"state has parts of the shapes {found}; expected {expected}, as the last "
                "predict() call returned them for the same number of environments. Pass state=None "
                "to start anew."
            )
        parts = [
            th.as_tensor(part, device=device).view(n, *shape)
            for part, shape in zip(state, self._memory_shapes, strict=True)
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


class VectorInput:
    """Makes an agent's policy an MlpPolicy: images are flattened unless asked otherwise."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        images: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, images=images, **kwargs)  # type: ignore[call-arg]


class ImageInput:
    """Makes an agent's policy a CnnPolicy: it refuses what is no image."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        normalize_images: bool = True,
        **kwargs: Any,
    ) -> None:
        check_image_space(observation_space, normalize_images)
        kwargs["normalize_images"] = normalize_images
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)  # type: ignore[call-arg]


class ExtractorEncoder(nn.Module):
    """
    Let a Stable-Baselines3 features extractor stand in for the encoder.

    :param extractor: gets observations as SB3 preprocesses them, but images as the agent's own
        encoder would read them
    :param codec: the observation space
    """

    def __init__(self, extractor: BaseFeaturesExtractor, codec: ObservationCodec) -> None:
        super().__init__()
        self.extractor = extractor
        self.codec = codec
        self.features_dim = extractor.features_dim

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        parts = {}
        for key in self.codec.keys:
            x = inputs[key.name]
            shaped = isinstance(key.space, spaces.Box) and key.kind == "vector"
            parts[key.name] = x.view(-1, *key.space.shape) if shaped else x  # type: ignore[misc]
        return self.extractor(parts if self.codec.is_dict else parts[SINGLE])


def check_image_space(space: spaces.Space, normalize_images: bool) -> None:
    """
    Refuse what a CnnPolicy cannot read.

    :param space: observation space
    :param normalize_images: whether images are bytes, to be divided by 255
    :raises AssertionError: as SB3's policies do
    """
    assert is_image_space(space, check_channels=False, normalized_image=not normalize_images), (
        f"CnnPolicy reads images: a uint8 Box of three axes with bounds 0 and 255, not {space}. "
        "Use MlpPolicy for vectors, MultiInputPolicy for a Dict; for float images in [0, 1] pass "
        "policy_kwargs=dict(normalize_images=False)."
    )

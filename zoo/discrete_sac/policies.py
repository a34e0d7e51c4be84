"""SAC's policy with an actor that chooses among actions, and critics that read indicators."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    FlattenExtractor,
    create_mlp,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor, nn

from dreamzoo.common.arguments import refuse_unknown
from dreamzoo.common.policies.optimizers import BUILT
from dreamzoo.common.policies.saved import SavedPolicy
from dreamzoo.common.transition_agent import refuse_not_finite
from dreamzoo.discrete_sac.extractors import GridCombinedExtractor, cnn_for
from dreamzoo.discrete_sac.losses import one_hot_modes, one_hot_samples
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.beliefs import Categorical
from dreamzoo.nn.settings import Flag, Kind, Setting, Whole, Widths, read_settings

#: Arguments of SACPolicy that are about state-dependent exploration of continuous actions.
CONTINUOUS = {"use_sde", "log_std_init", "use_expln", "clip_mean"}


class CategoricalActor(SavedPolicy, BasePolicy):
    """
    Actor that gives every action a probability, and those of a MultiDiscrete independent ones.

    :param observation_space: observation space
    :param action_space: Discrete or MultiDiscrete
    :param net_arch: widths of the hidden layers
    :param features_extractor: SB3's, of the observations
    :param features_dim: width F of what it returns
    :param activation_fn: of the hidden layers
    :param normalize_images: whether images are bytes, to be divided by 255
    """

    features_extractor: BaseFeaturesExtractor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        net_arch: list[int],
        features_extractor: nn.Module,
        features_dim: int,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.net_arch, self.activation_fn = net_arch, activation_fn
        self.features_dim = features_dim
        self.codec = ActionCodec(action_space)
        self.latent_pi = nn.Sequential(*create_mlp(features_dim, -1, net_arch, activation_fn))
        self.logits = nn.Linear([features_dim, *net_arch][-1], self.codec.dim)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        names = ("net_arch", "features_dim", "activation_fn", "features_extractor")
        own = {name: getattr(self, name) for name in names}
        return super()._get_constructor_parameters() | own

    def beliefs(self, obs: PyTorchObs) -> list[Categorical]:
        """
        Return the distribution of every part of an action.

        :param obs: (B, ...)
        :return: one for a Discrete action, as many as there are for a MultiDiscrete one, of C
            choices each: (B, 1, C)
        """
        latent = self.latent_pi(self.extract_features(obs, self.features_extractor))
        logits = self.logits(latent).unsqueeze(-2)  # (B, 1, A)
        return [Categorical.from_logits(part) for part in logits.split(self.codec.sizes, dim=-1)]

    def forward(
        self,
        obs: PyTorchObs,
        deterministic: bool = False,
        generator: th.Generator | None = None,
    ) -> Tensor:
        """
        Choose actions.

        :param obs: (B, ...)
        :param deterministic: the most likely ones
        :param generator: source of randomness
        :return: what the environment takes, (B, *action_space.shape)
        """
        beliefs = self.beliefs(obs)
        one_hot = one_hot_modes(beliefs) if deterministic else one_hot_samples(beliefs, generator)
        return self.codec.to_env(self.codec.decode(one_hot))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        return self(observation, deterministic)


class IndicatorCritic(SavedPolicy, ContinuousCritic):
    """
    SAC's critics, which read actions as indicator vectors, or as anything between these.

    :param action_space: Discrete or MultiDiscrete
    :param kwargs: of SB3's ``ContinuousCritic``
    """

    def __init__(self, *, action_space: spaces.Space, **kwargs: Any) -> None:
        self.codec = ActionCodec(action_space)
        indicators = spaces.Box(0.0, 1.0, (self.codec.dim,), np.float32)
        super().__init__(action_space=indicators, **kwargs)

    def features(self, obs: PyTorchObs) -> Tensor:
        """
        Return what the critics see, (B, F).

        :param obs: (B, ...)
        """
        return self.extract_features(obs, self.features_extractor)

    def lowest(self, features: Tensor, actions: Tensor) -> Tensor:
        """
        Return the lowest of the critics' values.

        :param features: (..., F)
        :param actions: indicator vectors, (..., A)
        :return: (...)
        """
        seen = th.cat([features, actions], dim=-1)
        return th.cat([critic(seen) for critic in self.q_networks], dim=-1).min(-1).values


class _Widths:
    """Widths of the hidden layers of all networks, or of actor and critics."""

    def read(self, value: Any) -> Any:
        parts = list(value.values()) if isinstance(value, Mapping) else [value]
        whole = not isinstance(value, Mapping) or value.keys() == {"pi", "qf"}
        try:
            if value is None or (whole and all(Widths().read(part) is not None for part in parts)):
                return value
        except ValueError:
            pass
        raise ValueError(
            "must be a list of widths, whole numbers of at least 1, or a dict of two such lists: "
            "pi, of the actor, and qf, of the critics"
        )


class DiscreteSACPolicy(SavedPolicy, SACPolicy):
    """
    SAC's policy for discrete actions: SB3's networks, with a categorical actor.

    Example:
        >>> import torch
        >>> from dreamzoo import DiscreteSAC
        >>> policy = DiscreteSAC("MlpPolicy", "CartPole-v1", seed=0).policy
        >>> obs = torch.zeros(3, 4)
        >>> policy.actor.beliefs(obs)[0].probs.shape  # one choice of two actions
        torch.Size([3, 1, 2])
        >>> one_hot = torch.eye(2)[[0, 1, 1]]
        >>> [value.shape for value in policy.critic(obs, one_hot)]
        [torch.Size([3, 1]), torch.Size([3, 1])]

    :param observation_space: observation space
    :param action_space: Discrete or MultiDiscrete
    :param lr_schedule: learning rate by the remaining progress
    :param net_arch: widths of the hidden layers of all networks, or a dict of those of actor
        (``pi``) and critics (``qf``); None: [256, 256]
    :param activation_fn: of the hidden layers
    :param features_extractor_class: SB3's extractor of features, one for the actor and one for the
        critics
    :param features_extractor_kwargs: of that class
    :param normalize_images: whether images are bytes, to be divided by 255
    :param optimizer_class: of actor and critics
    :param optimizer_kwargs: of that class, without the learning rate; None: of Adam its fused form
    :param n_critics: the lowest of so many critics counts
    :param share_features_extractor: one extractor for all, which learns from the actor alone
    """

    #: What arguments may be.
    settings: ClassVar[Mapping[str, Setting]] = {
        **BUILT,
        "net_arch": _Widths(),
        "activation_fn": Kind(nn.Module),
        "n_critics": Whole(1),
        "share_features_extractor": Flag(),
    }
    actor: CategoricalActor  # type: ignore[assignment]
    critic: IndicatorCritic
    critic_target: IndicatorCritic

    def __new__(cls, *args: Any, **kwargs: Any) -> "DiscreteSACPolicy":
        known = cls.__signature__.parameters
        refuse_unknown(f"{cls.__name__}()", kwargs, known, known, "Nothing was built")
        given = dict(zip(known, args, strict=False)) | kwargs
        said = {name: setting for name, setting in cls.settings.items() if name in given}
        read_settings(cls.__name__, said, given)
        return super().__new__(cls)

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        share_features_extractor: bool = False,
    ) -> None:
        if optimizer_class is th.optim.Adam and optimizer_kwargs is None:
            optimizer_kwargs = {"fused": True}  # one call for all parameters, the same numbers
        super().__init__(
            observation_space,
            action_space,  # type: ignore[arg-type]
            lr_schedule,
            net_arch,
            activation_fn,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            n_critics=n_critics,
            share_features_extractor=share_features_extractor,
        )
        self._squash_output = False  # of continuous actions

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        own = {name: value for name, value in data.items() if name not in CONTINUOUS}
        return own | {"share_features_extractor": self.share_features_extractor}

    def make_actor(  # type: ignore[override]
        self, features_extractor: BaseFeaturesExtractor | None = None
    ) -> CategoricalActor:
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        own = {name: value for name, value in kwargs.items() if name not in CONTINUOUS}
        return CategoricalActor(**own).to(self.device)

    def make_critic(
        self, features_extractor: BaseFeaturesExtractor | None = None
    ) -> IndicatorCritic:
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return IndicatorCritic(**kwargs).to(self.device)

    def obs_to_tensor(self, observation: Any) -> tuple[PyTorchObs, bool]:
        """
        Move observations to the policy's device, as SB3 does.

        :param observation: one, or a batch
        :raises ValueError: for NaN or infinity, and whatever SB3 refuses
        """
        refuse_not_finite(observation, "observation")
        return super().obs_to_tensor(observation)


MlpPolicy = DiscreteSACPolicy


class CnnPolicy(DiscreteSACPolicy):
    """
    Policy that sees images, with SB3's ``NatureCNN``, or :class:`GridCNN` where they are small.

    Example:
        >>> from dreamzoo import DiscreteSAC
        >>> from dreamzoo.testing import RandomEnv
        >>> from gymnasium import spaces
        >>> env = RandomEnv(spaces.Box(0, 255, (36, 36, 3), "uint8"), spaces.Discrete(3))
        >>> type(DiscreteSAC("CnnPolicy", env, buffer_size=100).actor.features_extractor).__name__
        'NatureCNN'

    :param observation_space: observation space
    :param action_space: Discrete or MultiDiscrete
    :param lr_schedule: learning rate by the remaining progress
    :param features_extractor_class: SB3's extractor of features; None: as the images are
    :param normalize_images: whether images are bytes, to be divided by 255
    :param kwargs: of :class:`DiscreteSACPolicy`
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        normalize_images: bool = True,
        **kwargs: Any,
    ) -> None:
        kwargs["features_extractor_class"] = features_extractor_class or cnn_for(
            observation_space, normalize_images
        )
        kwargs["normalize_images"] = normalize_images
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)


class MultiInputPolicy(DiscreteSACPolicy):
    """
    Policy that reads a Dict of observations, with SB3's ``CombinedExtractor``.

    It reads small images as :class:`CnnPolicy` does.

    Example:
        >>> from dreamzoo import DiscreteSAC
        >>> from dreamzoo.testing import RandomEnv
        >>> from gymnasium import spaces
        >>> seen = spaces.Dict(place=spaces.Box(-1.0, 1.0, (2,)), kind=spaces.Discrete(3))
        >>> agent = DiscreteSAC("MultiInputPolicy", RandomEnv(seen, spaces.Discrete(3)))
        >>> agent.actor.features_dim
        5

    :param observation_space: observation space
    :param action_space: Discrete or MultiDiscrete
    :param lr_schedule: learning rate by the remaining progress
    :param features_extractor_class: SB3's extractor of features
    :param kwargs: of :class:`DiscreteSACPolicy`
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        features_extractor_class: type[BaseFeaturesExtractor] = GridCombinedExtractor,
        **kwargs: Any,
    ) -> None:
        kwargs["features_extractor_class"] = features_extractor_class
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

"""Networks and planner of PlaNet as Stable-Baselines3 policies."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, get_args

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor
from typing_extensions import Unpack

from dreamzoo.common.arguments import PolicyPlumbing
from dreamzoo.common.policies.inputs import ImageInput, VectorInput
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.nn.networks.world_models import (
    Activation,
    Endless,
    NormalHead,
    WorldModelsDecoder,
    WorldModelsEncoder,
)
from dreamzoo.nn.normal_model import NormalWorldModel
from dreamzoo.nn.observations import Observation
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.rssm.gaussian import DynamicsKind, GaussianDynamics, GaussianRSSM, GaussianSSM
from dreamzoo.nn.settings import Choice, Setting, Whole, Widths
from dreamzoo.planning import CEM
from dreamzoo.planning.planner import check_continuous, plan_actions

#: Images are reduced to this many levels of every color: 5 bits (PlaNet, section 5).
LEVELS = 32
_BYTES_A_LEVEL = 256 // LEVELS


class PlaNetWorldModel(NormalWorldModel):
    """
    World model with Gaussian latents.

    Images are quantised to 5 bits and dequantised with uniform noise, drawn anew whenever an image
    is read, in training and in acting (reference ``preprocess``; Kingma and Dhariwal, 2018). What
    the encoder reads is also what the decoder has to reproduce.
    """

    dynamics: GaussianDynamics

    def inputs(
        self,
        obs: Observation,
        lead: int = 1,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> dict[str, Tensor]:
        inputs = super().inputs(obs, lead, generator, mode=mode)
        for key in self.codec.image_keys:
            inputs[key.name] = quantise(inputs[key.name], generator, mode=mode)
        return inputs

    def outputs(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        images = {key.name for key in self.codec.image_keys}
        return {name: dequantise(x) if name in images else x for name, x in values.items()}


def quantise(
    images: Tensor, generator: th.Generator | None = None, *, mode: bool = False
) -> Tensor:
    """
    Reduce images to 5 bits around zero, and spread every level evenly over its width.

    :param images: in [0, 1], any shape
    :param generator: source of the noise
    :param mode: put every level in the middle of its width instead
    :return: in [-0.5, 0.5)
    """
    level = (images * 255.0).round().div(_BYTES_A_LEVEL, rounding_mode="floor")
    noise = (
        th.full_like(images, 0.5)
        if mode
        else th.rand(images.shape, generator=generator, device=images.device)
    )
    return (level + noise) / LEVELS - 0.5


def dequantise(images: Tensor) -> Tensor:
    """Turn predictions around zero into images of 5 bits in [0, 1] (reference ``postprocess``)."""
    level = ((images + 0.5) * LEVELS).floor().clamp(0, LEVELS - 1)
    return level * _BYTES_A_LEVEL / 255.0


class PlaNetPolicy(WorldModelPolicy):
    """
    World model of PlaNet, and the planner that acts in it. Actions must be continuous.

    Example:
        >>> from dreamzoo import PlaNet
        >>> tiny = dict(dynamics="ssm", stoch=4, units=8, reward_arch=[8])
        >>> agent = PlaNet("MlpPolicy", "Pendulum-v1", policy_kwargs=tiny, candidates=50, elites=5)
        >>> agent.policy.planner
        CEM(horizon=12, iterations=10, candidates=50, elites=5)

    :param observation_space: observation space; images are resized to 64x64, those of less than 36
        pixels read as they are
    :param action_space: Box (finite)
    :param lr_schedule: learning rate
    :param planner: how actions are searched for; the algorithm passes its own
    :param dynamics: ``rssm``; figure 4's ablations: ``ssm`` is purely stochastic, ``rnn`` purely
        deterministic: its latents are means, and its loss draws the two means together
    :param deter: width of the GRU (paper, appendix A: 200)
    :param stoch: number of latents (30)
    :param units: width of the dynamics' hidden layers, and of those of vectors and small images
        (200)
    :param reward_arch: hidden layers of the reward head (authors' code: three of 300; the paper's
        text has two of 200)
    :param cnn_depth: channels of the first convolution (32)
    :param activation: of all layers (ReLU; ELU helps ``ssm``, figure 9)
    :param optimizer_class: optimizer of all networks
    :param optimizer_kwargs: of that class; by default an epsilon of 1e-4 (appendix A)
    """

    world_model: PlaNetWorldModel
    settings: ClassVar[Mapping[str, Setting]] = {
        **WorldModelPolicy.settings,
        "dynamics": Choice(get_args(DynamicsKind)),
        "deter": Whole(1),
        "stoch": Whole(1),
        "units": Whole(1),
        "reward_arch": Widths(),
        "cnn_depth": Whole(1),
        "activation": Choice(get_args(Activation)),
    }

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        planner: CEM | None = None,
        dynamics: DynamicsKind = "rssm",
        deter: int = 200,
        stoch: int = 30,
        units: int = 200,
        reward_arch: Sequence[int] = (300, 300, 300),
        cnn_depth: int = 32,
        activation: Activation = "relu",
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **plumbing: Unpack[PolicyPlumbing],
    ) -> None:
        if optimizer_kwargs is None and optimizer_class is th.optim.Adam:
            optimizer_kwargs = dict(eps=1e-4)
        super().__init__(
            observation_space, action_space, optimizer_class, optimizer_kwargs, **plumbing
        )
        check_continuous(self)
        self.planner = planner or CEM()
        self.dynamics_kind = dynamics
        codec, action_dim = self.observation_codec, self.action_codec.dim
        self._refuse_extractor_kwargs()
        encoder = self._own_encoder() or WorldModelsEncoder(
            codec, cnn_depth, units, activation, activation
        )
        token_dim = int(encoder.features_dim)  # type: ignore[arg-type]
        model: GaussianDynamics
        if dynamics == "ssm":
            model = GaussianSSM(token_dim, action_dim, stoch, units, activation)
        else:
            sample = dynamics == "rssm"
            model = GaussianRSSM(
                token_dim, action_dim, deter, stoch, units, activation, sample=sample
            )
        feat_dim = model.deter + model.stoch
        self._set_world_model(
            PlaNetWorldModel(
                codec,
                encoder,
                model,
                WorldModelsDecoder(codec, feat_dim, cnn_depth, units, activation, activation),
                NormalHead(feat_dim, reward_arch, activation),
                Endless(),
                action_dim,
            )
        )
        self._set_optimizer(lr_schedule)

    def choose(
        self, latent: Latent, generator: th.Generator | None = None, deterministic: bool = False
    ) -> Tensor:
        return plan_actions(
            self.world_model,
            self.planner,
            latent,
            self.action_codec.dim,
            generator,
            deterministic,
        )

    def choice(self) -> Hashable:
        return self.planner


class MlpPolicy(VectorInput, PlaNetPolicy):
    """
    For vectors, integers and binaries. An image is flattened, bytes are divided by 255.

    Example:
        >>> from dreamzoo import PlaNet
        >>> agent = PlaNet("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(deter=8, units=8))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['observation']
    """


class CnnPolicy(ImageInput, PlaNetPolicy):
    """
    For one image.

    Example:
        >>> from dreamzoo import PlaNet
        >>> from dreamzoo.envs import make_env
        >>> small = dict(policy_kwargs=dict(deter=8, units=8, cnn_depth=2), buffer_size=1_000)
        >>> agent = PlaNet("CnnPolicy", make_env("pixels/Pendulum-v1"), **small)
        >>> agent.observation_space.shape  # channels first, as SB3 has them
        (3, 64, 64)
    """


class MultiInputPolicy(PlaNetPolicy):
    """
    For a Dict of images, vectors, integers and binaries.

    Example:
        >>> from dreamzoo import PlaNet
        >>> from dreamzoo.envs import make_env
        >>> env = make_env("dmc/walker-walk")
        >>> agent = PlaNet("MultiInputPolicy", env, policy_kwargs=dict(deter=8, units=8))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['height', 'orientations', 'velocity']
    """

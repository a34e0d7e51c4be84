"""Networks of Dreamer V1 as Stable-Baselines3 policies."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from typing_extensions import Unpack

from dreamzoo.common.arguments import PolicyPlumbing
from dreamzoo.common.policies.dreamer import DreamerPolicy
from dreamzoo.common.policies.inputs import ImageInput, VectorInput
from dreamzoo.common.policies.net_arch import NetArch, split_arch
from dreamzoo.nn.action_distributions import TanhNormalActions
from dreamzoo.nn.dreamer_model import DreamerWorldModel, RewardTransform
from dreamzoo.nn.networks.actors import DenseActor, DenseHead
from dreamzoo.nn.networks.gru import init_like_keras_
from dreamzoo.nn.networks.world_models import (
    Endless,
    NormalHead,
    WorldModelsDecoder,
    WorldModelsEncoder,
)
from dreamzoo.nn.rssm.gaussian import GaussianRSSM
from dreamzoo.nn.settings import Choice, Flag, Number, Setting, Whole, Widths


class DreamerV1Policy(DreamerPolicy):
    """
    World model, actor and critic of Dreamer V1.

    Example:
        >>> from dreamzoo.dreamer_v1 import DreamerV1Policy
        >>> from gymnasium import spaces
        >>> box, rate = spaces.Box(-1.0, 1.0, (3,)), lambda progress: 1e-3
        >>> policy = DreamerV1Policy(box, spaces.Discrete(2), rate, deter=8, stoch=4, units=8)
        >>> sorted(policy.optimizers)
        ['actor_optimizer', 'critic_optimizer', 'optimizer']
        >>> policy.world_model.learns_discount  # a head for ends, where actions are discrete
        True

    :param observation_space: observation space; images are resized to 64x64, those of less than 36
        pixels read as they are
    :param action_space: Box (finite), Discrete, MultiDiscrete or MultiBinary
    :param lr_schedule: learning rate of the world model
    :param deter: width of the GRU (authors' code: 200)
    :param stoch: number of latents (30)
    :param units: width of the dynamics' hidden layers, and of those of vectors and small images
        (200)
    :param reward_arch: hidden layers of the reward head (authors' code: two of 400; the paper has
        three of 300)
    :param cont: learn where episodes end; None: where actions are discrete (appendix A). Turn it on
        for tasks of continuous control that end early
    :param cont_arch: hidden layers of the head that predicts it (three of 400)
    :param net_arch: hidden widths of actor and critic, ``[64, 64]`` or ``dict(pi=[...],
        vf=[...])``; None: four and three layers of 400
    :param cnn_depth: channels of the first convolution (32)
    :param gamma: discount; the algorithm passes its own
    :param reward_transform: what the reward head learns of rewards; the algorithm passes its own
    :param optimizer_class: optimizer of world model, actor and critic, one for each
    :param optimizer_kwargs: of that class; by default an epsilon of 1e-7 (authors' code)
    """

    settings: ClassVar[Mapping[str, Setting]] = {
        **DreamerPolicy.settings,
        "deter": Whole(1),
        "stoch": Whole(1),
        "units": Whole(1),
        "reward_arch": Widths(),
        "cont": Flag(none=True),
        "cont_arch": Widths(),
        "cnn_depth": Whole(1),
        "gamma": Number(0, 1, above=True),
        "reward_transform": Choice(get_args(RewardTransform)),
    }

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        deter: int = 200,
        stoch: int = 30,
        units: int = 200,
        reward_arch: Sequence[int] = (400, 400),
        cont: bool | None = None,
        cont_arch: Sequence[int] = (400, 400, 400),
        net_arch: NetArch | None = None,
        cnn_depth: int = 32,
        gamma: float = 0.99,
        reward_transform: RewardTransform = "identity",
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **plumbing: Unpack[PolicyPlumbing],
    ) -> None:
        if optimizer_kwargs is None and optimizer_class is th.optim.Adam:
            optimizer_kwargs = dict(eps=1e-7)
        super().__init__(
            observation_space, action_space, optimizer_class, optimizer_kwargs, **plumbing
        )
        codec, acting = self.observation_codec, self.action_codec
        self._refuse_extractor_kwargs()
        encoder = self._own_encoder() or WorldModelsEncoder(codec, cnn_depth, units, "relu", "elu")
        token_dim = int(encoder.features_dim)  # type: ignore[arg-type]
        dynamics = GaussianRSSM(token_dim, acting.dim, deter, stoch, units, "elu")
        init_like_keras_(dynamics.cell)
        feat, cont = deter + stoch, acting.is_discrete if cont is None else cont
        head = DenseHead(feat, 1, cont_arch) if cont else Endless()
        self._set_world_model(
            DreamerWorldModel(
                codec,
                encoder,
                dynamics,
                WorldModelsDecoder(codec, feat, cnn_depth, units, "relu", "elu"),
                NormalHead(feat, reward_arch, "elu"),
                head,
                acting.dim,
                gamma if cont else 1.0,
                reward_transform=reward_transform,
            )
        )
        self.net_arch = split_arch(net_arch, [400] * 4, [400] * 3)
        actor = DenseActor(feat, self.net_arch["pi"], acting, TanhNormalActions)
        critic = NormalHead(feat, self.net_arch["vf"], "elu")
        self._set_actor_and_critic(actor, critic, lr_schedule)


class MlpPolicy(VectorInput, DreamerV1Policy):
    """
    For vectors, integers and binaries. An image is flattened, bytes are divided by 255.

    Example:
        >>> from dreamzoo import DreamerV1
        >>> agent = DreamerV1("MlpPolicy", "CartPole-v1", policy_kwargs=dict(deter=8, units=8))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['observation']
    """


class CnnPolicy(ImageInput, DreamerV1Policy):
    """
    For one image.

    Example:
        >>> from dreamzoo import DreamerV1
        >>> from dreamzoo.envs import make_env
        >>> small = dict(policy_kwargs=dict(deter=8, units=8, cnn_depth=2), buffer_size=1_000)
        >>> agent = DreamerV1("CnnPolicy", make_env("pixels/Pendulum-v1"), **small)
        >>> agent.observation_space.shape  # channels first, as SB3 has them
        (3, 64, 64)
    """


class MultiInputPolicy(DreamerV1Policy):
    """
    For a Dict of images, vectors, integers and binaries.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo import DreamerV1
        >>> from gymnasium import spaces
        >>> from gymnasium.wrappers import TransformObservation
        >>> names = spaces.Dict(now=spaces.Box(-8.0, 8.0, (3,)))
        >>> env = TransformObservation(gym.make("Pendulum-v1"), lambda x: {"now": x}, names)
        >>> agent = DreamerV1("MultiInputPolicy", env, policy_kwargs=dict(deter=8, units=8))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['now']
    """

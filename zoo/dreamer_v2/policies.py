"""Networks of DreamerV2 as Stable-Baselines3 policies."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from torch import nn
from typing_extensions import Unpack

from dreamzoo.common.arguments import PolicyPlumbing
from dreamzoo.common.policies.dreamer import DreamerPolicy
from dreamzoo.common.policies.inputs import ImageInput, VectorInput
from dreamzoo.common.policies.net_arch import NetArch, split_arch
from dreamzoo.nn.action_distributions import TruncatedNormalActions
from dreamzoo.nn.dreamer_model import DreamerWorldModel, RewardTransform
from dreamzoo.nn.networks.actors import DenseActor, DenseHead
from dreamzoo.nn.networks.world_models import (
    Endless,
    NormalHead,
    WorldModelsDecoder,
    WorldModelsEncoder,
    expect_one_hots,
)
from dreamzoo.nn.optim import ShrinkingAdam
from dreamzoo.nn.rssm.categorical import LayerNormRSSM
from dreamzoo.nn.rssm.kinds import LatentsKind, make_latents
from dreamzoo.nn.rssm.latents import Latents
from dreamzoo.nn.settings import Arguments, Choice, Flag, Number, Setting, Whole, Widths


class DreamerV2Policy(DreamerPolicy):
    """
    World model, actor, critic and slow critic of DreamerV2.

    Example:
        >>> from dreamzoo.dreamer_v2 import DreamerV2Policy
        >>> from gymnasium import spaces
        >>> box, rate = spaces.Box(-1.0, 1.0, (3,)), lambda progress: 1e-3
        >>> small = dict(deter=8, stoch=4, classes=4, units=8)
        >>> policy = DreamerV2Policy(box, spaces.Discrete(2), rate, **small)
        >>> action, state = policy.predict(box.sample())
        >>> sorted(policy.optimizers)
        ['actor_optimizer', 'critic_optimizer', 'optimizer']

    :param observation_space: observation space; images are resized to 64x64, those of less than 36
        pixels read as they are
    :param action_space: Box (finite), Discrete, MultiDiscrete or MultiBinary
    :param lr_schedule: learning rate of the world model
    :param latents: ``categorical``, or ``gaussian``: table 2's "No Discrete Latents". Of no paper
        on Dreamer are ``gumbel``, ``st_gumbel`` and ``vq``, see docs/estimators.md
    :param stoch: number of latents (table D.1: 32; normal ones in the first release: 50)
    :param classes: classes of a categorical latent (table D.1: 32), or codes of a codebook
    :param deter: width of the GRU (table D.1: 600; control: 200)
    :param hidden: width of the dynamics' hidden layers; None: as wide as the GRU
    :param layer_norm: normalize within the GRU; False is table 2's "No Layer Norm"
    :param cnn_depth: channels of the first convolution (authors' code: 48)
    :param units: width of the four layers that read and predict vectors, and of those between small
        images' CNN and latents (authors' code: 400)
    :param head_arch: hidden layers of reward and continue head (authors' code: four of 400)
    :param cont: learn where episodes end; False discounts by gamma alone (control)
    :param net_arch: hidden widths of actor and critic, ``[64, 64]`` or ``dict(pi=[...],
        vf=[...])``; None: four layers of 400
    :param gamma: discount; the algorithm passes its own
    :param reward_transform: what the reward head learns of rewards; the algorithm passes its own
    :param optimizer_class: optimizer of world model, actor and critic, one for each
    :param optimizer_kwargs: of that class
    :param latents_kwargs: of the kind of latents: ``temperature`` of ``gumbel`` and ``st_gumbel``
        (:class:`GumbelLatents`), ``code_dim``, ``commitment``, ``decay`` and ``revive`` of ``vq``
        (:class:`CodebookLatents`)
    """

    settings: ClassVar[Mapping[str, Setting]] = {
        **DreamerPolicy.settings,
        "latents": Choice(get_args(LatentsKind)),
        "latents_kwargs": Arguments(none=True),
        "stoch": Whole(1),
        "classes": Whole(2),
        "deter": Whole(1),
        "hidden": Whole(1, none=True),
        "layer_norm": Flag(),
        "cnn_depth": Whole(1),
        "units": Whole(1),
        "head_arch": Widths(),
        "gamma": Number(0, 1, above=True),
        "reward_transform": Choice(get_args(RewardTransform)),
        "cont": Flag(),
    }

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        latents: LatentsKind = "categorical",
        stoch: int = 32,
        classes: int = 32,
        deter: int = 600,
        hidden: int | None = None,
        layer_norm: bool = True,
        cnn_depth: int = 48,
        units: int = 400,
        head_arch: Sequence[int] = (400, 400, 400, 400),
        cont: bool = True,
        net_arch: NetArch | None = None,
        gamma: float = 0.999,
        reward_transform: RewardTransform = "identity",
        optimizer_class: type[th.optim.Optimizer] = ShrinkingAdam,
        optimizer_kwargs: dict[str, Any] | None = None,
        latents_kwargs: Mapping[str, Any] | None = None,
        **plumbing: Unpack[PolicyPlumbing],
    ) -> None:
        super().__init__(
            observation_space, action_space, optimizer_class, optimizer_kwargs, **plumbing
        )
        codec, action_dim = self.observation_codec, self.action_codec.dim
        self._refuse_extractor_kwargs()
        encoder = self._own_encoder() or WorldModelsEncoder(
            codec, cnn_depth, units, "elu", "elu", mlp_layers=4
        )
        kind = make_latents(latents, stoch, classes, **(latents_kwargs or {}))
        dynamics = LayerNormRSSM(
            int(encoder.features_dim),  # type: ignore[arg-type]
            action_dim,
            deter,
            hidden or deter,
            kind,
            layer_norm=layer_norm,
        )
        feat = deter + kind.stoch * kind.classes
        ends: nn.Module = DenseHead(feat, 1, head_arch) if cont else Endless()
        decoder = WorldModelsDecoder(codec, feat, cnn_depth, units, "elu", "elu", mlp_layers=4)
        reward = NormalHead(feat, head_arch, "elu")
        learned_gamma = gamma if cont else 1.0
        self._set_world_model(
            DreamerWorldModel(
                *(codec, encoder, dynamics, decoder, reward, ends, action_dim, learned_gamma),
                reward_transform=reward_transform,
            )
        )
        self.net_arch = split_arch(net_arch, [400] * 4, [400] * 4)
        actor = DenseActor(feat, self.net_arch["pi"], self.action_codec, TruncatedNormalActions)
        critic, self.critic_target = (
            NormalHead(feat, self.net_arch["vf"], "elu") for _ in range(2)
        )
        if kind.one_hot:
            heads = decoder, reward, actor, critic, self.critic_target, *([ends] if cont else [])
            expect_one_hots(slice(deter, feat), *heads)
        self.critic_target.requires_grad_(False)
        self._set_actor_and_critic(actor, critic, lr_schedule)
        self.critic_target.load_state_dict(self.critic.state_dict())

    @property
    def latents(self) -> Latents[Any]:
        """What the stochastic part of a state is drawn from."""
        dynamics = self.world_model.dynamics
        assert isinstance(dynamics, LayerNormRSSM)
        return dynamics.latents

    @th.no_grad()
    def follow_critic(self, tau: float) -> None:
        """
        Move the slow critic, which stands still in between, towards the critic.

        :param tau: share of the way
        """
        pairs = zip(self.critic_target.parameters(), self.critic.parameters(), strict=True)
        for slow, fast in pairs:
            slow.lerp_(fast, tau)


class MlpPolicy(VectorInput, DreamerV2Policy):
    """
    For vectors, integers and binaries. An image is flattened, bytes are divided by 255.

    Example:
        >>> from dreamzoo import DreamerV2
        >>> agent = DreamerV2("MlpPolicy", "CartPole-v1", policy_kwargs=dict(deter=8, units=8))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['observation']
    """


class CnnPolicy(ImageInput, DreamerV2Policy):
    """
    For one image.

    Example:
        >>> from dreamzoo import DreamerV2
        >>> from dreamzoo.envs import make_env
        >>> small = dict(policy_kwargs=dict(deter=8, units=8, cnn_depth=2), buffer_size=1_000)
        >>> agent = DreamerV2("CnnPolicy", make_env("pixels/CartPole-v1"), **small)
        >>> agent.observation_space.shape  # channels first, as SB3 has them
        (3, 64, 64)
    """


class MultiInputPolicy(DreamerV2Policy):
    """
    For a Dict of images, vectors, integers and binaries.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo import DreamerV2
        >>> from gymnasium import spaces
        >>> from gymnasium.wrappers import TransformObservation
        >>> names = spaces.Dict(now=spaces.Box(-8.0, 8.0, (3,)))
        >>> env = TransformObservation(gym.make("Pendulum-v1"), lambda x: {"now": x}, names)
        >>> agent = DreamerV2("MultiInputPolicy", env, policy_kwargs=dict(deter=8, units=8))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['now']
    """

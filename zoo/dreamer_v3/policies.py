"""Networks of DreamerV3 as Stable-Baselines3 policies."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, get_args

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn
from typing_extensions import Unpack

from dreamzoo.common.arguments import PolicyPlumbing
from dreamzoo.common.policies.inputs import ImageInput, VectorInput
from dreamzoo.common.policies.net_arch import NetArch, split_arch
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.dreamer_v3.sizes import Size, get_size
from dreamzoo.nn.networks.decoders import Decoder
from dreamzoo.nn.networks.encoders import CnnKind, Encoder
from dreamzoo.nn.networks.grids import pictures
from dreamzoo.nn.networks.heads import Actor, Head, TwoHotHead, evaluate
from dreamzoo.nn.observations import ObservationCodec
from dreamzoo.nn.optim import LaProp
from dreamzoo.nn.returns import ReturnNormalizer
from dreamzoo.nn.rssm.block import BlockRSSM
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.settings import Choice, Number, Setting
from dreamzoo.nn.world_model import WorldModel


class DreamerV3WorldModel(WorldModel):
    """
    World model with a block GRU, categorical latents and two-hot rewards.

    :param codec: the observation space
    :param encoder: module from network inputs to tokens, with ``features_dim``
    :param action_dim: width A of an encoded action
    :param size: widths
    :param gamma: discount that the continue head's targets contain
    :param unimix: uniform share of the latent distributions
    :param vector_outscale: initial scale of the vector decoder's last layer
    :param cnn: kind of the image decoder
    """

    dynamics: BlockRSSM
    decoder: Decoder
    reward: TwoHotHead
    cont: Head

    def __init__(
        self,
        codec: ObservationCodec,
        encoder: nn.Module,
        action_dim: int,
        size: Size,
        gamma: float,
        unimix: float = 0.01,
        vector_outscale: float = 1.0,
        cnn: CnnKind = "maxpool",
    ) -> None:
        super().__init__(
            codec,
            encoder,
            BlockRSSM(
                int(encoder.features_dim),  # type: ignore[arg-type]
                action_dim,
                deter=size.deter,
                stoch=size.stoch,
                classes=size.classes,
                hidden=size.dynamics_hidden,
                blocks=size.blocks,
                unimix=unimix,
            ),
            Decoder(
                codec,
                deter=size.deter,
                stoch_dim=size.stoch * size.classes,
                units=size.units,
                blocks=size.blocks,
                cnn_depth=size.cnn_depth,
                layers=size.observation_layers,
                vector_outscale=vector_outscale,
                cnn=cnn,
            ),
            TwoHotHead(size.feat, [size.units], size.bins),
            Head(size.feat, 1, [size.units]),
            action_dim,
            gamma,
        )


class Dream(NamedTuple):
    """
    Imagined trajectories of N starts and what the networks say about them, time first.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> policy = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug")).policy
        >>> dream = policy.imagine(policy.world_model.initial(4), 5)
        >>> dream.value.shape, dream.log_prob.shape
        (torch.Size([6, 4]), torch.Size([5, 4]))

    :param feat: features of states 0..H, without gradient, (H + 1, N, F)
    :param log_prob: of the actions chosen in states 0..H-1, with the actor's gradient, (H, N)
    :param entropy: of the policy in these states, with the actor's gradient, nats, (H, N)
    :param reward: of arriving in states 0..H, without gradient, (H + 1, N)
    :param discount: of states 0..H, contains gamma, without gradient, (H + 1, N)
    :param value: of states 0..H, the critic's means, without gradient, (H + 1, N)
    :param slow_value: of states 0..H-1, the slow critic's means, without gradient, (H, N)
    :param logits: the critic's predictions in these states, with its gradient, (H, N, bins)
    """

    feat: Tensor
    log_prob: Tensor
    entropy: Tensor
    reward: Tensor
    discount: Tensor
    value: Tensor
    slow_value: Tensor
    logits: Tensor


class DreamerV3Policy(WorldModelPolicy):
    """
    World model, actor, critic and slow critic of DreamerV3.

    :param observation_space: observation space
    :param action_space: Box (finite), Discrete, MultiDiscrete or MultiBinary
    :param lr_schedule: learning rate
    :param size: preset (``debug 1m 12m 25m 50m 100m 200m 400m``) or a
        :class:`dreamzoo.dreamer_v3.Size`; None: 12m where images of 36 pixels or more are read, 1m
        elsewhere
    :param net_arch: hidden widths of actor and critic, ``[64, 64]`` or ``dict(pi=[...],
        vf=[...])``; None: three layers of the preset's width
    :param gamma: discount; the algorithm passes its own
    :param unimix: uniform share of the latent distributions (paper, table 4)
    :param actor_unimix: uniform share of discrete policies (paper, table 4: 1 %)
    :param vector_decoder_outscale: 1.0, or 0.1 as in the code of the paper's time
    :param cnn: ``maxpool`` as the newest reference, or ``strided`` as the code of the paper's time
    :param features_extractor_kwargs: of that class; of the paper's encoder: ``features_dim`` or
        ``cnn_output_dim`` projects the image tokens to that width
    :param optimizer_class: optimizer of all networks
    :param optimizer_kwargs: of that class
    """

    world_model: DreamerV3WorldModel
    settings: ClassVar[Mapping[str, Setting]] = {
        **WorldModelPolicy.settings,
        "gamma": Number(0, 1),
        "unimix": Number(0, 1),
        "actor_unimix": Number(0, 1),
        "vector_decoder_outscale": Number(0),
        "cnn": Choice(get_args(CnnKind)),
    }

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        size: str | Size | None = None,
        net_arch: NetArch | None = None,
        gamma: float = 1 - 1 / 333,
        unimix: float = 0.01,
        actor_unimix: float = 0.01,
        vector_decoder_outscale: float = 1.0,
        cnn: CnnKind = "maxpool",
        optimizer_class: type[th.optim.Optimizer] = LaProp,
        optimizer_kwargs: dict[str, Any] | None = None,
        **plumbing: Unpack[PolicyPlumbing],
    ) -> None:
        super().__init__(
            observation_space, action_space, optimizer_class, optimizer_kwargs, **plumbing
        )
        widths = get_size(size or ("12m" if pictures(self.observation_codec.image_keys) else "1m"))
        layers = [widths.units] * widths.head_layers
        self.net_arch = split_arch(net_arch, layers, layers)
        actor_arch, critic_arch = self.net_arch["pi"], self.net_arch["vf"]
        encoder = self._own_encoder() or self._make_encoder(widths, cnn)
        self._set_world_model(
            DreamerV3WorldModel(
                self.observation_codec,
                encoder,
                self.action_codec.dim,
                widths,
                gamma,
                unimix,
                vector_decoder_outscale,
                cnn,
            )
        )
        self.actor = Actor(widths.feat, actor_arch, self.action_codec, actor_unimix)
        self.critic = TwoHotHead(widths.feat, critic_arch, widths.bins)
        self.critic_target = TwoHotHead(widths.feat, critic_arch, widths.bins)
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.critic_target.requires_grad_(False)
        self.return_normalizer = ReturnNormalizer()
        self._set_optimizer(lr_schedule)

    def _make_encoder(self, size: Size, cnn: CnnKind) -> nn.Module:
        kwargs = dict(self.features_extractor_kwargs)
        width = kwargs.pop("features_dim", None) or kwargs.pop("cnn_output_dim", None)
        if kwargs:
            raise ValueError(
                f"The encoder does not know {sorted(kwargs)} in features_extractor_kwargs; it "
                "takes features_dim or cnn_output_dim. Its widths follow from size."
            )
        return Encoder(
            self.observation_codec,
            units=size.units,
            cnn_depth=size.cnn_depth,
            layers=size.observation_layers,
            cnn_output_dim=width,
            cnn=cnn,
        )

    def choose(
        self, latent: Latent, generator: th.Generator | None = None, deterministic: bool = False
    ) -> Tensor:
        policy = self.actor(latent.feat)
        return policy.mode() if deterministic else policy.sample(generator)

    def value(self, latent: Latent) -> Tensor:
        return self.critic.mean(latent.feat)

    def imagine(
        self,
        start: Latent,
        horizon: int,
        generator: th.Generator | None = None,
        start_discount: Tensor | None = None,
    ) -> Dream:
        """
        Roll the actor out in the world model, and judge the states that it gets into.

        :param start: where to begin, without gradient or with one, which is cut off, (N, ...)
        :param horizon: steps H
        :param generator: source of randomness
        :param start_discount: discount of the starts, (N,); None: as the model predicts it
        """
        model, critic, slow = self.world_model, self.critic, self.critic_target
        rolled_out = model.dynamics.imagine(start, self.actor, horizon, generator, graph=False)
        feat = rolled_out.feat
        log_prob, entropy = rolled_out.policy.log_prob_and_entropy(rolled_out.actions)
        logits, (slow_value, *predicted) = evaluate(
            feat[:-1], critic, lambda rows: (slow.mean(rows),), model.reward_and_discount
        )
        with th.no_grad():
            last = model.reward_and_discount(feat[-1:])
            reward, discount = (th.cat(pair) for pair in zip(predicted, last, strict=True))
            if start_discount is not None:
                discount[0] = start_discount
            value = th.cat([critic.twohot.mean(logits), critic.mean(feat[-1:])])
        return Dream(feat, log_prob, entropy, reward, discount, value, slow_value, logits)

    def train(self, mode: bool = True) -> "DreamerV3Policy":
        super().train(mode)
        self.critic_target.train(False)
        return self


class MlpPolicy(VectorInput, DreamerV3Policy):
    """
    For vectors, integers and binaries. An image is flattened, bytes are divided by 255.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> agent = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['observation']
    """


class CnnPolicy(ImageInput, DreamerV3Policy):
    """
    For one image.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.envs import make_env
        >>> env = make_env("pixels/CartPole-v1")
        >>> agent = DreamerV3("CnnPolicy", env, policy_kwargs=dict(size="debug"), buffer_size=1_000)
        >>> agent.observation_space.shape  # channels first, as SB3 has them
        (3, 64, 64)
    """


class MultiInputPolicy(DreamerV3Policy):
    """
    For a Dict of images, vectors, integers and binaries.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.envs import make_env
        >>> env = make_env("dmc/walker-walk")
        >>> agent = DreamerV3("MultiInputPolicy", env, policy_kwargs=dict(size="debug"))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['height', 'orientations', 'velocity']
    """

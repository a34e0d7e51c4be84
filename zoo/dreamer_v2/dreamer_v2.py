"""DreamerV2 (Hafner et al., "Mastering Atari with discrete world models")."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from typing_extensions import Unpack

from dreamzoo.common.arguments import ReplayPlumbing
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.dreamer_algorithm import DreamerAlgorithm
from dreamzoo.common.training import Losses
from dreamzoo.dreamer_v2.losses import behavior_loss, imagine, world_model_loss
from dreamzoo.dreamer_v2.policies import CnnPolicy, DreamerV2Policy, MlpPolicy, MultiInputPolicy
from dreamzoo.nn.dreamer_model import RewardTransform
from dreamzoo.nn.settings import Flag, Line, Moving, Number, Setting, Whole
from dreamzoo.nn.state import flatten


class DreamerV2(DreamerAlgorithm):
    """
    DreamerV2: categorical latents, KL balancing, an actor of REINFORCE and of straight gradients.

    Paper: https://arxiv.org/abs/2010.02193; defaults are its settings for Atari (table D.1) but
    for ``reward_transform`` and ``learning_starts``, which ``dreamzoo.hyperparams`` has;
    constants are those of the authors' code, https://github.com/danijar/dreamerv2. Differences:
    docs/agents/dreamer_v2.md.

    The ablations of table 2 are settings: ``policy_kwargs=dict(layer_norm=False)``,
    ``reward_gradients=False``, ``image_gradients=False``, ``policy_kwargs=dict(
    latents="gaussian", stoch=50)``, ``kl_balance=None`` and ``rho=0.0``.

    Example:
        >>> from dreamzoo import DreamerV2
        >>> small = dict(policy_kwargs=dict(deter=8, stoch=4, classes=4, units=8), batch_size=2)
        >>> small |= dict(batch_length=8, train_ratio=8)  # an update for every two steps
        >>> agent = DreamerV2("MlpPolicy", "CartPole-v1", **small, seed=0)
        >>> sorted(agent.learn(50).losses(agent.replay_buffer.sample(2)).terms)
        ['actor', 'cont', 'critic', 'kl', 'recon', 'reward']

    :param policy: ``MlpPolicy``, ``CnnPolicy``, ``MultiInputPolicy`` or a class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: of the world model (2e-4; control: 3e-4)
    :param buffer_size: replay capacity in records of all environments together (2e6)
    :param learning_starts: random steps before the first update (50,000; control: 1,000); None: as
        soon as the replay holds ``batch_size * batch_length`` windows, or is full
    :param batch_size: rows B (50; authors' code: 16)
    :param batch_length: steps L of a row (50)
    :param horizon: imagined steps H, at least 2 (15)
    :param train_ratio: replayed steps for every step (625: an update for every 4 steps; authors'
        code: 50, an update of 16 rows for every 16)
    :param pretrain: updates when learning starts (1; control: 100; none beside
        ``gradient_steps``)
    :param actor_learning_rate: of the actor, a number or a schedule (4e-5; control: 8e-5)
    :param critic_learning_rate: of the critic, the same (1e-4; control: 8e-5)
    :param gamma: discount (text and code: 0.999; table D.1: 0.995; control: 0.99)
    :param gae_lambda: mixes one-step and long returns (0.95)
    :param rho: share of REINFORCE in the actor's objective; the rest learns through the dynamics
        (1; control: 0). A number, or ``(from, to, steps)`` of all environments together
    :param ent_coef: weight of the actor's entropy (1e-3; control: 1e-4). Also ``(from, to, steps)``
    :param reward_transform: what the reward head learns of rewards, and dreams consist of
        (Atari: ``tanh``, control: ``identity``)
    :param free_nats: mean KL divergences below this have no gradient (0; control: 1)
    :param kl_coef: weight beta of the KL term (0.1; control: 1)
    :param kl_balance: share alpha of the prior's gradient (0.8); None: the plain divergence
    :param cont_coef: weight of the continue head's loss (authors' code: 5; the paper names none)
    :param image_gradients: whether the model learns from what it decodes
    :param reward_gradients: whether the model learns from rewards
    :param target_update_interval: updates between two moves of the slow critic (100)
    :param tau: share of the way to the critic that it then moves (1: a copy)
    :param max_grad_norm: the gradient of each network is scaled down to this norm (100)
    """

    policy: DreamerV2Policy
    policy_base = DreamerV2Policy
    settings: ClassVar[Mapping[str, Setting]] = {
        **DreamerAlgorithm.settings,
        "rho": Line(0, 1, such_as=(0.9, 1.0, 2_500_000)),
        "ent_coef": Line(0),
        "kl_balance": Number(0, 1, none=True),
        "image_gradients": Flag(),
        "reward_gradients": Flag(),
        "target_update_interval": Whole(1),
        "tau": Number(0, 1),
    }
    policy_aliases: ClassVar = {p.__name__: p for p in (MlpPolicy, CnnPolicy, MultiInputPolicy)}
    smallest: ClassVar[Mapping[str, Any]] = {
        "policy_kwargs": dict(
            stoch=3, classes=4, deter=8, units=8, head_arch=[8], net_arch=[8], cnn_depth=2
        ),
        "learning_starts": 11,
        "train_ratio": 4.0,
        "batch_size": 2,
        "batch_length": 4,
        "horizon": 3,
        "rho": 0.5,
        "target_update_interval": 3,
    }

    def __init__(
        self,
        policy: str | type[DreamerV2Policy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 2e-4,
        buffer_size: int = 2_000_000,
        learning_starts: int | None = None,
        batch_size: int = 50,
        batch_length: int = 50,
        horizon: int = 15,
        train_ratio: float = 625.0,
        pretrain: int = 1,
        actor_learning_rate: float | Schedule = 4e-5,
        critic_learning_rate: float | Schedule = 1e-4,
        gamma: float = 0.999,
        gae_lambda: float = 0.95,
        rho: Moving = 1.0,
        ent_coef: Moving = 1e-3,
        reward_transform: RewardTransform = "identity",
        free_nats: float = 0.0,
        kl_coef: float = 0.1,
        kl_balance: float | None = 0.8,
        cont_coef: float = 5.0,
        image_gradients: bool = True,
        reward_gradients: bool = True,
        target_update_interval: int = 100,
        tau: float = 1.0,
        max_grad_norm: float = 100.0,
        **plumbing: Unpack[ReplayPlumbing],
    ) -> None:
        super().__init__(
            policy, env, learning_rate, buffer_size, learning_starts, batch_size, **plumbing
        )
        self.batch_length, self.train_ratio, self.pretrain = batch_length, train_ratio, pretrain
        self.horizon, self.gamma, self.gae_lambda = horizon, gamma, gae_lambda
        self.actor_learning_rate = actor_learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.rho, self.ent_coef = rho, ent_coef
        self.reward_transform = reward_transform
        self.free_nats, self.kl_coef, self.kl_balance = free_nats, kl_coef, kl_balance
        self.cont_coef = cont_coef
        self.image_gradients, self.reward_gradients = image_gradients, reward_gradients
        self.target_update_interval, self.tau = target_update_interval, tau
        self.max_grad_norm = max_grad_norm
        if self._init_setup_model:
            self._setup_model()

    # ------------------------------------------------------------------ the algorithm

    def losses(self, batch: SequenceBatch) -> Losses:
        """
        Compute every term of the loss on one batch (eq. 2 to 6), with gradient.

        A codebook, of the agents that have one, moves on as in an update.

        :param batch: (B, T)
        """
        policy, model = self.policy, self.policy.world_model
        filtered = self.observe_batch(batch, self._generator)
        terms, metrics = world_model_loss(
            model,
            filtered,
            self._as_learned(batch.rewards),
            self.gamma * (~batch.is_terminal).float(),
            kl_balance=self.kl_balance,
            free_nats=self.free_nats,
            image_gradients=self.image_gradients,
            reward_gradients=self.reward_gradients,
        )
        dream = imagine(
            model,
            policy.actor,
            policy.critic_target,
            flatten(filtered.latent, 0, 1),
            batch.is_terminal.flatten(),
            self.horizon,
            gamma=self.gamma,
            through_dynamics=self._through_dynamics(),
            generator=self._generator,
        )
        behavior, more = behavior_loss(
            dream,
            policy.critic,
            rho=self._now("rho"),
            ent_coef=self._now("ent_coef"),
            gae_lambda=self.gae_lambda,
        )
        own, of_latents = policy.latents.losses(filtered.belief.post, self._generator)
        if model.learns_discount:
            model.follow_gamma(metrics["discount"], batch.is_terminal, self.gamma)
        return Losses(terms | own | behavior, metrics | of_latents | more, {})

    def _through_dynamics(self) -> bool:
        """Return whether the actor's objective is more than REINFORCE, now on the line of rho."""
        return self._on_line("rho") != 1.0

    def _course(self) -> bool:
        return self._through_dynamics()

    def _loss_weights(self) -> dict[str, float]:
        return {**super()._loss_weights(), **self.policy.latents.weights}

    def _averages(self) -> list[th.Tensor]:
        return self.policy.latents.averages()

    def _begin_updates(self) -> None:
        super()._begin_updates()
        self.policy.latents.move(self.num_timesteps)

    def _after_update(self) -> None:
        """Let the slow critic follow the critic, for the first time after the first update."""
        if self._n_updates % self.target_update_interval == 0:
            self.policy.follow_critic(self.tau)

"""Dreamer V1 (Hafner et al., "Dream to control: learning behaviors by latent imagination")."""

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor
from typing_extensions import Unpack

from dreamzoo.common.arguments import ReplayPlumbing
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.dreamer_algorithm import DreamerAlgorithm
from dreamzoo.common.training import Losses
from dreamzoo.dreamer_v1.exploration import epsilon_after, epsilon_greedy, noisy
from dreamzoo.dreamer_v1.losses import behavior_loss, world_model_loss
from dreamzoo.dreamer_v1.policies import CnnPolicy, DreamerV1Policy, MlpPolicy, MultiInputPolicy
from dreamzoo.nn.dreamer_model import RewardTransform
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.settings import Number, Setting, Whole
from dreamzoo.nn.state import flatten


class DreamerV1(DreamerAlgorithm):
    """
    Dreamer V1: an actor that learns by gradients through imagined trajectories.

    Paper: https://arxiv.org/abs/1912.01603; constants are those of the authors' code,
    https://github.com/danijar/dreamer. Differences: docs/agents/dreamer_v1.md.

    Actions are uniform until ``learning_starts``; then follow ``pretrain`` updates at once, and
    others as ``train_ratio`` says. While collecting, Box actions have noise and others are random
    with a probability that falls. Numbers of steps count the agent's decisions, of which there
    are half as many as steps of the paper, whose environments repeat every action once.

    Example:
        >>> from dreamzoo import DreamerV1
        >>> small = dict(policy_kwargs=dict(deter=8, stoch=4, units=8, net_arch=[8]), batch_size=2)
        >>> agent = DreamerV1("MlpPolicy", "Pendulum-v1", **small, batch_length=8, seed=0)
        >>> sorted(agent.learn(100).losses(agent.replay_buffer.sample(2)).terms)
        ['actor', 'critic', 'kl', 'recon', 'reward']

    :param policy: ``MlpPolicy``, ``CnnPolicy``, ``MultiInputPolicy`` or a class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: of the world model (authors' code: 6e-4)
    :param buffer_size: replay capacity in records of all environments together (code: unlimited)
    :param learning_starts: random steps before the first update (code: 2,500); None: as soon as
        the replay holds ``batch_size * batch_length`` windows, or is full
    :param batch_size: rows B (50)
    :param batch_length: steps L of a row (50)
    :param horizon: imagined steps H, at least 2 (15; discrete actions: 10)
    :param train_ratio: replayed steps for every step (500: 100 updates for 500 steps)
    :param pretrain: updates when learning starts (100; none beside
        ``gradient_steps``)
    :param actor_learning_rate: of the actor, a number or a schedule (8e-5)
    :param critic_learning_rate: of the critic, the same (8e-5)
    :param gamma: discount; of imagination, too, unless a head predicts ends (0.99)
    :param gae_lambda: mixes one-step and long returns (0.95)
    :param reward_transform: what the reward head learns of rewards, and dreams consist of
        (``identity``; discrete actions: ``tanh``)
    :param free_nats: a mean KL divergence below this has no gradient (3)
    :param kl_coef: weight of the KL term (1; discrete actions: 0.1)
    :param cont_coef: weight of the continue head's loss (10)
    :param exploration_noise: standard deviation of the noise on collected Box actions (0.3)
    :param exploration_initial_eps: probability of a random action where they are discrete (0.4)
    :param exploration_final_eps: the same, in the end (0.1)
    :param exploration_updates: updates after which it is reached (200,000)
    :param max_grad_norm: the gradient of each network is scaled down to this norm (100)
    """

    policy: DreamerV1Policy
    policy_base = DreamerV1Policy
    settings: ClassVar[Mapping[str, Setting]] = {
        **DreamerAlgorithm.settings,
        "exploration_noise": Number(0),
        "exploration_initial_eps": Number(0, 1),
        "exploration_final_eps": Number(0, 1),
        "exploration_updates": Whole(1),
    }
    policy_aliases: ClassVar = {p.__name__: p for p in (MlpPolicy, CnnPolicy, MultiInputPolicy)}
    smallest: ClassVar[Mapping[str, Any]] = {
        "policy_kwargs": dict(
            deter=8, stoch=3, units=8, reward_arch=[8], net_arch=[8], cnn_depth=2
        ),
        "batch_size": 2,
        "batch_length": 4,
        "horizon": 3,
        "train_ratio": 4.0,
        "learning_starts": 11,
        "pretrain": 1,
    }

    def __init__(
        self,
        policy: str | type[DreamerV1Policy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 6e-4,
        buffer_size: int = 1_000_000,
        learning_starts: int | None = 2_500,
        batch_size: int = 50,
        batch_length: int = 50,
        horizon: int = 15,
        train_ratio: float = 500.0,
        pretrain: int = 100,
        actor_learning_rate: float | Schedule = 8e-5,
        critic_learning_rate: float | Schedule = 8e-5,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        reward_transform: RewardTransform = "identity",
        free_nats: float = 3.0,
        kl_coef: float = 1.0,
        cont_coef: float = 10.0,
        exploration_noise: float = 0.3,
        exploration_initial_eps: float = 0.4,
        exploration_final_eps: float = 0.1,
        exploration_updates: int = 200_000,
        max_grad_norm: float = 100.0,
        **plumbing: Unpack[ReplayPlumbing],
    ) -> None:
        super().__init__(
            policy, env, learning_rate, buffer_size, learning_starts, batch_size, **plumbing
        )
        self.batch_length, self.horizon = batch_length, horizon
        self.train_ratio, self.pretrain = train_ratio, pretrain
        self.actor_learning_rate = actor_learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.gamma, self.gae_lambda = gamma, gae_lambda
        self.reward_transform = reward_transform
        self.free_nats, self.kl_coef, self.cont_coef = free_nats, kl_coef, cont_coef
        self.exploration_noise = exploration_noise
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.exploration_updates = exploration_updates
        self.max_grad_norm = max_grad_norm
        if self._init_setup_model:
            self._setup_model()

    # ------------------------------------------------------------------ collection

    def _choose(
        self, latent: Latent, generator: th.Generator | None, deterministic: bool
    ) -> Tensor:
        """Choose actions while collecting: uniform ones at first, then the actor's with noise."""
        action, codec = super()._choose(latent, generator, deterministic), self.policy.action_codec
        if not self._may_train():
            return action
        if not codec.is_discrete:
            return noisy(action, self.exploration_noise, generator)
        explored = epsilon_greedy(codec.encode(action), codec.sizes, self._epsilon(), generator)
        return codec.decode(explored)

    def _epsilon(self) -> float:
        """Return how often discrete actions are random, in hundredths: each is recorded once."""
        ends = self.exploration_initial_eps, self.exploration_final_eps
        return round(epsilon_after(self._n_updates, *ends, self.exploration_updates), 2)

    def _choice(self) -> Hashable | None:
        choice = super()._choice()
        return choice if choice is None else (choice, self.exploration_noise, self._epsilon())

    # ------------------------------------------------------------------ the algorithm

    def losses(self, batch: SequenceBatch) -> Losses:
        """
        Compute every term of the loss on one batch (eq. 6 to 8 and 10), with gradient.

        :param batch: (B, T)
        """
        policy, model = self.policy, self.policy.world_model
        filtered = self.observe_batch(batch, self._generator)
        alive = self.gamma * (~batch.is_terminal).float()
        rewards = self._as_learned(batch.rewards)
        terms, metrics = world_model_loss(model, filtered, rewards, alive, self.free_nats)
        start, ended = flatten(filtered.latent, 0, 1), batch.is_terminal.flatten()
        networks, steps = (policy.actor, policy.critic), (self.horizon, self.gamma)
        dream = model.imagine(start, *networks, *steps, self._generator, judge_start=False)
        behavior, more = behavior_loss(dream, ended, gae_lambda=self.gae_lambda)
        if model.learns_discount:
            model.follow_gamma(metrics["discount"], batch.is_terminal, self.gamma)
        return Losses(terms | behavior, metrics | more, {})

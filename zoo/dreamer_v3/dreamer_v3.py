"""DreamerV3 (Hafner et al., "Mastering diverse control tasks through world models")."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor
from typing_extensions import Unpack

from dreamzoo.common.arguments import Plumbing
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.policies import ActingState
from dreamzoo.common.record_store import RecordSpec
from dreamzoo.common.settings import Choice, Flag, Number, Setting, Whole
from dreamzoo.common.training import Outcome, reconstruction_losses, total
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.dreamer_v3.policies import CnnPolicy, DreamerV3Policy, MlpPolicy, MultiInputPolicy
from dreamzoo.nn.distributions import divergences, one_hot, soft_bernoulli_loss
from dreamzoo.nn.fast.streams import Aside
from dreamzoo.nn.networks.heads import evaluate
from dreamzoo.nn.returns import lambda_return, replay_return
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.state import flatten, select
from dreamzoo.nn.world_model import Filtered


class Dream(NamedTuple):
    """
    Imagined trajectories of N starts, time first.

    :param feat: features of states 0..H, without gradient, (H + 1, N, F)
    :param log_prob: of the actions chosen in states 0..H-1, with gradient, (H, N)
    :param entropy: of the policy in these states, with gradient, (H, N)
    """

    feat: Tensor
    log_prob: Tensor
    entropy: Tensor


class DreamerV3(WorldModelAlgorithm):
    """
    DreamerV3, the revised algorithm: one world model, one actor, one critic, one optimizer.

    Paper: https://arxiv.org/abs/2301.04104 (version 2) and its journal version; constants are
    those of the authors' code, https://github.com/danijar/dreamerv3. Differences are listed in
    docs/differences.md.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> tiny = dict(batch_size=2, batch_length=8, train_ratio=4)
        >>> tiny["policy_kwargs"] = dict(size="debug")
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", seed=0, **tiny).learn(60)
        >>> obs, state = model.get_env().reset(), None
        >>> action, state = model.predict(obs, state, deterministic=True)  # pass the state on
        >>> action.shape
        (1,)

    :param policy: ``MlpPolicy``, ``CnnPolicy``, ``MultiInputPolicy`` or a class. The default size
        is 12m where images are read and 1m elsewhere
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: of all networks after warm-up (table 4: 4e-5)
    :param buffer_size: replay capacity in records of all environments together (reference: 5e6)
    :param learning_starts: steps before the first update; None: as soon as the replay holds
        ``batch_size * batch_length`` windows (reference train.py) or is full
    :param batch_size: rows B (table 4: 16)
    :param batch_length: trained steps T of a row (table 4: 64)
    :param horizon: imagined steps H (table 4: 15)
    :param train_ratio: replayed steps for every step of an environment:
        ``updates = steps * train_ratio / (batch_size * batch_length)``. 512 is the paper's value
        for control (table 2); 32 for Atari, 256 for Atari100k and 1024 for 1m models in the
        authors' configuration
    :param gamma: discount (table 4: horizon 333)
    :param gae_lambda: lambda of both returns (table 4: 0.95)
    :param tau: rate of the slow critic's moving average (table 4: 0.02)
    :param ent_coef: weight of the actor's entropy (table 4: 3e-4)
    :param free_nats: KL terms below this have no gradient (table 4: 1)
    :param dyn_coef: weight of the prior's KL term (table 4: 1)
    :param rep_coef: weight of the posterior's KL term (table 4: 0.1)
    :param replay_vf_coef: weight of the critic loss on replayed rewards (table 4: 0.3)
    :param slow_coef: weight of the slow critic's regularizer (table 4: 1)
    :param replay_context: start windows from stored latents, written back after every update;
        False starts every window from zero, as the code of 2023 did
    :param start_cont: where the first weight of an imagined trajectory comes from: ``predicted``
        by the model, or the flag in the ``data`` as in the code of the paper's time
    :param imagination_last: imagine only from the last so many steps of every row; None: all
    """

    policy: DreamerV3Policy
    policy_base = DreamerV3Policy
    online_queue = True
    settings: ClassVar[Mapping[str, Setting]] = {
        **WorldModelAlgorithm.settings,
        "horizon": Whole(1),
        "gamma": Number(0, 1),
        "gae_lambda": Number(0, 1),
        "tau": Number(0, 1),
        "ent_coef": Number(0),  # nothing is tuned on its own
        "free_nats": Number(0),
        "dyn_coef": Number(0),
        "rep_coef": Number(0),
        "replay_vf_coef": Number(0),
        "slow_coef": Number(0),
        "replay_context": Flag(),
        "start_cont": Choice(("predicted", "data")),
        "imagination_last": Whole(1, none=True),
    }
    policy_aliases: ClassVar = {p.__name__: p for p in (MlpPolicy, CnnPolicy, MultiInputPolicy)}
    action_spaces = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    #: Arguments of the smallest agent that still learns; tests and ``dreamzoo.testing`` train it.
    smallest: ClassVar[Mapping[str, Any]] = {
        "policy_kwargs": dict(size="debug"),
        "batch_size": 2,
        "batch_length": 4,
        "horizon": 2,
        "train_ratio": 4.0,
    }

    def __init__(
        self,
        policy: str | type[DreamerV3Policy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 4e-5,
        buffer_size: int = 1_000_000,
        learning_starts: int | None = None,
        batch_size: int = 16,
        batch_length: int = 64,
        horizon: int = 15,
        train_ratio: float = 512.0,
        gamma: float = 1 - 1 / 333,
        gae_lambda: float = 0.95,
        tau: float = 0.02,
        ent_coef: float = 3e-4,
        free_nats: float = 1.0,
        dyn_coef: float = 1.0,
        rep_coef: float = 0.1,
        replay_vf_coef: float = 0.3,
        slow_coef: float = 1.0,
        replay_context: bool = True,
        start_cont: Literal["predicted", "data"] = "predicted",
        imagination_last: int | None = None,
        **plumbing: Unpack[Plumbing],
    ) -> None:
        super().__init__(
            policy, env, learning_rate, buffer_size, learning_starts, batch_size, **plumbing
        )
        self.batch_length, self.train_ratio = batch_length, train_ratio
        self.horizon = horizon
        self.gamma = gamma
        self.gae_lambda = gae_lambda
        self.tau = tau
        self.ent_coef = ent_coef
        self.free_nats = free_nats
        self.dyn_coef = dyn_coef
        self.rep_coef = rep_coef
        self.replay_vf_coef = replay_vf_coef
        self.slow_coef = slow_coef
        self.replay_context = replay_context
        self.start_cont = start_cont
        self.imagination_last = imagination_last
        if self._init_setup_model:
            self._setup_model()

    def _policy_kwargs(self) -> dict[str, Any]:
        return {"gamma": self.gamma, **self.policy_kwargs}

    def latent_spec(self) -> RecordSpec | None:
        if not self.replay_context:
            return None
        dynamics = self.policy.world_model.dynamics
        # The class of a one-hot latent is one byte; the vector itself would be 4 * C of them.
        return {"deter": ((dynamics.deter,), np.float32), "stoch": ((dynamics.stoch,), np.uint8)}

    def _stored_latents(self, state: ActingState) -> dict[str, Tensor]:
        return _to_stored(state.latent) if self.replay_context else {}

    # ------------------------------------------------------------------ the algorithm

    def _learn_from(self, batch: SequenceBatch) -> Outcome:
        """Compute losses and gradients, see :meth:`UpdatingAlgorithm._learn_from`."""
        averages = list(self.policy.return_normalizer.buffers())
        before = [average.clone() for average in averages]
        latent, losses, details = self._losses(batch)
        weighted = self._weigh(losses)
        behavior = weighted.pop("actor") + weighted.pop("critic")
        model = total(weighted)
        loss = behavior.detach() + model.detach()
        good = th.isfinite(loss)
        for average, old in zip(averages, before, strict=True):  # of a bad loss nothing remains
            average.copy_(th.where(good, average, old))
        # The dream has no graph into the world model, so their backward passes can share time. But
        # convolutions take far longer than the rest, and use all cores by themselves.
        images = bool(self.policy.world_model.codec.image_keys)
        parts = [behavior + model] if images else [behavior, model]
        details["grad_norm"] = self._compute_gradients(losses, loss, parts)
        metrics = {f"{k}_loss": v for k, v in losses.items()} | details
        return Outcome(metrics, _to_stored(latent) if batch.latents else {})

    @th.no_grad()
    def _after_step(self) -> None:
        """Let the slow critic follow the critic."""
        slow, critic = self.policy.critic_target, self.policy.critic
        averages: list[Tensor] = list(slow.parameters())
        th._foreach_mul_(averages, 1 - self.tau)
        th._foreach_add_(averages, list[Tensor](critic.parameters()), alpha=self.tau)

    def _loss_weights(self) -> dict[str, float]:
        return {"dyn": self.dyn_coef, "rep": self.rep_coef, "replay_critic": self.replay_vf_coef}

    def _losses(self, batch: SequenceBatch) -> tuple[Latent, dict[str, Tensor], dict[str, Tensor]]:
        """
        Compute every term of the loss on one batch (DreamerV3, eq. 2, 4, 6, 8).

        :return: filtered latents (B, T, ...), the terms, and further metrics
        """
        aside = Aside(self.device)
        filtered, losses, details = self._world_model_loss(batch, aside)
        with aside.reading(filtered.latent, batch):
            dream, starts = self._imagine(filtered.latent)
            behavior, returns, more = self._behavior_loss(dream, batch.is_terminal[:, starts])
            boot = returns[0].view(len(batch.rewards), -1)
            losses |= behavior
            losses["replay_critic"] = self._replay_critic_loss(
                filtered.latent.feat[:, starts], batch, starts, boot
            )
        aside.join()
        return filtered.latent.detach(), losses, details | more

    def _world_model_loss(
        self, batch: SequenceBatch, aside: Aside | None = None
    ) -> tuple[Filtered, dict[str, Tensor], dict[str, Tensor]]:
        """Reconstruction, reward, continuation, two KL terms (eq. 2 and 3), ``aside`` meanwhile."""
        model = self.policy.world_model
        filtered = self.observe_batch(batch, self._generator)
        if aside is not None:
            aside.begin()
        feat = filtered.latent.feat
        losses = reconstruction_losses(model, filtered, feat)
        losses["reward"] = model.reward.loss(model.reward(feat), batch.rewards).mean()
        alive = (1.0 - batch.is_terminal.float()) * self.gamma  # termination, never a time limit
        cont = model.cont(feat)[..., 0]
        losses["cont"] = soft_bernoulli_loss(cont, alive).mean()
        model.follow_gamma(th.sigmoid(cont.detach().float()), batch.is_terminal, self.gamma)

        post, prior = filtered.belief, model.dynamics.prior(filtered.latent.deter)
        dyn, rep, prior_ent, post_ent = divergences(post, prior)
        # Summed over latents first, then clipped for each step.
        losses["dyn"] = dyn.clamp(min=self.free_nats).mean()
        losses["rep"] = rep.clamp(min=self.free_nats).mean()
        return filtered, losses, {"prior_ent": prior_ent, "post_ent": post_ent}

    def start_latent(self, batch: SequenceBatch) -> Latent:
        if not batch.latents:
            return super().start_latent(batch)
        dynamics = self.policy.world_model.dynamics
        stoch = one_hot(batch.latents["stoch"].long(), dynamics.classes)
        return Latent(batch.latents["deter"], stoch)

    def _imagine(self, latent: Latent) -> tuple[Dream, slice]:
        """
        Roll the policy out in the model from every filtered state, without a graph.

        Only the actor's own evaluation, on features cut off from the model, keeps one.

        :param latent: filtered states, (B, T, ...)
        :return: the dream, rows in the order (b, t), and which steps t it starts from
        """
        length = latent.deter.shape[1]
        starts = slice(max(length - (self.imagination_last or length), 0), None)
        start = flatten(select(latent, (slice(None), starts)), 0, 1)
        feat, actions, hidden = self.policy.world_model.dynamics.imagine(
            start, self.policy.actor, self.horizon, self._generator
        )
        distribution = self.policy.actor.distribution(hidden)
        return Dream(feat, *distribution.log_prob_and_entropy(actions)), starts

    def _behavior_loss(
        self, dream: Dream, is_terminal: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """
        Actor and critic losses on a dream (eq. 4 to 8).

        :param dream: N trajectories
        :param is_terminal: whether their starts were terminal, (B, K), N = B * K
        :return: losses, lambda returns (H, N), details
        """
        critic, model = self.policy.critic, self.policy.world_model
        slow_critic = self.policy.critic_target
        logits, (slow, *predicted) = evaluate(
            dream.feat[:-1], critic, lambda x: (slow_critic.mean(x),), model.reward_and_discount
        )
        with th.no_grad():
            last = model.reward_and_discount(dream.feat[-1:])
            reward, discount = (th.cat(pair) for pair in zip(predicted, last, strict=True))
            if self.start_cont == "data":
                discount[0] = 1.0 - is_terminal.flatten().float()
            value = th.cat([critic.twohot.mean(logits), critic.mean(dream.feat[-1:])])
            # The discount contains gamma: it must not be applied a second time.
            returns = lambda_return(reward, discount, value, self.gae_lambda)  # (H, N)
            weight = discount.cumprod(0)[:-1]
            normalizer = self.policy.return_normalizer
            normalizer.update(returns)
            advantage = (returns - value[:-1]) / normalizer.scale
        objective = dream.log_prob * advantage + self.ent_coef * dream.entropy
        # The slow critic is a regularizer; returns bootstrap from the critic itself.
        critic_loss = critic.loss(logits, returns, slow, weights=(1.0, self.slow_coef))
        losses = {
            "actor": -(weight * objective).mean(),
            "critic": (weight * critic_loss).mean(),
        }
        details = {
            "actor_entropy": dream.entropy,
            "return_scale": normalizer.scale,
            "imagined_return": returns,
            "imagined_reward": reward[1:],
            "value": value,
            "value_std": value.std(),
            "advantage_abs": advantage.abs(),
            "weight": weight,
        }
        return losses, returns, details

    def _replay_critic_loss(
        self, feat: Tensor, batch: SequenceBatch, starts: slice, boot: Tensor
    ) -> Tensor:
        """
        Critic loss on replayed rewards; its gradient reaches the world model.

        :param feat: filtered features with gradient, (B, K, F)
        :param batch: the batch
        :param starts: the K steps that were imagined from
        :param boot: imagined return of every step, (B, K)
        """
        critic = self.policy.critic
        is_last = batch.is_last[:, starts].float()
        with th.no_grad():
            rewards, terminal = batch.rewards[:, starts], batch.is_terminal[:, starts].float()
            targets = replay_return(rewards, is_last, terminal, boot, self.gamma, self.gae_lambda)
        if not targets.numel():  # a window of one step has no successor to learn from
            return feat.sum() * 0.0
        with th.no_grad():
            slow = self.policy.critic_target.mean(feat[:, :-1])
        loss = critic.loss(critic(feat[:, :-1]), targets, slow, weights=(1.0, self.slow_coef))
        return ((1 - is_last[:, :-1]) * loss).mean()


def _to_stored(latent: Latent) -> dict[str, Tensor]:
    """Turn latents into what the replay stores (:meth:`DreamerV3.latent_spec`)."""
    # The replay outlives a destroyed model: where that has computed NaN, windows start from zero.
    deter = latent.deter.nan_to_num(0.0, 0.0, 0.0)
    return {"deter": deter, "stoch": latent.stoch.argmax(-1).to(th.uint8)}

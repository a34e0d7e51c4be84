"""DreamerV3 (Hafner et al., "Mastering diverse control tasks through world models")."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor
from typing_extensions import Unpack

from dreamzoo.common.arguments import ReplayPlumbing
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.policies.world_model import ActingState
from dreamzoo.common.record_store import RecordSpec
from dreamzoo.common.training import Losses, at_once
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.dreamer_v3.losses import Terms, imagination_loss, replay_loss, world_model_loss
from dreamzoo.dreamer_v3.policies import (
    CnnPolicy,
    Dream,
    DreamerV3Policy,
    MlpPolicy,
    MultiInputPolicy,
)
from dreamzoo.nn.distributions import one_hot
from dreamzoo.nn.returns import lambda_return
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.settings import Choice, Flag, Number, Setting, Whole
from dreamzoo.nn.state import flatten, select, zeroed
from dreamzoo.nn.world_model import Filtered


class DreamerV3(WorldModelAlgorithm):
    """
    DreamerV3, the revised algorithm: one world model, one actor, one critic, one optimizer.

    Paper: https://arxiv.org/abs/2301.04104 (version 2) and its journal version; constants are
    those of the authors' code, https://github.com/danijar/dreamerv3. Differences are listed in
    docs/agents/dreamer_v3.md.

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
        is 12m where images of 36 pixels or more are read and 1m elsewhere
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
    apart = ("actor", "critic")  # a dream has no graph into the world model
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
        **plumbing: Unpack[ReplayPlumbing],
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
        # The class of a one-hot latent is a byte, or four; the vector itself would be 4 C of them.
        kind = np.uint8 if dynamics.classes <= 256 else np.int32
        return {"deter": ((dynamics.deter,), np.float32), "stoch": ((dynamics.stoch,), kind)}

    def _stored_latents(self, state: ActingState) -> dict[str, Tensor]:
        return _to_stored(state.latent) if self.replay_context else {}

    def start_latent(self, batch: SequenceBatch) -> Latent:
        if not batch.latents:
            return super().start_latent(batch)
        dynamics = self.policy.world_model.dynamics
        stoch = one_hot(batch.latents["stoch"].long(), dynamics.classes)
        return zeroed(_unknown(batch), Latent(batch.latents["deter"], stoch))

    def observe_batch(
        self, batch: SequenceBatch, generator: th.Generator | None = None
    ) -> Filtered:
        if batch.latents:  # whose are not known, as of recordings, begins as an episode does
            begins = th.zeros_like(batch.is_first)
            begins[:, 0] = _unknown(batch)
            batch = batch._replace(is_first=batch.is_first | begins)
        return super().observe_batch(batch, generator)

    # ------------------------------------------------------------------ the algorithm

    def losses(self, batch: SequenceBatch) -> Losses:
        """
        Compute every term of the loss on one batch (eq. 2, 4 and 6), with gradient.

        The averages that returns are divided by move on, as in an update.

        :param batch: (B, T)
        """
        filtered = self.observe_batch(batch, self._generator)
        (terms, metrics), dreamt = at_once(self._model_losses, self._dream, filtered, batch)
        # The first has gradients for the world model, which do not wait for those of the second.
        replayed, (imagined, more) = at_once(
            self._replay_losses, self._imagination_losses, filtered, batch, dreamt
        )
        latents = _to_stored(filtered.latent.detach()) if batch.latents else {}
        return Losses(terms | imagined | replayed, metrics | more, latents)

    def _model_losses(self, filtered: Filtered, batch: SequenceBatch) -> Terms:
        """Learn what happened (eq. 2 and 3)."""
        model = self.policy.world_model
        terms, metrics, discount = world_model_loss(
            model,
            filtered,
            batch.rewards,
            batch.is_terminal,
            gamma=self.gamma,
            free_nats=self.free_nats,
        )
        model.follow_gamma(discount, batch.is_terminal, self.gamma)
        return terms, metrics

    def _dream(self, filtered: Filtered, batch: SequenceBatch) -> tuple[Dream, Tensor]:
        """Dream of what may happen: trajectories, and the returns of their states, (H, N)."""
        latent, _, _, is_terminal = self._starts(filtered, batch)
        alive = 1.0 - is_terminal.flatten().float() if self.start_cont == "data" else None
        dream = self.policy.imagine(flatten(latent, 0, 1), self.horizon, self._generator, alive)
        with th.no_grad():
            # The discount contains gamma: it must not be applied a second time.
            returns = lambda_return(dream.reward, dream.discount, dream.value, self.gae_lambda)
            self.policy.return_normalizer.update(returns)
        return dream, returns

    def _replay_losses(
        self, filtered: Filtered, batch: SequenceBatch, dreamt: tuple[Dream, Tensor]
    ) -> dict[str, Tensor]:
        """Learn the values of what happened."""
        _, returns = dreamt
        latent, rewards, is_last, is_terminal = self._starts(filtered, batch)
        loss = replay_loss(
            latent.feat,
            rewards,
            is_last,
            is_terminal,
            returns[0].view_as(rewards),
            self.policy.critic,
            self.policy.critic_target,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            slow_coef=self.slow_coef,
        )
        return {"replay_critic": loss}

    def _imagination_losses(
        self, filtered: Filtered, batch: SequenceBatch, dreamt: tuple[Dream, Tensor]
    ) -> Terms:
        """Learn from the dream (eq. 4 to 7)."""
        return imagination_loss(
            *dreamt,
            self.policy.return_normalizer.scale,
            self.policy.critic,
            ent_coef=self.ent_coef,
            slow_coef=self.slow_coef,
        )

    def _starts(
        self, filtered: Filtered, batch: SequenceBatch
    ) -> tuple[Latent, Tensor, Tensor, Tensor]:
        """Return the states that dreams begin in, their rewards, ends and terminal ends."""
        starts = slice(-(self.imagination_last or 0), None)
        given = (x[:, starts] for x in (batch.rewards, batch.is_last, batch.is_terminal))
        return select(filtered.latent, (slice(None), starts)), *given

    def _loss_weights(self) -> dict[str, float]:
        return {"dyn": self.dyn_coef, "rep": self.rep_coef, "replay_critic": self.replay_vf_coef}

    def _averages(self) -> list[Tensor]:
        return list(self.policy.return_normalizer.buffers())

    @th.no_grad()
    def _after_step(self) -> None:
        """Let the slow critic follow the critic."""
        slow, critic = self.policy.critic_target, self.policy.critic
        averages: list[Tensor] = list(slow.parameters())
        th._foreach_mul_(averages, 1 - self.tau)
        th._foreach_add_(averages, list[Tensor](critic.parameters()), alpha=self.tau)


def _unknown(batch: SequenceBatch) -> Tensor:
    """Return which rows have no stored latents, (B,), see ``SequenceReplayBuffer.recorded``."""
    return batch.latents["deter"].isnan().any(-1)


def _to_stored(latent: Latent) -> dict[str, Tensor]:
    """Turn latents into what the replay stores (:meth:`DreamerV3.latent_spec`)."""
    # The replay outlives a destroyed model: where that has computed NaN, windows start from zero.
    deter = latent.deter.nan_to_num(0.0, 0.0, 0.0)
    kind = th.uint8 if latent.stoch.shape[-1] <= 256 else th.int32
    return {"deter": deter, "stoch": latent.stoch.argmax(-1).to(kind)}

"""PlaNet (Hafner et al., "Learning latent dynamics for planning from pixels")."""

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor
from typing_extensions import Unpack

from dreamzoo.common.arguments import ReplayPlumbing
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.training import Losses
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.settings import Flag, Number, Setting, Whole
from dreamzoo.planet.losses import overshooting_loss, world_model_loss
from dreamzoo.planet.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, PlaNetPolicy
from dreamzoo.planning import CEM


class PlaNet(WorldModelAlgorithm):
    """
    PlaNet: a world model and a planner; no policy network, no value.

    Paper: https://arxiv.org/abs/1811.04551; constants are those of the authors' code,
    https://github.com/google-research/planet. Differences: docs/agents/planet.md.

    Episodes are collected by planning, after ``seed_episodes`` random ones; after every episode
    follow ``collect_interval`` updates. There is no model of termination: predictions always go on.
    Actions must be continuous.

    The ablations of figure 5 are settings: random shooting is ``planning_iterations=1, elites=1``,
    random data ``random_collection=True``; those of figure 4 are ``policy_kwargs=
    dict(dynamics="ssm")`` and ``dict(dynamics="rnn")``. In the purely deterministic model nothing
    would train the prior's mean once the KL term is gone, so that open-loop predictions would be
    noise (so in the authors' code, without overshooting); here the two means are drawn together.

    Example:
        >>> from dreamzoo import PlaNet
        >>> tiny = dict(batch_size=2, batch_length=4, candidates=20, elites=4, collect_interval=1)
        >>> tiny["policy_kwargs"] = dict(deter=8, stoch=4, units=8, reward_arch=[8])
        >>> model = PlaNet("MlpPolicy", "Pendulum-v1", seed=0, seed_episodes=1, **tiny).learn(200)
        >>> action, state = model.predict(model.get_env().reset())  # the first of a new plan
        >>> action.shape
        (1, 1)

    :param policy: ``MlpPolicy``, ``CnnPolicy``, ``MultiInputPolicy`` or a class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: of all networks (appendix A: 1e-3)
    :param buffer_size: replay capacity in records of all environments together (paper: unlimited)
    :param learning_starts: steps before the first update; None: ``seed_episodes``
    :param batch_size: rows B (appendix A: 50)
    :param batch_length: steps L of a row (appendix A: 50)
    :param seed_episodes: random episodes before the first update S (appendix A: 5)
    :param collect_interval: updates C after every episode (appendix A: 100)
    :param train_ratio: replayed steps for every step of an environment, instead of
        ``collect_interval``; None or 0: that one counts
    :param planning_horizon: planned steps H (appendix A: 12)
    :param planning_iterations: rounds of the cross-entropy method I (appendix A: 10)
    :param candidates: action sequences in a round J (appendix A: 1000)
    :param elites: best sequences K, which the next round is fitted to (appendix A: 100)
    :param exploration_noise: standard deviation of the noise on collected actions (appendix A: 0.3)
    :param random_collection: collect with random actions; predictions still plan
    :param free_nats: KL divergences below this have no gradient, in every step (appendix A: 3); of
        no use to ``rnn``, which has none
    :param kl_coef: weight of the KL term (beta_1 = 1)
    :param reward_coef: weight of the reward's likelihood (authors' code: 10; the paper names none)
    :param overshooting_distance: latent overshooting over up to so many steps D; 1 or less: none,
        as in the final agent
    :param overshooting_coef: weight beta of the longer distances, all equal
    :param max_grad_norm: the gradient is scaled down to this norm (appendix A: 1000)
    """

    policy: PlaNetPolicy
    policy_base = PlaNetPolicy
    settings: ClassVar[Mapping[str, Setting]] = {
        **WorldModelAlgorithm.settings,
        "seed_episodes": Whole(0),
        "collect_interval": Whole(0),
        "train_ratio": Number(0, none=True),
        "planning_horizon": Whole(1),
        "planning_iterations": Whole(1),
        "candidates": Whole(1),
        "elites": Whole(1),  # at most as many as candidates, see CEM
        "exploration_noise": Number(0),
        "random_collection": Flag(),
        "free_nats": Number(0),
        "kl_coef": Number(0),
        "reward_coef": Number(0),
        "overshooting_distance": Whole(0),
        "overshooting_coef": Number(0),
        "max_grad_norm": Number(0, above=True, infinite=True),  # inf: never scaled down
    }
    policy_aliases: ClassVar = {p.__name__: p for p in (MlpPolicy, CnnPolicy, MultiInputPolicy)}
    action_spaces = (spaces.Box,)
    #: Arguments of the smallest agent that still learns; tests and ``dreamzoo.testing`` train it.
    smallest: ClassVar[Mapping[str, Any]] = {
        "policy_kwargs": dict(deter=8, stoch=3, units=8, reward_arch=[8], cnn_depth=2),
        "batch_size": 2,
        "batch_length": 4,
        "train_ratio": 4.0,
        "learning_starts": 11,
        "planning_horizon": 2,
        "planning_iterations": 2,
        "candidates": 6,
        "elites": 2,
    }

    def __init__(
        self,
        policy: str | type[PlaNetPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 1_000_000,
        learning_starts: int | None = None,
        batch_size: int = 50,
        batch_length: int = 50,
        seed_episodes: int = 5,
        collect_interval: int = 100,
        train_ratio: float | None = None,
        planning_horizon: int = 12,
        planning_iterations: int = 10,
        candidates: int = 1_000,
        elites: int = 100,
        exploration_noise: float = 0.3,
        random_collection: bool = False,
        free_nats: float = 3.0,
        kl_coef: float = 1.0,
        reward_coef: float = 10.0,
        overshooting_distance: int = 0,
        overshooting_coef: float = 1.0,
        max_grad_norm: float = 1_000.0,
        **plumbing: Unpack[ReplayPlumbing],
    ) -> None:
        super().__init__(
            policy, env, learning_rate, buffer_size, learning_starts, batch_size, **plumbing
        )
        self.batch_length = batch_length
        self.seed_episodes = seed_episodes
        self.collect_interval = collect_interval
        self.train_ratio = 0.0 if train_ratio is None else train_ratio
        self.planning_horizon = planning_horizon
        self.planning_iterations = planning_iterations
        self.candidates = candidates
        self.elites = elites
        self.exploration_noise = exploration_noise
        self.random_collection = random_collection
        self.free_nats = free_nats
        self.kl_coef = kl_coef
        self.reward_coef = reward_coef
        self.overshooting_distance = overshooting_distance
        self.overshooting_coef = overshooting_coef
        self.max_grad_norm = max_grad_norm
        self._episodes = 0  # ever finished; SB3's own count begins anew with every learn()
        self._episodes_of_all = 0  # the same, at the last time that ranks have told each other
        self._episodes_trained: int | None = None  # None until the first update is allowed
        self._planner: CEM | None = None  # what the settings said last; None before the policy
        if self._init_setup_model:
            self._setup_model()

    def _policy_kwargs(self) -> dict[str, Any]:
        cem = CEM(self.planning_horizon, self.planning_iterations, self.candidates, self.elites)
        return {"planner": cem, **self.policy_kwargs}

    def _check_settings(self) -> None:
        super()._check_settings()
        planner = self._policy_kwargs()["planner"] or CEM()  # refuses what makes no plan
        if self._planner not in (None, planner):
            self.policy.planner = self.policy._arguments["planner"] = planner
        self._planner = planner

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_planner"]

    # ------------------------------------------------------------------ collection

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._episodes += int(np.count_nonzero(dones))

    def _count_episodes(self) -> None:
        """Count what other ranks have finished, too."""
        new = self._episodes - self._episodes_of_all
        self._episodes = self._episodes_of_all + self._all_ranks(new)
        self._episodes_of_all = self._episodes

    def _in_seed_phase(self) -> bool:
        """Return whether the agent knows too little to plan: its seed episodes are not over."""
        if self.learning_starts is not None:
            return self.num_timesteps <= self.learning_starts
        return self._episodes < self.seed_episodes

    def _may_train(self) -> bool:
        if self.learning_starts is not None:
            return super()._may_train()
        assert self.replay_buffer is not None
        enough = self.replay_buffer.n_windows() > 0 or self.replay_buffer.full
        return enough and not self._in_seed_phase()

    def _take_due_updates(self, steps: int) -> int:
        """Return how many updates follow a collection: ``collect_interval`` for every episode."""
        self._count_episodes()
        if self.train_ratio or self.gradient_steps is not None:
            return super()._take_due_updates(steps)
        if not self._all_may_train():
            return 0
        if self._episodes_trained is None:  # as in the paper, seed episodes count as one
            self._episodes_trained = self._episodes - 1
        episodes = self._episodes - self._episodes_trained
        self._episodes_trained = self._episodes
        return episodes * self.collect_interval

    def _choose(
        self, latent: Latent, generator: th.Generator | None, deterministic: bool
    ) -> Tensor:
        """Choose actions while collecting: random ones at first, then plans with noise."""
        if self.random_collection or self._in_seed_phase():
            return self.policy.action_codec.sample(len(latent.stoch), generator, self.device)
        action = super()._choose(latent, generator, deterministic)
        noise = th.randn(action.shape, generator=generator, device=self.device)
        return (action + self.exploration_noise * noise).clamp(-1.0, 1.0)

    def _choice(self) -> Hashable | None:
        choice = super()._choice()
        randomly = self.random_collection or self._in_seed_phase()
        return choice if choice is None else (choice, randomly, self.exploration_noise)

    # ------------------------------------------------------------------ the algorithm

    def losses(self, batch: SequenceBatch) -> Losses:
        """
        Compute every term of the loss on one batch (eq. 3; eq. 6 for overshooting), with gradient.

        :param batch: (B, T)
        """
        model = self.policy.world_model
        filtered = self.observe_batch(batch, self._generator)
        terms, metrics = world_model_loss(model, filtered, batch.rewards, free_nats=self.free_nats)
        if self.overshooting_distance > 1:
            terms["overshooting"] = overshooting_loss(
                model.dynamics,
                filtered,
                self.policy.action_codec.encode(batch.actions),
                batch.is_first,
                distance=self.overshooting_distance,
                free_nats=self.free_nats,
                generator=self._generator,
            )
        return Losses(terms, metrics, {})

    def _loss_weights(self) -> dict[str, float]:
        weights = {
            "kl": self.kl_coef,
            "reward": self.reward_coef,
            "overshooting": self.overshooting_coef,
        }
        if self.overshooting_distance <= 1:
            del weights["overshooting"]
        return weights

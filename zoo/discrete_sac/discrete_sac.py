"""Soft actor-critic for discrete actions, whose actor learns through a discrete sample."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import (
    GymEnv,
    PyTorchObs,
    ReplayBufferSamples,
    Schedule,
)
from stable_baselines3.common.utils import get_parameters_by_name, polyak_update
from torch import Tensor
from torch.nn import functional as F

from dreamzoo.common.settings import EntropyWeight
from dreamzoo.common.storage.agent_file import StoredAgent
from dreamzoo.common.transition_agent import TransitionAgent
from dreamzoo.discrete_sac.losses import (
    Beliefs,
    actor_loss,
    all_actions,
    entropy,
    expectation,
    mean_action,
    one_hot_samples,
    soft_value,
    target_entropy,
)
from dreamzoo.discrete_sac.policies import (
    CategoricalActor,
    CnnPolicy,
    DiscreteSACPolicy,
    IndicatorCritic,
    MlpPolicy,
    MultiInputPolicy,
)
from dreamzoo.nn.estimators import (
    Estimate,
    Estimator,
    GumbelSoftmax,
    ScoreFunction,
    StraightThrough,
)
from dreamzoo.nn.settings import Choice, Flag, Line, Moving, Setting, Whole, at_step

#: How the actor learns through the action that it draws; "exact" draws none.
EstimatorName = Literal["gumbel", "st_gumbel", "st", "score", "exact"]
#: More actions than these are not evaluated one by one.
MOST_ACTIONS = 1_024


class DiscreteSAC(TransitionAgent):
    """
    Soft actor-critic (SAC) for Discrete and MultiDiscrete actions.

    The critics read actions as indicator vectors, so that the actor can learn as SAC's own does:
    through the action that it draws. How the gradient passes the draw is a matter of choice:

    - ``gumbel``: the critics read a relaxed sample, the Gumbel-softmax of the logits
    - ``st_gumbel``: the same, rounded to one action, with the relaxed sample's gradient
    - ``st``: one action, with the gradient of its probability (straight-through)
    - ``score``: the score function (REINFORCE), unbiased; its baseline is what the critics say of
      the mean action
    - ``exact``: all actions, by their probabilities, as in SAC-Discrete (Christodoulou 2019);
      costs as many evaluations of the critics as there are actions

    Otherwise it is SB3's SAC, in its settings, its networks and its order of updates, but for the
    entropy, which is exact.

    Example:
        >>> from dreamzoo import DiscreteSAC
        >>> model = DiscreteSAC("MlpPolicy", "CartPole-v1", estimator="st_gumbel", seed=0)
        >>> model = model.learn(100)
        >>> action, _ = model.predict(model.get_env().reset(), deterministic=True)
        >>> action.shape
        (1,)

    :param policy: MlpPolicy, CnnPolicy, MultiInputPolicy, or a class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: of all optimizers: a number, or a schedule of the remaining progress
    :param buffer_size: transitions in the replay
    :param learning_starts: steps of uniform actions before the first update
    :param batch_size: transitions of an update
    :param tau: share of the critics that moves into their targets
    :param gamma: discount
    :param train_freq: steps of the VecEnv between two rounds of updates, or such as
        ``(1, "episode")``
    :param gradient_steps: updates in a round; -1 makes one for every step collected
    :param replay_buffer_class: SB3's; None: by the observations
    :param replay_buffer_kwargs: of that class
    :param optimize_memory_usage: store every observation once, see SB3's ``ReplayBuffer``
    :param n_steps: rewards in a return before the critics estimate the rest
    :param estimator: ``gumbel``, ``st_gumbel``, ``st``, ``score`` or ``exact``
    :param temperature: of the Gumbel-softmax: a number, or a line such as ``(1.0, 0.5, 20_000)``:
        from, to, and over so many steps. Near 0 relaxed samples are almost discrete
    :param expected_backup: whether the critics' target sums over all next actions, as in
        SAC-Discrete, instead of drawing one; costs as many evaluations as there are actions
    :param backup_entropy: whether the critics' values contain what will be earned by entropy. Where
        samples are relaxed or straight-through, and ``ent_coef`` is learned, False keeps values and
        weight from driving each other up
    :param ent_coef: weight of the entropy; "auto" learns it, "auto_0.1" from 0.1 on
    :param target_update_interval: updates between two of the targets
    :param target_entropy_scale: the entropy that "auto" holds the policy at, as a share of the
        largest one, log of the number of actions; a number, or a line as of ``temperature``.
        SB3's SAC holds it at minus the number of dimensions, which a categorical's entropy never
        falls to: there is no such option here
    :param stats_window_size: episodes over which returns are averaged in the log
    :param tensorboard_log: folder of TensorBoard logs
    :param policy_kwargs: of the policy, see :class:`DiscreteSACPolicy`
    :param verbose: 0 silent, 1 info, 2 debug
    :param seed: of everything random
    :param device: ``auto``, ``cpu``, ``cuda``, ...
    :param _init_setup_model: build the networks now; ``load`` does so later
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy_base = DiscreteSACPolicy
    action_spaces = (spaces.Discrete, spaces.MultiDiscrete)
    smallest: ClassVar[Mapping[str, Any]] = {
        "buffer_size": 1_000,
        "learning_starts": 10,
        "batch_size": 8,
        "policy_kwargs": {"net_arch": [8]},
    }
    settings: ClassVar[Mapping[str, Setting]] = {
        **TransitionAgent.settings,
        "estimator": Choice(get_args(EstimatorName)),
        "temperature": Line(0.01, such_as=(1.0, 0.5, 100_000)),
        "expected_backup": Flag(),
        "backup_entropy": Flag(),
        "ent_coef": EntropyWeight(),
        "target_update_interval": Whole(1),
        "target_entropy_scale": Line(0, 1, such_as=(0.9, 0.2, 100_000)),
    }
    policy: DiscreteSACPolicy
    actor: CategoricalActor
    critic: IndicatorCritic
    critic_target: IndicatorCritic

    def __init__(
        self,
        policy: str | type[DiscreteSACPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 3e-4,
        buffer_size: int = 100_000,
        learning_starts: int = 1_000,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        estimator: EstimatorName = "gumbel",
        temperature: Moving = 1.0,
        expected_backup: bool = False,
        backup_entropy: bool = True,
        ent_coef: str | float = "auto",
        target_update_interval: int = 1,
        target_entropy_scale: Moving = 0.5,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=n_steps,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
        )
        self.estimator = estimator
        self.temperature = temperature
        self.expected_backup = expected_backup
        self.backup_entropy = backup_entropy
        self.ent_coef = ent_coef
        self.target_update_interval = target_update_interval
        self.target_entropy_scale = target_entropy_scale
        self.log_ent_coef: Tensor | None = None
        self.ent_coef_optimizer: th.optim.Optimizer | None = None
        self.ent_coef_tensor: Tensor | None = None
        #: The setting that they were made of; None before.
        self._weight_of: str | float | None = None
        self._all_actions: Tensor | None = None  # (J, A), where all of them are evaluated
        if _init_setup_model:
            self._setup_model()

    # ------------------------------------------------------------------ set-up

    def _setup_model(self) -> None:
        super()._setup_model()
        self.actor, self.critic = self.policy.actor, self.policy.critic
        self.critic_target = self.policy.critic_target
        self._norm_stats, self._norm_stats_target = (
            get_parameters_by_name(critic, ["running_"])
            for critic in (self.critic, self.critic_target)
        )
        self._set_up_entropy()

    def _check_settings(self) -> None:
        super()._check_settings()
        if (self.estimator == "exact" or self.expected_backup) and self._all_actions is None:
            self._list_actions()
        self._follow_ent_coef()

    def _follow_ent_coef(self) -> None:
        """Begin with another weight of the entropy if the setting has changed."""
        if self._weight_of not in (None, self.ent_coef):
            self._set_up_entropy()

    def _list_actions(self) -> None:
        """
        Keep every action there is.

        :raises ValueError: if there are too many
        """
        sizes = self.action_codec.sizes
        if (count := math.prod(sizes)) > MOST_ACTIONS:
            asked = 'estimator="exact"' if self.estimator == "exact" else "expected_backup=True"
            raise ValueError(
                f"{type(self).__name__}: {asked} evaluates every action, and {self.action_space} "
                f"has {count:,}; there may be {MOST_ACTIONS:,}. Draw actions instead: "
                'estimator="st_gumbel", expected_backup=False.'
            )
        self._all_actions = all_actions(sizes).to(self.device)

    def _set_up_entropy(self) -> None:
        """Make what learns the entropy's weight, or fix that."""
        self.log_ent_coef = self.ent_coef_optimizer = self.ent_coef_tensor = None
        self._weight_of = self.ent_coef
        if isinstance(self.ent_coef, str):
            start = float(self.ent_coef.partition("_")[2] or 1.0)
            self.log_ent_coef = th.full((1,), start, device=self.device).log().requires_grad_()
            rate = self.lr_schedule(1)
            self.ent_coef_optimizer = th.optim.Adam([self.log_ent_coef], lr=rate, fused=True)
        else:
            self.ent_coef_tensor = th.tensor(self.ent_coef, device=self.device)

    def optimizers(self) -> list[th.optim.Optimizer]:
        found = [self.actor.optimizer, self.critic.optimizer]
        return found if self.ent_coef_optimizer is None else [*found, self.ent_coef_optimizer]

    # ------------------------------------------------------------------ acting and learning

    def choose(self, obs: PyTorchObs, generator: th.Generator | None) -> Tensor:
        return self.actor(obs, generator=generator)

    def update(self, batch: ReplayBufferSamples) -> dict[str, Tensor]:
        ent_coef = self._ent_coef()
        critic_loss = self._critic_loss(batch, ent_coef)
        norms = self.descend("critic", critic_loss, self.critic.optimizer)

        beliefs = self.actor.beliefs(batch.observations)
        estimate = self._actor_loss(batch.observations, beliefs, ent_coef)
        norms |= self.descend("actor", estimate.surrogate.mean(), self.actor.optimizer)

        entropies = entropy(beliefs).detach()
        of_weight = self._update_ent_coef(entropies)
        self._n_updates += 1
        if self._n_updates % self.target_update_interval == 0:
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
            polyak_update(self._norm_stats, self._norm_stats_target, 1.0)
        losses = {"actor_loss": estimate.loss, "critic_loss": critic_loss, **of_weight}
        return losses | norms | {"ent_coef": ent_coef, "entropy": entropies}

    def _critic_loss(self, batch: ReplayBufferSamples, ent_coef: Tensor) -> Tensor:
        """Compare the critics with what followed, half of the mean squares summed over critics."""
        discounts = self.gamma if batch.discounts is None else batch.discounts.flatten()
        with th.no_grad():
            next_value = self._next_value(batch.next_observations, ent_coef)
            not_done = 1.0 - batch.dones.flatten()  # an end that a time limit made counts as none
            target = batch.rewards.flatten() + not_done * discounts * next_value
        chosen = batch.actions.view(-1, *(self.action_space.shape or ()))
        actions = self.action_codec.encode(self.action_codec.from_env(chosen))
        q_values = self.critic(batch.observations, actions)
        return th.stack([0.5 * F.mse_loss(q.flatten(), target) for q in q_values]).sum()

    def _next_value(self, obs: PyTorchObs, ent_coef: Tensor) -> Tensor:
        """Estimate what next states are worth, with the targets of the critics, (B,)."""
        beliefs, features = self.actor.beliefs(obs), self.critic_target.features(obs)
        if self.expected_backup:
            values = self._expected(self.critic_target, features, beliefs)
        else:
            drawn = one_hot_samples(beliefs, self._generator)
            values = self.critic_target.lowest(features, drawn)
        return soft_value(values, entropy(beliefs), ent_coef) if self.backup_entropy else values

    def _expected(self, critic: IndicatorCritic, features: Tensor, beliefs: Beliefs) -> Tensor:
        """Sum the values of all actions by their probabilities, (B,)."""
        actions = self._all_actions
        assert actions is not None
        seen = features[:, None].expand(-1, len(actions), -1)  # (B, J, F)
        return expectation(partial(critic.lowest, seen), beliefs, actions)

    def _actor_loss(self, obs: PyTorchObs, beliefs: Beliefs, ent_coef: Tensor) -> Estimate:
        """Estimate what the actor descends, (B,)."""
        with th.no_grad():
            features = self.critic.features(obs)
            values_of = partial(self.critic.lowest, features)
            score = self.estimator == "score"
            baseline = values_of(mean_action(beliefs)) if score else None
        if self.estimator == "exact":
            values = self._expected(self.critic, features, beliefs)
            loss = -soft_value(values, entropy(beliefs), ent_coef)
            return Estimate(loss.detach(), loss)
        estimator = self._make_estimator()
        return actor_loss(values_of, beliefs, estimator, ent_coef, self._generator, baseline)

    def _make_estimator(self) -> Estimator:
        """Make what sends the actor's gradient through a drawn action."""
        if self.estimator == "st":
            return StraightThrough()
        if self.estimator == "score":
            return ScoreFunction(center=False)  # by the critics instead
        temperature = at_step(self.temperature, self.num_timesteps)
        return GumbelSoftmax(temperature, hard=self.estimator == "st_gumbel")

    def _ent_coef(self) -> Tensor:
        """Return the entropy's weight, without a gradient."""
        if self.log_ent_coef is None:
            assert self.ent_coef_tensor is not None
            return self.ent_coef_tensor
        return self.log_ent_coef.detach().exp()

    def _update_ent_coef(self, entropies: Tensor) -> dict[str, Tensor]:
        """
        Let the entropy's weight fall where there is more of it than wanted, and rise elsewhere.

        :param entropies: of the policy, without a gradient, (B,)
        """
        if self.log_ent_coef is None or self.ent_coef_optimizer is None:
            return {}
        scale = at_step(self.target_entropy_scale, self.num_timesteps)
        wanted = target_entropy(self.action_codec.sizes, scale)
        # As SB3's, of the weight's logarithm: its gradient does not vanish with the weight.
        loss = (self.log_ent_coef * (entropies - wanted)).mean()
        return {"ent_coef_loss": loss} | self.descend("ent_coef", loss, self.ent_coef_optimizer)

    # ------------------------------------------------------------------ files

    def _excluded_save_params(self) -> list[str]:
        networks = ["actor", "critic", "critic_target", "_norm_stats", "_norm_stats_target"]
        return [*super()._excluded_save_params(), *networks, "_all_actions", "_weight_of"]

    @classmethod
    def _built(
        cls,
        stored: StoredAgent,
        env: GymEnv | None,
        device: th.device | str,
        kwargs: dict[str, Any],
    ) -> "DiscreteSAC":
        """Build the agent of a file with its own weight of the entropy, and then change that."""
        changed = {"ent_coef": kwargs["ent_coef"]} if "ent_coef" in kwargs else {}
        rest = {name: value for name, value in kwargs.items() if name not in changed}
        model = super()._built(stored, env, device, rest)
        vars(model).update(changed)
        model._follow_ent_coef()
        return model

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        self._follow_ent_coef()
        modules = ["policy", "actor.optimizer", "critic.optimizer"]
        if self.ent_coef_optimizer is None:
            return modules, ["ent_coef_tensor"]
        return [*modules, "ent_coef_optimizer"], ["log_ent_coef"]

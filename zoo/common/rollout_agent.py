"""Agents that learn from what they have just done: SB3's on-policy loop, with a memory."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from typing_extensions import Unpack

from dreamzoo.common.arguments import DEFAULTS, Plumbing
from dreamzoo.common.environments.workers import dead_workers_named
from dreamzoo.common.gradient_updates import GradientUpdates
from dreamzoo.common.memory_agent import MemoryAgent
from dreamzoo.common.policies.recurrent import RecurrentPolicy
from dreamzoo.common.ranked import on_all_ranks
from dreamzoo.common.rollout_window import RolloutWindow, Sequences, WindowRecorder
from dreamzoo.common.training import MeanMetrics, to_means
from dreamzoo.nn.checks import to_rewards
from dreamzoo.nn.fast.precision import using
from dreamzoo.nn.observations import SINGLE, Observation
from dreamzoo.nn.process import in_own_precision, restores_process
from dreamzoo.nn.settings import Line, Moving, Number, Setting, Whole
from dreamzoo.nn.state import State, flatten, stack

SelfRolloutAgent = TypeVar("SelfRolloutAgent", bound="RolloutAgent")


class RecurrentActorCriticPolicy(RecurrentPolicy):
    """
    Acts with a memory, and knows what it expects to follow.

    :param observation_space: observation space
    :param action_space: action space
    :param optimizer_class: optimizer of all networks
    :param optimizer_kwargs: of that class
    :param plumbing: what all policies share, see :class:`PolicyPlumbing`
    """

    def told(self, state: State, reward: Tensor) -> State:
        """
        Remember what the last action has earned; most policies do not.

        :param state: memory after that step, (n, ...)
        :param reward: (n,)
        """
        return state

    def noted(self, state: State) -> Tensor | None:
        """
        Return what going through a step again needs and nothing else tells, such as its noise.

        :param state: memory after the step, (n, ...)
        :return: (n, ...); None: nothing
        """
        return None

    @abstractmethod
    def predict_values(self, obs: Observation, state: State, is_first: Tensor) -> Tensor:
        """
        Estimate the return that follows observations; what is remembered stays as it is.

        :param obs: (n, ...)
        :param state: memory after the step before, (n, ...)
        :param is_first: bool, (n,)
        :return: (n,)
        """


class RolloutAgent(GradientUpdates, MemoryAgent, OnPolicyAlgorithm):
    """
    On-policy algorithm that acts with a memory, and learns from whole windows of it.

    Agents build their networks at the end of their constructor, ``if self._init_setup_model``, and
    implement :meth:`losses`. A window begins with the memory that the last one has ended with;
    gradients do not reach across.

    :param policy: alias or class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: float or schedule of the remaining progress
    :param n_steps: steps T of every environment in a window
    :param gamma: discount
    :param gae_lambda: mixes one-step and long advantages
    :param ent_coef: weight of the policy's entropy, which agents read by ``_now("ent_coef")``
    :param vf_coef: weight of the value's loss
    :param max_grad_norm: gradients are scaled down to this norm
    :param plumbing: what all agents share, see :class:`Plumbing`
    """

    policy: RecurrentActorCriticPolicy  # type: ignore[assignment]
    policy_base: ClassVar[type[RecurrentActorCriticPolicy]]
    rollout_buffer: WindowRecorder  # type: ignore[assignment]
    max_grad_norm: float
    settings: ClassVar[Mapping[str, Setting]] = {
        **MemoryAgent.settings,
        "n_steps": Whole(1),
        "gamma": Number(0, 1),
        "gae_lambda": Number(0, 1),
        "ent_coef": Line(0),
        "vf_coef": Number(0),
        "max_grad_norm": Number(0, above=True, infinite=True),
    }

    def __init__(
        self,
        policy: str | type[RecurrentPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule,
        n_steps: int,
        gamma: float,
        gae_lambda: float,
        ent_coef: Moving,
        vf_coef: float,
        max_grad_norm: float,
        **plumbing: Unpack[Plumbing],
    ) -> None:
        shared = self._take_plumbing(plumbing, DEFAULTS)
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            supported_action_spaces=self.action_spaces,
            _init_setup_model=False,
            **shared,
        )

    @restores_process
    def _setup_model(self) -> None:
        self._check_policy_class()  # first: settings of another algorithm's file do not fit
        self._check_settings()
        self._make_policy()
        self.rollout_buffer = WindowRecorder()

    # ------------------------------------------------------------------ the loop

    @restores_process
    @on_all_ranks
    def learn(
        self: SelfRolloutAgent,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfRolloutAgent:
        """
        Alternate between collecting a window and updating, as SB3's on-policy algorithms do.

        :param total_timesteps: steps of all environments together
        :param callback: called at every step of the VecEnv
        :param log_interval: windows between two log lines
        :param tb_log_name: name of the TensorBoard run; None: that of the agent's class
        :param reset_num_timesteps: False goes on with the counters and, if the environment was
            not reset, with the episodes of the last call
        :param progress_bar: show a progress bar (needs tqdm and rich)
        :return: the trained agent
        """
        return super().learn(
            int(total_timesteps),
            callback,
            log_interval,
            tb_log_name or type(self).__name__,
            reset_num_timesteps,
            progress_bar,
        )

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: Any,
        n_rollout_steps: int,
    ) -> bool:
        """
        Collect a window.

        :param env: training environment
        :param callback: called at every step, and at the beginning and end of the window
        :param rollout_buffer: the agent's own
        :param n_rollout_steps: steps of every environment
        :return: False if the callback has stopped the training
        """
        self.policy.set_training_mode(False)
        self.rollout_buffer.reset(self._last_state)
        callback.on_rollout_start()
        with dead_workers_named(env):
            while len(self.rollout_buffer) < n_rollout_steps:
                if not self._step(env, callback):
                    return False
        self.rollout_buffer.see_beyond(self._next_values())
        self._env_settings.look_once()
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _step(self, env: VecEnv, callback: BaseCallback) -> bool:
        """
        Make one step of all environments.

        :return: False if the callback has stopped the training
        """
        actions = self._act(None, self.policy.choice())
        new_obs, rewards, dones, infos = env.step(self.policy.to_env_action(actions))
        self.num_timesteps += env.num_envs + self._others_steps()
        callback.update_locals(locals())
        if not callback.on_step():
            return False
        moved = self._watch.moved(own=1)  # by a callback
        with self._refusing():
            dones = self._check_step(new_obs, rewards, dones, infos)  # type: ignore[arg-type]
        self._update_info_buffer(infos, dones)
        note = self.policy.noted(self._last_state)
        rewards = to_rewards(rewards, self.n_envs)
        earned = th.as_tensor(rewards, device=self.device)
        self._last_state = self.policy.told(self._last_state, earned)
        cut = np.array([bool(info.get("TimeLimit.truncated")) for info in infos]) & dones
        values = self._values(_last_observations(new_obs, infos, cut)) if cut.any() else 0.0
        step = self._last_obs, actions, rewards, self._last_episode_starts, dones, cut * values
        self.rollout_buffer.add(*step, note)  # type: ignore[arg-type]
        for i in np.flatnonzero(dones):
            self.rollout_buffer.end(int(i), infos[i]["terminal_observation"], not cut[i])
        self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
        self._in_step = False
        if moved:
            self._restart_episodes()
        self._watch.note()
        return True

    def _restart_episodes(self) -> None:
        # What came before ends here, as at a time limit.
        self.rollout_buffer.see_beyond(self._next_values(), is_end=True)
        super()._restart_episodes()

    def _next_values(self) -> np.ndarray:
        """Estimate what follows the last observations of episodes that have not ended, (n,)."""
        assert self._last_episode_starts is not None
        return np.where(self._last_episode_starts, 0.0, self._values(self._last_obs))

    @th.no_grad()
    @in_own_precision
    def _values(self, observations: Any) -> np.ndarray:
        nowhere = th.zeros(self.n_envs, dtype=th.bool, device=self.device)
        obs = obs_as_tensor(observations, self.device)
        return self.policy.predict_values(obs, self._last_state, nowhere).cpu().numpy()

    # ------------------------------------------------------------------ what was collected last

    def _last_window(self) -> RolloutWindow:
        """Return the steps that were collected last, also of a window that is not yet full."""
        if not len(self.rollout_buffer):
            raise ValueError(
                f"This {type(self).__name__} has no window of steps: it keeps those that it has "
                "collected last, and a file does not hold them. Let it learn first; a dream also "
                "begins with start='initial' or in a context."
            )
        return self.rollout_buffer.window(self.device)

    def recorded_sequences(
        self, rng: np.random.Generator, rows: int | None = None, length: int | None = None
    ) -> Sequences:
        """
        Cut sequences out of the window that was collected last.

        :param rng: source of randomness
        :param rows: number of sequences, as far as there are as many; default: all
        :param length: steps of each; default: the whole window
        :raises ValueError: if there is no window, or a shorter one
        """
        window = self._last_window()
        n, steps = window.rewards.shape
        length = steps if length is None else length
        if length > steps:
            raise ValueError(
                f"There is no sequence of {length} steps: the window that was collected last has "
                f"{steps}."
            )
        places = rng.permutation(n * (steps - length + 1))[:rows]
        envs, starts = np.divmod(places, steps - length + 1)
        return window.sequences().part(
            th.as_tensor(envs, device=self.device), th.as_tensor(starts, device=self.device), length
        )

    def _recorded_latents(self, generator: th.Generator | None) -> State:
        """Do what :meth:`HasWorldModel.replay_latents` does, whatever the policy remembers."""
        window = self._last_window()
        latents: list[State] = []

        def as_it_was(latent: State, generator: th.Generator | None, deterministic: bool) -> Tensor:
            latents.append(latent)
            return window.actions[:, len(latents) - 1]

        memory = window.start
        for t in range(window.rewards.shape[1]):
            obs, is_first = window.step(t)
            _, memory = self.policy.act(obs, memory, is_first, generator, choose=as_it_was)
            memory = self.policy.told(memory, window.rewards[:, t])
        return flatten(stack(latents, 1), 0, 1)

    # ------------------------------------------------------------------ updates

    @restores_process
    @on_all_ranks
    def train(self) -> None:
        """
        Update once on the window that was collected last; ``learn`` calls it.

        :raises RuntimeError: where gradients are disabled
        :raises ValueError: if nothing was collected, or a setting makes no sense
        """
        self._check_settings()
        if not len(self.rollout_buffer):
            raise ValueError("There is no window of steps to learn from; learn() collects one.")
        self._need_logger()
        self._begin_updates()
        metrics = MeanMetrics()
        with using(self.precision, self.device):
            outcome = self._learn_from(self.rollout_buffer.window(self.device))
            metrics.add(to_means(outcome.metrics))
        for optimizer in self.policy.optimizers.values():
            optimizer.step()
        self._n_updates += 1
        self._log_means(metrics)


def _last_observations(
    new_obs: Any, infos: list[dict[str, Any]], rows: np.ndarray
) -> np.ndarray | dict[str, np.ndarray]:
    """
    Put the last observations of episodes in the place of the first ones of the next.

    :param new_obs: (n, ...), one array or one for every key
    :param infos: of the step
    :param rows: bool, which ones, (n,)
    """
    is_dict = isinstance(new_obs, dict)
    parts = {key: part.copy() for key, part in (new_obs if is_dict else {SINGLE: new_obs}).items()}
    for i in np.flatnonzero(rows):
        last = infos[i]["terminal_observation"]
        for key, part in parts.items():
            part[i] = last[key] if is_dict else last
    return parts if is_dict else parts[SINGLE]

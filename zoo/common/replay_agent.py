"""Agents that learn from replayed windows: SB3's off-policy loop, with a memory."""

import sys
import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecNormalize
from typing_extensions import Unpack

from dreamzoo.common.arguments import REPLAY_DEFAULTS, ReplayPlumbing, constructor, refuse_unknown
from dreamzoo.common.buffers import SequenceBatch, SequenceReplayBuffer
from dreamzoo.common.gradient_updates import GradientUpdates
from dreamzoo.common.noise import check_noise, fit_noise
from dreamzoo.common.offline_learning import OfflineLearning
from dreamzoo.common.pace import Pace
from dreamzoo.common.policies.recorded_acting import Manner
from dreamzoo.common.policies.recurrent import RecurrentPolicy
from dreamzoo.common.ranked import on_all_ranks, rows_of_rank
from dreamzoo.common.recorded_update import RecordedUpdate
from dreamzoo.common.remote_acting import ActingElsewhere, acting_elsewhere
from dreamzoo.common.replay_files import ReplayFiles
from dreamzoo.common.settings import Frequency
from dreamzoo.common.training import MeanMetrics
from dreamzoo.nn.fast import ranks
from dreamzoo.nn.fast.precision import using
from dreamzoo.nn.process import restores_process
from dreamzoo.nn.settings import Arguments, Flag, Number, Setting, Whole, read_settings
from dreamzoo.nn.state import State

SelfReplayAgent = TypeVar("SelfReplayAgent", bound="ReplayAgent")

GIGABYTE = 10**9


class ReplayAgent(OfflineLearning, GradientUpdates, ReplayFiles):
    """
    Off-policy algorithm that learns from sequences and acts with a memory.

    Agents build their networks at the end of their constructor, ``if self._init_setup_model``.
    They implement :meth:`losses` and, if the replay shall keep latents, :meth:`latent_spec`.

    Units: one *step* is one action of one environment (frames = steps x action repeat), also in
    ``num_timesteps``. After warm-up, ``updates = steps * train_ratio / (batch_size *
    batch_length)``.

    :param policy: alias or class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: float or schedule of the remaining progress
    :param buffer_size: replay capacity in records of all environments together
    :param learning_starts: steps before the first update; None: as soon as the replay holds
        ``batch_size * batch_length`` windows, or is full
    :param batch_size: rows B of a batch
    :param plumbing: what all such agents share, see :class:`ReplayPlumbing`
    """

    #: Replayed steps for every step of the environment.
    train_ratio: float
    #: Whether new windows are replayed once before others are drawn.
    online_queue: ClassVar[bool] = False
    settings: ClassVar[Mapping[str, Setting]] = {
        **ReplayFiles.settings,
        "buffer_size": Whole(1),
        "learning_starts": Whole(0, none=True),
        "batch_size": Whole(1),
        "batch_length": Whole(1),
        "train_ratio": Number(0),
        "train_freq": Frequency(),
        "gradient_steps": Whole(-1, none=True),
        "optimize_memory_usage": Flag(),
        "replay_buffer_kwargs": Arguments(),
    }
    _recorded: RecordedUpdate | None = None
    #: Acts in the environment's workers, where it was made so.
    _elsewhere: ActingElsewhere | None = None

    def __init__(
        self,
        policy: str | type[RecurrentPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule,
        buffer_size: int,
        learning_starts: int | None,
        batch_size: int,
        **plumbing: Unpack[ReplayPlumbing],
    ) -> None:
        shared = self._take_plumbing(plumbing, REPLAY_DEFAULTS)
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            sde_support=False,
            support_multi_env=True,
            supported_action_spaces=self.action_spaces,
            **shared,
        )
        self._updates_due: float | None = None  # None until the first update is allowed
        self._updates_before = 0  # the steps that are counted

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_recorded", "_elsewhere"]

    # ------------------------------------------------------------------ set-up

    def _check_settings(self) -> None:
        super()._check_settings()
        rows_of_rank(self.batch_size, ranks.place().count)
        if self.replay_buffer is not None:
            length = self.replay_buffer_kwargs.get("batch_length", self.batch_length)
            self.replay_buffer.set_batch_length(length)
            if self.replay_buffer.latent_spec != dict(self.latent_spec() or {}):
                raise ValueError(
                    f"{type(self).__name__}: what the replay keeps of latents was decided when it "
                    "was made, and the settings say otherwise now. Set them as they were (of "
                    "DreamerV3: replay_context), or pass them to the constructor or to load(), "
                    "which make a new replay."
                )

    @restores_process
    def _setup_model(self) -> None:
        self._check_policy_class()  # first: settings of another algorithm's file do not fit
        self._check_settings()
        buffer_class = self.replay_buffer_class or SequenceReplayBuffer
        if not issubclass(buffer_class, SequenceReplayBuffer):
            raise ValueError(
                f"{type(self).__name__} learns from sequences, but replay_buffer_class="
                f"{buffer_class.__name__} returns single transitions. Use SequenceReplayBuffer "
                "or a subclass of it (HerReplayBuffer is not supported)."
            )
        self.replay_buffer_class = buffer_class
        known = constructor(buffer_class).parameters
        call = f"replay_buffer_kwargs of {buffer_class.__name__}"
        refuse_unknown(call, self.replay_buffer_kwargs, known, known, "Nothing was built")
        check_noise(self.action_noise, self.action_space)
        self._make_policy()
        if self.replay_buffer is None:
            self.replay_buffer = buffer_class(
                ranks.share(self.buffer_size),
                self.observation_space,
                self.action_space,
                device=self.device,
                n_envs=self.n_envs,
                optimize_memory_usage=self.optimize_memory_usage,
                **{
                    "batch_length": self.batch_length,
                    "latents": self.latent_spec(),
                    "seed": int(np.random.randint(2**31)),
                    **self.replay_buffer_kwargs,
                },
            )
        self._convert_train_freq()

    def set_random_seed(self, seed: int | None = None) -> None:
        super().set_random_seed(seed)
        if seed is not None and self._generator is not None:
            assert self.replay_buffer is not None
            self.replay_buffer.rng = np.random.default_rng(np.random.randint(2**31))

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        buffer = self.replay_buffer
        if buffer is None or buffer.n_envs != self.n_envs:
            raise ValueError(
                f"The replay buffer holds {getattr(buffer, 'n_envs', 0)} environments and the "
                f"agent has {self.n_envs}. Load a buffer that was saved with {self.n_envs} "
                "environments, or load the agent with as many as the buffer has."
            )
        if self.optimize_memory_usage and reset_num_timesteps and buffer.pos > 0:
            warnings.warn(
                "The last trajectory in the replay buffer will be truncated, "
                "use `reset_num_timesteps=False` to go on with it.",
                stacklevel=3,
            )
        self._announce_replay(buffer, total_timesteps)
        goes_on = not self._will_reset(reset_num_timesteps)
        if not goes_on:
            self._elsewhere = acting_elsewhere(self)
        with self._noise_kept(goes_on):
            result = super()._setup_learn(
                total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
        if not goes_on:  # with the counter of steps
            self._updates_before = self._n_updates
        self.action_noise = fit_noise(self.action_noise, self.action_space, self.n_envs)
        return result

    def _announce_replay(self, buffer: SequenceReplayBuffer, steps: int) -> None:
        """Print how large the replay gets in this run, and stop if that cannot fit."""
        size = buffer.check_memory(steps)
        if size > GIGABYTE:
            print(
                f"{type(self).__name__}: the replay buffer grows to {size / GIGABYTE:.1f} GB in "
                f"this run (buffer_size={self.buffer_size:,}).",
                file=sys.stderr,
            )

    # ------------------------------------------------------------------ the loop

    @restores_process
    @on_all_ranks
    def learn(
        self: SelfReplayAgent,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfReplayAgent:
        """
        Alternate between collecting and updating, as SB3's off-policy algorithms do.

        :param total_timesteps: steps of all environments together
        :param callback: called at every step of the VecEnv
        :param log_interval: episodes between two log lines
        :param tb_log_name: name of the TensorBoard run; None: that of the agent's class
        :param reset_num_timesteps: False goes on with the counters and, if the environment was
            not reset, with the episodes of the last call
        :param progress_bar: show a progress bar (needs tqdm and rich)
        :return: the trained agent
        """
        tb_log_name = tb_log_name or type(self).__name__
        total_timesteps, callback = self._setup_learn(
            int(total_timesteps), callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        assert self.env is not None
        assert self.replay_buffer is not None
        pace = Pace(self, total_timesteps)
        while self.num_timesteps < total_timesteps:
            rollout = self.collect_rollouts(
                self.env,
                train_freq=self.train_freq,
                action_noise=self.action_noise,
                callback=callback,
                learning_starts=0,
                replay_buffer=self.replay_buffer,
                log_interval=log_interval,
            )
            if not rollout.continue_training:
                break
            updates = self._take_due_updates(rollout.episode_timesteps * ranks.count())
            if updates > 0:
                self.train(updates, self.batch_size)
                pace.look()
                if self._elsewhere is not None:
                    self._elsewhere.tell()
        callback.on_training_end()
        return self

    def _begin_episodes(self) -> None:
        assert self.replay_buffer is not None
        self.replay_buffer.start_new_episodes()
        super()._begin_episodes()

    def _restart_episodes(self) -> None:
        super()._restart_episodes()
        if self.action_noise is not None:
            self.action_noise.reset()

    def _on_step(self) -> None:
        self._env_settings.look_once()

    def _sample_action(
        self,
        learning_starts: int,
        action_noise: ActionNoise | None = None,
        n_envs: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Act, and remember what was done.

        :return: action for the environment and action for the replay
        """
        buffer_action = self._act(self._choose, self._choice())
        self.num_timesteps += self._others_steps()
        return self.policy.to_env_action(buffer_action), buffer_action

    def _act_on_last(self, manner: Manner) -> tuple[np.ndarray, State]:
        act = partial(super()._act_on_last, manner)
        return act() if self._elsewhere is None else self._elsewhere.fetch(act)

    def _choose(
        self, latent: State, generator: th.Generator | None, deterministic: bool
    ) -> th.Tensor:
        """Choose actions while collecting: agents with a memory need no random warm-up."""
        action = self.policy.choose(latent, generator, deterministic)
        if self.action_noise is None or not isinstance(self.action_space, spaces.Box):
            return action
        # One number, or one for each action, of every environment.
        noise = np.asarray(self.action_noise(), np.float32).reshape(len(action), -1)
        return (action + th.as_tensor(noise, device=self.device)).clamp(-1.0, 1.0)

    def _choice(self) -> Hashable | None:
        """
        Return what :meth:`_choose` depends on beside its arguments and the policy's weights.

        :return: None: something that no recording can follow, such as noise from the host
        """
        return self.policy.choice() if self.action_noise is None else None

    def _stored_latents(self, state: State) -> dict[str, th.Tensor]:
        """Turn what was just remembered into what the replay stores, by ``latent_spec``."""
        return {}

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        assert isinstance(replay_buffer, SequenceReplayBuffer)
        assert self._last_state is not None
        moved = self._watch.moved(own=1)  # by a callback
        with self._refusing():
            dones = self._check_step(new_obs, reward, dones, infos)
            # A VecNormalize hands out the raw numbers of the last step only, which is not this one.
            if not moved or self._vec_normalize_env is None:
                replay_buffer.stage_latents(self._stored_latents(self._last_state))
                super()._store_transition(
                    replay_buffer, buffer_action, new_obs, reward, dones, infos
                )
        self._last_episode_starts = dones
        self._in_step = False
        if moved:
            self._restart_episodes()
        self._watch.note()

    # ------------------------------------------------------------------ updates

    @restores_process
    @on_all_ranks
    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """
        Update on replayed windows; needs no environment, nor ``learn`` before it.

        ``learn`` calls it. To learn from what others have collected, load a replay first.

        :param gradient_steps: number of updates
        :param batch_size: rows of a batch; None: the agent's
        :raises RuntimeError: where gradients are disabled
        :raises ValueError: if the replay is empty, a setting makes no sense or the statistics of
            a VecNormalize are missing
        """
        self._check_settings()
        batch_size = self.batch_size if batch_size is None else batch_size
        given = {"gradient_steps": gradient_steps, "batch_size": batch_size}
        read_settings("train()", {"gradient_steps": Whole(0), "batch_size": Whole(1)}, given)
        self._train(gradient_steps, batch_size)

    def _train(
        self, gradient_steps: int, batch_size: int, after_update: Callable[[], bool] | None = None
    ) -> bool:
        """
        Do what :meth:`train` does, with checked arguments.

        :param after_update: called after every update; whether to go on
        :return: whether to go on after the last
        """
        assert self.replay_buffer is not None
        self._check_statistics()
        self._need_logger()
        rows, length = rows_of_rank(batch_size, ranks.count()), self._common_length()
        metrics, goes_on = MeanMetrics(), True
        for _ in range(gradient_steps):
            self._begin_updates()
            batch = self.replay_buffer.sample(
                rows, self._vec_normalize_env, length, online=self.online_queue
            )
            with using(self.precision, self.device):
                metrics.add(self._update(batch))
            self._n_updates += 1
            if after_update is not None and not after_update():
                goes_on = False
                break
        updates = self._n_updates - self._updates_before
        ratio = updates * self.batch_size * self.batch_length / max(self.num_timesteps, 1)
        self.logger.record("train/replay_ratio", ratio)
        self._log_means(metrics)
        return goes_on

    def _common_length(self) -> int | None:
        """Return how long windows are that all ranks can sample; None: whatever there is."""
        if ranks.current() is None:
            return None
        assert self.replay_buffer is not None
        return ranks.least(self.replay_buffer.longest_window())

    def _update(self, batch: SequenceBatch) -> dict[str, th.Tensor]:
        """
        Update everything once.

        :return: means of losses and of what else describes the update
        """
        assert self.replay_buffer is not None
        if self._recorded is None or not self._recorded.fits():
            self._recorded = RecordedUpdate(self)
        metrics, latents = self._recorded(batch)
        self._after_update()
        if latents:
            self.replay_buffer.write_latents(batch.windows, latents)
        return metrics

    def _after_step(self) -> None:
        """Do what follows an optimizer's step, under the conditions of :meth:`losses`."""

    def _after_update(self) -> None:
        """Do what follows an update and depends on their number; nothing of it is recorded."""

    def _may_train(self) -> bool:
        assert self.replay_buffer is not None
        if self.learning_starts is not None:
            return self.num_timesteps > self.learning_starts
        rows = self.batch_size // ranks.count()
        enough = self.replay_buffer.n_windows() >= rows * self.batch_length
        return enough or self.replay_buffer.full

    def _all_may_train(self) -> bool:
        """Return whether all ranks have enough to learn from."""
        return ranks.every(self._may_train())

    def _take_due_updates(self, steps: int) -> int:
        """
        Return how many updates follow a collection, and count them as made.

        The fraction that is left over is kept. The warm-up is not caught up on: the first time
        an update is allowed gives exactly one, unless the ratio is 0 (reference ``when.Ratio``).

        :param steps: steps just collected, all environments together
        """
        if not self._all_may_train():
            return 0
        if self.gradient_steps is not None:
            return self.gradient_steps if self.gradient_steps >= 0 else steps
        if not self.train_ratio:
            return 0
        if self._updates_due is None:
            self._updates_due = 1.0
        else:
            self._updates_due += steps * self.train_ratio / (self.batch_size * self.batch_length)
        updates = int(self._updates_due)
        self._updates_due -= updates
        return updates

    def _check_statistics(self) -> None:
        """Refuse to read a replay whose observations nothing says how to normalize."""
        if self._normalized and self.get_vec_normalize_env() is None:
            raise ValueError(
                "The agent learned behind a VecNormalize, and the replay holds what that one saw. "
                "Load the agent with an environment behind the same: load(path, env=...)."
            )

    def recorded_sequences(
        self,
        rng: np.random.Generator,
        rows: int | None = None,
        length: int | None = None,
        normalizer: VecNormalize | None = None,
    ) -> SequenceBatch:
        """
        Sample windows, and leave the order of those that training samples as it is.

        :param rng: source of randomness
        :param rows: number of windows; default: ``batch_size``
        :param length: steps of a window, as far as there are as many; default: the buffer's
        :param normalizer: of the raw observations in the replay; default: the agent's
        :raises ValueError: if the replay holds too little, or nothing says how its observations are
            normalized
        """
        buffer = self.replay_buffer
        if normalizer is None:
            self._check_statistics()
            normalizer = self.get_vec_normalize_env()
        if buffer is None or not buffer.n_windows(None if length is None else 1):
            raise ValueError(
                "The replay buffer holds no sequence to begin a dream in. Let the agent learn, or "
                "load_replay_buffer() first, or use start='initial' or a context."
            )
        return buffer.sample(rows or self.batch_size, normalizer, length, online=False, rng=rng)

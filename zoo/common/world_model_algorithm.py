"""The Stable-Baselines3 side of every world-model agent: collect, replay, update, log."""

import sys
import warnings
from collections.abc import Hashable, Mapping
from copy import deepcopy
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from typing_extensions import Unpack

from dreamzoo.common.arguments import DEFAULTS, Plumbing, constructor, refuse_unknown
from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.noise import check_noise, fit_noise
from dreamzoo.common.normalizer import VEC_NORMALIZE_CLIP, Statistics, normalized_parts
from dreamzoo.common.pace import Pace
from dreamzoo.common.policies import ActingState, WorldModelPolicy
from dreamzoo.common.recorded_acting import Manner
from dreamzoo.common.settings import Choice, Flag, Number, Setting, Whole
from dreamzoo.common.training import check_actions
from dreamzoo.common.updating_algorithm import UpdatingAlgorithm
from dreamzoo.common.workers import dead_workers_named, notice_dead_workers
from dreamzoo.envs.dreams.vec_env import DreamVecEnv
from dreamzoo.nn.fast.precision import NAMES, resolve
from dreamzoo.nn.process import in_own_precision, restores_process
from dreamzoo.nn.state import State, select
from dreamzoo.nn.world_model import WorldModel

SelfWorldModelAlgorithm = TypeVar("SelfWorldModelAlgorithm", bound="WorldModelAlgorithm")

GIGABYTE = 10**9


class WorldModelAlgorithm(UpdatingAlgorithm):
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
    :param plumbing: what all agents share, see :class:`Plumbing`
    """

    #: Action spaces that an agent can act in.
    action_spaces: ClassVar[tuple[type[spaces.Space], ...]]
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {}
    #: What a policy must be.
    policy_base: ClassVar[type[WorldModelPolicy]]
    settings: ClassVar[Mapping[str, Setting]] = {
        **UpdatingAlgorithm.settings,
        "batch_length": Whole(1),
        "train_ratio": Number(0),
        "precision": Choice(NAMES),
        "cuda_graph": Flag(),
    }

    def __init__(
        self,
        policy: str | type[WorldModelPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule,
        buffer_size: int,
        learning_starts: int | None,
        batch_size: int,
        **plumbing: Unpack[Plumbing],
    ) -> None:
        call, known = f"{type(self).__name__}()", [*constructor(type(self)).parameters]
        refuse_unknown(call, plumbing, DEFAULTS, known, "Nothing was built")
        shared: dict[str, Any] = {**DEFAULTS, **plumbing}
        self.precision = shared.pop("precision")
        self.cuda_graph = shared.pop("cuda_graph")
        self._init_setup_model: bool = shared.pop("_init_setup_model")
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
        self._updates_due = None
        self._normalized = normalized_parts(self.get_vec_normalize_env())

    @property
    def world_model(self) -> WorldModel:
        """The learned model: ``model.policy.world_model``."""
        return self.policy.world_model

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            raise ValueError(
                f"Policy {policy_name!r} unknown to {type(self).__name__}. "
                f"Use one of {', '.join(self.policy_aliases)}, or a policy class."
            )
        return self.policy_aliases[policy_name]

    # ------------------------------------------------------------------ set-up

    def _check_settings(self) -> None:
        super()._check_settings()
        resolve(self.precision, self.device)  # refuses what this machine cannot multiply
        if getattr(self, "policy", None) is not None:
            self.policy.precision = self.precision
            self.policy.cuda_graph = self.cuda_graph
        if self.replay_buffer is not None:
            length = self.replay_buffer_kwargs.get("batch_length", self.batch_length)
            self.replay_buffer.set_batch_length(length)

    @restores_process
    def _setup_model(self) -> None:
        self._check_settings()
        # Saved with the agent; not that of the file it was loaded from.
        self._agent_class = f"{type(self).__module__}:{type(self).__qualname__}"
        buffer_class = self.replay_buffer_class or SequenceReplayBuffer
        if not issubclass(buffer_class, SequenceReplayBuffer):
            raise ValueError(
                f"{type(self).__name__} learns from sequences, but replay_buffer_class="
                f"{buffer_class.__name__} returns single transitions. Use SequenceReplayBuffer "
                "or a subclass of it (HerReplayBuffer is not supported)."
            )
        self.replay_buffer_class = buffer_class
        policy_class: Any = self.policy_class
        if not isinstance(self.policy_class, type):
            raise ValueError(
                f"{type(self).__name__}: policy={policy_class!r} must be one of "
                f"{', '.join(self.policy_aliases)}, or a policy class."
            )
        if not issubclass(policy_class, self.policy_base):
            raise ValueError(
                f"{type(self).__name__} needs a {self.policy_base.__name__}, not the "
                f"{policy_class.__name__} of {policy_class.__module__}; a file of another "
                "algorithm holds that one's."
            )
        check_noise(self.action_noise, self.action_space)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.policy = policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **self._policy_kwargs()
        ).to(self.device)
        if not isinstance(self._normalized, dict):  # a file of an earlier version: names alone
            self._normalized = dict.fromkeys(self._normalized, VEC_NORMALIZE_CLIP)
        self.policy.observation_codec.normalized = self._normalized
        self.policy.precision, self.policy.cuda_graph = self.precision, self.cuda_graph
        # Private sources of randomness, drawn from the seeded global ones: evaluating a model
        # between two steps then changes nothing in its training.
        self._generator = th.Generator(device=self.device)
        self._seed_generator()
        if self.replay_buffer is None:
            self.replay_buffer = buffer_class(
                self.buffer_size,
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

    def _policy_kwargs(self) -> dict[str, Any]:
        """Return the policy's arguments; agents add what the policy needs of their own."""
        return dict(self.policy_kwargs)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        self._check_settings()
        buffer = self.replay_buffer
        assert self.env is not None, "Pass an environment or call set_env() before learn()."
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
        self._check_normalizer()
        if self._in_step or self._watch.moved():
            # A callback or an error stopped between an environment's step and its storage: the
            # environment is one transition ahead of what is remembered. Or someone else was there.
            self._last_obs, self._in_step = None, False
        will_reset = reset_num_timesteps or self._last_obs is None
        self._begin_env_settings()
        self._watch.follow(self.env)
        self._statistics = Statistics(self.env)
        noise = deepcopy(self.action_noise)
        # Not OffPolicyAlgorithm's: it would mark a record of this buffer as done by itself.
        notice_dead_workers(self.env)
        with dead_workers_named(self.env):
            total_timesteps, callback = BaseAlgorithm._setup_learn(
                self, total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
        if not will_reset:
            self.action_noise = noise  # SB3 has reset it, in the middle of episodes
        self._announce_replay(buffer, total_timesteps - self.num_timesteps)
        self.action_noise = fit_noise(self.action_noise, self.action_space, self.n_envs)
        if will_reset:
            self._watch.note_call()
            self._begin_episodes()
        elif self._last_state is None:
            self._forget()
        return total_timesteps, callback

    def _check_normalizer(self) -> None:
        """
        Refuse a ``VecNormalize`` that sees other observations than the agent.

        The replay keeps what it sees, and normalizes that.
        """
        normalizer = self.get_vec_normalize_env()
        if normalizer is not None and normalizer.observation_space != self.observation_space:
            raise ValueError(
                f"VecNormalize sees {normalizer.observation_space}, and a wrapper around it turns "
                f"that into {self.observation_space}. Put VecNormalize outermost, for images "
                "VecNormalize(VecTransposeImage(env))."
            )
        self._normalized = normalized_parts(normalizer)
        self.policy.observation_codec.normalized = self._normalized

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
    def learn(
        self: SelfWorldModelAlgorithm,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfWorldModelAlgorithm:
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
            updates = self._take_due_updates(rollout.episode_timesteps)
            if updates > 0:
                self.train(updates, self.batch_size)
                pace.look()
        callback.on_training_end()
        return self

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
        self._prepare_step()
        assert self._last_obs is not None
        assert self._last_state is not None
        assert self._last_episode_starts is not None
        self._in_step = True
        manner = Manner(self._generator, False, self._choose, self._choice())
        buffer_action, self._last_state = self.policy.act_on_arrays(
            self._last_obs, self._last_state, self._last_episode_starts, manner
        )
        check_actions(self, buffer_action)
        return self.policy.to_env_action(buffer_action), buffer_action

    def _choose(
        self, latent: State, generator: th.Generator | None, deterministic: bool
    ) -> th.Tensor:
        """Choose actions while collecting: world-model agents need no random warm-up."""
        action = self.policy.choose(latent, generator, deterministic)
        if self.action_noise is None or not isinstance(self.action_space, spaces.Box):
            return action
        # One number, or one for each action, of every environment.
        noise = np.asarray(self.action_noise(), np.float32).reshape(len(action), -1)
        return action + th.as_tensor(noise, device=self.device)

    def _choice(self) -> Hashable | None:
        """
        Return what :meth:`_choose` depends on beside its arguments and the policy's weights.

        :return: None: something that no recording can follow, such as noise from the host
        """
        return self.policy.choice() if self.action_noise is None else None

    def _stored_latents(self, state: ActingState) -> dict[str, th.Tensor]:
        """Turn the latents just filtered into what the replay stores, by ``latent_spec``."""
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

    # ------------------------------------------------------------------ dreams

    def dream_env(self, n_envs: int = 1, **kwargs: Any) -> DreamVecEnv:
        """
        Offer the learned model as an environment for any agent of Stable-Baselines3.

        ``PPO("MlpPolicy", model.dream_env(n_envs=256)).learn(...)`` trains in the dream alone.

        :param n_envs: dreams side by side
        :param kwargs: of :class:`dreamzoo.envs.DreamVectorEnv`
        """
        return DreamVecEnv(self, n_envs, **kwargs)

    @restores_process
    @th.no_grad()
    @in_own_precision
    def replay_latents(self, generator: th.Generator | None = None) -> State:
        """
        Filter replayed sequences: states for dreams to begin in.

        The last step of an episode is left out: nothing follows it.

        :param generator: source of the latents' randomness
        :return: states of about ``batch_size * batch_length`` steps, (P, ...)
        :raises ValueError: if the replay holds too little, or nothing says how its observations are
            normalized
        """
        buffer = self.replay_buffer
        self._check_statistics()
        windows = 0 if buffer is None else buffer.n_windows()
        if buffer is None or not windows:
            raise ValueError(
                "The replay buffer holds no sequence to begin a dream in. Let the agent learn, or "
                "load_replay_buffer() first, or use start='initial' or a context."
            )
        seed = int(th.randint(2**31, (), generator=generator, device=self.device))
        batch = buffer.sample(
            self.batch_size,
            self.get_vec_normalize_env(),
            online=False,
            rng=np.random.default_rng(seed),
        )
        return select(self.observe_batch(batch, generator).latent, ~batch.is_last)

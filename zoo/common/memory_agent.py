"""Agents that act with a memory, on whichever of SB3's loops: set-up, steps, and bad steps."""

import pathlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.common.arguments import refuse_unknown
from dreamzoo.common.checked_algorithm import CheckedAlgorithm
from dreamzoo.common.environments.normalizer import (
    VEC_NORMALIZE_CLIP,
    Statistics,
    begin_training,
    normalized_parts,
)
from dreamzoo.common.environments.workers import dead_workers_named, notice_dead_workers
from dreamzoo.common.own_randomness import OwnRandomness
from dreamzoo.common.policies.recorded_acting import Manner
from dreamzoo.common.policies.recurrent import RecurrentPolicy
from dreamzoo.common.training import check_actions
from dreamzoo.nn.checks import FLOAT32, InputError, to_flags, to_rows
from dreamzoo.nn.fast import ranks
from dreamzoo.nn.fast.precision import NAMES, PrecisionName, resolve
from dreamzoo.nn.settings import Choice, Flag, Setting
from dreamzoo.nn.state import State, leaves


class MemoryAgent(OwnRandomness):
    """
    Algorithm that acts with a memory, and learns from what really happened and nothing else.

    The environment belongs to the user, too: who steps or resets it, or a part of it, between two
    calls of ``learn`` or in a callback, makes the agent begin new episodes. What a VecEnv returns
    is brought into one form or refused.

    :param args: of SB3's algorithm
    :param kwargs: of SB3's algorithm
    """

    policy: RecurrentPolicy
    #: What a policy must be.
    policy_base: ClassVar[type[RecurrentPolicy]]
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {}
    #: Action spaces that an agent can act in.
    action_spaces: ClassVar[tuple[type[spaces.Space], ...]]
    #: Arguments of the smallest agent that still learns, see :mod:`dreamzoo.testing`.
    smallest: ClassVar[Mapping[str, Any]] = {}
    settings: ClassVar[Mapping[str, Setting]] = {
        **CheckedAlgorithm.settings,
        "precision": Choice(NAMES),
        "cuda_graph": Flag(),
    }
    precision: PrecisionName
    cuda_graph: bool
    _notes_steps = True
    #: Parts of observations that a VecNormalize normalizes, by the codec's names, and where it
    #: clips them.
    _normalized: dict[str, float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._last_state: State | None = None
        # Between an environment's step and its storage.
        self._in_step = False
        self._statistics = Statistics()  # of the moment before the environment's last step
        super().__init__(*args, **kwargs)
        self._normalized = normalized_parts(self.get_vec_normalize_env())

    def _take_plumbing(
        self, given: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> dict[str, Any]:
        """
        Keep what is ours of the arguments that agents share, and return what SB3 takes of them.

        :param given: by a user
        :param defaults: of all of them
        :raises TypeError: for names that there are not
        """
        call, known = f"{type(self).__name__}()", [*type(self).__signature__.parameters]
        refuse_unknown(call, given, defaults, known, "Nothing was built")
        shared = {**defaults, **given}
        shared["device"] = ranks.own_device(shared["device"])
        self.precision = shared.pop("precision")
        self.cuda_graph = shared.pop("cuda_graph")
        self._init_setup_model: bool = shared.pop("_init_setup_model")
        return shared

    def _excluded_save_params(self) -> list[str]:
        of_the_run = ["_last_state", "_in_step", "_statistics"]
        return [*super()._excluded_save_params(), *of_the_run]

    def export_onnx(self, path: str | pathlib.Path) -> None:
        """
        Write how the agent acts, deterministically, as an ONNX graph for other programs.

        Its inputs and outputs are those of :func:`dreamzoo.common.policies.export.export_onnx`.

        :param path: of one file, replaced if it exists
        """
        from dreamzoo.common.policies.export import export_onnx  # envs, which that needs, need this

        export_onnx(self.policy, path)

    # ------------------------------------------------------------------ set-up

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            raise ValueError(
                f"Policy {policy_name!r} unknown to {type(self).__name__}. "
                f"Use one of {', '.join(self.policy_aliases)}, or a policy class."
            )
        return self.policy_aliases[policy_name]

    def _check_settings(self) -> None:
        super()._check_settings()
        resolve(self.precision, self.device)  # refuses what this machine cannot multiply
        if getattr(self, "policy", None) is not None:
            self.policy.precision = self.precision
            self.policy.cuda_graph = self.cuda_graph

    def _policy_kwargs(self) -> dict[str, Any]:
        """Return the policy's arguments; agents add what the policy needs of their own."""
        return dict(self.policy_kwargs)

    def _check_policy_class(self) -> None:
        self._need_spaces()
        policy_class: Any = self.policy_class
        if not isinstance(policy_class, type):
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

    def _make_policy(self) -> None:
        """Build the networks, from seeded random numbers, and the agent's own source of them."""
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        policy_class: Any = self.policy_class
        self.policy = policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **self._policy_kwargs()
        ).to(self.device)
        if not isinstance(self._normalized, dict):  # a file of an earlier version: names alone
            self._normalized = dict.fromkeys(self._normalized, VEC_NORMALIZE_CLIP)
        self.policy.observation_codec.normalized = self._normalized
        self.policy.precision, self.policy.cuda_graph = self.precision, self.cuda_graph
        self._make_generator()

    # ------------------------------------------------------------------ episodes

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        self._check_settings()
        will_reset = self._will_reset(reset_num_timesteps)
        if will_reset and not reset_num_timesteps:
            self._last_obs = None
        self._in_step = False
        self._follow_envs()
        assert self.env is not None
        self._note_normalizer()
        begin_training(self.env)
        self._statistics = Statistics(self.env)
        notice_dead_workers(self.env)
        with dead_workers_named(self.env):
            # Not OffPolicyAlgorithm's: it would mark a record as done by itself.
            result = BaseAlgorithm._setup_learn(
                self, total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
        if will_reset:
            self._watch.note_call()
            self._begin_episodes()
        elif self._last_state is None:
            self._forget()
        return result

    def _will_reset(self, reset_num_timesteps: bool) -> bool:
        """Return whether a call of ``learn`` is going to begin new episodes."""
        # A callback or an error stopped between an environment's step and its storage: the
        # environment is one transition ahead of what is remembered. Or someone else was there.
        lost = self._in_step or self._watch.moved()
        return reset_num_timesteps or lost or self._last_obs is None

    def _note_normalizer(self) -> None:
        """
        Know which observations a ``VecNormalize`` normalizes.

        One that sees other observations than the agent is refused: what it sees is tested, and a
        replay keeps and normalizes that.
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

    def _begin_episodes(self) -> None:
        """Take the observations of a reset as the first ones of new episodes."""
        assert self._last_obs is not None
        first, self._last_obs = self._last_obs, None  # refused, it is not gone on from
        with self._refusing():
            self._check_observations(first, [])
        self._last_obs = first
        self._forget()

    def _forget(self) -> None:
        self._last_state = self.policy.initial_state(self.n_envs)
        self._last_episode_starts = np.ones(self.n_envs, bool)

    def _restart_episodes(self) -> None:
        """Begin new episodes in the middle of ``learn``: someone else has stepped the old ones."""
        assert self.env is not None
        self._statistics = Statistics(self.env)
        self._last_obs = self.env.reset()  # type: ignore[assignment]
        if self._vec_normalize_env is not None:
            self._last_original_obs = self._vec_normalize_env.get_original_obs()
        self._watch.note()
        self._begin_episodes()

    def collect_rollouts(self, env: VecEnv, *args: Any, **kwargs: Any) -> Any:
        with dead_workers_named(env):
            return super().collect_rollouts(env, *args, **kwargs)

    # ------------------------------------------------------------------ one step

    def _act(self, choose: Callable[..., th.Tensor] | None, fixed: Any) -> np.ndarray:
        """
        Act on the last observations, and remember what was done.

        :param choose: how to choose actions; None: as the policy does
        :param fixed: what that depends on, see :class:`Manner`
        :return: actions in replay form, (n_envs, dims)
        """
        # Make sure first that the environment is where the agent has left it.
        if self._watch.moved():
            self._restart_episodes()
        self._statistics = Statistics(self.env)
        assert self._last_obs is not None
        assert self._last_state is not None
        assert self._last_episode_starts is not None
        self._in_step = True
        manner = Manner(self._generator, False, choose, fixed)
        action, self._last_state = self._act_on_last(manner)
        check_actions(self, action)
        return action

    def _act_on_last(self, manner: Manner) -> tuple[np.ndarray, State]:
        """
        Act on the last observations.

        :param manner: how
        :return: actions in replay form, (n_envs, dims), and what to remember
        """
        assert self._last_obs is not None
        assert self._last_state is not None
        assert self._last_episode_starts is not None
        return self.policy.act_on_arrays(
            self._last_obs, self._last_state, self._last_episode_starts, manner
        )

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Name where bad input comes from, and undo what a ``VecNormalize`` has made of it."""
        try:
            yield
        except ValueError as error:
            self._statistics.restore()
            if not isinstance(error, InputError):
                raise
            article = "an" if error.what[0] in "aeiou" else "a"
            raise ValueError(
                f"The environment returned {article} {error.what} at step {self.num_timesteps}: "
                f"{error.detail}. Nothing of this step was stored; the model is as it was. Fix "
                "the environment; SB3's VecCheckNan finds where NaN comes from."
            ) from None  # it says the same

    def _check_step(
        self,
        obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> np.ndarray:
        """
        Refuse what cannot be read, stored or learned from, before it reaches what is stored.

        :return: the ends of episodes as everything behind expects them, bool, (n_envs,)
        """
        if (normalizer := self._vec_normalize_env) is not None:
            # It counts on the usual form without a look, and its statistics would be wrong.
            found = np.asarray(dones).dtype, np.shape(normalizer.old_reward)
            if found != (np.bool_, (self.n_envs,)):
                raise InputError(
                    f"step that VecNormalize misreads, with dones of the dtype {found[0]} and "
                    f"rewards of the shape {found[1]}",
                    f"expected bool and ({self.n_envs},). Put a wrapper inside of VecNormalize "
                    "that returns dones.astype(bool) and rewards.reshape(-1)",
                )
            self._check_reward(normalizer.old_reward)
        self._check_observations(obs, infos)
        self._check_reward(reward)
        ends = to_flags(dones, self.n_envs, "set of dones")
        for i in np.flatnonzero(ends):
            if infos[i].get("terminal_observation") is None:
                raise InputError(
                    f"end of an episode of environment {i} without its last observation",
                    f"infos[{i}] has no 'terminal_observation', and the observation returned is "
                    "already of the next episode. Let the VecEnv put the last one there, as those "
                    "of SB3 do",
                )
        return ends

    def _check_observations(
        self, obs: np.ndarray | dict[str, np.ndarray], infos: list[dict[str, Any]]
    ) -> None:
        check, expected = self.policy.observation_checker.check, (self.n_envs,)
        given = {"observation": check(obs)}
        normalizer = self.get_vec_normalize_env()
        if normalizer is not None:  # a replay keeps what it was given
            name = "observation below VecNormalize"
            given[name] = check(normalizer.old_obs, name=name, raw=True)
        for name, rows in given.items():
            if rows != expected:
                raise InputError(f"{name} of {rows} rows", f"expected {expected}")
        for i, info in enumerate(infos):
            if (last := info.get("terminal_observation")) is not None:
                check(last, 0, f"terminal observation of env {i}")

    def _check_reward(self, reward: np.ndarray) -> None:
        expected = f"{self.n_envs} finite numbers of float32"
        FLOAT32.check(to_rows(reward, self.n_envs, "reward", expected), "reward")

    # ------------------------------------------------------------------ exact resume

    def _is_between_steps(self) -> bool:
        return not self._in_step and self._last_state is not None and super()._is_between_steps()

    def _check_training_state(self, state: dict[str, Any]) -> None:
        """
        Refuse a training state whose memory this agent does not have.

        :raises ValueError: names both memories
        """
        super()._check_training_state(state)
        layout = self.policy.memory
        kinds = zip(layout.dtypes, layout.shapes, strict=True)
        expected = [f"{dtype}{tuple(shape)}" for dtype, shape in kinds]
        found = [f"{part.dtype}{part.shape[1:]}" for part in state.get("memory", [])]
        if "memory" in state and found != expected:
            raise ValueError(
                f"it is of another agent, which remembers {found}; this one remembers {expected}"
            )
        if any(len(part) != state["n_envs"] for part in state.get("memory", [])):
            raise ValueError("its memories are not of its environments")

    def _episode_state(self) -> dict[str, Any]:
        memory = [part.cpu().numpy() for part in leaves(self._last_state)]
        return {**super()._episode_state(), "memory": memory}

    def _restore_episodes(self, state: dict[str, Any]) -> None:
        super()._restore_episodes(state)
        memory = [th.as_tensor(part, device=self.policy.device) for part in state["memory"]]
        self._last_state = self.policy.memory.unpack(memory)

"""What stands between the environment and the agent: whoever else steps it, and bad steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from stable_baselines3.common.type_aliases import RolloutReturn
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.common.normalizer import Statistics
from dreamzoo.common.resumable_algorithm import ResumableAlgorithm
from dreamzoo.common.workers import dead_workers_named
from dreamzoo.nn.checks import FLOAT32, InputError, to_flags, to_rows


class CollectingAlgorithm(ResumableAlgorithm):
    """
    Off-policy algorithm whose replay holds what really happened, and nothing else.

    The environment belongs to the user, too: who steps or resets it, or a part of it, between two
    calls of ``learn`` or in a callback, makes the agent begin new episodes. What a VecEnv returns
    is brought into one form or refused.

    :param args: of SB3's ``OffPolicyAlgorithm``
    :param kwargs: of SB3's ``OffPolicyAlgorithm``
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._statistics = Statistics()  # of the moment before the environment's last step

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_statistics"]

    def collect_rollouts(self, env: VecEnv, *args: Any, **kwargs: Any) -> RolloutReturn:
        with dead_workers_named(env):
            return super().collect_rollouts(env, *args, **kwargs)

    def _begin_episodes(self) -> None:
        """Take the observations of a reset as the first ones of new episodes."""
        assert self.replay_buffer is not None
        assert self._last_obs is not None
        self.replay_buffer.start_new_episodes()
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
        if self.action_noise is not None:
            self.action_noise.reset()
        self._watch.note()
        self._begin_episodes()

    def _prepare_step(self) -> None:
        """Make sure that the environment is where the agent has left it."""
        if self._watch.moved():
            self._restart_episodes()
        self._statistics = Statistics(self.env)

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
        Refuse what cannot be read, stored or learned from, before it reaches the replay.

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
        if normalizer is not None:  # the replay keeps what it was given
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

"""What lets a training that was cut off go on exactly: all randomness, memory, environments."""

import io
import pathlib
import pickle
import random
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.save_util import open_path
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.common.environments.settings import EnvSettings
from dreamzoo.common.environments.state import load_env_state, save_env_state
from dreamzoo.common.environments.watch import EnvWatch
from dreamzoo.common.storage.files import replaced_file

#: What a file of :meth:`ExactResume.save_training_state` says of itself.
FORMAT = "dreamzoo training state 1"


class ExactResume(BaseAlgorithm):
    """
    Any algorithm of SB3, with a file that says where its training stood.

    ``class ResumablePPO(ExactResume, PPO)`` is enough. ``save`` keeps what acting needs,
    :meth:`save_training_state` the rest: random streams, running episodes and, where environments
    can be copied (see :mod:`dreamzoo.common.environments.state`), these with their state. After
    both were loaded, ``learn(..., reset_num_timesteps=False)`` goes on as if it had not stopped.
    That holds for files of a moment between two collections, as :class:`SaveCallback` waits for;
    inside of one the steps made since its beginning are lost, and new episodes begin.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.common.exact_resume import ExactResume
        >>> from stable_baselines3 import PPO
        >>> class ResumablePPO(ExactResume, PPO):
        ...     pass
        >>> small = dict(n_steps=16, batch_size=16, device="cpu")
        >>> model = ResumablePPO("MlpPolicy", "CartPole-v1", seed=0, **small).learn(32)
        >>> model.save("model")
        >>> model.save_training_state("state")
        >>> again = ResumablePPO.load("model", env=gym.make("CartPole-v1"), device="cpu")
        >>> again.load_training_state("state")
        >>> again.learn(16, reset_num_timesteps=False).num_timesteps
        48

    :param args: of the algorithm
    :param kwargs: of the algorithm
    """

    #: Where a SaveCallback has saved the agent last.
    last_good_file: pathlib.Path | None = None
    #: Whether an algorithm notes every step of the environment by itself.
    _notes_steps: ClassVar[bool] = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._env_settings = EnvSettings()
        self._watch = EnvWatch()
        super().__init__(*args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        of_the_run = ["_env_settings", "_watch", "last_good_file"]
        return [*super()._excluded_save_params(), *of_the_run]

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """
        Save the agent, as SB3 does; an older file stays until the new one is complete.

        :param path: file, or where to create one
        :param exclude: attributes to leave out
        :param include: attributes to keep that are usually left out
        :raises OSError: names the file, and leaves no part of it behind
        """
        if not isinstance(path, str | pathlib.Path):
            super().save(path, exclude, include)
            return
        with replaced_file(path, "zip") as file:
            super().save(file, exclude, include)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ the run

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if self._watch.moved():  # a collection was broken off: its steps were not learned from
            self._last_obs = None
        self._follow_envs()
        result = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self._watch.note()
        return result

    def _follow_envs(self) -> None:
        """Look at what the environments are given, before training resets them."""
        assert self.env is not None, "Pass an environment or call set_env() before learn()."
        self._env_settings = self._env_settings.of(self.env)
        self._env_settings.begin()
        self._watch.follow(self.env)

    def collect_rollouts(self, env: VecEnv, *args: Any, **kwargs: Any) -> Any:
        """
        Collect, as the algorithm does.

        :param env: training environment
        :param args: of the algorithm's own
        :param kwargs: of the algorithm's own
        """
        collected = super().collect_rollouts(env, *args, **kwargs)  # type: ignore[misc]
        self._env_settings.look_once()
        if not self._notes_steps and getattr(collected, "continue_training", collected):
            self._watch.note()
        return collected

    def _is_between_steps(self) -> bool:
        """Return whether environments stand where the agent has left them, and all is stored."""
        return self._last_obs is not None and not self._watch.moved()

    # ------------------------------------------------------------------ the file

    def save_training_state(
        self, path: str | pathlib.Path | io.BufferedIOBase, env_state: bool = True
    ) -> None:
        """
        Save where training stands, beside what :meth:`save` keeps.

        :param path: file, or where to create one; ``.pkl`` is added where there is no suffix
        :param env_state: False leaves the environments out: the continued training begins new
            episodes
        :raises OSError: names the file, and leaves no part of it behind
        """
        state = self._training_state(env_state)
        if not isinstance(path, str | pathlib.Path):
            pickle.dump(state, path)
            return
        with replaced_file(path, "pkl") as file:
            pickle.dump(state, file)

    def load_training_state(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """
        Take up a training where :meth:`save_training_state` has left it.

        Load the agent of the same moment first. Environments that are given other settings than the
        saved ones keep theirs and begin new episodes; a warning names them.

        :param path: file
        :raises ValueError: for a file of something else, of another moment, or cut short; the agent
            stays as it was
        """
        state = self._read_training_state(path)
        if state["agent"] != type(self).__qualname__:
            raise ValueError(
                f"{path} is of a training of {state['agent']}, and this is a "
                f"{type(self).__qualname__}."
            )
        for what, saved, own in (
            ("steps", state["num_timesteps"], self.num_timesteps),
            ("environments", state["n_envs"], self.n_envs),
        ):
            if saved != own:
                raise ValueError(
                    f"{path} is of a training of {saved} {what}, and the agent has {own}. Load the "
                    "agent that was saved at the same moment."
                )
        self._restore_training(state)

    def _read_training_state(self, path: str | pathlib.Path | io.BufferedIOBase) -> dict[str, Any]:
        stream = isinstance(path, io.BufferedIOBase)
        try:
            file = path if stream else open_path(path, "r", verbose=self.verbose, suffix="pkl")
            try:
                state = pickle.load(file)  # type: ignore[arg-type]
            finally:
                if not stream:
                    file.close()  # type: ignore[union-attr]
        except OSError:
            raise
        except Exception as error:  # what damaged bytes say may be anything
            raise ValueError(f"{path} is not a complete training state: {error}") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError(
                f"{path} holds a {type(state).__name__}, not what save_training_state() writes."
            )
        return state

    def _training_state(self, env_state: bool = True) -> dict[str, Any]:
        state: dict[str, Any] = {
            "format": FORMAT,
            "agent": type(self).__qualname__,
            "num_timesteps": self.num_timesteps,
            "n_envs": self.n_envs,
            "torch": th.get_rng_state(),
            "cuda": th.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "numpy": np.random.get_state(),
            "python": random.getstate(),
            "env": None,
            "normalizer": None,
        }
        if self._vec_normalize_env is not None:  # also where environments cannot be copied
            known = vars(self._vec_normalize_env)  # where it leaves observations alone, less
            names = ("obs_rms", "ret_rms")
            state["normalizer"] = {name: known[name] for name in names if name in known}
        # Inside a step (a callback saves there) the environment is one transition ahead of what is
        # stored: going on from it would join two observations that do not follow each other.
        if self._is_between_steps():
            state |= self._episode_state()
            if self.env is not None and env_state:
                state["env"] = save_env_state(self.env, self._env_settings.of(self.env))
        return state

    def _episode_state(self) -> dict[str, Any]:
        """Return what is known of running episodes."""
        return {
            "last_obs": self._last_obs,
            "last_original_obs": self._last_original_obs,
            "last_episode_starts": self._last_episode_starts,
        }

    def _restore_training(self, state: dict[str, Any]) -> None:
        th.set_rng_state(state["torch"])
        if len(states := state.get("cuda", [])) == th.cuda.device_count():
            th.cuda.set_rng_state_all(states)
        np.random.set_state(state["numpy"])
        if "python" in state:
            random.setstate(state["python"])
        if self._vec_normalize_env is not None:
            vars(self._vec_normalize_env).update(state.get("normalizer") or {})
        if self._restore_envs(state["env"]):
            self._restore_episodes(state)
            assert self.env is not None
            self._watch.follow(self.env)
        else:
            self._begin_new_episodes()

    def _restore_episodes(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`_episode_state` has returned."""
        self._last_obs = state["last_obs"]
        self._last_original_obs = state["last_original_obs"]
        self._last_episode_starts = state["last_episode_starts"]

    def _begin_new_episodes(self) -> None:
        """Let the next ``learn`` reset the environments."""
        self._last_obs = None

    def _restore_envs(self, state: dict[str, Any] | None) -> bool:
        """Put saved environments into the middle of their episodes, if they can be."""
        if state is None or self.env is None:
            return False
        try:
            self._env_settings = load_env_state(self.env, state).take(self.env)
        except ValueError as error:
            warnings.warn(
                f"{error} They begin new episodes; everything else continues.", stacklevel=4
            )
            return False
        return True

"""What lets a training that was cut off go on exactly: all randomness, memory, environments."""

import io
import pathlib
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.common.environments.normalizer import are_statistics
from dreamzoo.common.environments.settings import EnvSettings
from dreamzoo.common.environments.state import load_env_state, save_env_state
from dreamzoo.common.environments.watch import EnvWatch
from dreamzoo.common.saved_algorithm import SavedAlgorithm
from dreamzoo.common.storage.container import (
    FileError,
    OtherFormat,
    Reader,
    naming,
    reading,
    writing,
)
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.saves import TRAINING, check_ranks, newest, own_part, within
from dreamzoo.common.storage.training_file import (
    environments_file,
    read_copies,
    read_earlier,
    read_training,
    write_copies,
    write_training,
)
from dreamzoo.common.transition_files import load_replay, save_replay
from dreamzoo.nn.fast.ranks import place
from dreamzoo.nn.state import leaves

#: What a training state of dreamzoo 0.1 says of itself.
EARLIER_FORMAT = "dreamzoo training state 1"
#: What not all of these say.
EARLIER: dict[str, Any] = {"cuda": [], "normalizer": None}


class ExactResume(SavedAlgorithm):
    """
    Any algorithm of SB3, with a file that says where its training stood.

    ``class ResumablePPO(ExactResume, PPO)`` is enough. ``save`` keeps what acting needs,
    :meth:`save_training_state` the rest: random streams, also that of the action space, running
    episodes, what the LSTM of sb3-contrib's RecurrentPPO remembers and, where environments can be
    copied (see :mod:`dreamzoo.common.environments.state`), these with their state. After
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
        with self._noise_kept(goes_on=not reset_num_timesteps and self._last_obs is not None):
            result = super()._setup_learn(
                total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
        self._watch.note()
        return result

    @contextmanager
    def _noise_kept(self, goes_on: bool) -> Iterator[None]:
        """
        Let noise with a memory go on where episodes do; SB3 resets it at every call of ``learn``.

        :param goes_on: whether episodes do
        """
        noise = self.action_noise
        self.action_noise = to_reset = deepcopy(noise) if goes_on else noise
        try:
            yield
        finally:
            if self.action_noise is to_reset:
                self.action_noise = noise

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

        Copies of the environments go into a second file, whose name ends in
        ``.environments.zip``; where training goes into a stream there are none.

        :param path: file, or where to create one; ``.zip`` is added where there is no suffix
        :param env_state: False leaves the environments out: the continued training begins new
            episodes
        :raises OSError: names the file, and leaves no part of it behind
        """

        def write(file: Any) -> None:
            with writing(file, "training", self._moment()) as writer:
                write_training(writer, self._training_state())

        if not isinstance(path, str | pathlib.Path):
            write(path)
            return
        with replaced_file(path, "zip") as file:
            write(file)
            self._save_copies(path, env_state)

    def _save_copies(self, path: str | pathlib.Path, env_state: bool) -> None:
        """Save copies of the environments beside a file, where there can be any."""
        copies = None
        if env_state and self.env is not None and self._is_between_steps():
            copies = save_env_state(self.env, self._env_settings.of(self.env))
        write_copies(environments_file(path), copies, self._moment())

    def load_training_state(
        self, path: str | pathlib.Path | io.BufferedIOBase, trusted: bool = False
    ) -> None:
        """
        Take up a training where :meth:`save_training_state` has left it.

        Load the agent of the same moment first. Environments that are given other settings than the
        saved ones keep theirs and begin new episodes; a warning names them.

        :param path: file
        :param trusted: also read copies of environments, and files of dreamzoo 0.1, which run
            whatever code their author has put in
        :raises ValueError: for a file of something else, of another moment, or damaged; the agent
            stays as it was
        """
        path = within(path, own_part(TRAINING))
        try:
            with reading(path, "training", "zip", "pkl") as reader:
                state, moment = self._read_training_state(reader), reader.moment
            fits = self._is_of(moment)
        except OtherFormat:
            if not trusted:
                raise
            state, moment = self._read_earlier_state(read_earlier(path, "pkl"), path), ""
            fits = state["num_timesteps"] == self.num_timesteps
        for what, saved, own in (
            ("environments", state["n_envs"], self.n_envs),
            ("steps", state["num_timesteps"], self.num_timesteps),
            ("ranks", state.get("ranks", 1), place().count),
        ):
            if saved != own:
                raise ValueError(
                    f"{path} is of a training of {saved} {what}, and the agent has {own}. Load the "
                    "agent that was saved at the same moment."
                )
        if not fits:
            raise ValueError(
                f"{path} is of another training of {self.num_timesteps} steps than the agent. Load "
                "the agent that was saved at the same moment."
            )
        self._restore_training(state, self._copies_beside(path, moment, trusted))
        replay = getattr(self, "replay_buffer", None)
        if self.num_timesteps and isinstance(replay, ReplayBuffer) and not replay.size():
            warnings.warn(
                f"{path} does not hold the replay, and the agent's is empty: training would go on "
                "from nothing. Load it before, load_replay_buffer(path), or save by a "
                "SaveCallback and resume(folder), which do all of it.",
                stacklevel=2,
            )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Not a method of this class: agents without a replay shall have none.
        for name, function in (
            ("save_replay_buffer", save_replay),
            ("load_replay_buffer", load_replay),
        ):
            if getattr(cls, name, None) is getattr(OffPolicyAlgorithm, name):
                setattr(cls, name, function)

    def resume(self, folder: str | pathlib.Path, trusted: bool = False) -> None:
        """
        Take up the training that a :class:`SaveCallback` has saved last.

        Load the agent from the same folder first.

        Example:
            >>> from dreamzoo import DreamerV3
            >>> from dreamzoo.analysis.callbacks import SaveCallback
            >>> agent = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
            >>> agent = agent.learn(20, callback=SaveCallback("run", every=20))
            >>> again = DreamerV3.load("run", env=agent.get_env(), trusted=True)
            >>> again.resume("run", trusted=True)
            >>> again.learn(20, reset_num_timesteps=False).num_timesteps
            40

        :param folder: of the callback
        :param trusted: see :meth:`load_training_state`
        :raises ValueError: see :meth:`load_training_state`
        """
        last = newest(folder)
        check_ranks(last)
        if isinstance(self, OffPolicyAlgorithm):
            load_replay(self, last / "replay_buffer", trusted=trusted)
        self.load_training_state(last / own_part("training_state"), trusted)

    def _read_training_state(self, reader: Reader) -> dict[str, Any]:
        """Read and check the state of a training."""
        state = read_training(reader)
        if state is None:
            raise FileError(f"{reader.label} does not say where a training stood.")
        self._check_agent(state, reader.label)
        with naming(reader.label):
            self._check_training_state(state)
        return state

    def _read_earlier_state(self, state: Any, path: Any) -> dict[str, Any]:
        """Check the state of a training that dreamzoo 0.1 has saved."""
        if not isinstance(state, dict) or state.get("format") != EARLIER_FORMAT:
            raise FileError(
                f"{path} holds a {type(state).__name__}, not what save_training_state() writes."
            )
        state = EARLIER | {"python": random.getstate()} | state
        self._check_agent(state, path)
        with naming(str(path)):
            self._check_training_state(state)
        return state

    def _check_agent(self, state: dict[str, Any], path: Any) -> None:
        """Refuse the state of another agent, before it is asked what it holds."""
        if state.get("agent") != type(self).__qualname__:
            raise ValueError(
                f"{path} is of a training of {state.get('agent')}, and this is a "
                f"{type(self).__qualname__}."
            )

    def _check_training_state(self, state: dict[str, Any]) -> None:
        """
        Look whether all can be taken up, before anything is.

        :raises ValueError: if it cannot
        """
        th.Generator().set_state(state["torch"])
        np.random.RandomState().set_state(state["numpy"])
        random.Random().setstate(state["python"])
        for one in state["cuda"]:
            if not isinstance(one, th.Tensor):
                raise ValueError("it holds a state of a graphics card that is none")
        if "action_space" in state:
            deepcopy(self.action_space).np_random.bit_generator.state = state["action_space"]
        known = state["normalizer"] or {}
        if not {*known} <= {"obs_rms", "ret_rms"} or not all(map(are_statistics, known.values())):
            raise ValueError("its statistics of a VecNormalize are none")
        if "last_obs" in state and self.env is not None:
            seen = state["last_obs"]
            parts = seen if isinstance(seen, dict) else {"": seen}
            if any(len(part) != state["n_envs"] for part in parts.values()):
                raise ValueError("its last observations are not of its environments")
            expected = [(len(x), state["n_envs"], x.shape[2]) for x in self._lstm_states()]
            found = [x.shape for x in state.get("lstm_states", [])]
            if "lstm_states" in state and found != expected:
                raise ValueError(f"it says of an LSTM {found}, which is not this agent's memory")

    def _copies_beside(self, path: Any, moment: str, trusted: bool) -> dict[str, Any] | None:
        """Read the copies of environments that belong to a file, if there are any."""
        if self.env is None or not isinstance(path, str | pathlib.Path):
            return None
        return read_copies(environments_file(path), moment, trusted)

    def _training_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "agent": type(self).__qualname__,
            "num_timesteps": self.num_timesteps,
            "n_envs": self.n_envs,
            "ranks": place().count,
            "torch": th.get_rng_state(),
            "cuda": th.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "numpy": np.random.get_state(),
            "python": random.getstate(),
            # SB3's agents draw from it when they explore.
            "action_space": self.action_space.np_random.bit_generator.state,
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
        return state

    def _episode_state(self) -> dict[str, Any]:
        """Return what is known of running episodes."""
        return {
            "last_obs": self._last_obs,
            "last_original_obs": self._last_original_obs,
            "last_episode_starts": self._last_episode_starts,
            "lstm_states": [part.cpu().numpy() for part in self._lstm_states()],
        }

    def _lstm_states(self) -> list[th.Tensor]:
        """Return what the LSTM of sb3-contrib's RecurrentPPO remembers; of others nothing."""
        return leaves(getattr(self, "_last_lstm_states", None) or ())

    def _restore_training(self, state: dict[str, Any], copies: dict[str, Any] | None) -> None:
        th.set_rng_state(state["torch"])
        if len(states := state["cuda"]) == th.cuda.device_count():
            th.cuda.set_rng_state_all(states)
        np.random.set_state(state["numpy"])
        random.setstate(state["python"])
        if "action_space" in state:  # not of earlier versions
            self.action_space.np_random.bit_generator.state = state["action_space"]
        if self._vec_normalize_env is not None:
            vars(self._vec_normalize_env).update(state["normalizer"] or {})
        if (
            "last_obs" in state
            and self._remembers(state)
            and self._restore_envs(copies or state.get("env"))
        ):
            self._restore_episodes(state)
            assert self.env is not None
            self._watch.follow(self.env)
        else:
            self._begin_new_episodes()

    def _remembers(self, state: dict[str, Any]) -> bool:
        """Tell whether a state says what the LSTM, if there is one, remembers of the episodes."""
        if "lstm_states" in state or not self._lstm_states():
            return True
        warnings.warn(
            "An earlier version has saved this training, without what the LSTM remembers: episodes "
            "begin anew; everything else continues.",
            stacklevel=4,
        )
        return False

    def _restore_episodes(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`_episode_state` has returned."""
        self._last_obs = state["last_obs"]
        self._last_original_obs = state["last_original_obs"]
        self._last_episode_starts = state["last_episode_starts"]
        for own, saved in zip(self._lstm_states(), state.get("lstm_states", []), strict=True):
            own.copy_(th.as_tensor(saved))

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

"""What lets a training that was cut off go on exactly: all randomness, memory, environments."""

import io
import pathlib
import pickle
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch as th

from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.checked_algorithm import CheckedAlgorithm
from dreamzoo.common.env_settings import EnvSettings
from dreamzoo.common.env_state import load_env_state, save_env_state
from dreamzoo.common.env_watch import EnvWatch
from dreamzoo.common.policies import WorldModelPolicy
from dreamzoo.common.record_store import RecordSpec
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.nn.state import State, leaves

#: Attributes that ``save`` leaves out.
_OF_THE_RUN = (
    "_last_state",
    "_generator",
    "_in_step",
    "_env_settings",
    "_watch",
    "_recorded",
    "last_good_file",
)


class ResumableAlgorithm(CheckedAlgorithm):
    """
    Off-policy algorithm with a memory, whose replay file also holds where its training stood.

    ``save`` keeps what acting needs, ``save_replay_buffer`` everything else.

    :param args: of SB3's ``OffPolicyAlgorithm``
    :param kwargs: of SB3's ``OffPolicyAlgorithm``
    """

    policy: WorldModelPolicy
    replay_buffer: SequenceReplayBuffer | None
    #: Steps T of a replayed window.
    batch_length: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last_state: State | None = None
        self._generator: th.Generator | None = None
        # Between an environment's step and its storage.
        self._in_step = False
        #: Where a SaveCallback has saved the agent last.
        self.last_good_file: pathlib.Path | None = None
        self._env_settings = EnvSettings()
        self._watch = EnvWatch()

    def latent_spec(self) -> RecordSpec | None:
        """Return what to store of the latent with every record; None stores nothing."""
        return None

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Seed everything random, as SB3 does; here also collecting, dreams and sampling.

        :param seed: None leaves everything as it is
        """
        super().set_random_seed(seed)
        if seed is not None and self._generator is not None:
            self._seed_generator()
            assert self.replay_buffer is not None
            self.replay_buffer.rng = np.random.default_rng(np.random.randint(2**31))

    def _seed_generator(self) -> None:
        assert self._generator is not None
        self._generator.manual_seed(int(th.randint(2**31, ())))

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), *_OF_THE_RUN]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

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

    def export_onnx(self, path: str | pathlib.Path) -> None:
        """
        Write how the agent acts, deterministically, as an ONNX graph for other programs.

        What its inputs and outputs are is said in :func:`dreamzoo.common.export.export_onnx`.

        :param path: of one file, replaced if it exists
        """
        from dreamzoo.common.export import export_onnx  # envs, which that needs, need this

        export_onnx(self.policy, path)

    def _on_step(self) -> None:
        self._env_settings.look_once()

    def _begin_env_settings(self) -> None:
        """Look at what the environments are given, before training resets them."""
        assert self.env is not None
        self._env_settings = self._env_settings.of(self.env)
        self._env_settings.begin()

    def save_replay_buffer(
        self, path: str | pathlib.Path | io.BufferedIOBase, env_state: bool = True
    ) -> None:
        """
        Save the replay and all that an exact continuation needs beside the parameters.

        That is the random streams, the running latents and, where environments can be copied
        with their state (see :mod:`dreamzoo.common.env_state`), the environments.

        :param path: file, or where to create one
        :param env_state: False leaves the environments out: the continued training begins new
            episodes
        """
        assert self.replay_buffer is not None, "The replay buffer is not defined"
        self.replay_buffer.resume_state = self._resume_state(env_state)
        try:
            if not isinstance(path, str | pathlib.Path):
                super().save_replay_buffer(path)
                return
            with replaced_file(path, "pkl") as file:
                super().save_replay_buffer(file)  # type: ignore[arg-type]
        finally:
            self.replay_buffer.resume_state = None

    def load_replay_buffer(
        self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True
    ) -> None:
        """
        Load a replay.

        If the agent was saved at the same moment, training goes on exactly where it stopped, on
        ``learn(..., reset_num_timesteps=False)``. Environments that are given other settings than
        the saved ones keep theirs and begin new episodes; a warning names them.

        :param path: file
        :param truncate_last_traj: as in SB3, for HerReplayBuffer only
        :raises ValueError: for a file that holds something else, or is cut short
        """
        before = self.replay_buffer
        try:
            super().load_replay_buffer(path, truncate_last_traj)
            loaded = self._check_replay(path)
        except BaseException as error:
            self.replay_buffer = before
            if not isinstance(error, (EOFError, pickle.UnpicklingError, AssertionError)):
                raise
            raise ValueError(f"{path} is not a complete replay buffer file: {error}") from error
        del before  # what it kept makes room on the device
        loaded.set_batch_length(self.replay_buffer_kwargs.get("batch_length", self.batch_length))
        loaded.place()
        state, loaded.resume_state = loaded.resume_state, None
        same_envs = loaded.n_envs == self.n_envs
        if state is not None and same_envs and state["num_timesteps"] == self.num_timesteps:
            self._restore(state)
        else:
            self._begin_new_episodes(loaded)

    def _check_replay(self, path: str | pathlib.Path | io.BufferedIOBase) -> SequenceReplayBuffer:
        """Return the replay just loaded, if this agent can learn from it."""
        loaded: Any = self.replay_buffer
        if not isinstance(loaded, SequenceReplayBuffer):
            raise ValueError(
                f"{path} holds a {type(loaded).__name__}; expected a SequenceReplayBuffer."
            )
        for what, stored, own in [
            ("observations", loaded.observation_space, self.observation_space),
            ("actions", loaded.action_space, self.action_space),
            ("latents", loaded.latent_spec, dict(self.latent_spec() or {})),
        ]:
            if stored != own:
                raise ValueError(
                    f"{path} holds {what} of {stored}, and this agent has {own}. Load a replay "
                    "of the same environment and the same settings."
                )
        return loaded

    def _begin_new_episodes(self, replay_buffer: SequenceReplayBuffer) -> None:
        replay_buffer.start_new_episodes()
        self._last_obs = None

    def _resume_state(self, env_state: bool = True) -> dict[str, Any]:
        assert self._generator is not None
        state: dict[str, Any] = {
            "num_timesteps": self.num_timesteps,
            "device": self._generator.device.type,
            "generator": self._generator.get_state(),
            "torch": th.get_rng_state(),
            "numpy": np.random.get_state(),
            "env": None,
            "normalizer": None,
        }
        if self._vec_normalize_env is not None:  # also where environments cannot be copied
            known = vars(self._vec_normalize_env)  # where it leaves observations alone, less
            names = ("obs_rms", "ret_rms")
            state["normalizer"] = {name: known[name] for name in names if name in known}
        # Inside a step (a callback saves there) the environment is one transition ahead of the
        # replay: going on from it would join two observations that do not follow each other.
        if self._last_obs is not None and self._last_state is not None and not self._in_step:
            if self.env is not None and env_state:
                settings = self._env_settings.of(self.env)
                state["env"] = save_env_state(self.env, settings)
            state["last_obs"] = self._last_obs
            state["last_original_obs"] = self._last_original_obs
            state["last_episode_starts"] = self._last_episode_starts
            state["memory"] = [part.cpu().numpy() for part in leaves(self._last_state)]
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        assert self._generator is not None
        assert self.replay_buffer is not None
        if state["device"] == self._generator.device.type:  # states of others do not fit
            self._generator.set_state(state["generator"])
        th.set_rng_state(state["torch"])
        np.random.set_state(state["numpy"])
        if self._vec_normalize_env is not None:
            vars(self._vec_normalize_env).update(state.get("normalizer") or {})
        if not self._restore_envs(state["env"]):
            self._begin_new_episodes(self.replay_buffer)
            return
        self._last_obs = state["last_obs"]
        self._last_original_obs = state["last_original_obs"]
        self._last_episode_starts = state["last_episode_starts"]
        memory = [th.as_tensor(part, device=self.policy.device) for part in state["memory"]]
        self._last_state = self.policy.memory.unpack(memory)
        assert self.env is not None
        self._watch.follow(self.env)

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

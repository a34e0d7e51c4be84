"""Files of agents that learn from a replay: the replay, and beside it where training stands."""

import io
import pathlib
import pickle
import uuid
import warnings
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.exact_resume import ExactResume
from dreamzoo.common.memory_agent import MemoryAgent
from dreamzoo.common.record_store import RecordSpec
from dreamzoo.common.storage.files import replaced_file


class ReplayFiles(MemoryAgent, OffPolicyAlgorithm):
    """
    Off-policy algorithm with a memory, whose replay and training are saved and loaded together.

    :param args: of SB3's ``OffPolicyAlgorithm``
    :param kwargs: of SB3's ``OffPolicyAlgorithm``
    """

    replay_buffer: SequenceReplayBuffer | None
    #: Steps T of a replayed window.
    batch_length: int

    def latent_spec(self) -> RecordSpec | None:
        """Return what to store of the latent with every record; None stores nothing."""
        return None

    def save_replay_buffer(
        self, path: str | pathlib.Path | io.BufferedIOBase, env_state: bool = True
    ) -> None:
        """
        Save the replay and, in a second file beside it, where training stands.

        The second one is what :meth:`save_training_state` writes; a replay that goes into a stream
        has none.

        :param path: file, or where to create one; the second file's name ends in ``.training.pkl``
        :param env_state: False leaves the environments out: the continued training begins new
            episodes
        """
        assert self.replay_buffer is not None, "The replay buffer is not defined"
        if not isinstance(path, str | pathlib.Path):
            super().save_replay_buffer(path)
            return
        self.replay_buffer.moment = uuid.uuid4().hex
        with replaced_file(path, "pkl") as file:
            super().save_replay_buffer(file)  # type: ignore[arg-type]
            # Both are complete before one of them takes the place of an older one.
            self.save_training_state(training_file(path), env_state)

    def load_replay_buffer(
        self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True
    ) -> None:
        """
        Load a replay.

        If the agent was saved at the same moment, and the second file is there, training goes on
        exactly where it stopped, on ``learn(..., reset_num_timesteps=False)``; see
        :meth:`load_training_state`. Otherwise new episodes begin.

        :param path: file
        :param truncate_last_traj: as in SB3, for HerReplayBuffer only
        :raises ValueError: for a file that holds something else, or is cut short
        """
        before = self.replay_buffer
        try:
            super().load_replay_buffer(path, truncate_last_traj)
            loaded = self._check_replay(path)
            state = self._state_beside(path, loaded)
        except BaseException as error:
            self.replay_buffer = before
            if not isinstance(error, (EOFError, pickle.UnpicklingError, AssertionError)):
                raise
            raise ValueError(f"{path} is not a complete replay buffer file: {error}") from error
        del before  # what it kept makes room on the device
        loaded.set_batch_length(self.replay_buffer_kwargs.get("batch_length", self.batch_length))
        loaded.place()
        if state is not None:
            self._restore_training(state)
        else:
            self._begin_new_episodes()

    def _state_beside(
        self, path: str | pathlib.Path | io.BufferedIOBase, replay: SequenceReplayBuffer
    ) -> dict[str, Any] | None:
        """Return the training state of a replay, if there is one."""
        within = vars(replay).pop("resume_state", None)  # in files of an earlier version
        if replay.n_envs != self.n_envs:
            return None
        file = training_file(path) if isinstance(path, str | pathlib.Path) else None
        if within is not None or file is None or replay.moment is None:
            goes_on = within is not None and within["num_timesteps"] == self.num_timesteps
            return within if goes_on else None
        state = ExactResume._read_training_state(self, file) if file.exists() else None
        other = f"{file} is missing"
        if state is not None:
            other = self._why_not(state, file, path, replay.moment)
            if not other:
                self._check_training_state(state, file)
                return state
        if self.num_timesteps:  # of an agent that has not begun yet nobody expects to go on
            warnings.warn(
                f"{other}: new episodes begin, with new random numbers; everything else continues.",
                stacklevel=3,
            )
        return None

    def _why_not(self, state: dict[str, Any], file: pathlib.Path, path: Any, moment: str) -> str:
        """Return why a training does not go on where a replay was saved; nothing if it does."""
        if state["replay"] != moment:
            return f"{file} was not saved together with {path}"
        if state["agent"] != type(self).__qualname__:
            return f"{file} is of a training of {state['agent']}"
        if state["num_timesteps"] != self.num_timesteps:
            steps = f"{state['num_timesteps']} steps, and the agent has {self.num_timesteps}"
            return f"{file} is of a training of {steps}"
        return ""

    def _training_state(self, env_state: bool = True) -> dict[str, Any]:
        assert self.replay_buffer is not None
        return {**super()._training_state(env_state), "replay": self.replay_buffer.moment}

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

    def _begin_new_episodes(self) -> None:
        assert self.replay_buffer is not None
        self.replay_buffer.start_new_episodes()
        super()._begin_new_episodes()


def training_file(replay: str | pathlib.Path) -> pathlib.Path:
    """
    Name the file of the training state that belongs to a replay.

    :param replay: name of the replay's file, with a suffix or without
    """
    path = pathlib.Path(replay)
    stem = path.stem if path.suffix == ".pkl" else path.name
    return path.with_name(f"{stem}.training.pkl")

"""Files of agents that learn from a replay: the replay, and in it where training stands."""

import io
import pathlib
import random
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.exact_resume import EARLIER
from dreamzoo.common.memory_agent import MemoryAgent
from dreamzoo.common.record_store import RecordSpec
from dreamzoo.common.storage.container import FileError, OtherFormat, naming, reading, writing
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.replay_file import read_replay, write_replay
from dreamzoo.common.storage.saves import REPLAY, check_ranks, newest, own_part, within
from dreamzoo.common.storage.training_file import read_earlier, read_training, write_training
from dreamzoo.nn.fast.ranks import place


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
        Save the replay and, in the same file, where training stands.

        Copies of the environments go into a second file, whose name ends in
        ``.environments.zip``; where the replay goes into a stream there are none. An older file
        stays until the new one is complete.

        :param path: file, or where to create one; ``.npz`` is added where there is no suffix
        :param env_state: False leaves the environments out: the continued training begins new
            episodes
        :raises OSError: names the file, and leaves no part of it behind
        """
        assert self.replay_buffer is not None, "The replay buffer is not defined"
        if not isinstance(path, str | pathlib.Path):
            self._write_replay(path)
            return
        with replaced_file(path, "npz") as file:
            self._write_replay(file)
            self._save_copies(path, env_state)

    def _write_replay(self, file: Any) -> None:
        assert self.replay_buffer is not None
        with writing(file, "replay", self._moment()) as writer:
            write_replay(writer, self.replay_buffer)
            write_training(writer, self._training_state())

    def load_replay_buffer(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        truncate_last_traj: bool = True,
        trusted: bool = False,
    ) -> None:
        """
        Load a replay.

        If the agent was saved at the same moment, training goes on where it stopped, on
        ``learn(..., reset_num_timesteps=False)``; see :meth:`load_training_state`. In the middle of
        episodes it does so with ``trusted=True``. Otherwise new episodes begin.

        :param path: file
        :param truncate_last_traj: as in SB3, for HerReplayBuffer only
        :param trusted: also read copies of environments, and files of dreamzoo 0.1, which run
            whatever code their author has put in
        :raises ValueError: for a file that holds something else, or is damaged; the agent stays as
            it was
        """
        path = within(path, own_part(REPLAY))
        try:
            with reading(path, "replay", "npz", "pkl") as reader:
                kind: Any = self.replay_buffer_class or SequenceReplayBuffer
                check = partial(self._check_replay, path)
                replay = read_replay(reader, kind, self.replay_buffer_kwargs, check)
                state, moment = read_training(reader), reader.moment
            fits = self._is_of(moment)
        except OtherFormat:
            if not trusted:
                raise
            replay, state, moment = read_earlier_replay(path)
            self._check_replay(path, vars(replay) | {"latents": replay.latent_spec})
            fits = state is not None and state["num_timesteps"] == self.num_timesteps
        copies = None
        if state is not None and self._goes_on(path, state, fits, replay.n_envs):
            with naming(str(path)):
                self._check_training_state(state)
            copies = self._copies_beside(path, moment, trusted)
        else:
            state = None
        self.replay_buffer = None  # what it kept makes room on the device
        replay.device = self.device
        replay.set_batch_length(self.replay_buffer_kwargs.get("batch_length", self.batch_length))
        replay.place()
        self.replay_buffer = replay
        if state is not None:
            self._restore_training(state, copies)
        else:
            self._named = None  # a save from now on belongs to no earlier one
            self._begin_new_episodes()

    def resume(self, folder: str | pathlib.Path, trusted: bool = False) -> None:
        last = newest(folder)
        check_ranks(last)
        self.load_replay_buffer(last / own_part("replay_buffer"), trusted=trusted)

    def _goes_on(self, path: Any, state: dict[str, Any], fits: bool, n_envs: int) -> bool:
        """Return whether a training goes on where a replay was saved; warn where it does not."""
        if n_envs != self.n_envs:
            return False
        own, ranks = type(self).__qualname__, state.get("ranks", 1)
        if fits and state["agent"] == own and ranks == place().count:
            return True
        if self.num_timesteps:  # of an agent that has not begun yet nobody expects to go on
            of = (
                f"{state['num_timesteps']} steps, and the agent has {self.num_timesteps}"
                if state["agent"] == own
                else state["agent"]
            )
            if ranks != place().count:
                of = f"{ranks} ranks, and this is one of {place().count}"
            warnings.warn(
                f"{path} was not saved together with the agent, but in a training of {of}: new "
                "episodes begin, with new random numbers; everything else continues.",
                stacklevel=3,
            )
        return False

    def _check_replay(self, path: Any, what: Mapping[str, Any]) -> None:
        """Refuse a replay that this agent cannot learn from."""
        for name, stored, own in [
            ("observations", what["observation_space"], self.observation_space),
            ("actions", what["action_space"], self.action_space),
            ("latents", what["latents"], dict(self.latent_spec() or {})),
        ]:
            if stored != own:
                raise FileError(
                    f"{path} holds {name} of {stored}, and this agent has {own}. Load a replay "
                    "of the same environment and the same settings."
                )

    def _begin_new_episodes(self) -> None:
        assert self.replay_buffer is not None
        self.replay_buffer.start_new_episodes()
        super()._begin_new_episodes()


def read_earlier_replay(
    path: str | pathlib.Path | io.BufferedIOBase,
) -> tuple[SequenceReplayBuffer, dict[str, Any] | None, str]:
    """
    Read a replay of dreamzoo 0.1, which runs whatever code is in it.

    :param path: file
    :return: the replay, where training stood if that is known, and no name of the moment
    :raises ValueError: if it is something else
    """
    replay = read_earlier(path, "pkl")
    if not isinstance(replay, SequenceReplayBuffer):
        raise FileError(f"{path} holds a {type(replay).__name__}; expected a SequenceReplayBuffer.")
    known = vars(replay)
    moment, state = known.pop("moment", None), known.pop("resume_state", None)
    if isinstance(path, str | pathlib.Path) and moment is not None:
        given = pathlib.Path(path)
        stem = given.stem if given.suffix == ".pkl" else given.name
        beside = given.with_name(f"{stem}.training.pkl")
        state = read_earlier(beside) if beside.exists() else None
        if state is not None and state["replay"] != moment:
            state = None
    if state is not None:
        state = EARLIER | {"python": random.getstate()} | state
    return replay, state, ""

"""Files of SB3's replays: without code where they are SB3's own kinds, else its pickles."""

import io
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from dreamzoo.common.storage.container import FileError, OtherFormat, reading, writing
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.saves import REPLAY, within
from dreamzoo.common.storage.transitions_file import is_plain, read_transitions, write_transitions


def save_replay(agent: Any, path: str | pathlib.Path | io.BufferedIOBase) -> None:
    """
    Save the replay; an older file stays until the new one is complete.

    :param agent: that learns from it
    :param path: file, or where to create one; ``.npz`` is added where there is no suffix. A replay
        of another class than SB3's own, such as ``HerReplayBuffer``, is a pickle, ``.pkl``
    :raises OSError: names the file, and leaves no part of it behind
    """
    replay = agent.replay_buffer
    assert replay is not None, "The replay buffer is not defined"

    def write(file: Any) -> None:
        with writing(file, "transitions", agent._moment()) as writer:
            write_transitions(writer, replay)

    def write_pickle(file: Any) -> None:
        OffPolicyAlgorithm.save_replay_buffer(agent, file)

    save, suffix = (write, "npz") if is_plain(replay) else (write_pickle, "pkl")
    if not isinstance(path, str | pathlib.Path):
        save(path)
        return
    with replaced_file(path, suffix) as file:
        save(file)


def load_replay(
    agent: Any,
    path: str | pathlib.Path | io.BufferedIOBase,
    truncate_last_traj: bool = True,
    trusted: bool = False,
) -> None:
    """
    Load a replay.

    If it was not saved at the same moment as the agent, a warning says so, and new episodes begin.

    :param agent: that learns from it
    :param path: file
    :param truncate_last_traj: as in SB3, for HerReplayBuffer only
    :param trusted: also read a pickle of SB3, which runs whatever code its author has put in
    :raises ValueError: for a file that holds something else, or is damaged; the agent stays as it
        was
    """

    def check(what: Mapping[str, Any]) -> None:
        for name, stored, own in [
            ("observations of", what["observation_space"], agent.observation_space),
            ("actions of", what["action_space"], agent.action_space),
            ("environments:", what["n_envs"], agent.n_envs),
        ]:
            if stored != own:
                raise FileError(f"{path} holds {name} {stored}, and this agent has {own}.")

    path = within(path, REPLAY)
    try:
        with reading(path, "transitions", "npz", "pkl") as reader:
            replay, moment = read_transitions(reader, agent.device, check), reader.moment
    except OtherFormat:
        if not trusted:
            raise FileError(
                f"{path} is a replay of SB3, which can run whatever code its author has put in. "
                "If you trust where it comes from, load it with trusted=True."
            ) from None
        OffPolicyAlgorithm.load_replay_buffer(agent, path, truncate_last_traj)
        return
    agent.replay_buffer = replay
    if not agent._is_of(moment):
        if agent.num_timesteps:  # of an agent that has not begun yet nobody expects to go on
            warnings.warn(
                f"{path} was not saved together with the agent: new episodes begin, with new "
                "random numbers; everything else continues.",
                stacklevel=3,
            )
        agent._named = None  # a save from now on belongs to no earlier one
        agent._begin_new_episodes()

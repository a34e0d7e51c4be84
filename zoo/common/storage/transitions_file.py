"""A replay of SB3 in a file: arrays that numpy reads, and JSON for what stands beside them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer

from dreamzoo.common.storage.container import Reader, Writer
from dreamzoo.common.storage.plain import from_json, to_json
from dreamzoo.common.storage.replay_file import blocks_of, member_name

#: Member with all but the transitions.
MEMBER = "transitions.json"
#: Classes that are nothing but their arrays and some numbers; others are SB3's pickles.
KINDS = {kind.__name__: kind for kind in (ReplayBuffer, DictReplayBuffer, NStepReplayBuffer)}
#: What the constructors take beside spaces and sizes.
_GIVEN = ("optimize_memory_usage", "handle_timeout_termination", "n_steps", "gamma")
_PARTS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def is_plain(replay: Any) -> bool:
    """Return whether a replay can be written without code."""
    return type(replay) in KINDS.values()


def write_transitions(writer: Writer, replay: ReplayBuffer) -> None:
    """
    Write a replay, where it lies and without a copy.

    :param writer: of the file
    :param replay: for which :func:`is_plain` is true
    """
    known = vars(replay)
    what = {
        "class": type(replay).__name__,
        "capacity": replay.buffer_size,
        "n_envs": replay.n_envs,
        "observation_space": replay.observation_space,
        "action_space": replay.action_space,
        "pos": replay.pos,
        "full": replay.full,
        "given": {name: known[name] for name in _GIVEN if name in known},
    }
    writer.write_json(MEMBER, to_json(what, "the replay"))
    for name, part in _arrays(replay).items():
        writer.write_array(member_name(name), part.dtype, part.shape, blocks_of(part))


def read_transitions(
    reader: Reader, device: Any, check: Callable[[Mapping[str, Any]], None]
) -> ReplayBuffer:
    """
    Read a replay into the memory that it is going to keep.

    :param reader: of the file
    :param device: where batches go
    :param check: raises what speaks against the spaces and the number of environments of the file,
        before memory is taken for them
    :raises ValueError: for a file that does not hold what it says
    """
    what = from_json(reader.read_json(MEMBER))
    check(what)
    capacity, n_envs, pos, full = (what[name] for name in ("capacity", "n_envs", "pos", "full"))
    numbers = type(capacity) is type(n_envs) is type(pos) is int and type(full) is bool
    if not numbers or n_envs < 1 or not 0 <= pos < capacity or not {*what["given"]} <= {*_GIVEN}:
        raise ValueError(f"its {n_envs} streams of {capacity} transitions are at {pos}")
    kind: Any = KINDS[what["class"]]
    spaces = what["observation_space"], what["action_space"]
    replay: ReplayBuffer = kind(capacity * n_envs, *spaces, device, n_envs, **what["given"])
    replay.device = device  # as it is, also where this machine has none
    replay.pos, replay.full = pos, full
    expected = _arrays(replay)
    names = {f"{member_name(name)}.npy" for name in expected}
    if names != {name for name in reader.names if name.endswith(".npy")}:
        raise ValueError(f"its arrays are not {sorted(expected)}")
    for name, memory in expected.items():
        reader.read_array(member_name(name), memory)
    return replay


def _arrays(replay: ReplayBuffer) -> dict[str, np.ndarray]:
    """List all that was written, by name, (rows, n_envs, ...)."""
    found: dict[str, np.ndarray] = {}
    for name in _PARTS:
        part: Any = vars(replay).get(name, {})  # where memory is saved there is none of the next
        found |= (
            {f"{name}.{k}": x for k, x in part.items()} if isinstance(part, dict) else {name: part}
        )
    # Where memory is saved, the observation behind the last transition is written, too.
    rows = replay.buffer_size if replay.full else replay.pos + replay.optimize_memory_usage
    return {name: part[: min(rows, replay.buffer_size)] for name, part in found.items()}

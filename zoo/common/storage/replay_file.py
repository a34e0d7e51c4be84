"""A replay in a file: arrays that numpy reads, and JSON for what stands beside them."""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import torch as th

from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.storage.container import Reader, Source, Writer, reading
from dreamzoo.common.storage.plain import from_json, to_json

#: Member with all but the records.
MEMBER = "replay.json"
#: Bytes that are copied from a device at a time.
BLOCK = 2**24
#: Streams that a file may name.
_MOST_STREAMS = 2**20


def write_replay(writer: Writer, replay: SequenceReplayBuffer) -> None:
    """
    Write a replay, where it lies and without a copy.

    :param writer: of the file
    :param replay: may lie on a device in part
    :raises NotPlainError: if a subclass keeps what cannot be written without code
    """
    what = {
        "capacity": replay.buffer_size,
        "n_envs": replay.n_envs,
        "observation_space": replay.observation_space,
        "action_space": replay.action_space,
        "latents": replay.latent_spec,
        "latents_on_host": replay.latents_on_host,
        "observations_on_device": replay.observations_on_device,
        "count": replay._count,
        "kept": {name: getattr(replay, name) for name in replay.kept},
    }
    writer.write_json(MEMBER, to_json(what, "the replay"))
    for name, part in replay.stored().items():
        dtype = part.dtype if isinstance(part, np.ndarray) else part[:0].cpu().numpy().dtype
        writer.write_array(member_name(name), dtype, tuple(part.shape), blocks_of(part))


def read_replay(
    reader: Reader,
    kind: type[SequenceReplayBuffer],
    arguments: Mapping[str, Any],
    check: Callable[[Mapping[str, Any]], None],
) -> SequenceReplayBuffer:
    """
    Read a replay into the memory that it is going to keep.

    :param reader: of the file
    :param kind: class of the replay
    :param arguments: of its constructor, of the agent's own
    :param check: raises what speaks against the spaces and latents of the file, before memory is
        taken for them
    :return: on the host, until it is told its device and placed
    :raises ValueError: for a file that does not hold what it says
    """
    what = from_json(reader.read_json(MEMBER))
    check(what)
    n_envs, count = what["n_envs"], what["count"]
    if not 1 <= n_envs <= _MOST_STREAMS or count.shape != (n_envs,) or count.min() < 0:
        raise ValueError(f"its {n_envs} streams have {count} records")
    replay = kind(
        what["capacity"] * n_envs,
        what["observation_space"],
        what["action_space"],
        device="cpu",
        n_envs=n_envs,
        **{**arguments, "latents": what["latents"], "observations_on_device": False},
    )
    _take_kept(replay, what["kept"])
    expected = replay.fill(count)
    names = {f"{member_name(name)}.npy" for name in expected}
    if names != {name for name in reader.names if name.endswith(".npy")}:
        raise ValueError(f"its arrays are not {sorted(expected)}")
    for name, memory in expected.items():
        reader.read_array(member_name(name), memory)
    _check_online(replay)
    replay.latents_on_host = bool(what["latents_on_host"])
    replay.observations_on_device = bool(what["observations_on_device"])
    return replay


def read_parts(path: Source, *names: str) -> dict[str, np.ndarray]:
    """
    Read some arrays of a replay, and nothing else.

    :param path: file
    :param names: of arrays of records, such as ``rewards``
    :return: these, (rows, n_envs, ...), and ``count``: how many were ever written, (n_envs,)
    :raises FileError: if it is damaged
    """
    with reading(path, "replay", "npz", "pkl") as reader:
        parts = {name: np.load(io.BytesIO(reader.read(f"{name}.npy"))) for name in names}
        return parts | {"count": from_json(reader.read_json(MEMBER))["count"]}


def _take_kept(replay: SequenceReplayBuffer, values: Mapping[str, Any]) -> None:
    if values.keys() != set(replay.kept):
        raise ValueError(f"it holds {sorted(values)}; expected {sorted(replay.kept)}")
    for name, value in values.items():
        own = getattr(replay, name)
        if own is not None and not _is_alike(value, own):
            raise ValueError(f"its {name} is {value!r}; expected one as {own!r}")
        setattr(replay, name, value)


def _is_alike(value: Any, own: Any) -> bool:
    if isinstance(own, np.ndarray) and isinstance(value, np.ndarray):
        return (value.dtype, value.shape) == (own.dtype, own.shape)
    return type(value) is type(own)


def _check_online(replay: SequenceReplayBuffer) -> None:
    for env, start in replay._online:
        if not (0 <= env < replay.n_envs and 0 <= start <= replay._count[env]):
            raise ValueError(f"it names a window at {start} of stream {env}, which is not there")


def member_name(name: str) -> str:
    """
    Name the member of an array; keys of observations may be anything.

    :param name: of the array
    """
    return quote(name, safe="")


def blocks_of(part: np.ndarray | th.Tensor) -> Iterator[np.ndarray]:
    """
    Cut what was written into blocks of rows; those of a device are copied one by one.

    :param part: contiguous
    """
    rows = max(BLOCK // max(part[:1].nbytes, 1), 1)
    for start in range(0, len(part), rows):
        block = part[start : start + rows]
        yield block if isinstance(block, np.ndarray) else block.cpu().numpy()

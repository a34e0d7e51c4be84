"""What it costs to save and load a replay, beside its bytes alone."""

import os
import pathlib
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo import DreamerV3
from dreamzoo.benchmark.synthetic import Synthetic

#: Bytes that are written and read at a time where nothing else is done.
BLOCK = 2**24
NAMES = ("write", "save", "read", "load")
#: Where Linux tells the memory of this process, and forgets its peak.
STATUS, CLEAR = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")


def make_agent(gigabytes: float) -> DreamerV3:
    """
    Make an agent whose replay is full of images that are noise.

    :param gigabytes: of the replay
    """
    settings: Any = dict(policy_kwargs=dict(size="debug"), device="cpu", seed=0)
    env = DummyVecEnv([lambda: Synthetic("image")])
    probe = DreamerV3("CnnPolicy", env, buffer_size=1_000, **settings)
    assert probe.replay_buffer is not None
    records = int(gigabytes * 1e9 / probe.replay_buffer.nbytes(1))
    agent = DreamerV3("CnnPolicy", env, buffer_size=records, **settings)
    assert agent.replay_buffer is not None
    rng = np.random.default_rng(0)
    for part in agent.replay_buffer.fill(np.array([records])).values():
        block = rng.integers(0, 2, min(BLOCK, part.nbytes), np.uint8)  # flags are among them
        flat = part.reshape(-1).view(np.uint8)
        for start in range(0, len(flat), BLOCK):
            flat[start : start + BLOCK] = block[: len(flat) - start]
    return agent


def measure_files(agent: DreamerV3, folder: pathlib.Path, cold: bool) -> dict[str, float]:
    """
    Save and load a replay once, and write and read its bytes.

    Both write to the disk, with fsync. Both read into memory that the process has not had before.

    :param agent: with a replay
    :param folder: on the disk that is measured
    :param cold: let the system forget what it knows of the file before it is read
    :return: seconds on the wall and of CPU, and bytes of memory that were taken beside what was
        there
    """
    assert agent.replay_buffer is not None
    plain, path = folder / "plain", folder / "replay.npz"
    stored = agent.replay_buffer.stored
    result: dict[str, float] = {}
    _time(result, "write", lambda: _write(plain, [np.asarray(x) for x in stored().values()]))
    with _peak(result, "save_bytes"):
        _time(result, "save", lambda: agent.save_replay_buffer(path))
    _cache(plain, cold)
    _time(result, "read", lambda: _read(plain))
    agent.replay_buffer = stored = None  # type: ignore[assignment]
    _cache(path, cold)
    with _peak(result, "load_bytes"):
        _time(result, "load", lambda: agent.load_replay_buffer(path))
    plain.unlink()
    path.unlink()
    return result


def compare(turns: list[dict[str, float]], nbytes: int) -> dict[str, Any]:
    """
    Compare what was measured in several turns.

    :param turns: of :func:`measure_files`
    :param nbytes: of the replay
    :return: medians: seconds, shares of the bytes' own time, and of the replay's memory beside what
        it takes itself
    """

    def median(values: list[float]) -> float:
        return round(statistics.median(values), 3)

    def medians(end: str) -> dict[str, float]:
        return {name: median([turn[name + end] for turn in turns]) for name in NAMES}

    shares = {
        f"{name}_per_{alone}": [round(turn[name] / turn[alone], 3) for turn in turns]
        for name, alone in (("save", "write"), ("load", "read"))
    }
    return {
        "seconds": medians(""),
        "cpu_seconds": medians("_cpu"),
        **{name: median(values) for name, values in shares.items()},
        "turns": shares,
        "save_memory": median([turn["save_bytes"] / nbytes for turn in turns]),
        "load_memory": median([turn["load_bytes"] / nbytes for turn in turns]),
    }


def _write(path: pathlib.Path, parts: list[np.ndarray]) -> None:
    with path.open("wb", buffering=0) as file:
        for part in parts:
            flat = memoryview(part.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
            for start in range(0, len(flat), BLOCK):
                file.write(flat[start : start + BLOCK])
        os.fsync(file.fileno())


def _read(path: pathlib.Path) -> memoryview:
    memory = memoryview(np.empty(path.stat().st_size, np.uint8))  # type: ignore[arg-type]
    with path.open("rb", buffering=0) as file:
        for start in range(0, len(memory), BLOCK):
            file.readinto(memory[start : start + BLOCK])
    return memory


def _cache(path: pathlib.Path, cold: bool) -> None:
    """Let a file be in the system's memory, or not."""
    with path.open("rb", buffering=0) as file:
        if cold:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return
        block = bytearray(BLOCK)
        while file.readinto(block):
            pass


def _time(result: dict[str, float], name: str, function: Callable[[], object]) -> None:
    """Note the seconds of a function on the wall, and of CPU, all threads together."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = function()
    result[name], result[f"{name}_cpu"] = time.perf_counter() - wall, time.process_time() - cpu
    del made  # to give memory back is no part of it


@contextmanager
def _peak(result: dict[str, float], name: str) -> Any:
    """Note how much more memory the process had at its peak than before, in bytes."""
    CLEAR.write_text("5")
    before = _memory("VmRSS")
    yield
    result[name] = _memory("VmHWM") - before


def _memory(name: str) -> int:
    return int(STATUS.read_text().split(f"{name}:")[1].split()[0]) * 1024

"""Replay buffers filled with streams whose every number says where it belongs."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium import spaces

from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.host_memory import physical_memory

LATENTS = {"deter": ((2,), np.float32), "stoch": ((3,), np.uint8)}


class Record(NamedTuple):
    """
    What a stream should hold at one place.

    :param obs: its number in the stream, plus 1000 for every environment before it
    :param action: chosen after it
    :param reward: of arriving there
    :param first: starts an episode
    :param last: ends one
    :param terminal: ends one for good
    """

    obs: float
    action: float
    reward: float
    first: bool
    last: bool
    terminal: bool


Streams = list[list[Record]]
MakeBuffer = Callable[..., SequenceReplayBuffer]
Fill = Callable[..., Streams]


def _make_buffer(
    capacity: int = 1000,
    n_envs: int = 1,
    batch_length: int = 8,
    latents: bool = True,
    **kwargs: Any,
) -> SequenceReplayBuffer:
    """Build a buffer of ``capacity`` records for every environment."""
    return SequenceReplayBuffer(
        capacity * n_envs,
        kwargs.pop("observation_space", spaces.Box(-np.inf, np.inf, (1,), np.float32)),
        kwargs.pop("action_space", spaces.Box(-1, 1, (1,), np.float32)),
        device="cpu",
        n_envs=n_envs,
        batch_length=batch_length,
        latents=LATENTS if latents else None,
        seed=0,
        **kwargs,
    )


def _fill(
    buffer: SequenceReplayBuffer,
    steps: int,
    lengths: Sequence[int | None] = (),
    timeout: bool = False,
) -> Streams:
    """
    Add steps whose numbers tell their place.

    :param buffer: empty
    :param steps: calls of ``add``
    :param lengths: steps of an episode, for every environment; None never ends
    :param timeout: episodes end by a time limit
    :return: what every stream should hold
    """
    n = buffer.n_envs
    lengths = list(lengths) or [None] * n
    streams: Streams = [[] for _ in range(n)]
    age, reward, first = [0] * n, [0.0] * n, [True] * n
    for _ in range(steps):
        here = [1000.0 * e + len(streams[e]) for e in range(n)]
        actions = [h + 0.25 for h in here]
        rewards = [h + 1.5 for h in here]
        done = []
        for e in range(n):
            age[e] += 1
            done.append(age[e] == lengths[e])
            streams[e].append(Record(here[e], actions[e], reward[e], first[e], False, False))
            reward[e], first[e] = (0.0 if done[e] else rewards[e]), done[e]
            if done[e]:
                age[e] = 0
                streams[e].append(Record(here[e] + 1, 0.0, rewards[e], False, True, not timeout))
        column = np.array(here, np.float32)[:, None]
        if buffer.latent_spec:
            deter, stoch = np.repeat(column, 2, 1), np.repeat(column % 200, 3, 1).astype(np.uint8)
            buffer.stage_latents({"deter": deter, "stoch": stoch})
        infos = [{"TimeLimit.truncated": timeout} for _ in range(n)]
        buffer.add(
            column,
            column + 1,
            np.array(actions, np.float32)[:, None],
            np.array(rewards),
            np.array(done),
            infos,
        )
    return streams


@pytest.fixture
def make_buffer() -> MakeBuffer:
    return _make_buffer


@pytest.fixture
def fill() -> Fill:
    return _fill


@pytest.fixture
def beyond_memory() -> int:
    """Four times the memory of this machine, in bytes, where it lets a process ask for that."""
    rule = Path("/proc/sys/vm/overcommit_memory")
    if sys.platform != "linux" or rule.read_text().strip() == "2":
        pytest.skip("the system refuses what it may not have")
    return 4 * physical_memory()

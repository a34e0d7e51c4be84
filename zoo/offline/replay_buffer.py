"""Replay buffers of SB3's agents as recordings."""

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from dreamzoo.common.recording import Episode, Recording, StoredEpisodes

#: Steps of all environments that are compared at a time.
BLOCK = 1024


def read_replay_buffer(buffer: ReplayBuffer) -> Recording:
    """
    Read what an agent of SB3 has collected, episode by episode.

    Example:
        >>> from dreamzoo.offline import read_replay_buffer
        >>> from stable_baselines3 import DQN
        >>> agent = DQN("MlpPolicy", "CartPole-v1", learning_starts=100, seed=0).learn(100)
        >>> recording = read_replay_buffer(agent.replay_buffer)
        >>> recording.steps
        100

    Streams of several environments follow each other. Where the ring is full, the oldest episode of
    each may lack its beginning. Where ``learn`` was called again and has reset the environment, an
    episode ends as at a time limit.

    :param buffer: SB3's ``ReplayBuffer`` or ``DictReplayBuffer``, filled by an agent, which stores
        Box actions in units of [-1, 1]
    :return: the recording, with the channels of images first
    :raises ValueError: for a buffer without transitions, and one with
        ``optimize_memory_usage=True``, which forgets the last observations of episodes
    """
    if not isinstance(buffer, ReplayBuffer) or not hasattr(buffer, "next_observations"):
        kept = getattr(buffer, "optimize_memory_usage", None)
        why = "it forgets the last observations of episodes (optimize_memory_usage=True)"
        raise ValueError(
            f"A {type(buffer).__name__} cannot be read: "
            f"{why if kept else 'expected a ReplayBuffer or DictReplayBuffer of SB3'}."
        )
    episodes = _Episodes(buffer)
    name = f"the {type(buffer).__name__}"
    return Recording(buffer.observation_space, buffer.action_space, episodes, name=name)


class _Part(NamedTuple):
    env: int
    rows: np.ndarray  # of the ring, in the order of time


class _Episodes(StoredEpisodes):
    def __init__(self, buffer: ReplayBuffer) -> None:
        self._buffer = buffer
        size = buffer.size()
        order = np.arange(size)
        if buffer.full:
            order = (order + buffer.pos) % size
        ends = (buffer.dones[order] != 0) | _breaks(buffer, order)
        self._parts = [
            _Part(env, rows)
            for env in range(buffer.n_envs)
            for rows in np.split(order, np.flatnonzero(ends[:, env]) + 1)
            if len(rows)
        ]

    def __len__(self) -> int:
        return len(self._parts)

    def length(self, index: int) -> int:
        return len(self._parts[index].rows)

    def __getitem__(self, index: Any) -> Any:
        buffer, (env, rows) = self._buffer, self._parts[index]

        def whole(part: np.ndarray, following: np.ndarray) -> np.ndarray:
            return np.concatenate([part[rows, env], following[rows[-1:], env]])

        observed: Any = (
            {k: whole(x, buffer.next_observations[k]) for k, x in buffer.observations.items()}
            if isinstance(buffer, DictReplayBuffer)
            else whole(buffer.observations, buffer.next_observations)
        )
        last = rows[-1], env
        return Episode(
            observed,
            _as_sent(buffer.action_space, buffer.actions[rows, env]),
            buffer.rewards[rows, env],
            bool(buffer.dones[last]) and not bool(buffer.timeouts[last]),
        )


def _breaks(buffer: ReplayBuffer, order: np.ndarray) -> np.ndarray:
    """
    Find the steps behind which a stream goes on elsewhere than where they have led.

    :param order: rows of the ring in the order of time, (N,)
    :return: bool, (N, n_envs)
    """
    found = np.zeros((len(order), buffer.n_envs), bool)
    parts: list[tuple[np.ndarray, np.ndarray]] = (
        [(x, buffer.next_observations[k]) for k, x in buffer.observations.items()]
        if isinstance(buffer, DictReplayBuffer)
        else [(buffer.observations, buffer.next_observations)]
    )
    for first in range(0, len(order) - 1, BLOCK):
        rows = order[first : first + BLOCK + 1]
        for seen, following in parts:
            one, other = following[rows[:-1]], seen[rows[1:]]
            differ = (one != other) & ((one == one) | (other == other))  # NaN is what it was
            n = len(differ)
            found[first : first + n] |= differ.reshape(n, buffer.n_envs, -1).any(-1)
    return found


def _as_sent(space: spaces.Space[Any], stored: np.ndarray) -> np.ndarray:
    """Turn what SB3 stores into actions of the environment."""
    actions = stored.reshape(len(stored), *(space.shape or ()))
    if isinstance(space, spaces.Box):
        scaled = space.low + (0.5 * (actions + 1.0)) * (space.high - space.low)
        return np.clip(scaled, space.low, space.high).astype(space.dtype)
    return actions

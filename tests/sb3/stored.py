"""What agents keep of their steps to learn from: in a replay, or in one window after the other."""

from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from torch.utils._pytree import tree_leaves

from dreamzoo.common.rollout_window import RolloutWindow
from tests.resuming import has_replay


class Records(NamedTuple):
    """
    What is kept of one environment; the last observation of an episode has a record of its own.

    :param observations: (n, ...)
    :param rewards: that came with them, (n,); NaN where nobody keeps it
    :param first: bool, starts of episodes, (n,)
    :param last: bool, ends that the environment has told, (n,)
    """

    observations: np.ndarray
    rewards: np.ndarray
    first: np.ndarray
    last: np.ndarray


def numbers(agent: Any) -> list[np.ndarray]:
    """Return all that an agent keeps at the moment: its replay, or its last window."""
    if has_replay(agent):
        return list(agent.replay_buffer._arrays.values())
    window = last_window(agent)
    return [np.asarray(x) for x in tree_leaves(window._replace(start=None))]


def last_window(agent: Any) -> RolloutWindow:
    """Return the window that an agent without a replay has collected last."""
    return agent.rollout_buffer.window("cpu")


def actions_of(agent: Any) -> np.ndarray:
    """Return the actions of the first environment in a replay, or in the last window, (n, dims)."""
    if has_replay(agent):
        return agent.replay_buffer.actions[: agent.replay_buffer.size(), 0]
    return last_window(agent).actions[0].numpy()


def n_steps(agent: Any) -> int:
    """Return how many steps of the VecEnv are kept in a replay, or in the window begun last."""
    return agent.replay_buffer.size() if has_replay(agent) else len(agent.rollout_buffer)


class Windows(BaseCallback):
    """Keeps every window that an agent without a replay learns from."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[RolloutWindow] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if not has_replay(self.model):
            self.kept.append(self.model.rollout_buffer.window(self.model.device))  # type: ignore[attr-defined]


def records(agent: Any, windows: Windows, env: int = 0) -> Records:
    """
    Return what an agent has been given to learn from, of one environment.

    :param agent: with a replay or without one
    :param windows: called back by all of its trainings
    :param env: number of the environment
    """
    if has_replay(agent):
        buffer = agent.replay_buffer
        names = "observations", "rewards", "episode_starts", "dones"
        return Records(*(getattr(buffer, name)[: buffer.size(), env].copy() for name in names))
    found: list[tuple[Any, ...]] = []
    window: Any
    reward = np.nan  # that the next observation comes with
    for window in windows.kept:
        ends = {(row, t): k for k, (row, t) in enumerate(zip(*window.endings[:2], strict=True))}
        for t in range(window.rewards.shape[1]):
            first = bool(window.is_first[env, t])
            found.append((window.observations[env, t], 0.0 if first else reward, first, False))
            reward = float(window.rewards[env, t])
            if (env, t) in ends:
                last = window.endings.observations[ends[env, t]]
                found.append((last, reward, False, True))
    return Records(*(np.array([np.asarray(x) for x in part]) for part in zip(*found, strict=True)))

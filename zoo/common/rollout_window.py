"""Steps of all environments since the last update, with the memory that they began with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from torch import Tensor

from dreamzoo.nn.observations import Observation
from dreamzoo.nn.state import State


class Endings(NamedTuple):
    """
    The last observations of K episodes, on which nothing was done, in the order of time.

    :param rows: environments, on the host, (K,)
    :param steps: that led to them, on the host, (K,)
    :param observations: (K, ...), one tensor or one for every key
    :param is_terminal: bool, whether the episode was over for good, not only its time, (K,)
    """

    rows: np.ndarray
    steps: np.ndarray
    observations: Observation
    is_terminal: Tensor


class Sequences(NamedTuple):
    """
    Steps of n streams in the order of a replay: each with the action that led there.

    :param observations: (n, T, ...), one tensor or one for every key
    :param actions: that led to these, in replay form, zero where there was none, (n, T, dims)
    :param rewards: of arriving there, (n, T)
    :param is_first: bool, first step of an episode, (n, T)
    """

    observations: Observation
    actions: Tensor
    rewards: Tensor
    is_first: Tensor

    def rows(self, index: Tensor) -> "Sequences":
        """
        Take some of the streams.

        :param index: which, int64
        """
        obs = self.observations
        seen = {key: x[index] for key, x in obs.items()} if isinstance(obs, dict) else obs[index]
        return Sequences(seen, *(part[index] for part in self[1:]))

    def part(self, rows: Tensor, start: Tensor, length: int) -> "Sequences":
        """
        Cut out shorter sequences.

        :param rows: of which streams, int64 (B,)
        :param start: their first steps, int64 (B,)
        :param length: steps of each
        """
        steps = start[:, None] + th.arange(length, device=start.device)

        def cut(part: Tensor) -> Tensor:
            return part[rows[:, None], steps]

        obs = self.observations
        seen = {key: cut(x) for key, x in obs.items()} if isinstance(obs, dict) else cut(obs)
        return Sequences(seen, *map(cut, self[1:]))


class RolloutWindow(NamedTuple):
    """
    T steps of n environments, in the order in which the policy went through them.

    A row may contain several episodes. To go through it again, begin with ``start``, and forget
    where ``is_first`` says so.

    :param observations: what was acted on, (n, T, ...), one tensor or one for every key
    :param actions: chosen there, in replay form, (n, T, dims)
    :param rewards: that followed, (n, T)
    :param is_first: bool, first step of an episode, (n, T)
    :param is_last: bool, step after which an episode ended, for whatever reason, (n, T)
    :param bootstrap: value of what followed a step where the window cannot see it, that is after
        time limits and after the last step of the window; zero elsewhere, (n, T)
    :param notes: what the policy has noted of steps, such as the noise that it drew, (n, T, ...);
        None if it notes nothing
    :param endings: last observations of the episodes that ended
    :param start: memory before the first step, (n, ...)
    """

    observations: Observation
    actions: Tensor
    rewards: Tensor
    is_first: Tensor
    is_last: Tensor
    bootstrap: Tensor
    notes: Tensor | None
    endings: Endings
    start: State

    def all_observations(self) -> Observation:
        """Return those of all steps, row by row, then the last of episodes, (n * T + K, ...)."""
        steps, ends = self.observations, self.endings.observations
        if isinstance(steps, dict):
            assert isinstance(ends, dict)
            return {key: th.cat([x.flatten(0, 1), ends[key]]) for key, x in steps.items()}
        assert isinstance(ends, Tensor)
        return th.cat([steps.flatten(0, 1), ends])

    def step(self, t: int) -> tuple[Observation, Tensor]:
        """Return observations of one step, (n, ...), and whether they begin episodes, (n,)."""
        obs = self.observations
        seen = {key: x[:, t] for key, x in obs.items()} if isinstance(obs, dict) else obs[:, t]
        return seen, self.is_first[:, t]

    def sequences(self) -> Sequences:
        """Return the same steps as a replay has them; what led to the first is left out."""

        def arrived(part: Tensor) -> Tensor:
            moved = th.cat([th.zeros_like(part[:, :1]), part[:, :-1]], dim=1)
            first = self.is_first.view(*self.is_first.shape, *[1] * (part.dim() - 2))
            return moved.masked_fill(first, 0)

        actions, rewards = arrived(self.actions), arrived(self.rewards)
        return Sequences(self.observations, actions, rewards, self.is_first)


class WindowRecorder:
    """Collects the steps of one window after the other."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, start: State = None) -> None:
        """
        Begin a window.

        :param start: memory before its first step
        """
        self._start = start
        self._steps: list[tuple[Any, ...]] = []
        self._notes: list[Tensor | None] = []
        self._endings: list[tuple[int, int, Any, bool]] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        action: np.ndarray,
        reward: np.ndarray,
        is_first: np.ndarray,
        is_last: np.ndarray,
        bootstrap: np.ndarray,
        note: Tensor | None = None,
    ) -> None:
        """Store a step of all environments, (n, ...) each, see :class:`RolloutWindow`."""
        step = observation, action, np.float32(reward), is_first, is_last, np.float32(bootstrap)
        self._steps.append(step)
        self._notes.append(note)

    def end(self, row: int, observation: Any, is_terminal: bool) -> None:
        """
        Store the last observation of an episode that the newest step has ended.

        :param row: environment
        :param observation: of the space, or one for every key
        :param is_terminal: whether the episode is over for good
        """
        self._endings.append((row, len(self) - 1, observation, is_terminal))

    def see_beyond(self, values: np.ndarray, is_end: bool = False) -> None:
        """
        Add what is expected to follow the last step.

        :param values: zero where an episode has ended with it, (n,)
        :param is_end: whether whatever follows belongs to other episodes
        """
        if not self._steps:
            return
        *step, is_last, bootstrap = self._steps[-1]
        ended = np.ones_like(is_last) if is_end else is_last
        self._steps[-1] = (*step, ended, np.where(is_last, bootstrap, np.float32(values)))

    def window(self, device: th.device) -> RolloutWindow:
        """
        Return all steps since the last :meth:`reset`.

        :param device: where the window is wanted
        """
        observations, *rest = zip(*self._steps, strict=True)
        seen = join(observations, 1, device)
        actions, rewards, is_first, is_last, bootstrap = (
            th.as_tensor(np.stack(part, axis=1), device=device) for part in rest
        )
        notes = [note for note in self._notes if note is not None]
        return RolloutWindow(
            seen,
            actions,
            rewards,
            is_first,
            is_last,
            bootstrap,
            th.stack(notes, dim=1).to(device) if notes else None,
            self._last(observations[0], device),
            self._start,
        )

    def _last(self, observations: Any, device: th.device) -> Endings:
        """Return the last observations of episodes, of which there may be none."""
        like = (
            {k: x[0] for k, x in observations.items()}
            if isinstance(observations, dict)
            else (observations[0])
        )
        # One too many, taken away again: of none nobody knew shape and dtype.
        ends = [*self._endings, (0, 0, like, False)]
        rows, steps, last, is_terminal = zip(*ends, strict=True)
        seen = join(last, 0, device)
        kept = {k: x[:-1] for k, x in seen.items()} if isinstance(seen, dict) else seen[:-1]
        return Endings(
            np.array(rows[:-1], np.int64),
            np.array(steps[:-1], np.int64),
            kept,
            th.tensor(is_terminal[:-1], dtype=th.bool, device=device),
        )


def join(observations: Sequence[Any], axis: int, device: th.device) -> Observation:
    """
    Stack observations of the host along a new axis.

    :param observations: arrays, or dicts of arrays
    :param axis: where the new axis comes
    :param device: where the result is wanted
    """
    first = observations[0]
    if isinstance(first, dict):
        return {key: join([x[key] for x in observations], axis, device) for key in first}  # type: ignore[misc]
    return th.as_tensor(np.stack(observations, axis=axis), device=device)

"""Replay of whole experience streams, sampled as windows."""

import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from dreamzoo.common.record_store import RecordSpec, Values
from dreamzoo.common.replay_storage import OBSERVATIONS, ReplayStorage, by_key
from dreamzoo.nn.checks import to_flags, to_rewards
from dreamzoo.nn.fast.parcels import Part, Rows, ship
from dreamzoo.nn.observations import Observation


class Windows(NamedTuple):
    """
    Where the trained records of a batch lie.

    :param env: stream of every row, (B,)
    :param start: number, counted from the beginning of that stream, of the first record, (B,)
    """

    env: np.ndarray
    start: np.ndarray


class SequenceBatch(NamedTuple):
    """
    Windows of B streams and T steps.

    Time: ``actions[:, t]`` led *to* ``observations[:, t]``; reward and flags at t belong to that
    same observation.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> agent = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"), seed=0)
        >>> batch = agent.learn(60).replay_buffer.sample(2, batch_length=8)
        >>> batch.observations.shape, batch.rewards.shape
        (torch.Size([2, 8, 4]), torch.Size([2, 8]))

    :param observations: (B, T, ...), one tensor or one for every key
    :param actions: actions in replay form, zero where there was none, (B, T, A)
    :param rewards: float, (B, T)
    :param is_first: bool, first record of an episode, (B, T)
    :param is_last: bool, last record of an episode, for whatever reason, (B, T)
    :param is_terminal: bool, true termination, never a time limit, (B, T)
    :param latents: stored latent of the record before the window, (B, ...); empty if not stored
    :param windows: where the records lie, for :meth:`SequenceReplayBuffer.write_latents`
    """

    observations: Observation
    actions: th.Tensor
    rewards: th.Tensor
    is_first: th.Tensor
    is_last: th.Tensor
    is_terminal: th.Tensor
    latents: dict[str, th.Tensor]
    windows: Windows

    def rows(self, index: th.Tensor) -> "SequenceBatch":
        """
        Take some of the rows.

        :param index: which, int64
        """
        host, obs = index.cpu().numpy(), self.observations
        return SequenceBatch(
            observations={k: v[index] for k, v in obs.items()}
            if isinstance(obs, dict)
            else obs[index],
            actions=self.actions[index],
            rewards=self.rewards[index],
            is_first=self.is_first[index],
            is_last=self.is_last[index],
            is_terminal=self.is_terminal[index],
            latents={k: v[index] for k, v in self.latents.items()},
            windows=Windows(self.windows.env[host], self.windows.start[host]),
        )


class SequenceReplayBuffer(ReplayStorage):
    """
    Ring of records for every environment, sampled as windows of consecutive records.

    A record is one observation with the reward and flags of arriving there and the action chosen
    after it (reference replay.py). An episode of n steps makes n + 1 records: the
    terminal observation, which a VecEnv delivers in ``infos``, is a record of its own, with
    action zero. Every observation is stored once, in its own dtype; the arrays are allocated
    lazily by the operating system, so an empty buffer costs nothing; what lies on an accelerator is
    allocated at once.

    Windows may run across episodes, never across the write head. With stored latents, a window
    has one record more than is trained: its latent and action start the filtering.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.common.buffers import SequenceReplayBuffer
        >>> from gymnasium import spaces
        >>> box = spaces.Box(-1, 1, (3,))
        >>> replay = SequenceReplayBuffer(100, box, box, device="cpu", batch_length=4, seed=0)
        >>> for _ in range(10):
        ...     obs, action = np.zeros((1, 3)), np.zeros((1, 3))
        ...     replay.add(obs, obs, action, np.ones(1), np.zeros(1, bool), [{}])
        >>> replay.sample(2).observations.shape
        torch.Size([2, 4, 3])

    :param buffer_size: number of records of all environments together
    :param observation_space: may be a Dict
    :param action_space: actions are stored as the agent uses them: Box actions in [-1, 1] units
    :param device: where batches go
    :param n_envs: number of streams
    :param optimize_memory_usage: accepted as in SB3; this buffer stores observations once anyhow
    :param handle_timeout_termination: accepted as in SB3; time limits never count as termination
    :param batch_length: trained steps T of a window
    :param latents: what to store of the agent's latent with every record; None stores nothing
        and starts every window as if an episode started there
    :param latents_on_host: keep latents in the host's memory; False keeps them where batches go, if
        they take less than half of the memory that is free there
    :param observations_on_device: keep observations where batches go, so that no batch is copied
        there; a VecNormalize has them brought back for every batch
    :param seed: of the sampling
    :raises ValueError: where sizes make no sense
    :raises MemoryError: where the operating system refuses the arrays, or the device has no room
    """

    #: What a file keeps beside the records: plain values, of subclasses also their own.
    kept: ClassVar[tuple[str, ...]] = (
        *("batch_length", "rng", "_next_reward", "_next_first", "_online"),
        *("optimize_memory_usage", "handle_timeout_termination"),
    )

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        batch_length: int = 64,
        latents: RecordSpec | None = None,
        latents_on_host: bool = False,
        observations_on_device: bool = False,
        seed: int | None = None,
    ) -> None:
        if buffer_size < 1 or batch_length < 1:
            raise ValueError(f"{buffer_size=} and {batch_length=} must be at least 1")
        super().__init__(
            buffer_size,
            observation_space,
            action_space,
            device,
            n_envs,
            latents,
            latents_on_host=latents_on_host,
            observations_on_device=observations_on_device,
        )
        self.optimize_memory_usage = optimize_memory_usage
        self.handle_timeout_termination = handle_timeout_termination
        self.batch_length = batch_length
        self._warn_of_short_streams()
        self.rng = np.random.default_rng(seed)
        self._staged: Values = {}
        self._unknown: Values = {}  # of what is stored, see recorded()

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._next_reward = np.zeros(self.n_envs, np.float32)
        self._next_first = np.ones(self.n_envs, bool)
        self._online: deque[tuple[int, int]] = deque()

    # ------------------------------------------------------------------ writing

    def start_new_episodes(self) -> None:
        """Mark that all environments were reset without a done: the streams break here."""
        self._next_first[:] = True
        self._next_reward[:] = 0.0

    def stage_latents(self, latents: Values) -> None:
        """
        Hand over the latents of the observations that the next :meth:`add` stores.

        :param latents: (n_envs, ...) each, names as in the constructor
        """
        self._staged = dict(latents)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """
        Store what others have lived: windows are not queued as new, and latents are not known.

        Unknown latents are NaN, until the windows of an update bring theirs.
        """
        queued, self._online = self._online, deque()
        self._unknown = {
            name: np.full((self.n_envs, *shape), np.nan if np.dtype(kind).kind == "f" else 0, kind)
            for name, (shape, kind) in self.latent_spec.items()
        }
        try:
            yield
        finally:
            self._online, self._unknown = queued, {}

    def add(
        self,
        obs: np.ndarray | dict[str, np.ndarray],
        next_obs: np.ndarray | dict[str, np.ndarray],
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """
        Store one step of every environment.

        :param obs: what the action was chosen for, (n_envs, ...)
        :param next_obs: what it led to, the terminal observation where ``done``; stored only
            there, elsewhere it comes back as the next call's ``obs``
        :param action: (n_envs, A)
        :param reward: (n_envs,)
        :param done: end of episode, (n_envs,)
        :param infos: ``TimeLimit.truncated`` tells a time limit from a termination
        """
        done = to_flags(done, self.n_envs, "dones")
        reward = to_rewards(reward, self.n_envs)
        timeout = np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos])
        everyone = np.arange(self.n_envs)
        record = {
            **self._flatten_obs(obs),
            "actions": np.asarray(action).reshape(self.n_envs, self.action_dim),
            "rewards": self._next_reward,
            "episode_starts": self._next_first,
        }
        self._append(everyone, record, self._staged or self._unknown)
        self._staged = {}
        self._next_reward[:] = np.where(done, 0.0, reward)
        self._next_first[:] = done
        if done.any():
            ended = np.flatnonzero(done)
            record = {k: v[ended] for k, v in self._flatten_obs(next_obs).items()}
            record["rewards"] = reward[ended]
            record["dones"], record["timeouts"] = done[ended], timeout[ended]
            self._append(ended, record, {})

    def _flatten_obs(self, obs: np.ndarray | dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if isinstance(self.observation_space, spaces.Dict):
            assert isinstance(obs, dict)
            parts = {f"{OBSERVATIONS}.{key}": obs[key] for key in self.observation_space.spaces}
        else:
            parts = {OBSERVATIONS: obs}  # type: ignore[dict-item]
        layout, flat = self._layout(), {}
        for name, part in parts.items():
            array, shape = np.asarray(part), layout[name][0]
            if array.ndim == 1 + len(shape) and array.shape[1:] != shape:
                raise ValueError(
                    f"{name} have the shape {array.shape[1:]}; expected {shape}, as in the "
                    "observation space."
                )
            if array.dtype.kind == "f" and np.dtype(layout[name][1]).kind in "iu":
                array = np.rint(array)  # a VecNormalize takes back what it did, up to rounding
            flat[name] = array.reshape(-1, *shape)
        return flat

    def _append(self, envs: np.ndarray, record: dict[str, np.ndarray], latents: Values) -> None:
        """Write one record to each of the streams ``envs``; what is not given becomes zero."""
        rows = self._count[envs] % self.buffer_size
        for name, array in self._arrays.items():
            array[rows, envs] = record.get(name, 0)
        if self._observations is not None:
            self._observations.put(rows * self.n_envs + envs, record)
        self._latents.put(rows * self.n_envs + envs, latents)
        self._queue_online(envs)
        self._count[envs] += 1
        longest = int(self._count.max())
        self.pos, self.full = longest % self.buffer_size, self.size() >= self.buffer_size

    def _queue_online(self, envs: np.ndarray) -> None:
        """Queue the window that ends with the record just written: each record once, promptly."""
        window = self._window_length()
        for env in envs:
            last = int(self._count[env])
            if last % window == 0 and last >= window - 1:
                self._online.append((int(env), last - window + 1))
        while self._online and self._is_overwritten(*self._online[0]):
            self._online.popleft()  # nobody has asked for it

    def write_latents(self, windows: Windows, latents: Values) -> None:
        """
        Refresh stored latents with those of the newest filtering.

        Where rows overlap, the later row wins. Records overwritten meanwhile are skipped.

        :param windows: of the batch that was filtered
        :param latents: (B, T, ...) each
        """
        length = next(iter(latents.values())).shape[1]
        index = (windows.start[:, None] + np.arange(length)).ravel()  # (B * T,)
        env = windows.env.repeat(length)
        record = index % self.buffer_size * self.n_envs + env
        # The first of a reversed list is the last: writing one record twice has no order on a GPU.
        kept = len(record) - 1 - np.unique(record[::-1], return_index=True)[1]
        kept = kept[index[kept] >= self._count[env[kept]] - self.buffer_size]
        rows = {name: th.as_tensor(x).flatten(0, 1) for name, x in latents.items()}
        where = ship({"kept": kept, "records": record[kept]}, next(iter(rows.values())).device)
        self._latents.put(where["records"], {k: x[where["kept"]] for k, x in rows.items()})

    # ------------------------------------------------------------------ sampling

    def set_batch_length(self, batch_length: int) -> None:
        """
        Sample windows of another length from now on; those queued as new are forgotten.

        :param batch_length: trained steps T
        """
        if batch_length != self.batch_length:
            self.batch_length = batch_length
            self._warn_of_short_streams()
            self._online.clear()

    def _warn_of_short_streams(self) -> None:
        if self.batch_length > self.buffer_size:
            warnings.warn(
                f"batch_length={self.batch_length}, but there is room for {self.buffer_size} "
                f"records of each of {self.n_envs} environments: no window will be longer. "
                f"Expected buffer_size={self.batch_length * self.n_envs} at least, or a smaller "
                "batch_length.",
                stacklevel=3,
            )

    def _window_length(self) -> int:
        return self.batch_length + (1 if self.latent_spec else 0)

    def n_windows(self, length: int | None = None) -> int:
        """
        Count the start positions of complete windows.

        :param length: records of a window; default: trained steps and context
        """
        stored = np.minimum(self._count, self.buffer_size)
        return int(np.maximum(stored - (length or self._window_length()) + 1, 0).sum())

    def longest_window(self) -> int:
        """Return the trained steps T of the longest window that :meth:`sample` can draw."""
        stored = int(np.minimum(self._count, self.buffer_size).max())
        context = 1 if self.latent_spec and stored > 1 else 0
        return min(self.batch_length, stored - context)

    def sample(  # type: ignore[override]
        self,
        batch_size: int,
        env: VecNormalize | None = None,
        batch_length: int | None = None,
        *,
        online: bool = True,
        rng: np.random.Generator | None = None,
    ) -> SequenceBatch:
        """
        Draw windows: first those queued as new, then uniformly over all start positions.

        A stream that is still short gives shorter windows, so that tiny buffers work.

        :param batch_size: rows B
        :param env: normalizes observations and rewards on their way out, if given
        :param batch_length: trained steps T; default: the buffer's
        :param online: take queued windows; False (reports) leaves the queue untouched
        :param rng: chooses instead of the buffer's own stream, so that a report does not change
            what training draws next
        :raises ValueError: if nothing was stored yet
        """
        stored = np.minimum(self._count, self.buffer_size)
        if not stored.max():
            raise ValueError("The replay buffer is empty: collect experience before sampling.")
        context = 1 if self.latent_spec and stored.max() > 1 else 0
        wanted = (batch_length or self.batch_length) + context
        length = int(min(wanted, stored.max()))
        queued = self._pop_online(batch_size) if online and length == self._window_length() else []
        envs, starts = self._draw(batch_size - len(queued), length, stored, rng or self.rng)
        if queued:
            envs = np.concatenate([[env_ for env_, _ in queued], envs])
            starts = np.concatenate([[start for _, start in queued], starts])
        return self._gather(envs, starts, length, context, env)

    def _pop_online(self, n: int) -> list[tuple[int, int]]:
        popped: list[tuple[int, int]] = []
        while self._online and len(popped) < n:
            env, start = self._online.popleft()
            if not self._is_overwritten(env, start):
                popped.append((env, start))
        return popped

    def _is_overwritten(self, env: int, start: int) -> bool:
        return start < self._count[env] - self.buffer_size

    def _draw(
        self, n: int, length: int, stored: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw streams and first records, every complete window with the same probability."""
        items = np.maximum(stored - length + 1, 0)
        edges = np.cumsum(items)
        draw = rng.integers(edges[-1], size=n)
        envs = np.searchsorted(edges, draw, side="right")
        oldest = self._count[envs] - stored[envs]
        return envs, oldest + draw - (edges - items)[envs]

    def _gather(
        self,
        envs: np.ndarray,
        starts: np.ndarray,
        length: int,
        context: int,
        vec_normalize: VecNormalize | None,
    ) -> SequenceBatch:
        rows = (starts[:, None] + np.arange(length)) % self.buffer_size  # (B, L)
        flat = rows * self.n_envs + envs[:, None]
        first, last = self._take("episode_starts", flat), self._take("dones", flat)
        terminal = last & ~self._take("timeouts", flat)
        # An episode may be cut without a done, by a reset or a restart.
        last[:, :-1] |= first[:, 1:]
        previous = np.zeros_like(actions := self._take("actions", flat))
        previous[:, 1:] = actions[:, :-1]
        previous[first] = 0  # at a reset there was no action
        if not context:
            first[:, 0] = True
        rewards = self._normalize_reward(self._take("rewards", flat), vec_normalize)
        trained, device = slice(context, None), th.device(self.device)
        flags = {
            "is_first": first[:, trained],
            "is_last": last[:, trained],
            "is_terminal": terminal[:, trained],
        }
        numbers = {
            "actions": previous[:, trained],
            "rewards": rewards[:, trained].astype(np.float32),
        }
        # What lies on the device already is read there.
        seen = self._observation_parts(flat[:, trained], vec_normalize)
        away = self._latents.device.type != device.type
        before = self._latents.rows(flat[:, 0]) if context and away else {}
        there = ship({**seen, **before, **numbers, **flags, "records": flat}, device)
        observations = {name: there[name] for name in seen}
        if not seen:
            assert self._observations is not None
            observations = self._observations.get(there["records"][:, trained], device)
        latents = {name: there[name] for name in before}
        if context and not away:
            latents = self._latents.get(there["records"][:, 0], device)
        return SequenceBatch(
            by_key(observations),
            **{name: there[name] for name in (*numbers, *flags)},
            latents=latents,
            windows=Windows(envs, starts + context),
        )

    def _observation_parts(
        self, records: np.ndarray, vec_normalize: VecNormalize | None
    ) -> dict[str, Part]:
        """Return observations of records (B, T) that come from the host, by the storage's names."""
        if self._observations is not None:
            if vec_normalize is None:
                return {}
            found = self._observations.get(records, th.device(self.device))
            parts = {name: x.cpu().numpy() for name, x in found.items()}
        else:
            names = [name for name in self._arrays if name.startswith(OBSERVATIONS)]
            arrays = {name: self._arrays[name] for name in names}
            rows = {k: Rows(x.reshape(-1, *x.shape[2:]), records) for k, x in arrays.items()}
            if vec_normalize is None:
                return {**rows}
            parts = {name: x.gather() for name, x in rows.items()}
        normalized: Any = self._normalize_obs(by_key(parts), vec_normalize)
        if not isinstance(normalized, dict):
            return {OBSERVATIONS: normalized}
        return {f"{OBSERVATIONS}.{key}": x for key, x in normalized.items()}

"""What the oracles of all agents share: streams of plain records, and draws that are all alike."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import configure
from torch import Tensor

from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm

Obs = dict[str, np.ndarray]
Weights = dict[str, Tensor]


class Record:
    """
    One observation of a stream with what belongs to it.

    :param obs: parts by name
    :param reward: of arriving here
    :param first: starts an episode
    :param last: ends one, for whatever reason
    :param terminal: ends one for good
    :param action: chosen after it, in replay form
    :param latent: stored deterministic state and class of every latent; empty if not stored
    """

    def __init__(
        self,
        obs: Obs,
        reward: float,
        first: bool,
        last: bool,
        terminal: bool,
        action: np.ndarray,
        latent: tuple[np.ndarray, ...],
    ) -> None:
        self.obs, self.reward = obs, reward
        self.first, self.last, self.terminal = first, last, terminal
        self.action, self.latent = action, latent


class Row(NamedTuple):
    """
    What one row of a batch trains on.

    :param before: the record before, whose stored latent it starts from; None: it starts from zero
    :param records: T
    """

    before: Record | None
    records: list[Record]

    def is_first(self, t: int) -> bool:
        return self.records[t].first or (t == 0 and self.before is None)

    def is_last(self, t: int) -> bool:
        """An episode may have been cut without a done."""
        cut = t + 1 < len(self.records) and self.records[t + 1].first
        return self.records[t].last or cut

    def action_before(self, t: int) -> np.ndarray:
        """Action that led to step t, zero where an episode starts."""
        before = self.records[t - 1] if t else self.before
        assert before is not None
        return before.action


class Streams:
    """
    Fill an agent's replay with random records, and remember them.

    Episodes have about four steps and end by termination or time limit; sometimes all are cut
    without a done, as by a reset.

    :param agent: with an empty replay
    :param steps: steps of every environment
    :param seed: of everything random
    """

    def __init__(self, agent: WorldModelAlgorithm, steps: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.space, self.actions = agent.observation_space, agent.action_space
        assert agent.replay_buffer is not None
        self.buffer, n = agent.replay_buffer, agent.n_envs
        self.records: list[list[Record]] = [[] for _ in range(n)]
        reward, first = [0.0] * n, [True] * n
        for step in range(steps):
            if step and self.rng.random() < 0.1:
                self.buffer.start_new_episodes()
                reward, first = [0.0] * n, [True] * n
            here, there = ([self._observe() for _ in range(n)] for _ in range(2))
            actions = [self._act() for _ in range(n)]
            rewards = [float(np.float32(self.rng.normal())) for _ in range(n)]
            done = [bool(self.rng.random() < 0.2) for _ in range(n)]
            timeout = [bool(self.rng.random() < 0.5) for _ in range(n)]
            latents = [self._latent() for _ in range(n)]
            for e, stream in enumerate(self.records):
                record = Record(here[e], reward[e], first[e], False, False, actions[e], latents[e])
                stream.append(record)
                if done[e]:
                    nothing = np.zeros_like(actions[e])
                    unknown = tuple(np.zeros_like(x) for x in latents[e])
                    ends = not timeout[e]
                    stream.append(Record(there[e], rewards[e], False, True, ends, nothing, unknown))
                reward[e], first[e] = (0.0 if done[e] else rewards[e]), done[e]
            names = list(self.buffer.latent_spec)
            self.buffer.stage_latents(
                {k: np.stack([x[i] for x in latents]) for i, k in enumerate(names)}
            )
            infos = [{"TimeLimit.truncated": d and t} for d, t in zip(done, timeout, strict=True)]
            arrays = np.stack(actions), np.array(rewards, np.float32), np.array(done)
            self.buffer.add(self._together(here), self._together(there), *arrays, infos)

    def _observe(self) -> Obs:
        parts = self.space.spaces if isinstance(self.space, spaces.Dict) else {"": self.space}
        return {name: self._member(part) for name, part in parts.items()}

    def _member(self, space: spaces.Space) -> np.ndarray:
        if isinstance(space, spaces.Box) and space.dtype == np.uint8:
            return self.rng.integers(256, size=space.shape).astype(np.uint8)
        if isinstance(space, spaces.Box):
            return self.rng.normal(size=space.shape).clip(-2, 2).astype(np.float32)
        if isinstance(space, spaces.Discrete):
            return np.array([space.start + self.rng.integers(space.n)])
        sizes = getattr(space, "nvec", None)
        if sizes is None:  # MultiBinary
            sizes = np.full(space.shape or (), 2)
        return self.rng.integers(sizes).astype(space.dtype)

    def _act(self) -> np.ndarray:
        """Replay form: integers from zero; unbounded samples around the range [-1, 1]."""
        if isinstance(self.actions, spaces.Box):
            return self.rng.normal(size=self.actions.shape).astype(np.float32)
        sizes = getattr(self.actions, "nvec", None)
        if isinstance(self.actions, spaces.Discrete):
            sizes = np.array([self.actions.n])
        assert sizes is not None
        return self.rng.integers(sizes).astype(np.int64)

    def _latent(self) -> tuple[np.ndarray, ...]:
        drawn: list[np.ndarray] = []
        for shape, dtype in self.buffer.latent_spec.values():
            numbers = self.rng.uniform(-1, 1, shape)
            classes = self.rng.integers(4, size=shape)
            drawn.append((classes if dtype == np.uint8 else numbers).astype(dtype))
        return tuple(drawn)

    def _together(self, obs: Sequence[Obs]) -> Any:
        joined = {name: np.stack([o[name] for o in obs]) for name in obs[0]}
        return joined if isinstance(self.space, spaces.Dict) else joined[""]

    def row(self, env: int, start: int, length: int) -> Row:
        """Take what a window trains on, by the place of its first record."""
        stream = self.records[env]
        before = stream[start - 1] if self.buffer.latent_spec else None
        return Row(before, stream[start : start + length])

    def stored_latents(self) -> dict[str, np.ndarray]:
        """Lay the latents of all records out as the replay keeps them, (capacity, n_envs, ...)."""
        out = {k: np.zeros_like(v) for k, v in self.buffer.latents.items()}
        for e, stream in enumerate(self.records):
            for i, record in enumerate(stream):
                for array, part in zip(out.values(), record.latent, strict=True):
                    array[i % len(array), e] = part
        return out


def train_once(
    agent: WorldModelAlgorithm, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[tuple[int, int]], list[Row], dict[str, float]]:
    """
    Let an agent update once on a batch of its own choice.

    :return: places of the rows in the streams (environment, first trained record); the rows as they
        were before the update; what the agent logs
    """
    buffer = streams.buffer
    places: list[tuple[int, int]] = []
    sample = buffer.sample

    def spy(*args: Any, **kwargs: Any) -> Any:
        batch = sample(*args, **kwargs)
        places.extend(zip(*(x.tolist() for x in batch.windows), strict=True))
        return batch

    agent.set_logger(configure(None, []))
    with monkeypatch.context() as patch:
        patch.setattr(buffer, "sample", spy)
        agent.train(1, agent.batch_size)
    rows = [streams.row(env, start, agent.batch_length) for env, start in places]
    logged = {
        name.removeprefix("train/"): float(value)
        for name, value in agent.logger.name_to_value.items()
    }
    return places, rows, logged


def waiting_times(classes: int) -> Tensor:
    """Return what stands for draws from the exponential distribution, one for each class, (C,)."""
    return 0.3 + 0.5 * th.arange(classes)


def fix_draws(patch: pytest.MonkeyPatch, uniform: float, normal: float) -> None:
    """
    Make every random number the same: who draws how many, and in which order, does not matter.

    Waiting times, whose logarithms are Gumbel noise, depend on the class that they belong to: one
    noise for all would change nothing.

    :param uniform: what every draw from [0, 1) gives
    :param normal: what every draw from a normal distribution gives
    """

    def always(value: float) -> Callable[..., Tensor]:
        def draw(*shape: Any, generator: Any = None, **kwargs: Any) -> Tensor:
            return th.full(
                th.Size(shape[0] if isinstance(shape[0], Sequence) else shape), value, **kwargs
            )

        return draw

    def fill(value: float) -> Callable[..., Tensor]:
        return lambda tensor, *_args, **_kwargs: tensor.fill_(value)

    def wait(tensor: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        return tensor.copy_(waiting_times(tensor.shape[-1]).expand_as(tensor))

    patch.setattr(Tensor, "exponential_", wait)
    for name, value in {"rand": uniform, "randn": normal}.items():
        patch.setattr(th, name, always(value))
    for name, value in {"uniform_": uniform, "normal_": normal}.items():
        patch.setattr(Tensor, name, fill(value))


def mean(numbers: Sequence[Any]) -> Any:
    return sum(numbers) / len(numbers)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    """Multiply (in,) with a matrix and add a bias."""
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def double_weights(module: th.nn.Module) -> Weights:
    """Copy all parameters in float64, each a leaf of its own."""
    return {k: p.detach().double().requires_grad_() for k, p in module.named_parameters()}


def assert_gradients(policy: th.nn.Module, expected: dict[str, Tensor | None]) -> None:
    """Compare every gradient, relative to the largest of its tensor."""
    found = {k: p.grad for k, p in policy.named_parameters()}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        ours = found[name]
        if gradient is None:
            assert ours is None or not ours.any(), name
            continue
        assert ours is not None, name
        scale = float(gradient.abs().max())
        error = float((ours - gradient).abs().max())
        assert error <= 1e-4 * scale + 1e-8, f"{name}: off by {error:.1e} of {scale:.1e}"

"""A toy environment in numpy and torch, single and batched, and how to compare what it answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

RNG = np.random.default_rng(0)
#: Where the episodes of a row begin, how long they are, and whether they terminate.
STARTS = RNG.normal(scale=5, size=(4, 200, 3)).astype(np.float32)
LENGTHS = RNG.integers(2, 9, size=(4, 200))
TERMINATES = RNG.random((4, 200)) < 0.5

BOX = spaces.Box(-2, 2, (2,), np.float32)


class ToyVectorEnv(VectorEnv):
    """
    Rows whose episodes are told by tables; actions push. ``calls`` lists what was asked of it.

    :param rows: of the tables
    :param xp: numpy or torch
    :param mode: when ended rows are reset
    :param action_space: of a row
    :param composed: observe a Dict instead of a vector
    :param device: of tensors
    """

    def __init__(
        self,
        rows: Sequence[int] = (0, 1, 2),
        xp: Any = np,
        mode: AutoresetMode = AutoresetMode.SAME_STEP,
        action_space: spaces.Space = BOX,
        composed: bool = False,
        device: str = "cpu",
    ) -> None:
        self.episode: Any
        self.age: Any
        self.state: Any
        self.ended: Any
        self.num_envs, self.mode, self.composed = len(rows), mode, composed
        self.is_torch, self.device, self.np_rows = xp is th, device, list(rows)
        self.metadata = {"autoreset_mode": mode}
        self.single_action_space = action_space
        self.action_space = batch_space(action_space, self.num_envs)
        vector = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        image = spaces.Box(0, 255, (2, 2, 3), np.uint8)
        parts = {"choice": spaces.Discrete(3), "image": image, "vector": vector}
        self.single_observation_space = spaces.Dict(parts) if composed else vector
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.rows = self._array(self.np_rows)
        self.starts, self.lengths = self._array(STARTS), self._array(LENGTHS)
        self.terminates = self._array(TERMINATES)
        self.calls: list[str] = []
        self._begin()

    @property
    def xp(self) -> Any:
        return th if self.is_torch else np

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.calls.append("reset")
        if seed is not None:
            self._begin()
        mask = (options or {}).get("reset_mask")
        self._restart(self.age == self.age if mask is None else self._array(mask))
        return self._observe(), self._info()

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.calls.append("step")
        xp = self.xp
        push = xp.asarray(actions).reshape(self.num_envs, -1) * 1.0
        push = push.mean(-1) if self.is_torch else push.mean(-1).astype(np.float32)
        waking = self.ended
        self.state = 0.9 * self.state + push[:, None] + 0.1
        self.age = self.age + 1
        reward = self.state.sum(-1) - push
        over = self.age >= self.lengths[self.rows, self.episode]
        if self.mode is AutoresetMode.NEXT_STEP:
            self._restart(waking)
            over, reward = over & ~waking, xp.where(waking, 0 * reward, reward)
        terminated = over & self.terminates[self.rows, self.episode]
        self.ended = over
        infos = self._info()
        if self.mode is AutoresetMode.SAME_STEP and (self.is_torch or over.any()):
            final = {"final_obs": self._final_obs(over), "_final_obs": over}
            final |= {"final_info": infos, "_final_info": over}
            self._restart(over)
            infos = {**self._info(), **final}
        return self._observe(), reward, terminated, over & ~terminated, infos

    def _begin(self) -> None:
        self.episode = self._array([-1] * self.num_envs)
        self.age = self._array([0] * self.num_envs)
        self.state = self._array(np.zeros((self.num_envs, 3), np.float32))
        self.ended = self.age != self.age

    def _restart(self, mask: Any) -> None:
        self.episode = self.episode + mask
        self.state = self.xp.where(mask[:, None], self.starts[self.rows, self.episode], self.state)
        self.age = self.xp.where(mask, 0 * self.age, self.age)
        self.ended = self.ended & ~mask

    def _observe(self) -> Any:
        if not self.composed:
            return self.state * 1
        age = self.age[:, None, None, None]
        image = self.xp.tile(self._cast(age + 1), (1, 2, 2, 3))
        return {"choice": self.age % 3, "image": image, "vector": self.state * 1}

    def _final_obs(self, mask: Any) -> Any:
        if self.is_torch:
            return self._observe()
        rows = np.full(self.num_envs, None, dtype=object)
        for i, row in enumerate(iterate(self.observation_space, self._observe())):
            rows[i] = row if mask[i] else None
        return rows

    def _info(self) -> dict[str, Any]:
        return {"age": self.age, "_age": self.age >= 0}

    def _array(self, x: Any) -> Any:
        return th.as_tensor(x, device=self.device) if self.is_torch else np.asarray(x)

    def _cast(self, x: Any) -> Any:
        return x.to(self.device, th.uint8) if self.is_torch else x.astype(np.uint8)


class ToyEnv(gym.Env):
    """
    One row of the toy.

    :param row: of the tables
    :param kwargs: see :class:`ToyVectorEnv`
    """

    def __init__(self, row: int = 0, **kwargs: Any) -> None:
        self.batch = ToyVectorEnv([row], mode=AutoresetMode.DISABLED, **kwargs)
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, infos = self.batch.reset(seed=seed)
        return row_of(obs, 0), {"age": int(infos["age"][0])}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, infos = self.batch.step(
            self.batch.xp.asarray(action)[None]
        )
        info = {"age": int(infos["age"][0])}
        return row_of(obs, 0), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info


def row_of(obs: Any, row: int) -> Any:
    if isinstance(obs, Mapping):
        return {key: part[row] for key, part in obs.items()}
    return obs[row]


def as_numpy(x: Any) -> Any:
    if isinstance(x, Mapping):
        return {key: as_numpy(part) for key, part in x.items()}
    return x.numpy() if isinstance(x, th.Tensor) else np.asarray(x)


def rollout(env: VectorEnv, steps: int = 60, torch: bool = False) -> list[Any]:
    """
    Act at random and reset what has ended.

    :return: all that the environment answered, in numpy; infos of a step are those of the
        transition, wherever the autoreset mode puts them
    """
    # Of the single space: that of a batch is seeded otherwise in every version.
    space = env.single_action_space
    space.seed(0)
    mode = env.metadata["autoreset_mode"]
    seen: list[Any] = [as_numpy(env.reset(seed=0)[0])]
    for _ in range(steps):
        actions = np.stack([space.sample() for _ in range(env.num_envs)])
        obs, reward, terminated, truncated, infos = env.step(
            th.as_tensor(actions) if torch else actions
        )
        ended = as_numpy(terminated | truncated)
        seen += [as_numpy(x) for x in (obs, reward, terminated, truncated)]
        infos = as_numpy({key: x for key, x in infos.items() if key != "final_obs"}) | {
            "final_obs": infos.get("final_obs")
        }
        for key in ("age", "discount"):
            if key in infos:
                final = infos.get("final_info", infos)[key]
                seen.append({key: np.where(ended, final, infos[key])})
        if mode is AutoresetMode.SAME_STEP:
            rows = np.flatnonzero(ended).tolist()
            seen += [as_numpy(row_of(infos["final_obs"], row)) for row in rows]
        elif mode is AutoresetMode.DISABLED and ended.any():
            mask = th.as_tensor(ended) if torch else ended
            obs, infos = env.reset(options={"reset_mask": mask})
            seen.append(as_numpy(obs))
    return seen


def assert_same(some: Any, other: Any) -> None:
    assert type(some) is type(other), (some, other)
    if isinstance(some, list):
        assert len(some) == len(other)
        for one, two in zip(some, other, strict=True):
            assert_same(one, two)
    elif isinstance(some, dict):
        assert some.keys() == other.keys()
        for key in some:
            assert_same(some[key], other[key])
    else:
        np.testing.assert_allclose(some, other, rtol=1e-6, atol=1e-6)


def sync(makers: Sequence[Callable[[], gym.Env]], mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv(makers, autoreset_mode=mode)


class Tools:
    """What the tests share."""

    ToyEnv, ToyVectorEnv, BOX = ToyEnv, ToyVectorEnv, BOX
    rollout, assert_same = staticmethod(rollout), staticmethod(assert_same)
    sync, as_numpy = staticmethod(sync), staticmethod(as_numpy)


@pytest.fixture(scope="session")
def toy() -> type[Tools]:
    return Tools

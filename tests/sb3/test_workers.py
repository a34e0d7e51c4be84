"""Environments in subprocesses that die."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from dreamzoo.envs import VectorEnvToVecEnv
from tests.facts import HAS_REPLAY, KINDS_OF_LOOP
from tests.resuming import load, save
from tests.sb3.stored import Windows, records


@pytest.fixture(params=KINDS_OF_LOOP)
def agent_name(request: pytest.FixtureRequest) -> str:
    """Not every agent: processes of environments die alike for all."""
    return request.param


@pytest.fixture
def settings(agent_name: str) -> dict[str, Any]:
    """What collects and has not begun to learn, windows of two steps where there is no replay."""
    collecting = {"learning_starts": 10**6, "buffer_size": 100}
    return collecting if agent_name in HAS_REPLAY else {"n_steps": 2}


class Mortal(gym.Env):
    """
    Large observations, so that an answer that nobody fetches fills the pipe.

    :param dies: what happens in the fifth step: None, ``killed`` or ``raises``
    """

    def __init__(self, dies: str | None = None) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (30_000,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.dies, self.age = dies, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(30_000, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.age += 1
        if self.age == 5 and self.dies == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.age == 5 and self.dies == "raises":
            os._exit(3)  # what an error comes to, without its long message
        return np.zeros(30_000, np.float32), 1.0, False, False, {}


def _makers(dies: str | None) -> list[Callable[[], gym.Env]]:
    return [Mortal, lambda: Mortal(dies), Mortal]


KINDS: dict[str, Callable[[str], VecEnv]] = {
    "subprocesses": lambda dies: SubprocVecEnv(_makers(dies), "fork"),
    "normalized": lambda dies: VecNormalize(SubprocVecEnv(_makers(dies), "fork")),
    "asynchronous": lambda dies: VectorEnvToVecEnv(
        AsyncVectorEnv(_makers(dies), context="fork", autoreset_mode=AutoresetMode.SAME_STEP)
    ),
}


@pytest.fixture
def closing() -> Iterator[list[VecEnv]]:
    envs: list[VecEnv] = []
    yield envs
    for env in envs:
        env.close()


@pytest.mark.parametrize("dies", ["killed", "raises"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_dead_worker_is_named_and_nothing_is_lost(
    make_agent: Any,
    settings: dict[str, Any],
    tmp_path: Path,
    kind: str,
    dies: str,
    closing: list[VecEnv],
) -> None:
    env = KINDS[kind](dies)
    closing.append(env)
    agent, windows = make_agent(env, **settings), Windows()
    how = r"killed by SIGKILL" if dies == "killed" else "exit code 3"
    with pytest.raises(RuntimeError, match=rf"worker 1 of 3 \({how}\) died.*set_env"):
        agent.learn(60, windows)
    start = time.monotonic()
    env.close()
    env.close()
    assert time.monotonic() - start < 0.5
    with pytest.raises(Exception, match="close"):
        agent.learn(30, reset_num_timesteps=False)
    save(agent, tmp_path)
    again = load(type(agent), tmp_path, DummyVecEnv([Mortal] * 3))
    agent.set_env(DummyVecEnv([Mortal] * 3))
    for goes_on in (agent, again):
        seen = Windows()
        seen.kept += windows.kept
        assert len(records(goes_on, seen, 1).first) == 4
        goes_on.learn(18, seen, reset_num_timesteps=False)
        assert np.flatnonzero(records(goes_on, seen, 1).first[:9]).tolist() == [0, 4]


def test_between_two_calls_of_learn(
    make_agent: Any, settings: dict[str, Any], closing: list[VecEnv]
) -> None:
    env = SubprocVecEnv(_makers(None), "fork")
    closing.append(env)
    agent = make_agent(env, **settings).learn(6)
    for reset in (False, True):
        assert not env.closed or reset
        if not reset:
            env.processes[2].kill()
            env.processes[2].join()
        with pytest.raises(RuntimeError, match="closed" if reset else r"worker 2 of 3 \(killed"):
            agent.learn(6, reset_num_timesteps=reset)
    assert not any(process.is_alive() for process in env.processes)


def test_other_errors_pass(
    make_agent: Any, settings: dict[str, Any], closing: list[VecEnv]
) -> None:
    env = SubprocVecEnv(_makers(None), "fork")
    closing.append(env)

    def full(*_: Any) -> bool:
        raise OSError("disk full")

    agent = make_agent(env, **settings)
    with pytest.raises(OSError, match="disk full"):
        agent.learn(6, callback=full)
    assert agent.learn(6).num_timesteps == 6

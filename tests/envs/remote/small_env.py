"""An environment that says what was done to it, and imports next to nothing."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

KINDS = {
    "box": lambda box: box,
    "dict": lambda box: spaces.Dict(a=box, b=spaces.Discrete(1000)),
    "tuple": lambda box: spaces.Tuple((box, spaces.Discrete(1000))),
    "image": lambda box: spaces.Box(0, 255, (36, 36, 3), np.uint8),
}


def kill_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


class SmallEnv(gym.Env):
    """
    Observes its number of steps and what it was reset with.

    :param kind: of its observations
    :param death: what dying is
    :param length: steps of an episode
    """

    render_mode = "rgb_array"

    def __init__(
        self, kind: str = "box", death: Callable[[], None] = kill_process, length: int = 5
    ) -> None:
        self.kind, self.death, self.length = kind, death, length
        self.observation_space = KINDS[kind](spaces.Box(-1, 1000, (3,), np.float32))
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.fate, self.time, self.first, self.options = "", 0, 0, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        self.time, self.first = 0, int(self.np_random.integers(900))
        self.options = (options or {}).get("number", 0)
        return self._observe(), {"first": self.first}

    def step(self, action: np.ndarray) -> Any:
        self.time += 1
        if self.fate == "dies":
            self.death()
        if self.fate == "raises":
            raise OSError("the simulator is gone")
        terminated = self.time == self.length and self.first % 2 == 0
        truncated = self.time == self.length and not terminated
        return self._observe(), float(action.sum()), terminated, truncated, {"t": self.time}

    def render(self) -> np.ndarray:
        return np.full((2, 2, 3), self.first % 256, np.uint8)

    def double(self, number: int, plus: int = 0) -> int:
        return 2 * number + plus

    def refuse(self) -> None:
        raise KeyError("nothing there")

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def node(self) -> str:
        import ray

        return ray.get_runtime_context().get_node_id()

    def _observe(self) -> Any:
        box = np.array([self.time, self.first, self.options], float)  # not the space's own dtype
        if self.kind == "image":
            return np.full((36, 36, 3), self.time * 10 + self.first % 10, np.uint8)
        return {"box": box, "dict": {"a": box, "b": self.first}, "tuple": (box, self.first)}[
            self.kind
        ]

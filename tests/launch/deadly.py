"""An environment in which one training process, or the one that watches it, is killed once."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

#: Variable with the victims by ends of their runs' names: "itself" or "watcher".
VARIABLE = "DEADLY"


class Deadly(CartPoleEnv):
    """CartPole, but for what befalls a victim when its run has been saved for the first time."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        out = Path(sys.argv[-1])  # the last of dreamzoo train's arguments, where it is a process
        for end, victim in json.loads(os.environ.get(VARIABLE, "{}")).items():
            if out.name.endswith(end) and (out / "saves.json").exists():
                _kill_once(out.with_name(f"{out.name}.killed"), victim)
        return super().step(action)


def _kill_once(mark: Path, victim: str) -> None:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getppid() if victim == "watcher" else os.getpid(), signal.SIGKILL)
    signal.pause()  # who was killed beside this process takes it along


gymnasium.register("Deadly-v0", "tests.launch.deadly:Deadly", max_episode_steps=30)

"""Train DreamerV3 in an environment of one's own, whose observations are a dictionary."""

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict
from stable_baselines3.common.evaluation import evaluate_policy

from dreamzoo import DreamerV3


class FindTheLight(gym.Env):
    """Go to a lamp: the own position is known by number, that of the lamp from an image."""

    observation_space = Dict(position=Box(0, 15, (2,)), camera=Box(0, 255, (16, 16, 3), np.uint8))
    action_space = Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.position, self.lamp = self.np_random.integers(16, size=(2, 2)).astype(np.float32)
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.position = np.clip(self.position + 2 * action, 0, 15).astype(np.float32)
        distance = float(np.abs(self.position - self.lamp).max())
        return self.observe(), -distance / 15, distance < 1, False, {}

    def observe(self) -> dict:
        camera = np.zeros((16, 16, 3), np.uint8)
        camera[tuple(self.lamp.astype(int))] = 255
        return {"position": self.position, "camera": camera}


def main(steps: int = 20_000) -> None:
    env = gym.wrappers.TimeLimit(FindTheLight(), 50)
    model = DreamerV3("MultiInputPolicy", env, policy_kwargs=dict(size="1m")).learn(steps)
    print(f"mean return {evaluate_policy(model, env, n_eval_episodes=10)[0]:.2f}")


if __name__ == "__main__":
    main()

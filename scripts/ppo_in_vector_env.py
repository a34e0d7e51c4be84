"""
Train SB3's PPO in a gymnasium ``VectorEnv``: one simulator that steps many environments at once.

    python scripts/ppo_in_vector_env.py --env torch-pendulum --steps 400000
    python scripts/ppo_in_vector_env.py --env ALE/Pong-v5 --n-envs 8 --steps 4096

``torch-pendulum`` is an example of a simulator written in torch: gymnasium's Pendulum-v1, all of
its rows in one tensor, on any device. Prints one JSON line: steps per second of the simulator
alone, of the same under SB3's face, and of training; returns of training episodes at its end; and
for the pendulum the mean return in gymnasium's own environment, beside random actions.
"""

import argparse
import json
import math
import time
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from torch import Tensor

from dreamzoo.analysis.evaluation import RandomPolicy
from dreamzoo.envs import VectorEnvToVecEnv

#: RL Zoo's settings of PPO for Pendulum-v1, but for shorter rollouts of more environments.
PENDULUM_SETTINGS: dict[str, Any] = dict(
    n_steps=64, batch_size=512, n_epochs=10, gamma=0.9, learning_rate=1e-3
)
#: RL Zoo's settings of PPO for Atari.
IMAGE_SETTINGS: dict[str, Any] = dict(n_steps=128, batch_size=256, n_epochs=4, ent_coef=0.01)

#: How long the speed of an environment is measured.
SECONDS = 2.0


class TorchPendulum(VectorEnv):
    """
    Gymnasium's Pendulum-v1, N of them in one tensor.

    :param num_envs: N
    :param device: where they are
    :param horizon: steps of an episode
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, num_envs: int, device: th.device | str = "cpu", horizon: int = 200) -> None:
        self.num_envs, self.device, self.horizon = num_envs, th.device(device), horizon
        high = np.array([1.0, 1.0, 8.0], np.float32)
        self.single_observation_space = spaces.Box(-high, high)
        self.single_action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generator = th.Generator(self.device)
        self.age = 0  # the same in all rows: nothing but the time limit ends an episode
        self.angle = self.speed = th.zeros(num_envs, device=self.device)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        seed = seed[0] if isinstance(seed, list) else seed
        if seed is not None:
            self.generator.manual_seed(seed)
        start = th.rand(2, self.num_envs, generator=self.generator, device=self.device)
        self.angle, self.speed = (2 * start - 1) * th.tensor([[math.pi], [1.0]], device=self.device)
        self.age = 0
        return self.observe(), {}

    def step(
        self, actions: Tensor | np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        torque = th.as_tensor(actions, device=self.device)[:, 0].clamp(-2.0, 2.0)
        angle = (self.angle + math.pi) % (2 * math.pi) - math.pi
        reward = -(angle**2 + 0.1 * self.speed**2 + 0.001 * torque**2)
        self.speed = self.speed + 0.05 * (15.0 * self.angle.sin() + 3.0 * torque)
        self.speed = self.speed.clamp(-8.0, 8.0)
        self.angle = self.angle + 0.05 * self.speed
        self.age += 1
        going = th.zeros(self.num_envs, dtype=th.bool, device=self.device)
        if self.age < self.horizon:
            return self.observe(), reward, going, going, {}
        info = {"final_obs": self.observe(), "_final_obs": ~going}
        return self.reset()[0], reward, going, ~going, info

    def observe(self) -> Tensor:
        """Cosine, sine and speed, (N, 3)."""
        return th.stack([self.angle.cos(), self.angle.sin(), self.speed], dim=1)


def make_env(name: str, num_envs: int) -> VectorEnv:
    """Make the torch pendulum, or whatever gymnasium makes as a vector environment."""
    if name == "torch-pendulum":
        return TorchPendulum(num_envs)
    gym.register_envs(ale_py)
    options = dict(autoreset_mode=AutoresetMode.SAME_STEP)
    if name.startswith("ALE/"):
        return gym.make_vec(name, num_envs, **options)  # type: ignore[arg-type]
    return gym.make_vec(name, num_envs, vectorization_mode="sync", vector_kwargs=options)


def steps_per_second(env: VectorEnv | VecEnv, num_envs: int, actions: Any) -> int:
    """Time steps with fixed actions, for two seconds after some that do not count."""
    env.reset()
    for _ in range(20):
        env.step(actions)
    steps, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < SECONDS:
        env.step(actions)
        steps += 1
    return round(steps * num_envs / spent)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="torch-pendulum", help="or an id of gymnasium")
    parser.add_argument("--n-envs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    simulator = make_env(args.env, args.n_envs)
    simulator.action_space.seed(args.seed)
    actions = simulator.action_space.sample()
    pendulum = args.env == "torch-pendulum"
    speeds = {"simulator": steps_per_second(simulator, args.n_envs, actions)}
    env = VectorEnvToVecEnv(simulator)
    speeds["under_sb3"] = steps_per_second(env, args.n_envs, actions)
    image = len(simulator.single_observation_space.shape or ()) == 3
    policy, settings = ("CnnPolicy", IMAGE_SETTINGS) if image else ("MlpPolicy", PENDULUM_SETTINGS)
    model = PPO(policy, VecMonitor(env), seed=args.seed, device="cpu", **settings)
    start = time.perf_counter()
    model.learn(args.steps)
    speeds["training"] = round(model.num_timesteps / (time.perf_counter() - start))
    assert model.ep_info_buffer is not None
    episodes = [episode["r"] for episode in model.ep_info_buffer]
    result: dict[str, Any] = {
        "env": args.env,
        "n_envs": args.n_envs,
        "steps": model.num_timesteps,
        "seed": args.seed,
        "threads": args.threads,
        "steps_per_second": speeds,
        "training_return": round(float(np.mean(episodes)), 1) if episodes else None,
    }
    if pendulum:
        real = make_vec_env("Pendulum-v1", 10, seed=args.seed + 10_000)
        real.action_space.seed(args.seed)
        for name, who in {"real_return": model, "random_return": RandomPolicy(real)}.items():
            result[name] = round(float(evaluate_policy(who, real, 50)[0]), 1)  # type: ignore[arg-type]
    print(json.dumps(result))


if __name__ == "__main__":
    main()

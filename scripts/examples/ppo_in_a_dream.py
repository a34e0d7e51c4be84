"""Train PPO in DreamerV3's dream of CartPole alone, then let it play the real one."""

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from dreamzoo import DreamerV3
from dreamzoo.hyperparams.dreamer_v3 import LAPTOP


def main(real_steps: int = 3_000, dream_steps: int = 200_000) -> None:
    model = DreamerV3("MlpPolicy", "CartPole-v1", seed=0, **LAPTOP)
    model.learn(real_steps)

    dream = model.dream_env(n_envs=64, horizon=200)  # a VecEnv like any other
    ppo = PPO("MlpPolicy", dream, n_steps=32, batch_size=256, seed=0)
    ppo.learn(dream_steps)

    for name, policy in (("DreamerV3", model), ("PPO, which has only dreamed", ppo)):
        mean, std = evaluate_policy(policy, gym.make("CartPole-v1"), n_eval_episodes=20)
        print(f"{name}: {mean:.0f} +- {std:.0f}")


if __name__ == "__main__":
    main()

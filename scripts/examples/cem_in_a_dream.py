"""Plan by the cross-entropy method in DreamerV3's model, in its dream and in reality."""

import gymnasium as gym
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo import DreamerV3
from dreamzoo.hyperparams.dreamer_v3 import LAPTOP
from dreamzoo.planning import CEM, CEMPlanner


def main(steps: int = 5_000, episodes: int = 3) -> None:
    model = DreamerV3("MlpPolicy", "Pendulum-v1", seed=0, **LAPTOP)
    model.learn(steps)

    planner = CEMPlanner(model, CEM(horizon=12, iterations=5, candidates=200, elites=20))
    places: dict[str, gym.Env | VecEnv] = {
        "dream": model.dream_env(n_envs=1, horizon=200),
        "reality": gym.make("Pendulum-v1"),
    }
    for place, env in places.items():
        for name, policy in (("its actor", model), ("planning", planner)):
            mean, _ = evaluate_policy(policy, env, n_eval_episodes=episodes)
            print(f"{name} in {place}: {mean:.0f}")


if __name__ == "__main__":
    main()

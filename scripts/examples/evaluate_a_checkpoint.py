"""Save an agent on the way, load the newest save, and see whether it is better than chance."""

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import dreamzoo
from dreamzoo import DreamerV3
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.analysis.evaluation import RandomPolicy


def main(steps: int = 3_000, episodes: int = 20) -> None:
    model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="1m"), seed=0)
    model.learn(steps, callback=SaveCallback("runs/checkpoint", every=1_000))

    # In another program it begins here. What runs/checkpoint holds says which agent it is.
    env = make_vec_env("CartPole-v1", n_envs=4, seed=1_000)
    agent = dreamzoo.load("runs/checkpoint", env=env)
    print(f"{type(agent).__name__} after {agent.num_timesteps} steps")
    for name, policy in (("agent", agent), ("random actions", RandomPolicy(env))):
        mean, std = evaluate_policy(policy, env, n_eval_episodes=episodes)
        print(f"{name}: {mean:.0f} +- {2 * std / episodes**0.5:.0f}")


if __name__ == "__main__":
    main()

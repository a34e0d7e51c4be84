"""
Train PPO inside the dream of a trained world-model agent, then let it act in reality.

    dreamzoo ppo-in-dream --model runs/demo/model.zip --env CartPole-v1

PPO sees nothing but the learned model. Prints one JSON line: mean returns in the real
environment, with 95 % confidence intervals (normal approximation), of

- ``random``: random actions
- ``dreamer``: the agent whose model it is, after ``real_steps`` in the real environment
- ``ppo_in_dream``: PPO after ``dream_steps`` in the dream
- ``ppo_real``: PPO, same settings, after ``real_steps`` in the real environment
- ``ppo_in_dream_promised``: what PPO earned in the dream at the end of its training there
"""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.analysis.evaluation import RandomPolicy, check_spaces, confidence_interval
from dreamzoo.cli.arguments import make_parser, parse_value
from dreamzoo.common.normalizer import as_in_training
from dreamzoo.envs import make_env
from dreamzoo.envs.dreams.load_model import load_model

#: Settings of PPO for the dream and for reality. More epochs and a shorter discount than SB3's
#: defaults, as RL Zoo has them for small tasks.
PPO_SETTINGS: dict[str, Any] = dict(n_steps=32, batch_size=256, gamma=0.98, gae_lambda=0.8)


def evaluate(policy: Any, env: VecEnv, episodes: int, seed: int) -> dict[str, float | None]:
    """Play whole episodes, always the same ones."""
    env.seed(seed)
    env.action_space.seed(seed)
    returns, _ = evaluate_policy(
        policy, env, episodes, deterministic=False, return_episode_rewards=True
    )
    return confidence_interval(np.asarray(returns))


def train_ppo(env: VecEnv, steps: int, seed: int) -> PPO:
    """Train PPO on whatever environment it is given."""
    policy = "MultiInputPolicy" if hasattr(env.observation_space, "spaces") else "MlpPolicy"
    return PPO(policy, env, seed=seed, device="cpu", **PPO_SETTINGS).learn(steps)


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("ppo-in-dream", __doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--replay", type=Path, help="begin dreams in states of this replay")
    parser.add_argument("--env", default="CartPole-v1", help="see dreamzoo.envs.make_env")
    parser.add_argument("-e", "--env-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("--dream-steps", type=int, default=200_000)
    parser.add_argument("--n-dreams", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=200, help="steps of a dream at most")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--n-envs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    maker = partial(make_env, args.env, **dict(args.env_kwargs))
    env = as_in_training(make_vec_env(maker, n_envs=args.n_envs, seed=args.seed), args.model)
    model = load_model(args.model)
    check_spaces(model, env)
    if args.replay is not None:
        # With the environment it knows how the replay's observations are normalised.
        model = type(model).load(args.model, env=env)
        model.load_replay_buffer(args.replay)
    dream = model.dream_env(
        args.n_dreams,
        horizon=args.horizon,
        start="initial" if args.replay is None else "replay",
    )
    start = time.monotonic()
    dreamer_ppo = train_ppo(dream, args.dream_steps, args.seed)
    seconds = time.monotonic() - start
    assert dreamer_ppo.ep_info_buffer is not None
    promised = float(np.mean([episode["r"] for episode in dreamer_ppo.ep_info_buffer]))
    real_ppo = train_ppo(env, model.num_timesteps, args.seed)
    policies = {
        "random": RandomPolicy(env),
        "dreamer": model,
        "ppo_in_dream": dreamer_ppo,
        "ppo_real": real_ppo,
    }
    returns = {
        name: evaluate(policy, env, args.episodes, args.seed + 10_000)
        for name, policy in policies.items()
    }
    settings = {
        "env": args.env,
        "env_kwargs": dict(args.env_kwargs),
        "model": str(args.model),
        "seed": args.seed,
        "real_steps": model.num_timesteps,
        "dream_steps": args.dream_steps,
        "horizon": args.horizon,
        "episodes": args.episodes,
    }
    costs = {
        "ppo_in_dream_promised": round(promised, 2),
        "dream_steps_per_second": round(args.dream_steps / seconds),
    }
    print(json.dumps(settings | returns | costs))

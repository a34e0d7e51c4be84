"""
Evaluate a trained agent beside a random policy.

    dreamzoo evaluate --env CartPole-v1 --model runs/demo/model.zip --episodes 50
    dreamzoo evaluate ... -a candidates=1000 planning_iterations=1 elites=1  # of PlaNet

Prints one JSON line: mean returns with 95 % confidence intervals (normal approximation).
Observations are normalised as in training if vecnormalize.pkl lies beside the model.
"""

import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.analysis.evaluation import RandomPolicy, check_spaces, confidence_interval
from dreamzoo.cli.arguments import make_parser, parse_value
from dreamzoo.common.normalizer import as_in_training
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.envs import make_env
from dreamzoo.envs.dreams.load_model import load_model


def returns(policy: Any, env: VecEnv, episodes: int, deterministic: bool = False) -> np.ndarray:
    """Play whole episodes and list their returns."""
    listed, _ = evaluate_policy(
        policy, env, episodes, deterministic=deterministic, return_episode_rewards=True
    )
    return np.asarray(listed)


def load(path: Path, settings: dict[str, Any]) -> WorldModelAlgorithm:
    """
    Load an agent with some of its settings changed.

    :param path: of the model
    :param settings: arguments of the agent's constructor
    :raises SystemExit: for a setting that the agent does not have
    """
    model = load_model(path)
    known = inspect.signature(type(model)).parameters
    if unknown := sorted(set(settings) - set(known)):
        raise SystemExit(f"{type(model).__name__} has no setting {', '.join(unknown)}.")
    return type(model).load(path, **settings) if settings else model


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("evaluate", __doc__)
    parser.add_argument("--env", default="CartPole-v1", help="see dreamzoo.envs.make_env")
    parser.add_argument("-e", "--env-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("-a", "--agent-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--n-envs", type=int, default=10)
    parser.add_argument("--deterministic", action="store_true", help="default: sampled policy")
    parser.add_argument("--seed", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    maker = partial(make_env, args.env, **dict(args.env_kwargs))
    env = as_in_training(make_vec_env(maker, n_envs=args.n_envs, seed=args.seed), args.model)
    model = load(args.model, dict(args.agent_kwargs))
    check_spaces(model, env)
    env.seed(args.seed)
    env.action_space.seed(args.seed)
    agent_returns = returns(model, env, args.episodes, args.deterministic)
    result = {
        "env": args.env,
        "model": str(args.model),
        "changed": dict(args.agent_kwargs),
        "steps": model.num_timesteps,
        "episodes": args.episodes,
        "agent": confidence_interval(agent_returns),
        "random": confidence_interval(returns(RandomPolicy(env), env, args.episodes)),
    }
    print(json.dumps(result))

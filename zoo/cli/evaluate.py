"""
Evaluate a trained agent beside a random policy.

    dreamzoo evaluate --env CartPole-v1 --model runs/demo/model.zip --episodes 50
    dreamzoo evaluate ... -a candidates=1000 planning_iterations=1 elites=1  # of PlaNet

The model may be any that dreamzoo train saved, of agents of Stable-Baselines3, too.
Prints one JSON line: mean returns with 95 % confidence intervals (normal approximation).
Observations are normalized as in training if vecnormalize.zip lies beside the model.
"""

import json
from functools import partial

import torch as th
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo.analysis.evaluation import (
    RandomPolicy,
    check_spaces,
    confidence_interval,
    load_changed,
    play_episodes,
    seed_episodes,
)
from dreamzoo.cli.arguments import add_model, make_parser, parse_value, plain_errors, seed, whole
from dreamzoo.common.environments.normalizer import as_in_training
from dreamzoo.envs import make_env


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("evaluate", __doc__)
    parser.add_argument("--env", default="CartPole-v1", help="see dreamzoo.envs.make_env")
    parser.add_argument("-e", "--env-kwargs", nargs="*", type=parse_value, default=[])
    add_model(parser)
    parser.add_argument("-a", "--agent-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("--episodes", type=whole(1), default=50)
    parser.add_argument("--n-envs", type=whole(1), default=10)
    parser.add_argument("--deterministic", action="store_true", help="default: sampled policy")
    parser.add_argument("--seed", type=seed, default=10_000)
    parser.add_argument("--threads", type=whole(1), default=th.get_num_threads())
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        model = load_changed(args.model, dict(args.agent_kwargs), args.trusted)
        maker = partial(make_env, args.env, **dict(args.env_kwargs))
        env = make_vec_env(maker, n_envs=args.n_envs, seed=args.seed)
        env = as_in_training(env, args.model, args.trusted)
        check_spaces(model, env)
    seed_episodes(env, args.seed)
    returns = play_episodes(model, env, args.episodes, args.deterministic)
    random_returns = play_episodes(RandomPolicy(env), env, args.episodes)
    result = {
        "env": args.env,
        "model": str(args.model),
        "changed": dict(args.agent_kwargs),
        "steps": model.num_timesteps,
        "episodes": args.episodes,
        "agent": confidence_interval(returns),
        "random": confidence_interval(random_returns),
    }
    print(json.dumps(result))

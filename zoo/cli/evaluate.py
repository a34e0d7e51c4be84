"""
Evaluate a trained agent beside a random policy.

    dreamzoo evaluate --env CartPole-v1 --model runs/demo/model.zip --episodes 50
    dreamzoo evaluate ... -a candidates=1000 planning_iterations=1 elites=1  # of PlaNet

The model may be any that dreamzoo train saved, of agents of Stable-Baselines3, too.
Prints one JSON line: mean returns with 95 % confidence intervals (normal approximation), and for
Crafter its score (use 100 episodes or more).
Observations are normalized as in training if vecnormalize.zip lies beside the model.
"""

import json
from typing import Any

import torch as th

from dreamzoo.analysis.evaluation import (
    RandomPolicy,
    confidence_interval,
    load_changed,
    play_episodes,
    seed_episodes,
)
from dreamzoo.benchmark.crafter import crafter_score
from dreamzoo.cli.arguments import (
    add_model,
    add_pairs,
    add_threads,
    make_parser,
    plain_errors,
    seed,
    whole,
)
from dreamzoo.cli.real_env import add_env, make_real_env


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("evaluate", __doc__)
    add_env(parser, default="CartPole-v1")
    add_model(parser)
    add_pairs(parser, "-a", "--agent-kwargs", "the agent, changed on loading", default=[])
    parser.add_argument("--episodes", type=whole(1), default=50)
    parser.add_argument("--n-envs", type=whole(1), default=10)
    parser.add_argument("--deterministic", action="store_true", help="default: sampled policy")
    parser.add_argument("--seed", type=seed, default=10_000)
    add_threads(parser)
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        model = load_changed(args.model, dict(args.agent_kwargs), args.trusted)
        env = make_real_env(args, model, args.n_envs)
    seed_episodes(env, args.seed)
    ends: dict[str, list[dict[str, Any]]] = {"agent": [], "random": []}
    returns = play_episodes(model, env, args.episodes, args.deterministic, ends["agent"])
    random_returns = play_episodes(RandomPolicy(env), env, args.episodes, ends=ends["random"])
    result = {
        "env": args.env,
        "model": str(args.model),
        "changed": dict(args.agent_kwargs),
        "steps": model.num_timesteps,
        "episodes": args.episodes,
        "agent": confidence_interval(returns),
        "random": confidence_interval(random_returns),
    }
    if args.env.partition("/")[0] == "crafter":
        result["crafter_score"] = {
            who: round(crafter_score([end["achievements"] for end in played]), 2)
            for who, played in ends.items()
        }
    print(json.dumps(result))

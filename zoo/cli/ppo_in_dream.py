r"""
Train an SB3 agent inside the dream of a trained world-model agent, then let it act in reality.

    dreamzoo ppo-in-dream --model runs/demo/model.zip --env CartPole-v1
    dreamzoo ppo-in-dream --model runs/pendulum --env Pendulum-v1 \
        --algo sac -a gamma=0.9 use_sde=True gradient_steps=8

The agent, PPO unless ``--algo`` says otherwise, sees nothing but the learned model. ``-a`` sets
arguments of its constructor. Prints one JSON line: mean returns in the real environment, with 95 %
confidence intervals (normal approximation), of

- ``random``: random actions
- ``model``: the agent of ``--model``, after ``real_steps`` in the real environment
- ``ppo_in_dream``: PPO after ``dream_steps`` in the dream
- ``ppo_real``: PPO, same settings, after ``real_steps`` in the real environment
- ``ppo_in_dream_promised``: what PPO earned in the dream at the end of its training there
"""

import argparse
import json
from typing import Any

import torch as th

from dreamzoo.analysis.sb3_agents import make_sb3
from dreamzoo.analysis.training_in_dreams import compare_in_reality, train_in_dream
from dreamzoo.cli.arguments import (
    add_model,
    add_pairs,
    add_replay,
    add_threads,
    load_replay,
    make_parser,
    plain_errors,
    seed,
    whole,
)
from dreamzoo.cli.real_env import add_env, make_real_env
from dreamzoo.common.storage.agents import SB3_AGENTS
from dreamzoo.envs.dreams.load_model import load_model


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("ppo-in-dream", __doc__)
    add_model(parser)
    add_replay(parser, "begin dreams in states of this replay")
    add_env(parser, default="CartPole-v1")
    parser.add_argument("--algo", default="ppo", choices=SB3_AGENTS)
    add_pairs(parser, "-a", "--agent-kwargs", "the constructor of SB3's agent", default=[])
    parser.add_argument("--dream-steps", type=whole(1), default=200_000)
    parser.add_argument("--n-dreams", type=whole(1), default=64)
    parser.add_argument("--horizon", type=whole(1), default=200, help="steps of a dream at most")
    parser.add_argument("--episodes", type=whole(1), default=50)
    parser.add_argument("--n-envs", type=whole(1), default=8)
    parser.add_argument("--seed", type=seed, default=0)
    add_threads(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    settings = dict(args.agent_kwargs)
    with plain_errors():
        model = load_model(args.model, trusted=args.trusted)
        env = make_real_env(args, model, args.n_envs)
        if args.replay is not None:
            # With the environment it knows how the replay's observations are normalized.
            model = type(model).load(args.model, env=env, trusted=args.trusted)
            load_replay(model, args.replay, args.trusted)
        start = "initial" if args.replay is None else "replay"
        dream = model.dream_env(args.n_dreams, horizon=args.horizon, start=start)
        make_sb3(args.algo, dream, seed=args.seed, **settings)  # what it refuses, before training
    trained = train_in_dream(args.algo, dream, args.dream_steps, seed=args.seed, **settings)
    returns = compare_in_reality(
        model, trained.agent, env, args.algo, episodes=args.episodes, seed=args.seed, **settings
    )
    promised = trained.promised
    costs = {
        f"{args.algo}_in_dream_promised": None if promised is None else round(promised, 2),
        "dream_steps_per_second": round(trained.steps_per_second),
    }
    print(json.dumps(describe(args, model.num_timesteps) | returns | costs))


def describe(args: argparse.Namespace, real_steps: int) -> dict[str, Any]:
    """Describe what was run."""
    return {
        "env": args.env,
        "env_kwargs": dict(args.env_kwargs),
        "model": str(args.model),
        "algo": args.algo,
        "agent_kwargs": dict(args.agent_kwargs),
        "seed": args.seed,
        "real_steps": real_steps,
        "dream_steps": args.dream_steps,
        "horizon": args.horizon,
        "episodes": args.episodes,
    }

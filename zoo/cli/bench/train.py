"""
Measure how many steps a second an agent trains, and what the time goes into.

    dreamzoo bench train --agent merlin --env dreamzoo/TMaze-v0 -e length=50 -p rows=51
    dreamzoo bench train --agent recurrent_ppo --policy MlpLstmPolicy --env dreamzoo/TMaze-v0 \
        -e length=50 -p lstm_hidden_size=64 n_lstm_layers=2 -a n_steps=20

Prints one JSON line: steps of all environments together a second, and the shares of the
environment, of acting and of updates.
"""

import json
from functools import partial

import torch as th
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo.benchmark.speed.training import time_training
from dreamzoo.cli.arguments import (
    add_pairs,
    add_threads,
    device_here,
    make_parser,
    parse_value,
    plain_errors,
    whole,
)
from dreamzoo.common.storage.agents import agent_class
from dreamzoo.envs import make_env


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bench train", __doc__)
    parser.add_argument("--agent", default="merlin")
    parser.add_argument("--env", default="CartPole-v1", help="see dreamzoo.envs.make_env")
    parser.add_argument("-e", "--env-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("--policy", default="MlpPolicy")
    parser.add_argument("-p", "--policy-kwargs", nargs="*", type=parse_value, default=[])
    add_pairs(parser, "-a", "--agent-kwargs", "the agent's constructor", default=[])
    parser.add_argument("--n-envs", type=whole(1), default=16)
    parser.add_argument("--steps", type=whole(1), default=20_000, help="that are timed")
    parser.add_argument("--warm-up", type=whole(1), default=2_000, help="steps before them")
    parser.add_argument("--device", type=device_here, default="auto")
    add_threads(parser)
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        maker = partial(make_env, args.env, **dict(args.env_kwargs))
        model = agent_class(args.agent)(
            args.policy,
            make_vec_env(maker, n_envs=args.n_envs, seed=0),
            policy_kwargs=dict(args.policy_kwargs),
            seed=0,
            device=args.device,
            **dict(args.agent_kwargs),
        )
    given = {name: getattr(args, name) for name in ("agent", "env", "n_envs", "steps", "threads")}
    print(json.dumps(given | time_training(model, args.steps, args.warm_up)))

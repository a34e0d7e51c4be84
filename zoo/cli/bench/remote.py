"""
Measure slow environments in worker processes of this machine, stepped and learned in.

    dreamzoo bench remote
    dreamzoo bench remote --milliseconds 10 50 --only learn --threads 1

An environment waits for so many milliseconds in each step and computes next to nothing. One JSON
line for each way and waiting time: steps per second of all environments together, of
``RemoteVecEnv`` beside SB3's ``SubprocVecEnv``; and seconds that DreamerV3 takes to learn, where
environments wait for the learner and where their workers act ahead of it (``acting="worker"``).
"""

import argparse
import json
from itertools import product

import torch as th

from dreamzoo.benchmark.speed.remote import STEPPED, WAYS, learning_time, make_envs, step_rate
from dreamzoo.cli.arguments import add_threads, make_parser, plain_errors, whole


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("bench remote", __doc__)
    parser.add_argument("--milliseconds", type=float, nargs="+", default=[1.0, 10.0, 50.0])
    parser.add_argument("--n-envs", type=whole(1), default=8, help="each in its own process")
    parser.add_argument("--obs", choices=("vector", "image"), default="vector")
    parser.add_argument("--only", choices=("steps", "learn"), help="half of the lines")
    parser.add_argument("--seconds", type=float, default=5.0, help="for every rate of steps")
    parser.add_argument("--size", default="1m", help="of the model that learns")
    parser.add_argument("--train-ratio", type=float, default=64.0, help="of its training")
    parser.add_argument("--steps", type=whole(1), default=640, help="of all, in its training")
    parser.add_argument("--ahead", type=whole(1), default=4, help="steps of workers that act")
    add_threads(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    for what, ways in (("steps", STEPPED), ("learn", WAYS)):
        if args.only in (None, what):
            for milliseconds, way in product(args.milliseconds, ways):
                _print(what, way, milliseconds, args)


def _print(what: str, way: str, milliseconds: float, args: argparse.Namespace) -> None:
    with plain_errors():
        env = make_envs(way, args.n_envs, args.obs, milliseconds, args.ahead)
        try:
            if what == "steps":
                found = {"steps_per_second": round(step_rate(env, args.seconds), 1)}
            else:
                found = learning_time(env, args.size, args.train_ratio, args.steps)
                asked = {name: getattr(args, name) for name in ("size", "train_ratio", "steps")}
                found |= {**asked, "ahead": args.ahead} if way == WAYS[-1] else asked
        finally:
            env.close()
    line = {"measured": what, "envs": way, "n_envs": args.n_envs, "milliseconds": milliseconds}
    print(json.dumps({**line, "threads": args.threads, **found}), flush=True)

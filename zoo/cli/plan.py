"""
Plan in the true simulator: what PlaNet's planner reaches with a perfect model (its table 1).

    dreamzoo plan --task reacher-easy --episodes 3 --candidates 1000 --iterations 10

Prints one JSON line. ``std_return`` is the population's standard deviation over the episodes,
``published_return`` the mean of 5 seeds x 10 episodes in the paper; it is null where horizon,
iterations, share of elites or action repeat are not the paper's or an episode is stopped early, not
where there are fewer candidates. Episodes differ in their start; the seed decides all of them.
"""

import argparse
import json
import sys
from dataclasses import asdict
from time import perf_counter

import numpy as np
import torch as th

from dreamzoo.cli.arguments import add_threads, film, make_parser, plain_errors, seed, whole
from dreamzoo.envs import make_dmc
from dreamzoo.planning import CEM, random_shooting
from dreamzoo.planning.true_planning import PAPER, plan_episode, published_return
from dreamzoo.planning.true_simulator import PLANET_ACTION_REPEAT, TrueSimulator


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; the action repeat depends on the task."""
    parser = make_parser("plan", __doc__)
    parser.add_argument("--task", default="reacher-easy", help="domain-task of the suite")
    parser.add_argument("--episodes", type=whole(1), default=1)
    parser.add_argument("--planner", default="cem", choices=["cem", "random_shooting"])
    parser.add_argument("--candidates", type=whole(1), default=1_000)
    parser.add_argument("--iterations", type=whole(1), help="of cem, default: 10")
    parser.add_argument("--horizon", type=whole(1), default=12, help="planned actions")
    parser.add_argument("--elites", type=whole(1), help="of cem, default: a tenth of all")
    parser.add_argument("--action-repeat", type=whole(1), help="default: the paper's for the task")
    parser.add_argument("--steps", type=whole(1), help="actions after which an episode is stopped")
    parser.add_argument("--video", type=film, help="mp4 of the first episode")
    add_threads(parser)
    parser.add_argument("--seed", type=seed, default=0)
    args = parser.parse_args(argv)
    if args.action_repeat is None:
        if args.task not in PLANET_ACTION_REPEAT:
            parser.error(f"the paper has no {args.task}: give --action-repeat")
        args.action_repeat = PLANET_ACTION_REPEAT[args.task]
    given = [x for x in (args.iterations, args.elites) if x is not None]
    if args.planner == "random_shooting" and given:
        parser.error("random_shooting has one round and keeps the best: no --iterations, --elites")
    return args


def make_planner(args: argparse.Namespace) -> CEM:
    """Make the planner that the command line asks for."""
    if args.planner == "random_shooting":
        return random_shooting(args.horizon, args.candidates)
    elites = max(1, args.candidates // 10) if args.elites is None else args.elites
    iterations = PAPER.iterations if args.iterations is None else args.iterations
    return CEM(args.horizon, iterations, args.candidates, elites)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    domain, _, task = args.task.partition("-")
    with plain_errors():
        planner = make_planner(args)
        env = make_dmc(
            domain,
            task,
            action_repeat=args.action_repeat,
            render_mode="rgb_array" if args.video else None,
        )
        simulator = TrueSimulator(env, args.threads)
    generator = th.Generator().manual_seed(args.seed)
    returns: list[float] = []
    start = perf_counter()
    for episode in range(args.episodes):
        env.reset(seed=None if episode else args.seed)
        video = None if episode else args.video
        returns.append(plan_episode(env, simulator, planner, generator, args.steps, video))
        spent = perf_counter() - start
        print(f"episode {episode + 1}: {returns[-1]:.1f} after {spent:.0f} s", file=sys.stderr)
    seconds = perf_counter() - start
    published = published_return(args.task, planner, args.action_repeat, args.steps)
    result = {
        "task": args.task,
        "planner": args.planner,
        "episodes": args.episodes,
        "returns": [round(value, 3) for value in returns],
        "mean_return": round(float(np.mean(returns)), 3),
        "std_return": round(float(np.std(returns)), 3),
        "published_return": published,
        **asdict(planner),
        "action_repeat": args.action_repeat,
        "steps": args.steps,
        "seconds": round(seconds, 2),
        "mj_steps_per_second": round(simulator.mj_steps / seconds),
        "threads": args.threads,
        "seed": args.seed,
    }
    print(json.dumps(result))

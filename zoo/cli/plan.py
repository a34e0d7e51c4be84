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
from pathlib import Path
from time import perf_counter
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import torch as th

from dreamzoo.cli.arguments import make_parser
from dreamzoo.envs import make_dmc
from dreamzoo.planning import CEM, random_shooting
from dreamzoo.planning.true_simulator import PLANET_ACTION_REPEAT, TrueSimulator

# CEM + true simulator, PlaNet, table 1.
PUBLISHED = {
    "ball_in_cup-catch": 993,
    "cartpole-swingup": 850,
    "cheetah-run": 656,
    "finger-spin": 825,
    "reacher-easy": 964,
    "walker-walk": 994,
}

PAPER = CEM()


def play(
    env: gym.Env,
    simulator: TrueSimulator,
    planner: CEM,
    generator: th.Generator,
    steps: int | None,
    video: Path | None,
) -> float:
    """
    Act by planning anew at every step, from a reset to the episode's end.

    :param env: just reset
    :param simulator: of the same environment
    :param planner: planner
    :param generator: source of the candidates
    :param steps: actions after which to stop early
    :param video: file to write what is seen to
    :return: sum of the rewards
    """
    assert env.action_space.shape is not None
    (action_dim,) = env.action_space.shape
    frames: list[Any] = []
    total, step, done = 0.0, 0, False
    while not done and step != steps:
        plan = planner.plan(simulator, action_dim, generator=generator)
        _, reward, terminated, truncated, _ = env.step(plan.mean[0, 0].numpy())
        total, step, done = total + float(reward), step + 1, terminated or truncated
        if video:
            frames.append(env.render())
    if video:
        fps = env.metadata["render_fps"]
        imageio.imwrite(video, np.stack(frames), fps=fps, macro_block_size=2)
    return total


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; the action repeat depends on the task."""
    parser = make_parser("plan", __doc__)
    parser.add_argument("--task", default="reacher-easy", help="domain-task of the suite")
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--planner", default="cem", choices=["cem", "random_shooting"])
    parser.add_argument("--candidates", type=int, default=1_000)
    parser.add_argument("--iterations", type=int, help="of cem, default: 10")
    parser.add_argument("--horizon", type=int, default=12, help="planned actions")
    parser.add_argument("--elites", type=int, help="of cem, default: a tenth of the candidates")
    parser.add_argument("--action-repeat", type=int, help="default: the paper's for the task")
    parser.add_argument("--steps", type=int, help="actions after which an episode is stopped")
    parser.add_argument("--video", type=Path, help="mp4 of the first episode")
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.action_repeat is None:
        if args.task not in PLANET_ACTION_REPEAT:
            parser.error(f"the paper has no {args.task}: give --action-repeat")
        args.action_repeat = PLANET_ACTION_REPEAT[args.task]
    given = [x for x in (args.iterations, args.elites) if x is not None]
    if args.planner == "random_shooting" and given:
        parser.error("random_shooting has one round and keeps the best: no --iterations, --elites")
    if args.episodes < 1:
        parser.error(f"--episodes {args.episodes}: play at least one")
    return args


def make_planner(args: argparse.Namespace) -> CEM:
    """Make the planner that the command line asks for."""
    if args.planner == "random_shooting":
        return random_shooting(args.horizon, args.candidates)
    elites = max(1, args.candidates // 10) if args.elites is None else args.elites
    iterations = PAPER.iterations if args.iterations is None else args.iterations
    return CEM(args.horizon, iterations, args.candidates, elites)


def published_return(args: argparse.Namespace, planner: CEM) -> float | None:
    """Look up what the paper reports, if what was run is what it reports on."""
    like_paper = (
        (planner.horizon, planner.iterations) == (PAPER.horizon, PAPER.iterations)
        and planner.elites == max(1, planner.candidates // 10)
        and args.action_repeat == PLANET_ACTION_REPEAT.get(args.task)
        and args.steps is None
    )
    return PUBLISHED.get(args.task) if like_paper else None


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    planner = make_planner(args)
    domain, _, task = args.task.partition("-")
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
        returns.append(play(env, simulator, planner, generator, args.steps, video))
        spent = perf_counter() - start
        print(f"episode {episode + 1}: {returns[-1]:.1f} after {spent:.0f} s", file=sys.stderr)
    seconds = perf_counter() - start
    result = {
        "task": args.task,
        "planner": args.planner,
        "episodes": args.episodes,
        "returns": [round(value, 3) for value in returns],
        "mean_return": round(float(np.mean(returns)), 3),
        "std_return": round(float(np.std(returns)), 3),
        "published_return": published_return(args, planner),
        **asdict(planner),
        "action_repeat": args.action_repeat,
        "steps": args.steps,
        "seconds": round(seconds, 2),
        "mj_steps_per_second": round(simulator.mj_steps / seconds),
        "threads": args.threads,
        "seed": args.seed,
    }
    print(json.dumps(result))

"""
Measure what it costs to plan one action with PlaNet.

    dreamzoo bench planner --threads 1
    dreamzoo bench planner --candidates 200 --iterations 5 --units 100

The widths are those of the paper unless ``--units`` changes all of them; there are six continuous
actions, and observations do not matter: planning never looks at them. Prints one JSON line:

- ``seconds``: median of a plan on the wall
- ``steps_per_second``: imagined steps, candidates x horizon x iterations / seconds
- ``gflop``: arithmetic of a plan's matrix products, counted, not estimated
- ``peak_gflops``: rate of a large matrix product, measured in the same run on the same threads
- ``fraction_of_limit``: ``gflop / peak_gflops / seconds``
- ``random_shooting_seconds``: as many candidates at once, without refitting
"""

import json
import time

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from torch.utils.flop_counter import FlopCounterMode

from dreamzoo import PlaNet
from dreamzoo.benchmark import measure_peak
from dreamzoo.cli.arguments import make_parser
from dreamzoo.planning import CEM, ModelRollout, random_shooting

ACTIONS = 6


class Still(gym.Env):
    """Has the spaces of dm_control's walker; nobody steps it."""

    observation_space = spaces.Box(-np.inf, np.inf, (24,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)


def time_plan(model: PlaNet, cem: CEM, repeat: int) -> float:
    """Time plans for one environment: median seconds, the first of all left out."""
    world_model, seconds = model.policy.world_model, []
    rollout = ModelRollout(world_model, world_model.initial(1))
    for _ in range(repeat + 1):
        start = time.perf_counter()
        first = cem.plan(rollout, ACTIONS, device=model.device).mean[0, 0]
        first.cpu()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bench planner", __doc__)
    parser.add_argument("--horizon", type=int, default=12)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--candidates", type=int, default=1_000)
    parser.add_argument("--units", type=int, help="of memory, hidden layers and reward head")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    units = args.units
    kwargs = dict(deter=units, units=units, reward_arch=(units, units)) if units else {}
    model = PlaNet("MlpPolicy", Still(), policy_kwargs=kwargs, device=args.device, seed=0)
    cem = CEM(args.horizon, args.iterations, args.candidates, max(args.candidates // 10, 1))
    shooting = random_shooting(args.horizon, args.candidates * args.iterations)
    seconds = time_plan(model, cem, args.repeat)
    peak = measure_peak(model.device)
    with FlopCounterMode(display=False) as counter:
        time_plan(model, cem, 1)
    gflop = counter.get_total_flops() / 2 / 1e9  # two plans
    steps = args.candidates * args.horizon * args.iterations
    result = {
        "policy_kwargs": kwargs,
        "horizon": args.horizon,
        "iterations": args.iterations,
        "candidates": args.candidates,
        "device": args.device,
        "threads": args.threads,
        "seconds": round(seconds, 4),
        "steps_per_second": round(steps / seconds),
        "gflop": round(gflop, 4),
        "peak_gflops": round(peak, 1),
        "fraction_of_limit": round(gflop / peak / seconds, 3),
        "random_shooting_seconds": round(time_plan(model, shooting, args.repeat), 4),
    }
    print(json.dumps(result))

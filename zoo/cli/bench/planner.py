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

import torch as th

from dreamzoo.benchmark.speed.plans import make_planning_agent, measure_plans
from dreamzoo.cli.arguments import device_here, make_parser, plain_errors, whole
from dreamzoo.planning import CEM


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bench planner", __doc__)
    parser.add_argument("--horizon", type=whole(1), default=12)
    parser.add_argument("--iterations", type=whole(1), default=10)
    parser.add_argument("--candidates", type=whole(1), default=1_000)
    parser.add_argument("--units", type=whole(1), help="of memory, hidden layers and reward head")
    parser.add_argument("--threads", type=whole(1), default=1)
    parser.add_argument("--device", type=device_here, default="cpu")
    parser.add_argument("--repeat", type=whole(1), default=5)
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        model = make_planning_agent(args.units, args.device)
        cem = CEM(args.horizon, args.iterations, args.candidates, max(args.candidates // 10, 1))
    result = {
        "policy_kwargs": model.policy_kwargs,
        "horizon": args.horizon,
        "iterations": args.iterations,
        "candidates": args.candidates,
        "device": args.device,
        "threads": args.threads,
    }
    print(json.dumps(result | measure_plans(model, cem, args.repeat)))

"""
Measure what an update of DiscreteSAC costs beside one of Stable-Baselines3's SAC.

    dreamzoo bench sac --threads 1
    dreamzoo bench sac --observations 8 --actions 4 --widths 64 64 --batch 64

Networks have the same widths, critics read as many numbers of an action: indicators of
``--actions`` choices, or that many continuous dimensions. Agents update in turns, in one process.
Prints one JSON line for each: milliseconds of CPU and on the wall, medians of an update, and the
share of SAC's.
"""

import json

import torch as th

from dreamzoo.benchmark.speed.soft_actor_critics import make_agents, time_updates
from dreamzoo.cli.arguments import add_threads, device_here, make_parser, plain_errors, whole


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bench sac", __doc__)
    parser.add_argument("--observations", type=whole(1), default=8, help="numbers")
    parser.add_argument("--actions", type=whole(2), default=4)
    parser.add_argument("--widths", type=whole(1), nargs="+", default=[256, 256])
    parser.add_argument("--batch", type=whole(1), default=256)
    parser.add_argument("--rounds", type=whole(1), default=10)
    parser.add_argument("--updates", type=whole(1), default=50, help="of a turn")
    parser.add_argument("--device", type=device_here, default="cpu")
    add_threads(parser)
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        agents = make_agents(args.observations, args.actions, args.widths, args.batch, args.device)
    times = time_updates(agents, args.rounds, args.updates)
    base = times["SAC"]["cpu_milliseconds"]
    names = ("observations", "actions", "widths", "batch", "device", "threads")
    given = {name: getattr(args, name) for name in names}
    for name, found in times.items():
        share = round(found["cpu_milliseconds"] / base, 3)
        print(json.dumps({"estimator": name} | given | found | {"share_of_sac": share}))

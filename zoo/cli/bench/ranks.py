"""
Measure updates that several ranks make together, and the share of their talking in it.

    dreamzoo bench ranks --size 12m
    torchrun --nproc_per_node 2 -m dreamzoo bench ranks --size 12m

The batch is split among the ranks, so that ``updates_per_second`` of both lines say how much faster
the same learning goes. Data are those of ``dreamzoo bench update``. The first rank prints one JSON
line: medians of seconds of an update and of adding up its gradients alone
(``all_reduce_seconds``), which begins at the same moment on all ranks, and the share of the latter
in the former. What the update waits for slower ranks is in ``wall_seconds`` only.
"""

import argparse
import json

import torch as th

from dreamzoo.benchmark.speed.ranks import measure_ranks
from dreamzoo.benchmark.speed.work import MODEL_AGENTS, TASKS, Mode, Work
from dreamzoo.benchmark.synthetic import OBSERVATIONS
from dreamzoo.cli.arguments import device_here, make_parser, plain_errors, whole
from dreamzoo.nn.fast.precision import NAMES, resolve
from dreamzoo.nn.fast.ranks import own_device, place


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("bench ranks", __doc__)
    parser.add_argument("--agent", choices=MODEL_AGENTS, default="dreamer_v3")
    parser.add_argument("--task", choices=TASKS, default="control", help="its actions, settings")
    parser.add_argument("--size", default="1m", help="of DreamerV3's model")
    parser.add_argument("--obs", choices=OBSERVATIONS, default="vector")
    parser.add_argument("--batch", type=whole(1), help="sequences of all ranks together")
    parser.add_argument("--length", type=whole(1), help="their steps")
    parser.add_argument("--threads", type=whole(1), default=1, help="of every rank")
    parser.add_argument("--precision", choices=NAMES, default="fp32")
    parser.add_argument("--device", type=device_here, default="cpu")
    parser.add_argument("--repeat", type=whole(1), default=10)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    size = args.size if args.agent == "dreamer_v3" else None
    device = th.device(own_device(args.device))
    shape = args.batch, args.length, None
    work = Work(args.agent, args.obs, args.task, size, *shape, str(device))
    with plain_errors():
        mode = Mode(resolve(args.precision, device), graph=True, triton=True)
        line = measure_ranks(work, mode, args.repeat)
    if place().index == 0:
        asked = {name: getattr(args, name) for name in ("agent", "task", "obs", "threads")}
        print(json.dumps({**asked, "size": size, "device": device.type, **line}), flush=True)

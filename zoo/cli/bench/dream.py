r"""
Measure how many steps a second a dream makes, beside the real environment.

    dreamzoo bench dream --envs CartPole-v1 dmc/walker-walk atari/pong

    dreamzoo bench dream --envs synthetic/vector --sizes 1m 12m --device cuda \
        --dreams 1 256 4096 16384 --graph on off --only-dreams

One JSON line per environment, size and graph: steps per second of the real environment, of
``DreamVectorEnv`` at several numbers of dreams, and of its face for Stable-Baselines3; and what the
wrappers cost, as a share of a step of ``--share-at`` dreams. The models are untrained: a step costs
the same.
``--only-dreams`` leaves out all but the steps of ``DreamVectorEnv``, and ``synthetic/vector`` and
``synthetic/image`` are environments of dm_control's shapes that need nothing installed.
"""

import argparse
import json
from itertools import product
from typing import Any

import torch as th

from dreamzoo.benchmark.cases import wait_for_turn
from dreamzoo.benchmark.speed.dreams import dream_rates, extra_costs, make_dreamer, real_rate
from dreamzoo.cli.arguments import add_threads, device_here, make_parser, plain_errors, whole
from dreamzoo.nn.fast.precision import NAMES, resolve
from dreamzoo.nn.networks.grids import pictures


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("bench dream", __doc__)
    parser.add_argument(
        "--envs", nargs="+", default=["CartPole-v1", "dmc/walker-walk", "atari/pong"]
    )
    parser.add_argument("--dreams", type=whole(1), nargs="+", default=[1, 16, 256, 1024])
    parser.add_argument("--share-at", type=whole(1), default=256, help="dreams")
    parser.add_argument(
        "--sizes", nargs="+", default=[None], help="default: the agent's own for the environment"
    )
    parser.add_argument("--precision", choices=NAMES, default="auto")
    parser.add_argument(
        "--graph", nargs="+", choices=("on", "off"), default=["on"], help="of a step, on CUDA"
    )
    parser.add_argument("--only-dreams", action="store_true")
    parser.add_argument("--hold", action="store_true", help="wait for a line of input to begin")
    parser.add_argument("--device", type=device_here, default="auto")
    add_threads(parser)
    parser.add_argument("--seconds", type=float, default=3.0, help="for every figure")
    return parser.parse_args(argv)


def measure(name: str, size: str | None, graph: bool, args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything about one environment."""
    with plain_errors():
        model = make_dreamer(name, size, device=args.device, precision=args.precision, graph=graph)
    result = {
        "env": name,
        "size": size or ("12m" if pictures(model.policy.observation_codec.image_keys) else "1m"),
        "device": str(model.device),
        "threads": args.threads,
        "precision": resolve(args.precision, model.device),
        "graph": graph and model.device.type == "cuda",
        "dream_steps_per_second": dream_rates(model, args.dreams, args.seconds),
    }
    if args.only_dreams:
        return result
    shares = extra_costs(model, args.share_at, args.seconds)
    real = round(real_rate(name, args.seconds))
    return result | {"real_steps_per_second": real, f"extra_cost_at_{args.share_at}": shares}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    if args.hold:
        wait_for_turn()
    for name, size, graph in product(args.envs, args.sizes, args.graph):
        print(json.dumps(measure(name, size, graph == "on", args)), flush=True)

"""
Measure how many frames a second dreamzoo play makes.

    dreamzoo bench play --env synthetic/image --size 12m --threads 2

One JSON line: moments a second of one dream alone, and beside the real environment, from the action
to the message that a browser is sent. The model is untrained: a step costs the same.
"""

import argparse
import json
import time

import torch as th

from dreamzoo.benchmark.speed.dreams import make, make_dreamer
from dreamzoo.cli.arguments import add_threads, device_here, make_parser, plain_errors, whole
from dreamzoo.nn.fast.precision import NAMES
from dreamzoo.playing.messages import pack_scene
from dreamzoo.playing.reality import maker
from dreamzoo.playing.session import PlaySession


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bench play", __doc__)
    parser.add_argument("--env", default="synthetic/image")
    parser.add_argument("--size", default="12m")
    parser.add_argument("--dreams", type=whole(1), default=1)
    parser.add_argument("--precision", choices=NAMES, default="auto")
    parser.add_argument("--device", type=device_here, default="auto")
    add_threads(parser)
    parser.add_argument("--seconds", type=float, default=5.0, help="for every figure")
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        model = make_dreamer(
            args.env, args.size, device=args.device, precision=args.precision, graph=True
        )
        make_env = maker(model, lambda: make(args.env))
        alone = PlaySession(model, dreams=args.dreams)
        beside = PlaySession(model, make_env, dreams=args.dreams)
    rates = {name: _rate(s, args) for name, s in (("alone", alone), ("beside_reality", beside))}
    beside.close()
    about = {"env": args.env, "size": args.size, "dreams": args.dreams, "threads": args.threads}
    print(json.dumps({**about, "device": str(model.device), "frames_per_second": rates}))


def _rate(session: PlaySession, args: argparse.Namespace) -> float:
    """Step and pack until the time is over; an episode that ends begins anew."""
    session.reset(seed=0)
    for _ in range(5):
        pack_scene(session.step())
    count, start = 0, time.perf_counter()
    while (now := time.perf_counter()) - start < args.seconds:
        if session.reality is not None and session.is_over:
            session.reset()
        pack_scene(session.step())
        count += 1
    return round(count / (now - start), 1)

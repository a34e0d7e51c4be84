"""
Measure how fast the replay gives windows.

    dreamzoo bench replay --image 64 --size 12m

Prints one JSON line: windows of 65 records of 64x64x3 images, with stored latents, in batches of
16, per second of CPU time; beside a plain copy of the same bytes.
"""

import json

import torch as th

from dreamzoo.benchmark.speed.replays import make_buffer, measure_replay
from dreamzoo.cli.arguments import make_parser, plain_errors, whole


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bench replay", __doc__)
    parser.add_argument("--image", type=whole(1), default=64, help="pixels")
    parser.add_argument("--size", default="12m", help="model whose latents are stored")
    parser.add_argument("--records", type=whole(1), default=20_000)
    parser.add_argument("--n-envs", type=whole(1), default=4)
    parser.add_argument("--batch-size", type=whole(1), default=16)
    parser.add_argument("--batch-length", type=whole(1), default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args(argv)
    th.set_num_threads(1)
    with plain_errors():
        buffer = make_buffer(args.image, args.size, args.records, args.n_envs, args.batch_length)
    result = measure_replay(buffer, args.batch_size, args.seconds) | {
        "records_per_window": args.batch_length + 1,
        "observation": [3, args.image, args.image],
        "latents": args.size,
        "n_envs": args.n_envs,
        "gigabytes": round(buffer.nbytes() / 1e9, 2),
    }
    print(json.dumps(result))

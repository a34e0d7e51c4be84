"""
Measure how fast the replay gives windows.

    dreamzoo bench replay --image 64 --size 12m

Prints one JSON line: windows of 65 records of 64x64x3 images, with stored latents, in batches of
16, per second of CPU time; beside a plain copy of the same bytes.
"""

import json
import time

import numpy as np
import torch as th
from gymnasium import spaces

from dreamzoo.cli.arguments import make_parser
from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.nn import get_size


def fill(buffer: SequenceReplayBuffer, records: int) -> None:
    """Store random records of every environment, one episode end every 500."""
    rng = np.random.default_rng(0)
    n = buffer.n_envs
    obs = rng.integers(0, 256, (n, *buffer.obs_shape), dtype=np.uint8)
    latents = {k: rng.random((n, *s)).astype(d) for k, (s, d) in buffer.latent_spec.items()}
    for step in range(records // n):
        done = np.full(n, step % 500 == 499)
        buffer.stage_latents(latents)
        buffer.add(obs, obs, np.zeros((n, 1)), np.zeros(n), done, [{}] * n)


def cpu_rate(function: object, seconds: float) -> float:
    """Count calls per second of CPU time."""
    assert callable(function)
    function()
    calls, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        function()
        calls += 1
    return calls / (time.process_time() - start)


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bench replay", __doc__)
    parser.add_argument("--image", type=int, default=64, help="pixels")
    parser.add_argument("--size", default="12m", help="model whose latents are stored")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--n-envs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--batch-length", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args(argv)
    th.set_num_threads(1)
    size = get_size(args.size)
    buffer = SequenceReplayBuffer(
        args.records,
        spaces.Box(0, 255, (3, args.image, args.image), np.uint8),
        spaces.Discrete(6),
        device="cpu",
        n_envs=args.n_envs,
        batch_length=args.batch_length,
        latents={"deter": ((size.deter,), np.float32), "stoch": ((size.stoch,), np.uint8)},
        seed=0,
    )
    fill(buffer, args.records)
    rate = cpu_rate(lambda: buffer.sample(args.batch_size), args.seconds) * args.batch_size
    batch = buffer.sample(args.batch_size)
    assert isinstance(batch.observations, th.Tensor)
    source = batch.observations.numpy()
    target = np.empty_like(source)
    copy = cpu_rate(lambda: np.copyto(target, source), 1.0) * args.batch_size
    print(
        json.dumps(
            {
                "windows_per_cpu_second": round(rate),
                "plain_copy_windows_per_cpu_second": round(copy),
                "records_per_window": args.batch_length + 1,
                "observation": [3, args.image, args.image],
                "latents": args.size,
                "n_envs": args.n_envs,
                "gigabytes": round(buffer.nbytes() / 1e9, 2),
            }
        )
    )

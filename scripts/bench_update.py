"""
Measure what one update of DreamerV3 costs, and one step of acting.

    python scripts/bench_update.py --size 1m --obs vector --threads 1
    python scripts/bench_update.py --size 12m --obs image --threads 2 --breakdown
    python scripts/bench_update.py --size 1m --act 1 16

Data are synthetic, of the shapes of dm_control's walker-walk: 24 numbers or 64x64x3 pixels, six
continuous actions. One JSON line per case:

- ``cpu_seconds, wall_seconds``: median of an update after warm-up, batch sampling and write-back
  included; on CUDA ``wall_seconds`` is between device events
- ``gflop``: arithmetic of its matrix products and convolutions, counted, not estimated
- ``peak_gflops``: rate of a large matrix product, measured in the same run on the same threads
- ``fraction_of_limit``: ``gflop / peak_gflops / wall_seconds``
- ``parameters, peak_rss_mb, warmup_seconds`` (of the first update, compilation included)
- with ``--breakdown``: wall seconds by part
- with ``--act N ...``: milliseconds of one ``predict`` for N environments

``--precision`` is that of the factors of matrix products and convolutions, see the agents'.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.utils.flop_counter import FlopCounterMode

from dreamzoo import DreamerV3
from dreamzoo.benchmark import measure_peak
from dreamzoo.nn.fast.kernels import is_compiled, is_triton
from dreamzoo.nn.fast.precision import NAMES, resolve

OBSERVATIONS: dict[str, spaces.Box] = {
    "vector": spaces.Box(-np.inf, np.inf, (24,), np.float32),
    "image": spaces.Box(0, 255, (64, 64, 3), np.uint8),
}


class Synthetic(gym.Env):
    """
    Random observations and rewards of given shapes, episodes of 500 steps.

    :param obs: ``vector`` or ``image``
    """

    def __init__(self, obs: str) -> None:
        self.observation_space = OBSERVATIONS[obs]
        self.action_space = spaces.Box(-1, 1, (6,), np.float32)
        self.age = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.age = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> Any:
        self.age += 1
        return self.observation_space.sample(), float(action[0]), False, self.age == 500, {}


class Clock:
    """
    Wall time by part; what a part calls counts for the called part only.

    :param device: where the parts run; a part ends when the device has finished it
    """

    def __init__(self, device: th.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def now(self) -> float:
        if self.device.type == "cuda":
            th.cuda.synchronize(self.device)
        return time.perf_counter()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Count the calls of a method as a part."""
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = self.now()
            result = function(*args, **kwargs)
            spent = self.now() - start
            self.seconds[part] += spent - self._inner.pop()
            if self._inner:
                self._inner[-1] += spent
            return result

        setattr(owner, name, timed)


def make_model(args: argparse.Namespace) -> DreamerV3:
    """Build the agent and fill its replay by acting with the initial policy."""
    env = DummyVecEnv([lambda: Synthetic(args.obs) for _ in range(args.batch)])
    model = DreamerV3(
        "CnnPolicy" if args.obs == "image" else "MlpPolicy",
        env,
        batch_size=args.batch,
        batch_length=args.length,
        horizon=args.horizon,
        buffer_size=args.batch * (3 * args.length + 50),
        learning_starts=10**9,
        policy_kwargs=dict(size=args.size),
        device=args.device,
        precision=args.precision,
        seed=0,
    )
    return model.learn(args.batch * (2 * args.length + 20))


def count_gflop(model: DreamerV3) -> float:
    """Count the arithmetic of one update; counting sees only the thread that it runs in."""
    threads = th.get_num_threads()
    th.set_num_threads(1)

    def addmm_flop(added: Any, a: tuple[int, int], b: tuple[int, int], **_: Any) -> int:
        return 2 * a[0] * a[1] * b[1]

    in_place: dict[Any, Any] = {th.ops.aten.addmm_: addmm_flop}  # the one it does not know
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        model.train(1, model.batch_size)
    th.set_num_threads(threads)
    return counter.get_total_flops() / 1e9


def time_update(model: DreamerV3, repeat: int) -> tuple[list[float], list[float]]:
    """Time updates: seconds on the wall and of the processor."""
    wall, cpu = [], []
    for _ in range(repeat):
        start = time.process_time()
        if model.device.type == "cuda":
            begin, end = (th.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            model.train(1, model.batch_size)
            end.record()
            th.cuda.synchronize(model.device)
            wall.append(begin.elapsed_time(end) / 1e3)
        else:
            begun = time.perf_counter()
            model.train(1, model.batch_size)
            wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - start)
    return wall, cpu


def break_down(model: DreamerV3, repeat: int) -> dict[str, float]:
    """Time the parts of an update, in seconds."""
    clock = Clock(model.device)
    assert model.replay_buffer is not None
    clock.wrap(model, "train", "other")
    clock.wrap(model.replay_buffer, "sample", "replay")
    clock.wrap(model.replay_buffer, "write_latents", "replay")
    clock.wrap(model.policy.world_model, "observe_sequence", "filtering")
    clock.wrap(model, "_world_model_loss", "decoding and heads")
    clock.wrap(model, "_imagine", "imagination")
    clock.wrap(model, "_behavior_loss", "actor and critic")
    clock.wrap(model, "_replay_critic_loss", "actor and critic")
    clock.wrap(th.Tensor, "backward", "backward")
    clock.wrap(model.policy.optimizer, "step", "optimizer")
    for _ in range(repeat):
        model.train(1, model.batch_size)
    return {part: round(seconds / repeat, 4) for part, seconds in clock.seconds.items()}


def time_acting(model: DreamerV3, n_envs: int, steps: int = 200) -> float:
    """Time one call of ``predict`` with its state carried on, in milliseconds."""
    space = model.observation_space
    obs = np.stack([space.sample() for _ in range(n_envs)])
    state, start = None, np.ones(n_envs, bool)
    times = []
    for step in range(steps + 20):
        begun = time.perf_counter()
        _, state = model.predict(obs, state, start)
        if step >= 20:
            times.append(time.perf_counter() - begun)
        start = np.zeros(n_envs, bool)
    return float(np.median(times)) * 1e3


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="1m")
    parser.add_argument("--obs", choices=OBSERVATIONS, default="vector")
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    parser.add_argument("--precision", choices=NAMES, default="fp32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--breakdown", action="store_true")
    parser.add_argument("--act", type=int, nargs="+", metavar="N", help="environments; no update")
    args = parser.parse_args(argv)
    try:
        args.precision = resolve(args.precision, get_device(args.device))
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    model = make_model(args)
    result: dict[str, Any] = {
        "size": args.size,
        "obs": args.obs,
        "threads": args.threads,
        "device": str(model.device),
        "precision": args.precision,
        "compiled_kernels": is_compiled(next(model.policy.parameters())),
        "triton_kernels": is_triton(next(model.policy.parameters())),
        "parameters": sum(p.numel() for p in model.policy.trained_parameters()),
    }
    if args.act:
        for n in args.act:
            ms = round(time_acting(model, n), 3)
            print(json.dumps(result | {"n_envs": n, "milliseconds": ms}), flush=True)
        return
    start = time.perf_counter()
    model.train(1, args.batch)
    warmup = time.perf_counter() - start
    gflop = count_gflop(model)
    wall, cpu = time_update(model, args.repeat)
    peak = measure_peak(model.device)
    seconds = float(np.median(wall))
    result |= {
        "batch": args.batch,
        "length": args.length,
        "horizon": args.horizon,
        "wall_seconds": round(seconds, 4),
        "cpu_seconds": round(float(np.median(cpu)), 4),
        "wall_seconds_range": [round(min(wall), 4), round(max(wall), 4)],
        "gflop": round(gflop, 1),
        "peak_gflops": round(peak, 1),
        "fraction_of_limit": round(gflop / peak / seconds, 3),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "warmup_seconds": round(warmup, 2),
    }
    if args.breakdown:
        result["breakdown"] = break_down(model, args.repeat)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

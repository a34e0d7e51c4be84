"""
Measure what one update of DreamerV3 costs, and one step of acting.

    dreamzoo bench update --size 1m --obs vector --threads 1
    dreamzoo bench update --size 12m --obs image --threads 2 --breakdown
    dreamzoo bench update --size 1m --act 1 16
    dreamzoo bench update --size 12m --obs image --device cuda --launches --round 8 \\
        --precision bf16 tf32 fp32 --graph on on off
    dreamzoo bench update --size 12m --obs image --device cuda --learn 40

Data are synthetic, of the shapes of dm_control's walker-walk: 24 numbers or 64x64x3 pixels, six
continuous actions. ``--precision``, ``--graph`` (the update as a CUDA graph) and ``--triton`` take
one value, or one for each of several measurements; precision is that of the factors of matrix
products and convolutions, see the agents'. One JSON line per measurement:

- ``cpu_seconds, wall_seconds``: median of an update after warm-up, batch sampling and write-back
  included, ``--round`` updates in a row; on CUDA ``wall_seconds`` is between device events
- ``gflop``: arithmetic of its matrix products and convolutions, counted, not estimated
- ``peak_gflops``: rate of a large matrix product, measured in the same run on the same threads
- ``fraction_of_limit``: ``gflop / peak_gflops / wall_seconds``; on CUDA that of memory, if larger:
  what an update holds, read once and written once at the rate of a copy
- ``parameters, peak_rss_mb, warmup_seconds`` (of the first update, compilation included), on CUDA
  ``peak_gpu_mb``
- with ``--launches``: kernels of an update and the seconds in which one ran, by the profiler, and
  the seconds that as many of the smallest kernels take in a CUDA graph
- with ``--breakdown``: wall seconds by part
- with ``--act N ...``: milliseconds of one ``predict`` for N environments
- with ``--learn N``: the share of time in which the GPU computes in N updates of ``learn()`` with
  ``--n-envs`` environments at the default train ratio
"""

import argparse
import gc
import json
import os
import resource
import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.utils.flop_counter import FlopCounterMode

from dreamzoo import DreamerV3
from dreamzoo.benchmark import measure_peak
from dreamzoo.benchmark.cases import wait_for_turn
from dreamzoo.benchmark.hardware import measure_copy, measure_launch, profile_kernels
from dreamzoo.benchmark.synthetic import OBSERVATIONS, Synthetic
from dreamzoo.cli.arguments import make_parser
from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.graphs import WARMUP
from dreamzoo.nn.fast.precision import NAMES, Precision, resolve


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


class Mode(NamedTuple):
    """
    How updates are computed.

    :param precision: of matrix products
    :param graph: as one CUDA graph, where the device has such
    :param triton: with kernels in Triton, where the device has such
    """

    precision: Precision
    graph: bool
    triton: bool


#: For counting: nothing is hidden in a graph or in a kernel.
PLAIN = Mode("fp32", graph=False, triton=False)


def make_model(args: argparse.Namespace, mode: Mode, n_envs: int | None = None) -> DreamerV3:
    """Build the agent and fill its replay by acting with the initial policy."""
    os.environ["DREAMZOO_TRITON"] = "1" if mode.triton else "0"
    kernels.has_triton.cache_clear()
    env = DummyVecEnv([lambda: Synthetic(args.obs) for _ in range(n_envs or args.batch)])
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
        precision=mode.precision,
        cuda_graph=mode.graph,
        seed=0,
    )
    return model.learn(env.num_envs * (2 * args.length + 20))


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


def memory_floor(model: DreamerV3, bandwidth: float) -> float:
    """
    Say how long reading and writing once what an update holds takes on CUDA.

    :param model: of which a first update has been made
    :param bandwidth: of the device's memory, in GB/s
    :return: seconds
    """
    th.cuda.synchronize(model.device)
    before = th.cuda.memory_allocated(model.device)
    th.cuda.reset_peak_memory_stats(model.device)
    model.train(1, model.batch_size)
    activations = th.cuda.max_memory_allocated(model.device) - before
    # Parameters, gradients and two averages of gradients.
    state = 4 * sum(p.numel() * p.element_size() for p in model.policy.trained_parameters())
    return 2 * (state + activations) / 1e9 / bandwidth


def time_update(model: DreamerV3, repeat: int, updates: int = 1) -> tuple[list[float], list[float]]:
    """
    Time updates: seconds of one on the wall and of the processor.

    :param model: warm
    :param repeat: measurements
    :param updates: made in a row for each
    """
    wall, cpu = [], []
    for _ in range(repeat):
        start = time.process_time()
        if model.device.type == "cuda":
            begin, end = (th.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            model.train(updates, model.batch_size)
            end.record()
            th.cuda.synchronize(model.device)
            wall.append(begin.elapsed_time(end) / 1e3 / updates)
        else:
            begun = time.perf_counter()
            model.train(updates, model.batch_size)
            wall.append((time.perf_counter() - begun) / updates)
        cpu.append((time.process_time() - start) / updates)
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
    clock.wrap(model.policy.optimizer, "apply", "optimizer")
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


def watch_learning(args: argparse.Namespace, mode: Mode) -> dict[str, Any]:
    """
    Measure in which share of ``learn()`` the GPU computes.

    Watching slows down, so that the time of its kernels is set against that of as many steps that
    nobody watches.
    """
    model = make_model(args, mode, args.n_envs)
    model.learning_starts = 0
    steps = -(-args.learn * args.batch * args.length // int(model.train_ratio))

    def learn() -> None:
        model.learn(steps, reset_num_timesteps=False)
        if model.device.type == "cuda":
            th.cuda.synchronize(model.device)

    learn()
    updates, start = model._n_updates, time.perf_counter()
    learn()
    seconds = time.perf_counter() - start
    result = {
        "n_envs": args.n_envs,
        "train_ratio": model.train_ratio,
        "updates": model._n_updates - updates,
        "updates_per_second": round((model._n_updates - updates) / seconds, 2),
        "env_steps_per_second": round(steps / seconds, 1),
    }
    if model.device.type == "cuda":
        launches, busy = profile_kernels(learn)
        result |= {"launches": launches, "gpu_busy_share": round(busy / seconds, 3)}
    return result


def measure(args: argparse.Namespace, mode: Mode, counted: tuple[float, float]) -> dict[str, Any]:
    """
    Time updates in one mode, and whatever else was asked for.

    :param args: of this script
    :param mode: how they are computed
    :param counted: GFLOP of an update, and the seconds that memory takes at least
    """
    on_cuda = get_device(args.device).type == "cuda"
    if on_cuda:
        th.cuda.reset_peak_memory_stats()
    model = make_model(args, mode)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        model.train(1, args.batch)
        warmup = time.perf_counter() - start
        model.train(max(args.round, WARMUP + 2 if on_cuda else 1), args.batch)
    wall, cpu = time_update(model, args.repeat, args.round)
    peak = measure_peak(model.device, mode.precision)
    gflop, memory = counted
    seconds = float(np.median(wall))
    result = {
        "parameters": sum(p.numel() for p in model.policy.trained_parameters()),
        "batch": args.batch,
        "length": args.length,
        "horizon": args.horizon,
        "wall_seconds": round(seconds, 5),
        "cpu_seconds": round(float(np.median(cpu)), 5),
        "wall_seconds_range": [round(min(wall), 5), round(max(wall), 5)],
        "gflop": round(gflop, 1),
        "peak_gflops": round(peak, 1),
        "fraction_of_limit": round(max(gflop / peak, memory) / seconds, 3),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "warmup_seconds": round(warmup, 2),
    }
    if on_cuda:
        result["graph"] = is_recorded(model)
        result["warnings"] = [str(warning.message) for warning in said]
        result["memory_floor_seconds"] = round(memory, 6)
        result["peak_gpu_mb"] = th.cuda.max_memory_allocated(model.device) // 2**20
    if on_cuda and args.launches:
        launches, busy = profile_kernels(lambda: model.train(1, args.batch))
        chain = measure_launch(model.device)[0] * launches / 1e6
        result |= {"launches": launches, "kernel_seconds": round(busy, 5)}
        result["launch_floor_seconds"] = round(chain, 5)
    if args.breakdown:
        result["breakdown"] = break_down(model, args.repeat)
    return result


def is_recorded(model: DreamerV3) -> bool:
    """Tell whether updates are repeated as a graph: where that fails they run as they are."""
    recorded = model._recorded
    return recorded is not None and recorded.is_recorded


def act(args: argparse.Namespace, mode: Mode) -> Iterator[dict[str, Any]]:
    """Time acting for every number of environments."""
    model = make_model(args, mode)
    for n in args.act:
        yield {"n_envs": n, "milliseconds": round(time_acting(model, n), 3)}


def lines_of(
    args: argparse.Namespace, mode: Mode, counted: tuple[float, float] | None
) -> Iterator[dict[str, Any]]:
    """Measure what was asked for in one mode; see :func:`count` for what was counted."""
    if args.act:
        yield from act(args, mode)
    elif args.learn:
        yield watch_learning(args, mode)
    else:
        assert counted is not None
        yield measure(args, mode, counted)


def count(args: argparse.Namespace) -> tuple[float, float]:
    """Count the GFLOP of an update, and the seconds that memory takes at least on CUDA."""
    model = make_model(args, PLAIN)
    model.train(1, args.batch)
    gflop = count_gflop(model)
    on_cuda = model.device.type == "cuda"
    return gflop, memory_floor(model, measure_copy(model.device)) if on_cuda else 0.0


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser("bench update", __doc__)
    switch = ("on", "off")
    parser.add_argument("--size", default="1m")
    parser.add_argument("--obs", choices=OBSERVATIONS, default="vector")
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    parser.add_argument("--precision", choices=NAMES, nargs="+", default=["fp32"])
    parser.add_argument("--graph", choices=switch, nargs="+", default=["on"])
    parser.add_argument("--triton", choices=switch, nargs="+", default=["on"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--round", type=int, default=1, help="updates in a row")
    parser.add_argument("--breakdown", action="store_true")
    parser.add_argument("--launches", action="store_true")
    parser.add_argument("--act", type=int, nargs="+", metavar="N", help="environments; no update")
    parser.add_argument("--learn", type=int, metavar="N", help="updates of learn() only")
    parser.add_argument("--hold", action="store_true", help="wait for a line of input to begin")
    parser.add_argument("--n-envs", type=int, default=1, help="environments of --learn")
    args = parser.parse_args(argv)
    device = get_device(args.device)
    try:
        args.precision = [resolve(precision, device) for precision in args.precision]
    except ValueError as error:
        parser.error(str(error))
    modes = max(len(values) for values in (args.precision, args.graph, args.triton))
    for name in ("precision", "graph", "triton"):
        values = getattr(args, name)
        if len(values) not in (1, modes):
            parser.error(f"--{name}: one value, or one for each of {modes} measurements")
        setattr(args, name, values * (modes // len(values)))
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    device = get_device(args.device)
    if args.hold:
        wait_for_turn()
    failed = False
    counted = None if args.act or args.learn else count(args)
    for precision, graph, triton in zip(args.precision, args.graph, args.triton, strict=True):
        mode = Mode(precision, graph == "on", triton == "on")
        release_memory()
        try:
            for line in lines_of(args, mode, counted):
                print(json.dumps(describe(args, mode, device) | line), flush=True)
        except Exception as error:  # what fails in one mode may run in another
            failed = True
            print(json.dumps(describe(args, mode, device) | {"error": repr(error)}), flush=True)
            traceback.print_exc()
    if failed:
        raise SystemExit(1)


def release_memory() -> None:
    """Give back what the last agent held."""
    gc.collect()
    if th.cuda.is_available():
        th.cuda.empty_cache()


def describe(args: argparse.Namespace, mode: Mode, device: th.device) -> dict[str, Any]:
    """Say what a line is about."""
    example = th.zeros(1, device=device)
    return {
        "size": args.size,
        "obs": args.obs,
        "threads": args.threads,
        "device": str(device),
        "precision": mode.precision,
        "graph": mode.graph and device.type == "cuda",
        "compiled_kernels": kernels.uses_numba(example),
        "triton_kernels": kernels.uses_triton(example),
    }

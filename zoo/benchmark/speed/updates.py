"""What one update of DreamerV3 costs."""

import gc
import os
import resource
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.utils.flop_counter import FlopCounterMode

from dreamzoo import DreamerV3
from dreamzoo.benchmark import measure_peak
from dreamzoo.benchmark.hardware import measure_copy, measure_launch, profile_kernels
from dreamzoo.benchmark.speed.clock import break_down
from dreamzoo.benchmark.synthetic import Synthetic
from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.graphs import WARMUP
from dreamzoo.nn.fast.precision import Precision


class Work(NamedTuple):
    """
    What is computed.

    :param size: of the model
    :param obs: ``vector`` or ``image``
    :param batch: sequences of an update
    :param length: their steps
    :param horizon: imagined steps
    :param device: where
    """

    size: str = "1m"
    obs: str = "vector"
    batch: int = 16
    length: int = 64
    horizon: int = 15
    device: str = "cpu"


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


def make_model(work: Work, mode: Mode, n_envs: int | None = None) -> DreamerV3:
    """
    Build the agent and fill its replay by acting with the initial policy.

    :param work: what it computes
    :param mode: how
    :param n_envs: environments; default: as many as sequences in a batch
    """
    os.environ["DREAMZOO_TRITON"] = "1" if mode.triton else "0"
    kernels.has_triton.cache_clear()
    env = DummyVecEnv([lambda: Synthetic(work.obs) for _ in range(n_envs or work.batch)])
    model = DreamerV3(
        "CnnPolicy" if work.obs == "image" else "MlpPolicy",
        env,
        batch_size=work.batch,
        batch_length=work.length,
        horizon=work.horizon,
        buffer_size=work.batch * (3 * work.length + 50),
        learning_starts=10**9,
        policy_kwargs=dict(size=work.size),
        device=work.device,
        precision=mode.precision,
        cuda_graph=mode.graph,
        seed=0,
    )
    return model.learn(env.num_envs * (2 * work.length + 20))


def count(work: Work) -> tuple[float, float]:
    """Count the GFLOP of an update, and the seconds that memory takes at least on CUDA."""
    model = make_model(work, PLAIN)
    model.train(1, work.batch)
    gflop = count_gflop(model)
    on_cuda = model.device.type == "cuda"
    return gflop, memory_floor(model, measure_copy(model.device)) if on_cuda else 0.0


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
    Compute how long reading and writing once what an update holds takes on CUDA.

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


def measure(
    work: Work,
    mode: Mode,
    counted: tuple[float, float],
    *,
    repeat: int = 10,
    updates: int = 1,
    launches: bool = False,
    breakdown: bool = False,
) -> dict[str, Any]:
    """
    Time updates in one mode.

    :param work: what is computed
    :param mode: how
    :param counted: GFLOP of an update, and the seconds that memory takes at least (:func:`count`)
    :param repeat: measurements
    :param updates: in a row for each
    :param launches: count kernels, too, on CUDA
    :param breakdown: time parts, too
    """
    on_cuda = get_device(work.device).type == "cuda"
    if on_cuda:
        th.cuda.reset_peak_memory_stats()
    model = make_model(work, mode)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        model.train(1, work.batch)
        warmup = time.perf_counter() - start
        model.train(max(updates, WARMUP + 2 if on_cuda else 1), work.batch)
    wall, cpu = time_update(model, repeat, updates)
    peak = measure_peak(model.device, mode.precision)
    gflop, memory = counted
    seconds = float(np.median(wall))
    result = {
        "parameters": sum(p.numel() for p in model.policy.trained_parameters()),
        "batch": work.batch,
        "length": work.length,
        "horizon": work.horizon,
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
    if on_cuda and launches:
        result |= count_launches(model)
    if breakdown:
        result["breakdown"] = break_down(model, repeat)
    return result


def count_launches(model: DreamerV3) -> dict[str, Any]:
    """Count the kernels of an update on CUDA, and time as many of the smallest ones."""
    launches, busy = profile_kernels(lambda: model.train(1, model.batch_size))
    chain = measure_launch(model.device)[0] * launches / 1e6
    return {
        "launches": launches,
        "kernel_seconds": round(busy, 5),
        "launch_floor_seconds": round(chain, 5),
    }


def is_recorded(model: DreamerV3) -> bool:
    """Check whether updates are repeated as a graph: where that fails they run as they are."""
    recorded = model._recorded
    return recorded is not None and recorded.is_recorded


def release_memory() -> None:
    """Free the memory of the last agent."""
    gc.collect()
    if th.cuda.is_available():
        th.cuda.empty_cache()

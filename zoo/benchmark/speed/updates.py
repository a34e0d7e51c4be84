"""What one update of an agent costs."""

import gc
import resource
import time
import warnings
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.utils import get_device
from torch.utils.flop_counter import FlopCounterMode

from dreamzoo.benchmark import measure_peak
from dreamzoo.benchmark.hardware import measure_copy, measure_launch, profile_kernels
from dreamzoo.benchmark.speed.clock import break_down
from dreamzoo.benchmark.speed.work import PLAIN, Mode, Work, make_model
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.nn.fast.graphs import WARMUP


def count(work: Work) -> tuple[float, float]:
    """Count the GFLOP of an update, and the seconds that memory takes at least on CUDA."""
    model = make_model(work, PLAIN)
    model.train(1)
    gflop = count_gflop(model)
    on_cuda = model.device.type == "cuda"
    return gflop, memory_floor(model, measure_copy(model.device)) if on_cuda else 0.0


def count_gflop(model: WorldModelAlgorithm) -> float:
    """Count the arithmetic of one update; counting sees only the thread that it runs in."""
    threads = th.get_num_threads()
    th.set_num_threads(1)

    def addmm_flop(added: Any, a: tuple[int, int], b: tuple[int, int], **_: Any) -> int:
        return 2 * a[0] * a[1] * b[1]

    in_place: dict[Any, Any] = {th.ops.aten.addmm_: addmm_flop}  # the one it does not know
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        model.train(1)
    th.set_num_threads(threads)
    return counter.get_total_flops() / 1e9


def memory_floor(model: WorldModelAlgorithm, bandwidth: float) -> float:
    """
    Compute how long reading and writing once what an update holds takes on CUDA.

    :param model: of which a first update has been made
    :param bandwidth: of the device's memory, in GB/s
    :return: seconds
    """
    th.cuda.synchronize(model.device)
    before = th.cuda.memory_allocated(model.device)
    th.cuda.reset_peak_memory_stats(model.device)
    model.train(1)
    activations = th.cuda.max_memory_allocated(model.device) - before
    # Parameters, gradients and two averages of gradients.
    state = 4 * sum(p.numel() * p.element_size() for p in model.policy.trained_parameters())
    return 2 * (state + activations) / 1e9 / bandwidth


def time_update(
    model: WorldModelAlgorithm, repeat: int, updates: int = 1
) -> tuple[list[float], list[float]]:
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
            model.train(updates)
            end.record()
            th.cuda.synchronize(model.device)
            wall.append(begin.elapsed_time(end) / 1e3 / updates)
        else:
            begun = time.perf_counter()
            model.train(updates)
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
        model.train(1)
        warmup = time.perf_counter() - start
        model.train(max(updates, WARMUP + 2 if on_cuda else 1))
    wall, cpu = time_update(model, repeat, updates)
    peak = measure_peak(model.device, mode.precision)
    gflop, memory = counted
    seconds = float(np.median(wall))
    result = {
        "parameters": sum(p.numel() for p in model.policy.trained_parameters()),
        "batch": model.batch_size,
        "length": model.batch_length,
        "horizon": getattr(model, "horizon", None),
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


def count_launches(model: WorldModelAlgorithm) -> dict[str, Any]:
    """Count the kernels of an update on CUDA, and time as many of the smallest ones."""
    launches, busy = profile_kernels(lambda: model.train(1))
    chain = measure_launch(model.device)[0] * launches / 1e6
    return {
        "launches": launches,
        "kernel_seconds": round(busy, 5),
        "launch_floor_seconds": round(chain, 5),
    }


def is_recorded(model: WorldModelAlgorithm) -> bool:
    """Check whether updates are repeated as a graph: where that fails they run as they are."""
    recorded = model._recorded
    return recorded is not None and recorded.is_recorded


def release_memory() -> None:
    """Free the memory of the last agent."""
    gc.collect()
    if th.cuda.is_available():
        th.cuda.empty_cache()

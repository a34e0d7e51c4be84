"""What the machine could do, and what a GPU did."""

import time
from collections.abc import Callable

import torch as th

from dreamzoo.nn.fast.precision import resolve, using


def measure_peak(
    device: th.device, precision: str = "fp32", n: int | None = None, repeat: int = 8
) -> float:
    """
    Measure the rate of a large matrix product.

    Example:
        >>> import torch
        >>> from dreamzoo.benchmark import measure_peak
        >>> rate = measure_peak(torch.device("cpu"), n=64, repeat=2)  # GFLOP/s
        >>> rate > 0
        True

    :param device: where; on a CPU with as many threads as torch has
    :param precision: of what is multiplied, see :mod:`dreamzoo.nn.fast.precision`
    :param n: rows and columns; None: 8192 on CUDA, 2048 elsewhere
    :param repeat: measurements; the fastest counts
    :return: GFLOP/s
    """
    n = n or (8_192 if device.type == "cuda" else 2_048)
    # No switch multiplies float32 numbers as bf16 on CUDA, nor on CPUs without matrix tiles.
    dtype = th.bfloat16 if resolve(precision, device) == "bf16" else th.float32
    a, b = (th.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = th.empty_like(a)
    with using(precision, device):
        return 2 * n**3 / fastest(lambda: th.mm(a, b, out=out), device, repeat) / 1e9


def measure_copy(device: th.device, megabytes: int = 1_024, repeat: int = 8) -> float:
    """
    Measure the bandwidth of memory by copying.

    :param device: where
    :param megabytes: copied at once
    :param repeat: measurements; the fastest counts
    :return: GB/s, read and written counted together
    """
    source = th.zeros(megabytes * 2**18, device=device)
    target = th.empty_like(source)
    return 2 * megabytes * 2**20 / fastest(lambda: target.copy_(source), device, repeat) / 1e9


def measure_launch(device: th.device, kernels: int = 2_000, repeat: int = 8) -> tuple[float, float]:
    """
    Measure what a chain of the smallest kernels costs inside a CUDA graph.

    :param device: a CUDA device
    :param kernels: in the chain
    :param repeat: measurements; the fastest counts
    :return: microseconds from one kernel's start to the next one's, and those of them in which
        no kernel runs
    """
    x = th.zeros(1, device=device)
    graph = th.cuda.CUDAGraph()
    with th.cuda.graph(graph):
        for _ in range(kernels):
            x.add_(1)
    seconds = fastest(graph.replay, device, repeat) / kernels
    count, busy = profile_kernels(graph.replay)
    return seconds * 1e6, max(seconds - busy / max(count, 1), 0.0) * 1e6


def fastest(function: Callable[[], object], device: th.device, repeat: int) -> float:
    """
    Time the fastest of several calls, after two that do not count.

    :param function: what to call
    :param device: waited for before and after every call
    :param repeat: calls
    :return: seconds
    """
    seconds = []
    for _ in range(repeat + 2):
        if device.type == "cuda":
            begin, end = (th.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            function()
            end.record()
            th.cuda.synchronize(device)
            seconds.append(begin.elapsed_time(end) / 1e3)
        else:
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
    return min(seconds[2:])


def profile_kernels(function: Callable[[], object]) -> tuple[int, float]:
    """
    Look at what CUDA does in one call, copies and fills included.

    :param function: what to call
    :return: the number of kernels, and the seconds in which at least one of them ran
    """
    with th.profiler.profile(activities=[th.profiler.ProfilerActivity.CUDA]) as profile:
        function()
        th.cuda.synchronize()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profile.events() or []
        if event.device_type == th.autograd.DeviceType.CUDA and not event.is_user_annotation
    ]
    return len(spans), covered(spans) / 1e6


def covered(spans: list[tuple[float, float]]) -> float:
    """
    Measure how much of a line spans cover that may overlap.

    :param spans: starts and ends
    :return: the length of their union
    """
    length, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        length += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return length

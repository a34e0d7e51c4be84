"""What the machine could do."""

import time

import torch as th


def measure_peak(device: th.device, n: int = 2_048, repeat: int = 8) -> float:
    """
    Measure the rate of a large float32 matrix product.

    :param device: where; on a CPU with as many threads as torch has
    :param n: rows and columns
    :param repeat: measurements; the fastest counts
    :return: GFLOP/s
    """

    def now() -> float:
        if device.type == "cuda":
            th.cuda.synchronize(device)
        return time.perf_counter()

    a, b = th.randn(n, n, device=device), th.randn(n, n, device=device)
    out, rates = th.empty_like(a), []
    for _ in range(repeat):
        start = now()
        th.mm(a, b, out=out)
        rates.append(2 * n**3 / (now() - start) / 1e9)
    return max(rates)

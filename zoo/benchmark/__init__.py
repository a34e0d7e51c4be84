"""What benchmarks share."""

from dreamzoo.benchmark.hardware import measure_peak

__all__ = ["measure_peak"]

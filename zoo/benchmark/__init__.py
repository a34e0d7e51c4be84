"""What benchmarks and other scripts share."""

from dreamzoo.benchmark.arguments import parse_value
from dreamzoo.benchmark.hardware import measure_peak

__all__ = ["measure_peak", "parse_value"]

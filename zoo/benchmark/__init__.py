"""What benchmarks share."""

from dreamzoo.benchmark.crafter import crafter_score
from dreamzoo.benchmark.hardware import measure_peak
from dreamzoo.benchmark.suites import Suite, Task, suite, suite_names

__all__ = ["Suite", "Task", "crafter_score", "measure_peak", "suite", "suite_names"]

"""What runs have scored: collected into files, beside what is published, as tables and pictures."""

from dreamzoo.benchmark.results.evaluations import Evaluation, collect, read_rows, read_run
from dreamzoo.benchmark.results.table import result_table

__all__ = ["Evaluation", "collect", "read_rows", "read_run", "result_table"]

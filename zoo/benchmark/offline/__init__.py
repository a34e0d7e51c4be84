"""The table of worlds from recorded data: who is recorded, what is learned from it, how well."""

from dreamzoo.benchmark.offline.behavior import record_behavior
from dreamzoo.benchmark.offline.tasks import TASKS, OfflineTask

__all__ = ["TASKS", "OfflineTask", "record_behavior"]

"""How fast a training goes, said once when it is known."""

import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import torch as th

from dreamzoo.nn.fast import ranks
from dreamzoo.nn.fast.precision import resolve

if TYPE_CHECKING:
    from dreamzoo.common.replay_agent import ReplayAgent

#: Updates before the clock starts: in the first ones kernels are compiled and graphs recorded.
WARMUP = 5
#: Updates that are timed.
TIMED = 20


class _Mark(NamedTuple):
    seconds: float
    updates: int
    steps: int


class Pace:
    """
    Says on stderr, after the first updates of a run, how fast it goes and how long it will take.

    :param agent: learns; with ``verbose=0`` nothing is said
    :param total_timesteps: steps at the end of the run
    """

    def __init__(self, agent: "ReplayAgent", total_timesteps: int) -> None:
        self._agent, self._total = agent, total_timesteps
        self._first = self._now()
        self._start: _Mark | None = None
        self._done = agent.verbose < 1 or ranks.place().index > 0

    def look(self) -> None:
        """Take the time, if it was not told yet; called when updates have been made."""
        if self._done:
            return
        now = self._now()
        if self._start is None:
            if now.updates >= self._first.updates + WARMUP:
                self._start = now
        elif now.updates >= self._start.updates + TIMED and now.steps > self._start.steps:
            print(self._words(self._start, now), file=sys.stderr)
            self._done = True

    def _now(self) -> _Mark:
        return _Mark(time.perf_counter(), self._agent._n_updates, self._agent.num_timesteps)

    def _words(self, start: _Mark, now: _Mark) -> str:
        agent, device, seconds = self._agent, self._agent.device, now.seconds - start.seconds
        where = th.cuda.get_device_name(device) if device.type == "cuda" else device.type
        how = ""
        if device.type == "cuda":
            recorded = agent._recorded is not None and agent._recorded.is_recorded
            how = ", recorded" if recorded else ", not recorded"
        each = seconds / (now.steps - start.steps)
        whole = now.seconds - self._first.seconds + (self._total - now.steps) * each
        return (
            f"{type(agent).__name__} on {where}, {resolve(agent.precision, device)}{how}: "
            f"{(now.updates - start.updates) / seconds:.3g} updates and {1 / each:.3g} steps a "
            f"second; {self._total - self._first.steps:,} steps take about {duration(whole)}."
        )


def duration(seconds: float) -> str:
    """Format a time in the two largest units that it has."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((i for i, (n, _) in enumerate(units) if n), len(units) - 1)
    return " ".join(f"{n} {unit}" for n, unit in units[first : first + 2] if n) or "0 s"

"""Wall time is counted for the part that spends it."""

import pytest
import torch as th

from dreamzoo.benchmark.speed.clock import Clock


class Parts:
    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def outer(self, n: int) -> int:
        self.clock[0] += 3.0
        for _ in range(n):
            self.inner()
        return n

    def inner(self) -> None:
        self.clock[0] += 2.0


def test_what_a_part_calls_counts_for_the_called_part(monkeypatch: pytest.MonkeyPatch) -> None:
    time = [0.0]
    monkeypatch.setattr("dreamzoo.benchmark.speed.clock.time.perf_counter", lambda: time[0])
    parts, clock = Parts(time), Clock(th.device("cpu"))
    clock.wrap(parts, "outer", "outside")
    clock.wrap(parts, "inner", "inside")
    assert parts.outer(2) == 2
    assert clock.seconds == {"outside": 3.0, "inside": 4.0}
    parts.inner()
    assert clock.seconds == {"outside": 3.0, "inside": 6.0}

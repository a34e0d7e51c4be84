"""Figures of the machine have the units that they are said to have."""

import pytest
import torch as th

from dreamzoo.benchmark.hardware import (
    covered,
    fastest,
    measure_copy,
    measure_launch,
    measure_peak,
    profile_kernels,
)


def test_overlapping_spans_count_once() -> None:
    assert covered([]) == 0
    assert covered([(3, 5), (0, 1), (0.5, 2), (4, 4.5)]) == 4


def test_the_fastest_of_several_calls_counts_after_two(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 9, 9, 10, 10, 14, 14, 17, 17, 22])  # 9, 1, 4, 3 and 5 seconds
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    assert fastest(lambda: None, th.device("cpu"), repeat=3) == 3


def test_rates_count_work_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = th.device("cpu")
    monkeypatch.setattr("dreamzoo.benchmark.hardware.fastest", lambda *_: 0.5)
    assert measure_peak(cpu, n=100) == pytest.approx(2 * 100**3 / 0.5 / 1e9)
    assert measure_copy(cpu, megabytes=3) == pytest.approx(2 * 3 * 2**20 / 0.5 / 1e9)


@pytest.mark.gpu
def test_a_chain_of_kernels_takes_as_long_as_its_kernels_and_gaps() -> None:
    device = th.device("cuda")
    launch, gap = measure_launch(device, kernels=500)
    assert 0 <= gap < launch < 50  # kernels follow each other without a gap, or with one
    x = th.zeros(8, device=device)
    count, busy = profile_kernels(lambda: x.add_(1).mul_(2))
    assert count == 2
    assert 0 < busy < 1e-3

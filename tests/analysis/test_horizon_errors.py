"""Errors by horizon: against plain loops, up to the end of an episode."""

import math

import pytest
import torch as th

from dreamzoo.analysis.horizon_errors import horizon_errors, table
from dreamzoo.analysis.open_loop import OpenLoop

ROWS, LENGTH, CONTEXT = 5, 12, 3


def distance(some: th.Tensor, others: th.Tensor) -> float:
    pairs = zip(some.flatten().tolist(), others.flatten().tolist(), strict=True)
    squares = [(x - y) ** 2 for x, y in pairs]
    return math.sqrt(sum(squares) / len(squares))


def test_errors_are_those_of_plain_loops_up_to_the_end_of_an_episode() -> None:
    generator = th.Generator().manual_seed(0)
    truth = {"a": th.rand(ROWS, LENGTH, 2, generator=generator)}
    truth["b"] = th.randint(0, 255, (ROWS, LENGTH, 1, 4, 4), generator=generator).to(th.uint8)
    said = {"a": th.rand(ROWS, LENGTH, 2, generator=generator)}
    said["b"] = th.randint(0, 255, (ROWS, LENGTH, 1, 4, 4), generator=generator).to(th.uint8)
    reward = th.rand(2, ROWS, LENGTH, generator=generator)
    is_first = th.zeros(ROWS, LENGTH, dtype=th.bool)
    is_first[0, 1] = True  # seen: no end of what is predicted
    is_first[1, CONTEXT] = True  # nothing of this one counts
    is_first[2:, 8] = True
    is_first[3, 5] = True
    ends = [LENGTH, CONTEXT, 8, 5, 8]
    found = horizon_errors(OpenLoop(truth, said, reward, CONTEXT), is_first)
    assert [e.horizon for e in found] == list(range(1, LENGTH - CONTEXT + 1))
    for error in found:
        step = CONTEXT + error.horizon - 1
        rows = [row for row in range(ROWS) if step < ends[row]]
        assert error.sequences == len(rows)
        for key, now in truth.items():
            expected = distance(said[key][rows, step], now[rows, step])
            assert error.predicted[key] == pytest.approx(expected)
            expected = distance(now[rows, CONTEXT - 1], now[rows, step])
            assert error.unchanged[key] == pytest.approx(expected)
        assert error.reward == pytest.approx(distance(*reward[:, rows, step]))
    lines = table(found, horizons=(1, 4)).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["1", "4", "9"]


def test_where_all_episodes_have_ended_nothing_is_said() -> None:
    truth, is_first = th.zeros(1, 4, 2), th.tensor([[True, False, True, False]])
    assert table(horizon_errors(OpenLoop(truth, truth, th.zeros(2, 1, 4), 2), is_first)) == ""

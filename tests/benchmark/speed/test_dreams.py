"""Rates of steps, by a clock that the tests move."""

from collections.abc import Callable

import numpy as np
import pytest
from gymnasium import spaces

from dreamzoo.benchmark.speed import dreams

Step = Callable[[], None]


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Step]:
    """Make steps that take some seconds."""
    time = [0.0]
    monkeypatch.setattr("dreamzoo.benchmark.speed.dreams.time.perf_counter", lambda: time[0])

    def make(seconds: float) -> Step:
        def step() -> None:
            time[0] += seconds

        return step

    return make


def test_a_rate_counts_all_steps_of_a_call(taking: Callable[[float], Step]) -> None:
    assert dreams.rate(taking(0.5), 8, 4.0) == 16.0
    assert dreams.rate(taking(9.0), 18, 1.0) == 2.0  # at least one call counts


def test_extra_cost_is_a_share_of_the_plain_step(taking: Callable[[float], Step]) -> None:
    assert dreams.extra_cost(taking(0.5), taking(0.75), 10.0) == 0.5
    assert dreams.extra_cost(taking(0.5), taking(0.5), 10.0) == 0.0


def test_wrappers_fit_the_spaces() -> None:
    class Dream:
        single_action_space: spaces.Space = spaces.Discrete(2)
        single_observation_space: spaces.Space = spaces.Box(0, 1, (3,))

    dream = Dream()
    fitting = dreams.wrappers_for(dream)  # type: ignore[arg-type]
    assert {"OneHotAction", "SymlogObservation"} <= set(fitting)
    dream.single_action_space = spaces.Box(-1, 1, (2,))
    dream.single_observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    fitting = dreams.wrappers_for(dream)  # type: ignore[arg-type]
    assert "NormalizeAction" in fitting
    assert not {"OneHotAction", "SymlogObservation"} & set(fitting)

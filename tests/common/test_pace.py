"""What a training says about its speed."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from dreamzoo import DreamerV3
from dreamzoo.common import pace
from dreamzoo.common.pace import duration
from tests import replayer

SETTINGS: dict[str, Any] = dict(DreamerV3.smallest, device="cpu", seed=0)


def make(**kwargs: Any) -> DreamerV3:
    return DreamerV3("MlpPolicy", "CartPole-v1", **{**SETTINGS, "train_ratio": 8, **kwargs})


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few updates be enough to tell."""
    monkeypatch.setattr(pace, "WARMUP", 2)
    monkeypatch.setattr(pace, "TIMED", 5)


@pytest.mark.usefixtures("soon")
def test_it_is_said_once_when_it_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make(verbose=1)
    clock = iter(range(10**6))
    # Two seconds a look, and nobody else looks at this clock.
    own = SimpleNamespace(perf_counter=lambda: 2.0 * next(clock))
    monkeypatch.setattr("dreamzoo.common.pace.time", own)
    agent.learn(30)
    said = [line for line in capsys.readouterr().err.splitlines() if "updates" in line]
    # From the 12th step on every step makes an update: 19 looks at the clock.
    speed = "DreamerV3 on cpu, fp32: 0.5 updates and 0.5 steps a second"
    assert said == [f"{speed}; 30 steps take about 38 s."]


@pytest.mark.usefixtures("soon")
def test_a_run_that_goes_on_has_its_own_steps(capsys: pytest.CaptureFixture[str]) -> None:
    agent = make(verbose=1).learn(16)
    assert "updates" not in capsys.readouterr().err, "too short to tell"
    agent.learn(14, reset_num_timesteps=False)
    assert "; 14 steps take about" in capsys.readouterr().err


@pytest.mark.usefixtures("soon")
def test_rounds_of_many_updates(capsys: pytest.CaptureFixture[str]) -> None:
    make(verbose=1, gradient_steps=8, train_freq=(12, "step")).learn(36)
    assert capsys.readouterr().err.count(" updates and ") == 1


@pytest.mark.usefixtures("soon")
def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    make(verbose=0).learn(30)
    assert not capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.parametrize("on", [True, False])
def test_the_graphics_card_is_named(on: bool, capsys: pytest.CaptureFixture[str]) -> None:
    make(verbose=1, device="cuda", cuda_graph=on).learn(60)
    words = "recorded" if on else "not recorded"
    assert re.search(rf"on NVIDIA .*, {words}: ", capsys.readouterr().err)


def test_recorded_updates_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    replayer.install(monkeypatch)
    recorded = [make(cuda_graph=on).learn(20)._recorded for on in (True, False)]
    assert [update is not None and update.is_recorded for update in recorded] == [True, False]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3_599, "59 min 59 s"),
        (3_605, "1 h"),
        (5_000, "1 h 23 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words

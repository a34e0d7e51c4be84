"""The examples run as they stand, with tiny agents and short trainings, and are short."""

from pathlib import Path

import gymnasium as gym
import pytest
from stable_baselines3 import PPO

from dreamzoo import DreamerV3
from tests.benchmark.in_process import train_here
from tests.docs.tiny import STEPS, shrink, shrink_plans
from tests.scripts.test_scripts import ROOT, load

EXAMPLES = sorted(path.stem for path in (ROOT / "scripts" / "examples").glob("*.py"))
#: Arguments of ``main`` that make it short, and a part of what it prints.
SHORT: dict[str, tuple[dict[str, object], str]] = {
    "cem_in_a_dream": ({"episodes": 1}, "planning in reality: -"),
    "compare_with_sac": ({"budget": "smoke", "frames": 100, "seeds": 1}, "0 of 2 runs"),
    "crafter_in_processes": ({"n_envs": 1}, "60 steps"),
    "evaluate_a_checkpoint": ({"episodes": 4}, "DreamerV3 after 60 steps"),
    "own_dict_env": ({}, "mean return -"),
    "ppo_in_a_dream": ({}, "PPO, which has only dreamed: "),
}


def test_every_example_is_run() -> None:
    assert sorted(SHORT) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_can_be_taken_in_at_a_glance(name: str) -> None:
    lines = (ROOT / "scripts" / "examples" / f"{name}.py").read_text().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name.startswith("crafter"):
        pytest.importorskip("crafter", reason='needs pip install "dreamzoo[crafter]"')
    monkeypatch.chdir(tmp_path)
    for agent in (DreamerV3, PPO):
        shrink(agent, monkeypatch)
    shrink_plans(monkeypatch)
    train_here(monkeypatch)
    monkeypatch.setattr(gym.spec("Pendulum-v1"), "max_episode_steps", STEPS)
    settings, printed = SHORT[name]
    load(f"examples/{name}").main(**settings)
    assert printed in capsys.readouterr().out

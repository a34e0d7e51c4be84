"""RL Zoo trains every agent, goes on with it and plays what it has saved, by its own commands."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from dreamzoo import AGENTS
from dreamzoo.common.storage.container import reading

#: Steps of a training; the Zoo evaluates after half of them.
STEPS = 40


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command of RL Zoo in a folder of its own, with the agents among its own."""
    utils = pytest.importorskip("rl_zoo3.utils")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(utils, "ALGOS", utils.ALGOS)
    for name, agent in AGENTS.items():
        monkeypatch.setitem(utils.ALGOS, name, agent)

    def run(command: str, name: str, env: str, *arguments: str) -> None:
        module = importlib.import_module(f"rl_zoo3.{command}")
        argv = [command, "--algo", name, "--env", env, "--seed", "0", "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", [*argv, *arguments])
        getattr(module, command)()

    return run


@pytest.mark.parametrize("name", AGENTS)
def test_rl_zoo_trains_goes_on_and_plays(
    name: str, zoo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = "Pendulum-v1" if name == "planet" else "CartPole-v1"
    smallest: Any = dict(AGENTS[name].smallest)  # type: ignore[attr-defined]
    settings = {"n_timesteps": STEPS, "policy": "MlpPolicy", **smallest}
    (tmp_path / "settings.py").write_text(f"hyperparams = {{{env!r}: {settings!r}}}\n")
    config = ["--conf-file", str(tmp_path / "settings.py"), "--log-folder", "logs"]
    has_replay = hasattr(AGENTS[name], "save_replay_buffer")
    replay = ["--save-replay-buffer"] if has_replay else []
    training = ["--eval-freq", str(STEPS // 2), "--eval-episodes", "1", "--verbose", "0"]
    zoo("train", name, env, *config, *replay, *training)
    saved = tmp_path / "logs" / name / f"{env}_1"
    for file in (saved / f"{env}.zip", saved / "best_model.zip"):
        with reading(file, "agent") as reader:
            assert reader.index["agent"].endswith(AGENTS[name].__name__)
    for which in ([], ["--load-best"]):
        capsys.readouterr()
        play = ["--folder", "logs", "--exp-id", "1", "-n", "250", "--no-render", "--n-envs", "1"]
        zoo("enjoy", name, env, *play, *which)
        assert "Mean reward" in capsys.readouterr().out
    zoo("train", name, env, *config, *training, "-i", str(saved / f"{env}.zip"))
    assert (tmp_path / "logs" / name / f"{env}_2" / f"{env}.zip").exists()

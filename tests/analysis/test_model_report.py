"""The page about a model: all that there is to show, in one file, and right numbers."""

import functools
import importlib
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import DreamerV3, cli
from dreamzoo.analysis.model_report import model_report
from dreamzoo.analysis.playing import predict_play
from dreamzoo.offline import Episode

#: Of the same name as the function in it.
MODULE = importlib.import_module("dreamzoo.analysis.model_report")
SMALL: dict[str, Any] = {"policy_kwargs": dict(size="debug"), "seed": 0}


@pytest.fixture(autouse=True)
def _few_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model predict fewer and shorter ones than a page has else."""
    few = functools.partial(predict_play, length=20, compared=4)
    monkeypatch.setattr(MODULE, "predict_play", few)


class TwoCameras(gym.Env[Any, Any]):
    """Pictures without meaning."""

    observation_space = spaces.Dict(
        left=spaces.Box(0, 255, (64, 64, 3), np.uint8),
        right=spaces.Box(0, 255, (64, 64, 1), np.uint8),
        speed=spaces.Box(-1, 1, (2,)),
    )
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        return self.observation_space.sample(), 1.0, False, False, {}


def headings(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


def test_every_image_has_a_video_and_nothing_lies_elsewhere() -> None:
    env = make_vec_env(TwoCameras, n_envs=2)
    model = DreamerV3("MultiInputPolicy", env, **SMALL)
    page = model_report(model, env, title="two cameras", held="a file", horizon=5)
    assert headings(page) == ["Dreams", "Error by horizon", "Reality and dream"]
    assert re.findall('<video [^>]*title="open-loop video of (.*?)"', page) == ["left", "right"]
    sources = re.findall('src="(.{12})', page)
    assert sources
    assert set(sources) == {"data:image/p", "data:video/m"}
    assert "://" not in page
    assert "<pre>a file</pre>" in page
    assert "the difference below" in page


@pytest.mark.parametrize("buffer_size", [100, 17])
def test_whole_episodes_of_the_replay_are_counted(
    buffer_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for drawn in ("image", "write_open_loop"):  # takes longest, and other tests look at it
        monkeypatch.setattr(MODULE, drawn, lambda *_: "")

    def episode(steps: int, reward: float, terminated: bool) -> Episode:
        seen = np.zeros((steps + 1, 4), np.float32)
        return Episode(seen, np.zeros(steps, int), np.full(steps, reward), terminated)

    model = DreamerV3("MlpPolicy", make_vec_env("CartPole-v1"), buffer_size=buffer_size, **SMALL)
    # 5, 7 and 9 records: in the small ring the first is overwritten, and its end with it.
    for one in (episode(4, 1.0, True), episode(6, 2.0, True), episode(8, 3.0, False)):
        buffer = model.replay_buffer
        assert buffer is not None
        for i in range(one.steps):
            info = {"TimeLimit.truncated": not one.terminated}
            done = np.array([i == one.steps - 1])
            obs, action = one.observations[i : i + 1], np.zeros((1, 1))
            buffer.add(obs, obs, action, one.rewards[i : i + 1], done, [info])
    env = make_vec_env("CartPole-v1", n_envs=2)
    page = model_report(model, env, title="x", horizon=5)
    assert headings(page)[-1] == "Replay"
    cells = dict(re.findall("<tr><td>(.*?)</td><td>(.*?)</td></tr>", page))
    if buffer_size == 100:
        assert cells["records"] == "21 of 100"
        assert cells["whole episodes"] == "3"
        assert cells["their return"] == "13.33, 4 to 24"
        assert cells["their steps"] == "6, 4 to 8"
        assert cells["ended by termination"] == "67 %"
    else:
        assert cells["records"] == "17 of 17"
        assert cells["whole episodes"] == "2"
        assert cells["their return"] == "18, 12 to 24"
        assert cells["ended by termination"] == "50 %"


def test_a_command_writes_it_with_the_curves_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small: Any = {**DreamerV3.smallest, "seed": 0}
    model = DreamerV3("MlpPolicy", "CartPole-v1", **small).learn(60)
    model.save(tmp_path / "run" / "model.zip")
    model.save_replay_buffer(tmp_path / "run" / "replay_buffer")
    (tmp_path / "run" / "progress.csv").write_text(
        "time/total_timesteps,train/kl_loss,rollout/ep_rew_mean,train/prior_ent\n"
        "10,1.0,,3.0\n20,0.5,12.0,\n"
    )
    out = tmp_path / "page" / "x.html"
    given = [str(tmp_path / "run" / "model.zip"), "--env", "CartPole-v1"]
    replay = ["--replay", str(tmp_path / "run" / "replay_buffer")]
    cli.main(["report", *given, *replay, "--episodes", "2", "--horizon", "5", "--out", str(out)])
    assert capsys.readouterr().out == f"Wrote {out}\n"
    page = out.read_text()
    expected = ["Training", "Dreams", "Error by horizon", "Reality and dream", "Replay"]
    assert headings(page) == expected
    assert "DreamerV3, MlpPolicy" in page
    assert "the difference below" not in page, "there is no image"
    with pytest.raises(SystemExit, match="Observation spaces do not match"):
        cli.main(["report", *given[:2], "Acrobot-v1", "--out", str(out)])

"""The scripts run as their help says, with tiny settings."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import DreamerV3
from dreamzoo.common.evaluation import RandomPolicy

ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TINY = ["-p", "size=debug", "-a", "batch_size=2", "batch_length=8", "train_ratio=4"]


def test_train_writes_everything_and_resumes(tmp_path: Path) -> None:
    train = load("train")
    common = ["--eval-episodes", "2", "--eval-every", "50", "--out", str(tmp_path), *TINY]
    train.main(["--steps", "100", *common])
    written = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "progress.csv", "evaluations.npz"} <= written
    assert {"model.zip", "replay_buffer.pkl"} <= written
    assert not any(".new." in name for name in written)
    first = (tmp_path / "progress.csv").read_text()
    train.main(["--steps", "160", "--resume", *common])
    assert DreamerV3.load(tmp_path / "model.zip").num_timesteps == 160
    assert len(json.loads((tmp_path / "config.json").read_text())) == 2
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [50, 100, 150]
    assert (tmp_path / "progress.csv").read_text() == first
    assert (tmp_path / "progress_100.csv").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("size=1m", ("size", "1m")), ("lr=3e-4", ("lr", 3e-4)), ("d={'a': 1}", ("d", {"a": 1}))],
)
def test_train_reads_values_as_python_or_text(text: str, expected: tuple[str, object]) -> None:
    assert load("train").parse_value(text) == expected


def test_demo_writes_what_it_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = load("demo")
    tiny = dict(batch_size=2, batch_length=8, train_ratio=1, policy_kwargs=dict(size="debug"))
    monkeypatch.setattr(demo, "LAPTOP", tiny)
    arguments = ["--steps", "300", "--episodes", "2", "--no-progress-bar", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="did not learn"):
        demo.main(arguments)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == [
        "env_id",
        "total_timesteps",
        "seconds",
        "random_return_mean",
        "real_return_mean",
        "dream_return_mean",
        "n_eval_episodes",
        "seed",
    ]
    for name in ("model.zip", "learning_curve.png", "open_loop.mp4"):
        assert (tmp_path / name).stat().st_size > 1_000
    assert "inside its own dream" in capsys.readouterr().out


def test_bench_replay_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    load("bench_replay").main(["--records", "400", "--image", "36", "--seconds", "0.1"])
    line = json.loads(capsys.readouterr().out)
    assert line["windows_per_cpu_second"] > 0


def test_sizes_prints_the_published_counts(capsys: pytest.CaptureFixture[str]) -> None:
    load("sizes").main()
    table = capsys.readouterr().out
    assert "| `1m` | 640,867 | 686,846 |" in table
    assert "| `12m` | 9,738,019 | 10,494,158 |" in table


def test_evaluate_and_dream_read_what_train_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--steps", "120", "--eval-every", "1000", "--out", str(tmp_path), *TINY]
    load("train").main(["--policy", "CnnPolicy", "--env", "pixels/CartPole-v1", *arguments])
    capsys.readouterr()
    model = ["--model", str(tmp_path / "model.zip")]
    load("evaluate").main(["--env", "pixels/CartPole-v1", *model, "--episodes", "4"])
    line = json.loads(capsys.readouterr().out)
    assert line["steps"] == 120
    assert 8 < line["random"]["mean"] < 60
    replay = ["--replay", str(tmp_path / "replay_buffer.pkl"), "--length", "9", "--context", "3"]
    load("dream").main([*model, *replay, "--out", str(tmp_path / "dream")])
    written = {path.name for path in (tmp_path / "dream").iterdir()}
    assert written == {"observation.mp4", "observation.png", "open_loop.png"}


def test_random_policy_is_random() -> None:
    env = make_vec_env("CartPole-v1", n_envs=50, seed=0)
    actions, state = RandomPolicy(env).predict(env.reset())
    assert state is None
    assert set(np.unique(actions)) == {0, 1}

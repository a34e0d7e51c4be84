"""``dreamzoo inspect``: says what is in a file, and builds and runs nothing."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from dreamzoo import AGENTS, DreamerV3
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.cli import main
from dreamzoo.common.storage import agent_file
from dreamzoo.common.storage.inspection import describe
from dreamzoo.common.storage.replay_file import read_parts
from tests.rewriting import members, payloads, rewrite, rewrite_json

TINY: dict[str, Any] = dict(
    policy_kwargs=dict(size="debug"), batch_size=2, buffer_size=500, learning_starts=99, seed=0
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with a file of every kind."""
    folder = tmp_path_factory.mktemp("run")
    env = VecNormalize(make_vec_env("CartPole-v1", n_envs=2, seed=0))
    agent = DreamerV3("MlpPolicy", env, learning_rate=lambda _: 1e-4, **TINY)
    agent.learn(40, callback=SaveCallback(folder, 40))
    agent.policy.save(next(folder.glob("0*")) / "policy.zip")
    return folder


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_run_says_what_all_its_files_hold(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = read_parts(next(run.glob("0*/replay_buffer.npz")))["count"].sum()
    main(["inspect", str(run)])
    lines = _lines(capsys.readouterr().out)
    for said in [
        "agent DreamerV3, MlpPolicy",
        "actions Discrete(2)",
        "steps 40, 0 updates, 2 environments",
        "settings buffer_size=500",
        "batch_size=2",
        "policy_kwargs={'size': 'debug'}",
        "seed=0",
        "needs trust learning_rate (function)",
        f"records {count} of up to 500, 2 environments",
        "latents deter, stoch",
        "training of DreamerV3, 40 steps, 2 environments",
        "needs trust all of it",
        "observations of shape (4,), 42 seen",  # the first of both environments, too
        "size='debug'",
    ]:
        assert said in lines, said
    moments = {line for line in lines if line.startswith("moment ")}
    assert len(moments) == 1
    assert not [line for line in lines if "gae_lambda=" in line or "replay_buffer_class" in line]
    assert not [line for line in lines if line.startswith("Of another moment")]


@pytest.mark.parametrize("name", AGENTS)
def test_settings_of_an_agent_as_it_comes_are_the_defaults(name: str, tmp_path: Path) -> None:
    kind: Any = AGENTS[name]
    env = "Pendulum-v1" if name == "planet" else "CartPole-v1"
    small = {k: v for k, v in kind.smallest.items() if k in ("policy_kwargs", "buffer_size")}
    kind("MlpPolicy", env, **small).save(tmp_path / "agent")
    lines = _lines(describe(tmp_path / "agent"))
    first = next(i for i, line in enumerate(lines) if line.startswith("settings "))
    last = next(i for i, line in enumerate(lines) if line.startswith("written on "))
    shown = {line.removeprefix("settings ").partition("=")[0] for line in lines[first:last]}
    assert shown == (set(small) or {"the defaults"})
    everything = describe(tmp_path / "agent", all_settings=True)
    assert "verbose=0" in everything
    assert "learning_rate=" in everything


def test_members_are_listed_with_their_sizes(run: Path) -> None:
    path = next(run.glob("0*/model.zip"))
    lines = _lines(describe(path))
    for name, data in members(path).items():
        if name != "dreamzoo.json":
            (line,) = [line for line in lines if line.split()[-1] == name]
            number, unit = line.removeprefix("members ").split()[:2]
            scale = {"bytes": 1, "kB": 1e3, "MB": 1e6}[unit]
            assert float(number) * scale == pytest.approx(len(data), rel=0.01)


def test_files_of_another_moment_are_named(run: Path, tmp_path: Path) -> None:
    for path in next(run.glob("0*")).iterdir():
        about = {"moment": "another"} if path.suffix == ".npz" else None
        rewrite(path, tmp_path / path.name, {}, about)
    assert _lines(describe(tmp_path))[-1] == "Of another moment than model.zip: replay_buffer.npz."


def test_nothing_is_built_and_no_code_runs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(th.nn.Module, "__init__", refused)
    monkeypatch.setattr(agent_file.cloudpickle, "loads", refused)
    monkeypatch.setattr(th, "load", refused)
    mark, bad = tmp_path / "ran", tmp_path / "bad"
    for path in next(run.glob("0*")).iterdir():
        assert "complete" in describe(path)
        for name in members(path):
            for payload in payloads(mark):
                if name != "dreamzoo.json":
                    rewrite(path, bad, {name: payload})
                    with suppress(ValueError):
                        describe(bad)
    assert not mark.exists()


def test_what_is_damaged_or_of_others_is_said(run: Path, tmp_path: Path) -> None:
    whole = next(run.glob("0*/replay_buffer.npz"))
    data = bytearray(whole.read_bytes())
    data[data.index(b"\x93NUMPY") + 200] ^= 1
    (tmp_path / "model.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.zip"):
        describe(tmp_path / "model.zip")
    SAC("MlpPolicy", "Pendulum-v1", buffer_size=10).save(tmp_path / "other.zip")
    np.savez(tmp_path / "evaluations.npz", results=np.zeros((1, 2)))  # EvalCallback's, no save
    lines = describe(tmp_path).splitlines()
    assert not [line for line in lines if "evaluations.npz" in line]
    assert "model.zip is damaged" in lines[1] or "model.zip cannot be read" in lines[1]
    assert "other.zip is not of a form that is safe to read" in lines[2]
    with pytest.raises(FileNotFoundError, match="There is no save in the folder"):
        describe(tmp_path / "..")
    with pytest.raises(SystemExit, match="No such file"):
        main(["inspect", str(tmp_path / "missing")])


def test_a_file_cannot_write_to_the_terminal(run: Path, tmp_path: Path) -> None:
    path = next(run.glob("0*/model.zip"))
    bad = rewrite_json(
        path, tmp_path / "bad.zip", "data", lambda data: data.update(tensorboard_log="\x1b[2J")
    )
    rewrite(bad, tmp_path / "worse.zip", {}, {"agent": "\x1b]0;x\x07"})
    for one in (bad, tmp_path / "worse.zip"):
        text = describe(one)
        assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert "?]0;x?" in text

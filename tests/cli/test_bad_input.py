"""What a user says in vain is answered in one line, whatever the command."""

from pathlib import Path

import pytest
from stable_baselines3 import PPO

from dreamzoo import DreamerV3
from dreamzoo.cli import main
from dreamzoo.cli.arguments import plain_errors

MODEL, REPLAY = ["--model", "m.zip"], ["--replay", "r.npz"]
ENV, FEW, TRUST = ["--env", "CartPole-v1"], ["--episodes", "2"], "--trusted"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of CartPole with its replay, one of SB3, and files of something else."""
    path = tmp_path_factory.mktemp("models")
    model = DreamerV3("MlpPolicy", "CartPole-v1", **DreamerV3.smallest).learn(20)
    model.save(path / "m.zip")
    model.save_replay_buffer(path / "r.npz")
    PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8).save(path / "ppo.zip")
    (path / "text.zip").write_text("no zip")
    (path / "text.pkl").write_text("no pickle")
    (path / "file").write_text("no folder")
    (path / "damaged").mkdir()
    (path / "damaged" / "m.zip").write_bytes((path / "m.zip").read_bytes())
    (path / "damaged" / "vecnormalize.zip").write_text("no zip")
    return path


def answer(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line with which a command ends; other errors than that are not caught."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    if ended.value.code == 2:  # of argparse, below the usage
        return capsys.readouterr().err.splitlines()[-1]
    assert isinstance(ended.value.code, str)  # printed with status 1
    assert ended.value.code.splitlines() == [ended.value.code]
    return ended.value.code


#: What is wrong, and a part of what is said about it.
WRONG: list[tuple[list[str], str]] = [
    (["train", "--env", "CartPol-v1"], "CartPol"),
    (["train", "--env", "dmc/walker-wlak"], "Did you mean walker-walk"),
    (["train", "--env", "dmc/walker"], "names no task"),
    (["train", "--env", "nopackage:Some-v0"], "nopackage"),
    (["train", "-e", "nonsense=1"], "nonsense"),
    (["train", "-e", "nonsense"], "expected key=value"),
    (["train", "--policy", "MlpPolcy"], "MlpPolcy"),
    (["train", "--policy", "CnnPolicy"], "image"),
    (["train", "-p", "sizes=1m"], "size"),
    (["train", "-p", "size=1"], "1m"),
    (["train", "-a", "batch_sise=2"], "batch_size"),
    (["train", "-a", "batch_size=two"], "batch_size='two' must be"),
    (["train", "-a", f"buffer_size={10**14}"], "Lower buffer_size"),
    (["train", "-a", "seed=3"], "seed"),
    (["train", "-a", "learning_rate={1, 2}"], "learning_rate"),
    (["train", "--agent", "ppo", "-a", "n_step=3"], "n_step"),
    (["train", "--agent", "ppo", "-a", "learning_rate=fast"], "fast"),
    (["train", "--agent", "ppo", "-p", "net=3"], "net"),
    (["train", "--agent", "sac"], "Discrete"),
    (["train", "--agent", "sacc"], "invalid choice"),
    (["train", "--seed", "-1"], "at least 0"),
    (["train", "--seed", "4294967296"], "less than 2**32"),
    (["train", "--seed", "one"], "must be a whole number"),
    (["train", "--n-envs", "0"], "at least 1"),
    (["train", "--steps", "1e4"], "must be a whole number"),
    (["train", "--threads", "0"], "at least 1"),
    (["train", "--device", "tpu9"], "tpu9"),
    (["train", "--device", "cuda:99"], "not 'cuda:99': say auto, or cpu"),
    (
        ["train", "--agent", "planet", "--env", "dmc_pixels/cheetah-run", "--published", "x"],
        "No published variant 'x' of planet; it has none",
    ),
    (["train", "--published"], "No published settings of dreamer_v3 on CartPole-v1"),
    (["train", "--agent", "merlin", "--published", "x"], "Leave --published out"),
    (["train", "--out", "file", "-p", "size=debug"], "file"),
    (["evaluate", *ENV, "--model", "none.zip"], "There is no file none.zip"),
    (["evaluate", *ENV, "--model", "text.zip"], "text.zip is not of a form that is safe"),
    (["evaluate", *ENV, "--model", "ppo.zip"], "ppo.zip is not of a form that is safe"),
    (["evaluate", *ENV, "--model", "damaged/m.zip"], "vecnormalize.zip"),
    (["evaluate", "--env", "CartPol-v1", *MODEL], "CartPol"),
    (["evaluate", "--env", "Pendulum-v1", *MODEL], "spaces do not match"),
    (["evaluate", "--env", "Pendulum-v1", "--model", "ppo.zip", TRUST], "spaces do not match"),
    (["evaluate", *ENV, *MODEL, "-a", "horizons=3"], "horizon"),
    (["evaluate", *ENV, *MODEL, "-a", "horizon=three"], "horizon='three' must be"),
    (["evaluate", *ENV, *MODEL, "--episodes", "0"], "at least 1"),
    (["dream", "--model", "none.zip", *REPLAY], "There is no file none.zip"),
    (["dream", "--model", "ppo.zip", TRUST, *REPLAY], "PPO has no world model"),
    (["dream", *MODEL, "--replay", "none.pkl"], "none.pkl"),
    (["dream", *MODEL, "--replay", "text.pkl"], "text.pkl is not of a form that is safe"),
    (["dream", *MODEL, "--replay", "damaged"], "The folder damaged holds no replay"),
    (["dream", *MODEL, "--env", "Pendulum-v1"], "spaces do not match"),
    (["dream", *MODEL, *REPLAY, "-e", "sutton_barto_reward=True"], "which --env has to name"),
    (["play", *MODEL[1:], "-e", "sutton_barto_reward=True"], "which --env has to name"),
    (["dream", *MODEL, *REPLAY, "--length", "9", "--context", "9"], "context=9 must be"),
    (["dream", *MODEL, *REPLAY, "--length", "90", "--context", "60"], "context"),
    (["dream", *MODEL, *REPLAY, "--length", "9", "--out", "file"], "file"),
    (["compare", *ENV, "--model", "none.zip"], "There is no file none.zip"),
    (["compare", "--env", "Pendulum-v1", *MODEL], "spaces do not match"),
    (["compare", *ENV, *MODEL, "--policy", "ppo:none.zip", TRUST, *FEW], "none.zip"),
    (["compare", *ENV, *MODEL, "--policy", "ppo:ppo.zip", *FEW], "ppo.zip is of SB3"),
    (["compare", *ENV, *MODEL, "--policy", "nonsense", *FEW], "expected agent, random or one of"),
    (["compare", *ENV, *MODEL, *FEW, "--out", "file"], "file"),
    (["report", *ENV, "none.zip"], "There is no file none.zip"),
    (["report", *ENV, "text.zip"], "text.zip is not of a form that is safe"),
    (["report", *ENV, "ppo.zip", TRUST], "PPO has no world model"),
    (["report", "--env", "Pendulum-v1", *MODEL[1:]], "spaces do not match"),
    (["report", *ENV, *MODEL[1:], "--replay", "damaged"], "The folder damaged holds no replay"),
    (["report", *ENV, *MODEL[1:], "--out", "file/x.html"], "file"),
    (["plan", "--task", "walker-wlak", "--action-repeat", "2"], "Did you mean walker-walk"),
    (["plan", "--candidates", "5", "--elites", "9"], "elites"),
    (["plan", "--video", "x.avi"], "must end in .mp4"),
    (["plan", "--seed", "-3"], "at least 0"),
    (["ppo-in-dream", *ENV, "--model", "none.zip"], "There is no file none.zip"),
    (["ppo-in-dream", *ENV, "--model", "ppo.zip", TRUST], "PPO has no world model"),
    (["ppo-in-dream", "--env", "Pendulum-v1", *MODEL], "spaces do not match"),
    (["ppo-in-dream", *ENV, *MODEL, "--replay", "none.pkl"], "none.pkl"),
    (["ppo-in-dream", *ENV, *MODEL, "-a", "gama=0.9"], "gama"),
    (["ppo-in-dream", *ENV, *MODEL, "--algo", "sac"], "Discrete"),
    (["attention", *ENV, "--model", "none.zip"], "There is no file none.zip"),
    (["attention", *ENV, *MODEL], "has no external memory"),
    (["attention", *ENV, *MODEL, "--out", "x.xyz"], "must end in one of"),
    (["attention", *ENV, *MODEL, "--steps", "0"], "at least 1"),
    (["bench", "train", "--agent", "rlmem"], "Did you mean rl_mem"),
    (["bench", "train", "--agent", "rl_lstm", "-p", "rows=5"], "RLLSTM has no memory"),
    (["benchmark", "plot", "text.pkl", "--out", "x.xyz"], "must end in one of"),
    (["benchmark", "collect", "none", "--to", "x.csv"], "There is no run in none"),
    (["benchmark", "table", "none.csv"], "There is no file none.csv"),
    (["benchmark", "table", "damaged"], "There is no file damaged/results.csv"),
    (["benchmark", "plot", "text.pkl", "--out", "x.png"], "text.pkl has not the columns agent"),
    (["benchmark", "report", "text.pkl", "--out", "x.html"], "text.pkl"),
    (["benchmark", "metrics", "none", "--names", "kl_loss"], "none has no train/kl_loss"),
    (["benchmark", "scores", "none"], "none has no replay with episodes of training"),
    (["benchmark", "commands", "--tasks", "CartPole-v1", "--agents", "ppp"], "Did you mean ppo"),
    (["benchmark", "run", "--tasks", "CartPole-v1", "--device", "cuda:99"], "not 'cuda:99'"),
    (["benchmark", "run", "--tasks", "CartPole-v1", "--device", "tpu9"], "tpu9"),
    (
        ["benchmark", "run", "--tasks", "CartPole-v1", "--agents", "ppo", "--frames", "50"],
        "ppo does not fit CartPole-v1: it learns from 2,048 steps at a time, and would have 50",
    ),
    (["inspect", "text.zip"], "load it with trusted=True"),
    (["suites", "nono"], "Unknown suite 'nono'"),
    (["benchmark", "run", "--suite", "atari", "--jobs", "0"], "at least 1"),
    (["benchmark", "run", "--suite", "atari"], "Unknown suite 'atari'"),
    (["benchmark", "run", "--budget", "large"], "invalid choice"),
    (["bench", "update", "--size", "13m"], "12m"),
    (["bench", "update", "--device", "tpu9"], "tpu9"),
    (["bench", "dream", "--envs", "CartPol-v1"], "CartPol"),
    (["bench", "dream", "--envs", "CartPole-v1", "--sizes", "13m"], "12m"),
    (["bench", "planner", "--device", "tpu9"], "tpu9"),
    (["bench", "replay", "--size", "13m"], "12m"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=lambda x: " ".join(x)[:60])
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str],
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert said in answer(arguments, capsys)
    assert sorted(folder.rglob("*")) == before, "something was begun"


def test_mistakes_of_the_program_keep_their_traceback() -> None:
    for mistake in (KeyError, AttributeError, IndexError, ZeroDivisionError):
        with pytest.raises(mistake), plain_errors():
            raise mistake("of ours")


def test_an_error_without_words_or_of_several_lines_is_one_line() -> None:
    for error, said in ((AssertionError(), "AssertionError"), (ValueError("a\n b"), "a b")):
        with pytest.raises(SystemExit, match=f"^{said}$"), plain_errors():
            raise error

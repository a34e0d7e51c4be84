"""RL Zoo trains, optimizes, plays, films and draws every agent, by its own commands."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from dreamzoo import AGENTS, DreamerV3
from dreamzoo.common.storage.container import reading
from dreamzoo.rl_zoo import SEARCHES, register
from dreamzoo.rl_zoo.commands import main
from dreamzoo.rl_zoo.search import Between, sample
from tests.hub.server import Hub

#: Steps of a training; the Zoo evaluates after half of them.
STEPS = 40
TRAINING = ["--n-timesteps", str(STEPS), "--eval-freq", str(STEPS // 2), "--eval-episodes", "1"]
COMMON = ["--seed", "0", "--device", "cpu"]
SMALL_TASKS = {name: "Pendulum-v1" if name == "planet" else "CartPole-v1" for name in AGENTS}


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """RL Zoo in a folder of its own; what is made known to it is forgotten afterwards."""
    utils = pytest.importorskip("rl_zoo3.utils")
    search = importlib.import_module("rl_zoo3.hyperparams_opt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    known = [utils.ALGOS, search.HYPERPARAMS_SAMPLER, search.HYPERPARAMS_CONVERTER]
    before, ids = [dict(each) for each in known], set(gym.registry)
    yield
    # What packages register when they are first imported stays: they would not do so again.
    for env in set(gym.registry) - ids:
        if gym.registry[env].entry_point == "dreamzoo.envs:make_env":
            del gym.registry[env]
    for each, content in zip(known, before, strict=True):
        each.clear()
        each.update(content)


def smallest(name: str, **others: Any) -> list[str]:
    """Arguments that let the Zoo train the smallest agent."""
    settings = {"n_envs": 1, **dict(AGENTS[name].smallest), **others}  # type: ignore[attr-defined]
    return ["-params", *(f"{key}:{value!r}" for key, value in settings.items())]


@pytest.mark.parametrize("name", AGENTS)
def test_it_trains_goes_on_and_plays(
    name: str, zoo: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = SMALL_TASKS[name]
    task = ["--algo", name, "--env", env]
    short = ["--env-kwargs", "max_episode_steps:25"]
    training = [*task, *COMMON, *TRAINING, *short, "--verbose", "0", *smallest(name)]
    has_replay = hasattr(AGENTS[name], "save_replay_buffer")
    replay = ["--save-replay-buffer"] if has_replay else []
    main(["train", *training, "--save-freq", str(STEPS // 2), *replay])
    saved = tmp_path / "logs" / name / f"{env}_1"
    for file in (saved / f"{env}.zip", saved / "best_model.zip"):
        with reading(file, "agent") as reader:
            assert reader.index["agent"].endswith(AGENTS[name].__name__)
    for which in ([], ["--load-best"], ["--load-last-checkpoint"]):
        capsys.readouterr()
        main(["enjoy", *task, *COMMON, "-f", "logs", "-n", "60", "--no-render", *which])
        assert "Mean reward" in capsys.readouterr().out
    main(["train", *training, "-i", str(saved / f"{env}.zip")])
    assert (tmp_path / "logs" / name / f"{env}_2" / f"{env}.zip").exists()


def test_it_films_and_draws_what_it_trained(zoo: None, tmp_path: Path) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    for needed in ("seaborn", "moviepy", "pygame"):
        pytest.importorskip(needed)
    task = ["--algo", "dreamer_v3", "--env", "CartPole-v1"]
    others = smallest("dreamer_v3", normalize=True)
    main(["train", *task, *COMMON, *TRAINING, "-n", "120", *others])
    run = tmp_path / "logs/dreamer_v3/CartPole-v1_1"
    main(["record_video", *task, "-f", "logs", "-n", "10"])
    (video,) = (run / "videos").glob("*.mp4")
    assert video.stat().st_size > 1_000
    plt.switch_backend("agg")  # MinAtar asks for windows, in whatever process imports it
    with plt.rc_context():  # seaborn changes what all pictures look like
        main(["plot_train", "-a", "dreamer_v3", "-e", "CartPole-v1", "-f", "logs", "-w", "1"])
        (line,) = plt.gca().get_lines()
        plt.close("all")
    episodes = (run / "0.monitor.csv").read_text().splitlines()[2:]
    assert episodes
    assert [float(row.split(",")[0]) for row in episodes] == list(line.get_ydata())


def test_it_pushes_to_the_hub_and_plays_what_it_loads_from_there(
    zoo: None, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ["--algo", "dreamer_v3", "--env", "CartPole-v1"]
    main(["train", *task, *COMMON, *TRAINING, "--verbose", "0", *smallest("dreamer_v3")])
    main(["push_to_hub", *task, "-f", "logs", "-orga", "me", "--no-render"])
    sent = Path("logs/dreamer_v3/CartPole-v1_1/CartPole-v1.zip").read_bytes()
    name = "dreamer_v3-CartPole-v1"
    assert len(hub.repos[f"me/{name}"][f"{name}.zip"]) == pytest.approx(len(sent), abs=200)
    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")  # its settings are YAML that runs code
    main(["load_from_hub", *task, "-f", "loaded", "-orga", "me"])
    capsys.readouterr()
    main(["enjoy", *task, *COMMON, "-f", "loaded", "-n", "50", "--no-render"])
    assert "Mean reward" in capsys.readouterr().out


def test_it_optimizes(zoo: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    tried: list[dict[str, Any]] = []
    learn: Callable[..., Any] = DreamerV3.learn

    def seen(self: DreamerV3, *args: Any, **kwargs: Any) -> Any:
        tried.append({key: getattr(self, key) for key in SEARCHES["dreamer_v3"]})
        assert self.policy_kwargs == {"size": "debug"}
        assert self.batch_length == 4
        return learn(self, *args, **kwargs)

    monkeypatch.setattr(DreamerV3, "learn", seen)
    settings = {**DreamerV3.smallest, "n_envs": 1}
    trials = ["--optimize-hyperparameters", "--n-trials", "2", "--n-evaluations", "2"]
    task = ["--algo", "dreamer_v3", "--env", "CartPole-v1", *COMMON, "-n", str(STEPS)]
    params = ["-params", *(f"{key}:{value!r}" for key, value in settings.items())]
    main(["train", *task, *trials, "--eval-episodes", "1", "--no-optim-plots", *params])
    (report,) = (tmp_path / "logs/dreamer_v3").glob("report_*.csv")
    table = pandas.read_csv(report)
    for key in SEARCHES["dreamer_v3"]:
        assert [each[key] for each in tried] == pytest.approx(list(table[f"params_{key}"]))
    assert len(table) == 2
    assert (table["state"] == "COMPLETE").all()
    # The Zoo would take an empty run for the newest one.
    assert not [path for path in (tmp_path / "logs/dreamer_v3").iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", AGENTS)
def test_agents_take_what_a_search_chooses(name: str) -> None:
    optuna = pytest.importorskip("optuna")
    trial = optuna.create_study().ask()
    chosen = sample(SEARCHES[name], trial, 1, 1, {})
    assert chosen == trial.params
    agent: Any = AGENTS[name]
    made = agent("MlpPolicy", SMALL_TASKS[name], **{**agent.smallest, **chosen})
    assert {key: getattr(made, key) for key in chosen} == chosen


def where_it_begins(value: Any) -> float:
    """A number, or the first one of a schedule."""
    if isinstance(value, str):
        return float(value.removeprefix("lin_"))
    return value(1.0) if callable(value) else value


@pytest.mark.parametrize("name", AGENTS)
def test_a_search_can_find_what_is_known_to_be_good(name: str) -> None:
    """Defaults and the settings that a search begins from lie within it."""
    settings = importlib.import_module(f"dreamzoo.hyperparams.{name}").hyperparams
    parameters = inspect.signature(AGENTS[name]).parameters
    starts = [settings[env] for env in ("CartPole-v1", "Pendulum-v1") if env in settings]
    assert len(starts) == (1 if name in ("planet", "discrete_sac") else 2)
    for key, values in SEARCHES[name].items():
        for value in (parameters[key].default, *(s[key] for s in starts if key in s)):
            if isinstance(values, Between):
                assert value is None or values.low <= where_it_begins(value) <= values.high
            else:
                assert value in values


def of_train(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Say what the Zoo's function is handed."""
    module = importlib.import_module("rl_zoo3.train")
    handed: list[str] = []
    monkeypatch.setattr(module, "train", lambda: handed.extend(sys.argv))
    before = list(sys.argv)
    main(["train", *arguments])
    assert sys.argv == before
    return handed[1:]


def test_published_settings_hold_in_evaluations_and_videos(
    zoo: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Zoo gives such environments no arguments but those of its command line."""
    given = ["--algo", "planet", "--env", "dmc_pixels/cartpole-swingup"]
    module = ["--conf-file", "dreamzoo.hyperparams.planet"]
    added = [*module, "--env-kwargs", "action_repeat:8"]
    assert of_train(given, monkeypatch) == [*given, *added]
    own = [*given, "--env-kwargs", "action_repeat:2"]
    assert of_train(own, monkeypatch) == [*own, *module]
    for flag in ("-params", "--hyperparams"):
        own = [*given, flag, "horizon:9", "env_kwargs:dict(action_repeat=2)"]
        assert of_train(own, monkeypatch) == [*own, *module, "--env-kwargs", "action_repeat:2"]


@pytest.mark.parametrize(
    ("env", "policy"),
    [
        ("minatar/breakout", "CnnPolicy"),
        ("crafter", "CnnPolicy"),
        ("dmc/walker-walk", "MultiInputPolicy"),
        ("MountainCar-v0", ""),
    ],
)
def test_environments_without_settings_get_a_policy_that_reads_them(
    env: str, policy: str, zoo: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--algo", "dreamer_v1", "--env", env]
    module = ["--conf-file", "dreamzoo.hyperparams.dreamer_v1"]
    added = ["--hyperparams", f"policy:{policy!r}"] if policy else []
    assert of_train(given, monkeypatch) == [*given, *module, *added]
    own = [*given, "-params", "horizon:9"]
    if policy:
        added.insert(1, "horizon:9")
    assert of_train(own, monkeypatch) == [*own, *module, *added]
    own = [*given, "-params", "policy:'MlpPolicy'"]
    assert of_train(own, monkeypatch) == [*own, *module]
    if env.startswith("dmc"):
        own = [*given, "--env-kwargs", "flatten:True"]
        assert of_train(own, monkeypatch) == [*own, *module]


@pytest.mark.parametrize(
    "given",
    [
        ["--algo", "ppo", "--env", "CartPole-v1"],
        ["--algo", "dreamer_v3", "-conf", "mine.py", "--env", "dmc/walker-walk"],
    ],
)
def test_what_a_user_says_of_settings_stays(
    given: list[str], zoo: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of_train(given, monkeypatch) == given


@pytest.mark.parametrize("name", ["dreamer_v3", "DreamerV3", "dreamerv3"])
def test_agents_are_known_by_the_names_that_the_hub_has_for_them(
    name: str, zoo: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--algo", name, "--env", "CartPole-v1", "--conf-file", "mine.py"]
    assert of_train(given, monkeypatch) == ["--algo", "dreamer_v3", *given[2:]]
    given[:2] = [f"--algo={name}"]
    assert of_train(given, monkeypatch) == ["--algo=dreamer_v3", *given[1:]]
    given[0] = "--algo=ppo"
    assert of_train(given, monkeypatch) == given
    given[:1] = ["--algo", "ppo"]
    assert of_train(given, monkeypatch) == given


def test_tasks_of_suites_are_ids_of_gymnasium(zoo: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dm_control")
    monkeypatch.delitem(gym.registry, "dmc/cartpole-balance", raising=False)
    register()
    register()  # a second time changes nothing
    env = gym.make("dmc/cartpole-balance", action_repeat=2, flatten=True)
    assert env.reset(seed=0)[0].shape == (5,)
    assert {"crafter", "atari/pong", "procgen/coinrun"} <= gym.registry.keys()


def test_its_own_programs_know_agents_by_two_lines_in_custom_envs(zoo: None) -> None:
    lines = "from dreamzoo.rl_zoo import register\n\nregister()\n"
    Path("custom_envs.py").write_text(lines)
    command = [sys.executable, "-m", "rl_zoo3.train", "--algo", "rl_mem", "--help"]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert set(AGENTS) <= set(said.stdout.replace("}", ",").replace("{", ",").split(","))


def test_who_lacks_it_reads_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rl_zoo3", None)
    with pytest.raises(ImportError, match=r'pip install "dreamzoo\[rl-zoo\]"'):
        register()
    with pytest.raises(SystemExit, match=r"dreamzoo\[rl-zoo\]"):
        main(["enjoy"])

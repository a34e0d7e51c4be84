"""The scripts run as their help says, with tiny settings."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from dreamzoo import DreamerV3, PlaNet
from dreamzoo.analysis.evaluation import RandomPolicy
from dreamzoo.common.normalizer import as_in_training, load_normalizer

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


def test_a_resumed_run_is_evaluated_as_one_in_one_go(tmp_path: Path) -> None:
    """The same model plays the same episodes, so the tables are equal."""
    arguments = ["--eval-episodes", "3", "--eval-every", "40", "--save-every", "40", *TINY]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    load("train").main(["--steps", "130", *arguments, "--out", str(whole)])
    for steps in ("60", "130"):
        resume = ["--resume"] if parts.exists() else []
        load("train").main(["--steps", steps, *arguments, *resume, "--out", str(parts)])
    one, other = (np.load(folder / "evaluations.npz") for folder in (whole, parts))
    assert one["timesteps"].tolist() == [40, 80, 120]
    np.testing.assert_array_equal(one["results"], other["results"])


def test_evaluation_plays_other_episodes_than_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its seeds lie a thousand above the run's, and every evaluation has new ones."""
    train = load("train")
    seeds: list[list[int]] = []  # of every environment, in the order of their making

    class Watched(gym.Wrapper):
        def __init__(self, name: str) -> None:
            super().__init__(gym.make(name))
            self.seen: list[int] = []
            seeds.append(self.seen)

        def reset(self, **kwargs: Any) -> Any:
            if kwargs.get("seed") is not None:
                self.seen.append(kwargs["seed"])
            return super().reset(**kwargs)

    monkeypatch.setattr(train, "make_env", Watched)
    common = ["--eval-episodes", "2", "--eval-every", "20", "--out", str(tmp_path), *TINY]
    train.main(["--steps", "40", "--seed", "7", *common])
    training, *evaluation = seeds
    assert training == [7]
    assert evaluation == [[1027, 1047], [1028, 1048]]


def test_a_run_of_normalised_observations_keeps_its_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--normalize", "--eval-episodes", "2", "--eval-every", "50", *TINY]
    common = [*arguments, "--env", "Pendulum-v1", "--out", str(tmp_path)]
    load("train").main(["--steps", "100", *common])
    model = tmp_path / "model.zip"

    def statistics() -> RunningMeanStd:
        normalizer = load_normalizer(model)
        assert normalizer is not None
        assert not normalizer.training
        assert isinstance(normalizer.obs_rms, RunningMeanStd)
        return normalizer.obs_rms

    assert statistics().count == pytest.approx(101)  # the first observation of an episode, too
    load("train").main(["--steps", "160", "--resume", *common])
    later = statistics()
    assert later.count == pytest.approx(161)
    env = as_in_training(make_vec_env("Pendulum-v1"), model)
    assert isinstance(env, VecNormalize)
    obs, raw = env.reset(), np.asarray(env.get_original_obs())
    np.testing.assert_allclose(np.asarray(obs), (raw - later.mean) / np.sqrt(later.var), rtol=1e-5)
    capsys.readouterr()
    script = ["--env", "Pendulum-v1", "--model", str(model)]
    load("evaluate").main([*script, "--episodes", "2", "--n-envs", "2"])
    assert json.loads(capsys.readouterr().out)["steps"] == 160
    replay = ["--replay", str(tmp_path / "replay_buffer.pkl"), "--length", "9", "--context", "3"]
    load("dream").main(["--model", str(model), *replay, "--out", str(tmp_path / "dream")])
    assert (tmp_path / "dream" / "open_loop.png").exists()


def test_a_model_without_statistics_sees_the_environment_as_it_is(tmp_path: Path) -> None:
    env = make_vec_env("Pendulum-v1")
    assert as_in_training(env, tmp_path / "model.zip") is env


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
        "precision",
    ]
    for name in ("model.zip", "learning_curve.png", "open_loop.mp4"):
        assert (tmp_path / name).stat().st_size > 1_000
    assert "inside its own dream" in capsys.readouterr().out
    out = tmp_path / "other"
    demo.main([*arguments[:-1], str(out), "--no-pictures", "--precision", "tf32"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["precision"] == "tf32"
    assert DreamerV3.load(out / "model").precision == "tf32"
    assert not (out / "open_loop.mp4").exists()


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


def test_evaluate_plans_as_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PlaNet's planner is no part of what was learned."""
    path = tmp_path / "model.zip"
    tiny = dict(deter=8, stoch=2, units=8, reward_arch=[8])
    PlaNet("MlpPolicy", "Pendulum-v1", candidates=20, elites=4, policy_kwargs=tiny).save(path)
    script = load("evaluate")
    shooting = dict(candidates=9, planning_iterations=1, elites=1)
    assert script.load(path, {}).policy.planner.candidates == 20
    planner = script.load(path, shooting).policy.planner
    assert (planner.candidates, planner.iterations, planner.elites) == (9, 1, 1)
    settings = [f"{name}={value}" for name, value in shooting.items()]
    common = ["--env", "Pendulum-v1", "--model", str(path), "--episodes", "2", "--n-envs", "2"]
    script.main([*common, "-a", *settings])
    assert json.loads(capsys.readouterr().out)["changed"] == shooting
    with pytest.raises(SystemExit, match="PlaNet has no setting candidate, elite"):
        script.main([*common, "-a", "candidate=9", "elite=1"])


@pytest.mark.parametrize("script", ["evaluate", "ppo_in_dream", "compare_dream"])
def test_a_model_of_another_environment_is_refused(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug")).save("m")
    with pytest.raises(ValueError, match="spaces do not match"):
        load(script).main(["--env", "Pendulum-v1", "--model", "m.zip"])


@pytest.mark.parametrize("arguments", [["--repeat", "2", "--breakdown"], ["--act", "1", "3"]])
def test_bench_update_prints_one_line_a_case(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    shape = ["--size", "debug", "--batch", "2", "--length", "4", "--horizon", "3", "--threads", "1"]
    load("bench_update").main([*shape, *arguments])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    if "--act" in arguments:
        assert [line["n_envs"] for line in lines] == [1, 3]
        assert all(line["milliseconds"] > 0 for line in lines)
        return
    (line,) = lines
    assert {"cpu_seconds", "parameters", "peak_rss_mb", "warmup_seconds"} <= set(line)
    assert 0 <= line["fraction_of_limit"] < 1
    assert line["wall_seconds"] > 0
    parts = {"replay", "filtering", "decoding and heads", "imagination", "actor and critic"}
    assert set(line["breakdown"]) == {*parts, "backward", "optimizer", "other"}
    assert sum(line["breakdown"].values()) > 0


def test_bench_update_prints_one_line_a_mode(capsys: pytest.CaptureFixture[str]) -> None:
    bench = load("bench_update")
    shape = ["--size", "debug", "--batch", "2", "--length", "4", "--horizon", "3", "--repeat", "1"]
    bench.main([*shape, "--graph", "off", "on"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["gflop"] for line in lines] == [lines[0]["gflop"]] * 2
    with pytest.raises(SystemExit):
        bench.parse_args(["--graph", "on", "off", "--precision", "fp32", "fp32", "fp32"])
    bench.main([*shape, "--learn", "3"])
    learned = json.loads(capsys.readouterr().out)
    assert learned["updates"] >= 3
    assert learned["env_steps_per_second"] > 0


def test_bench_update_goes_on_after_a_mode_that_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = load("bench_update")

    def act(args: Any, mode: Any) -> Any:
        if mode.triton:
            raise RuntimeError("no such kernel")
        yield {"milliseconds": 1}

    monkeypatch.setattr(bench, "act", act)
    with pytest.raises(SystemExit):
        bench.main(["--act", "1", "--triton", "on", "off"])
    failed, done = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert "no such kernel" in failed["error"]
    assert done["milliseconds"] == 1


def test_gpu_report_keeps_every_line_and_ends_with_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = load("gpu_report")
    out = tmp_path / "results" / "gpu.json"
    report.main(["--device", "cpu", "--quick", "--only", "card", "--out", str(out)])
    printed = capsys.readouterr().out
    kept = out.read_text().splitlines()
    assert printed.splitlines()[: len(kept)] == kept
    assert [json.loads(line)["case"] for line in kept] == ["card"] * 3
    assert "Measured floors: matrix products fp32 " in printed
    report.main(["--table", str(out)])
    assert capsys.readouterr().out.strip() in printed


def test_gpu_report_lists_cases_by_worth() -> None:
    report = load("gpu_report")
    names = [case.name for case in report.list_cases("cuda", quick=False)]
    timed = [name for name in names if "sheeprl" not in name]
    assert timed[:4] == ["tests", "card", "update 12m image", "update 1m vector"]
    assert timed[-1] == "learn 12m image"
    assert len(names) == len(set(names))
    update = next(c for c in report.list_cases("cuda", False) if c.name == "update 12m image")
    command = list(update.command)
    first, second = command.index("--precision"), command.index("--graph")
    assert command[first + 1 : first + 6] == ["bf16", "bf16", "tf32", "fp32", "bf16"]
    assert command[second + 1 : second + 6] == ["on", "off", "on", "off", "on"]


@pytest.mark.parametrize("prefix", [True, False])
def test_gpu_report_counts_what_pytest_says(prefix: bool) -> None:
    outcomes = ["PASSED", "FAILED", "SKIPPED", "PASSED", "ERROR"]
    said = ["=== test session starts ===", "tests/x.py::a ", "created: 8/8 workers"]
    for i, outcome in enumerate(outcomes):
        test = f"tests/x.py::t[a b-{i}]"
        with_workers = f"[gw{i}] [ 10%] {outcome} {test} "
        said.append(with_workers if prefix else f"{test} {outcome}    [ 10%]")
    counts = load("gpu_report").count_tests(said)
    failures = ["tests/x.py::t[a b-1]", "tests/x.py::t[a b-4]"]
    assert counts == {"passed": 2, "failed": 2, "skipped": 1, "failures": failures}


def test_gpu_report_finds_the_files_with_gpu_tests() -> None:
    report = load("gpu_report")
    found = {p.name for p in (ROOT / "tests").rglob("test_*.py") if report.has_gpu_test(p)}
    assert {"test_second_device.py", "test_devices.py", "test_conventions.py"} <= found
    assert "test_returns.py" not in found


def test_counted_arithmetic_is_that_of_the_shapes() -> None:
    """Twice the horizon costs twice the imagination: counts grow as the shapes say."""
    bench = load("bench_update")
    counts = []
    for horizon in (2, 4, 6):
        args = ["--size", "debug", "--batch", "2", "--length", "4", "--horizon", str(horizon)]
        counts.append(bench.count(bench.parse_args(args))[0])
    assert counts[2] - counts[1] == pytest.approx(counts[1] - counts[0], rel=1e-9)


def test_bench_planner_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--candidates", "500", "--iterations", "2", "--horizon", "3", "--units", "8"]
    load("bench_planner").main([*sizes, "--repeat", "1"])
    result = json.loads(capsys.readouterr().out)
    # Per step: the input, a GRU, two layers of the prior with its two heads, the reward head.
    forward = 36 * 8 + 2 * 3 * 8 * 8 + 8 * 8 + 2 * 8 * 30 + 38 * 8 + 8 * 8 + 8
    assert result["gflop"] == round(2 * forward * 500 * 2 * 3 / 1e9, 4)
    assert result["steps_per_second"] > 0


def test_bench_dream_prints_one_line_an_environment(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--dreams", "1", "4", "--share-at", "2", "--sizes", "debug", "--seconds", "0.02"]
    load("bench_dream").main(["--envs", "CartPole-v1", "pixels/CartPole-v1", *sizes])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["env"] for line in lines] == ["CartPole-v1", "pixels/CartPole-v1"]
    for line in lines:
        assert line["real_steps_per_second"] > 0
        assert set(line["dream_steps_per_second"]) == {"1", "4"}
        assert {"DreamVecEnv", "details=True"} <= set(line["extra_cost_at_2"])


def test_bench_dream_compares_steps_with_and_without_a_graph(
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = ["--dreams", "1", "2", "--sizes", "debug", "--seconds", "0.02", "--device", "cpu"]
    few += ["--only-dreams", "--graph", "on", "off"]
    load("bench_dream").main(["--envs", "synthetic/vector", *few])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["graph"] for line in lines] == [False, False]  # a CPU has none
    assert all(set(line["dream_steps_per_second"]) == {"1", "2"} for line in lines)


def test_dreams_are_compared_and_trained_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load("train").main(["--steps", "100", "--eval-every", "1000", "--out", str(tmp_path), *TINY])
    capsys.readouterr()
    model = ["--model", str(tmp_path / "model.zip")]
    ppo = load("ppo_in_dream")
    few = ["--dream-steps", "500", "--n-dreams", "8", "--episodes", "2"]
    ppo.main([*model, "--replay", str(tmp_path / "replay_buffer.pkl"), *few])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["real_steps"] == 100
    for name in ("random", "dreamer", "ppo_in_dream", "ppo_real"):
        assert line[name]["mean"] > 5
    compare = load("compare_dream")
    out = ["--out", str(tmp_path / "compare"), "--episodes", "3", "--horizon", "20"]
    compare.main([*model, "--policy", "random", *out])
    assert "observation   reward  continue" in capsys.readouterr().out
    assert (tmp_path / "compare" / "agreement.png").stat().st_size > 1_000
    saved = json.loads((tmp_path / "compare" / "agreement.json").read_text())
    assert len(saved["dream_returns"]) == 3
    with pytest.raises(SystemExit, match="expected agent, random or one of"):
        compare.main([*model, "--policy", "nonsense", *out])


def test_random_policy_is_random() -> None:
    env = make_vec_env("CartPole-v1", n_envs=50, seed=0)
    actions, state = RandomPolicy(env).predict(env.reset())
    assert state is None
    assert set(np.unique(actions)) == {0, 1}


def test_the_torch_pendulum_is_gymnasiums() -> None:
    script = load("ppo_in_vector_env")
    rows, real = script.TorchPendulum(3), gym.make("Pendulum-v1")
    obs, _ = rows.reset(seed=0)
    rng = np.random.default_rng(0)
    states = list(zip(rows.angle.tolist(), rows.speed.tolist(), strict=True))
    actions = rng.uniform(-3, 3, (200, 3, 1)).astype(np.float32)  # some beyond the bounds
    seen, rewards = [obs], []
    for action in actions:
        obs, reward, _, truncated, info = rows.step(action)
        seen.append(info.get("final_obs", obs))
        rewards.append(reward)
    assert truncated.all()
    for row, state in enumerate(states):
        real.reset(seed=0)
        real.unwrapped.state = np.array(state)  # type: ignore[attr-defined]
        for t in range(100):  # a pendulum is chaotic: float32 departs from float64
            got, reward, *_ = real.step(actions[t, row])
            np.testing.assert_allclose(seen[t + 1][row], got, atol=2e-3)
            assert float(rewards[t][row]) == pytest.approx(float(reward), abs=1e-2)


def test_ppo_trains_in_a_vector_environment(capsys: pytest.CaptureFixture[str]) -> None:
    load("ppo_in_vector_env").main(["--n-envs", "16", "--steps", "1024"])
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == 1024
    assert min(result["steps_per_second"].values()) > 0
    assert result["random_return"] < -800


@pytest.mark.parametrize("changed", [["--normalize"], ["--n-envs", "2"], ["--env", "Acrobot-v1"]])
def test_train_does_not_go_on_with_other_environments(changed: list[str], tmp_path: Path) -> None:
    train, common = load("train"), ["--out", str(tmp_path), "--eval-every", "50", *TINY]
    train.main(["--steps", "20", *common])
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(SystemExit, match="cannot go on with"):
        train.main(["--steps", "40", "--resume", *changed, *common])
    assert (tmp_path / "config.json").read_text() == before
    with pytest.raises(SystemExit, match="There is no run"):
        train.main(["--steps", "40", "--resume", "--out", str(tmp_path / "nothing")])

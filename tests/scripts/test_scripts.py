"""The scripts run as their help says, with tiny settings."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import numpy as np
import pytest
import torch as th

from dreamzoo import DreamerV3
from dreamzoo.benchmark.estimators.digits import synthetic_digits
from dreamzoo.benchmark.offline import worlds
from dreamzoo.benchmark.speed.work import MODEL_AGENTS, Work, settings_of
from dreamzoo.benchmark.synthetic import Synthetic
from dreamzoo.common.arguments import constructor
from dreamzoo.nn.actions import ActionCodec
from tests.benchmark.offline.test_offline import TINY

ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_demo_writes_what_it_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = load("demo")
    tiny = dict(batch_size=2, batch_length=8, train_ratio=1, policy_kwargs=dict(size="debug"))
    monkeypatch.setattr(demo, "LAPTOP", tiny)
    monkeypatch.setattr(demo, "MAX_EPISODE_STEPS", 50)
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
    for name in ("model.zip", "replay_buffer.npz", "learning_curve.png", "open_loop.mp4"):
        assert (tmp_path / name).stat().st_size > 1_000
    said = capsys.readouterr().out
    assert "inside its own dream" in said
    assert f"dreamzoo play {tmp_path} --env CartPole-v1" in said
    model = DreamerV3.load(tmp_path / "model")
    model.load_replay_buffer(tmp_path)
    assert model.replay_buffer is not None
    assert model.replay_buffer.size() >= 300 // 4
    out = tmp_path / "other"
    demo.main(["--steps", "40", *arguments[2:-1], str(out), "--no-pictures", "--precision", "tf32"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["precision"] == "tf32"
    assert DreamerV3.load(out / "model").precision == "tf32"
    assert not (out / "open_loop.mp4").exists()


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


@pytest.mark.parametrize("task", ["control", "atari"])
@pytest.mark.parametrize("agent", ["dreamer_v1", "dreamer_v2", "dreamer_v3"])
def test_sheeprl_is_timed_on_the_work_of_bench_update(agent: str, task: str) -> None:
    script = load("bench_sheeprl")
    args = script.parse_args(["--agent", agent, "--task", task, "--obs", "image"])
    work = Work(agent, "image", task)
    env, parameters = Synthetic("image", task), constructor(MODEL_AGENTS[agent]).parameters
    ours = {name: parameter.default for name, parameter in parameters.items()} | settings_of(work)
    assert (args.batch, args.length) == (ours["batch_size"], ours["batch_length"])
    assert args.horizon == ours["horizon"]
    assert script.ACTION[task] == ActionCodec(env.action_space).dim
    height, width, channels = env.observation_space.shape or ()
    assert script.observation_space(args).shape == (channels, height, width)


def test_gpu_trials_time_both_forms_and_leave_the_one_that_was_there() -> None:
    pytest.importorskip("triton")
    from dreamzoo.nn.fast.triton import tiles

    script = load("gpu_trials")
    work = Work(obs="vector", size="debug", batch=2, length=4, horizon=3)
    before = tiles.LOOP
    lines = list(script.try_loop([work]))
    assert [line["launches_a_sequence"] for line in lines] == [320, 1]
    assert all(len(line["ms"]) == 5 and min(line["ms"]) > 0 for line in lines)
    assert len({line["recon_loss"] for line in lines}) == 1
    assert before == tiles.LOOP


def test_gpu_report_lists_cases_by_worth() -> None:
    report = load("gpu_report")
    names = [case.name for case in report.list_cases("cuda", quick=False)]
    timed = [name for name in names if "sheeprl" not in name]
    assert timed[:3] == ["card", "update 12m image", "update 1m vector"]
    assert timed[-1] == "tests"
    assert len(names) == len(set(names))
    update = next(c for c in report.list_cases("cuda", False) if c.name == "update 12m image")
    command = list(update.command)
    first, second = command.index("--precision"), command.index("--graph")
    assert command[first + 1 : first + 6] == ["bf16", "tf32", "bf16", "bf16", "fp32"]
    assert command[second + 1 : second + 6] == ["on", "on", "off", "on", "off"]


def test_gpu_report_can_do_with_one_way_and_add_to_what_it_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = load("gpu_report")
    (case,) = (c for c in report.list_cases("cuda", False, 1) if c.name == "update 12m image")
    command = list(case.command)
    place = command.index("--precision")
    assert command[place + 1 : place + 3] == ["bf16", "--graph"]
    out = tmp_path / "gpu.json"
    for commit in ("first", "second"):
        call = ["--device", "cpu", "--quick", "--only", "card", "--commit", commit]
        report.main([*call, "--out", str(out), *["--add"] * (commit == "second")])
    capsys.readouterr()
    report.main(["--table", str(out)])
    told = capsys.readouterr().out
    assert "commit first" in told
    assert "commit second" in told
    assert told.count("Measured floors") == 2


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


def test_ppo_trains_in_a_vector_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("ppo_in_vector_env")
    monkeypatch.setattr(script, "SECONDS", 0.1)
    script.main(["--n-envs", "16", "--steps", "1024"])
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == 1024
    assert min(result["steps_per_second"].values()) > 0
    assert result["random_return"] < -800


def test_estimators_train_cells_once_and_print_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("estimators")
    monkeypatch.setattr(script, "load_digits", synthetic_digits)
    threads = th.get_num_threads()
    where = ["--results", str(tmp_path / "results.csv")]
    quick = ["--epochs", "10", "--test-samples", "5", *where]
    one = ["cell", "sbn", "bernoulli", "st", "--rate", "0.03", *quick]
    script.main(one)
    assert "sbn bernoulli st rate 0.03 seed 0: test " in capsys.readouterr().out
    script.main(one)
    assert "already" in capsys.readouterr().out
    chosen = ["--tasks", "sbn", "--kinds", "bernoulli", "--estimators", "st", "--seeds", "2"]
    script.main(["all", *chosen, *quick])
    assert "cells trained" in capsys.readouterr().out
    picture = tmp_path / "table.png"
    script.main(["table", "--picture", str(picture), *where])
    printed = capsys.readouterr().out
    assert "| straight-through | " in printed
    with pytest.raises(SystemExit):  # no interval is known of more
        script.main(["cell", "sbn", "bernoulli", "st", "--seed", "10", *quick])
    assert picture.stat().st_size > 10_000
    th.set_num_threads(threads)


def test_offline_worlds_are_learned_once_and_tabulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", "set by the script")
    script, threads = load("offline_worlds"), th.get_num_threads()
    monkeypatch.setitem(script.TASKS, "CartPole-v1", TINY)
    results = ["--results", str(tmp_path / "results")]
    command = ["run", "--tasks", "CartPole-v1", "--seeds", "0", "1"]
    command += ["--folder", str(tmp_path / "run"), *results]
    script.main(command)
    printed = capsys.readouterr().out
    assert "CartPole-v1, seed 1: finished" in printed
    assert "| CartPole-v1 | 0 | " in printed
    assert "| CartPole-v1 | reward | " in printed
    monkeypatch.setattr(script, "record_behavior", lambda _: "test/tiny-v0")  # is there
    monkeypatch.setattr(worlds, "learn_world", None)  # is done
    script.main(command)
    assert capsys.readouterr().out == printed
    script.main(["table", *results])
    assert capsys.readouterr().out == printed.partition("seed 1: finished\n")[2]
    th.set_num_threads(threads)


@pytest.mark.slow
def test_torture_counts_what_was_resumed_and_what_was_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    torture = load("torture")
    with pytest.raises(SystemExit, match=r"^0$"):
        torture.main(["--kills", "1", "--operations", "1", "--damaged", "2", "--folder", "t"])
    *_, kills, damaged = capsys.readouterr().out.splitlines()
    assert kills.startswith("3 kills: {'exact, from the ")
    assert damaged.startswith("16 damaged files: {'refused': ")
    assert "WRONG" not in kills + damaged
    # It goes on where it was stopped, with what it has found.
    with pytest.raises(SystemExit, match=r"^0$"):
        torture.main(["--kills", "1", "--operations", "1", "--damaged", "2", "--folder", "t"])
    assert capsys.readouterr().out.splitlines()[-2:] == [kills, damaged]
    # A file that is read without looking at it is one that the script complains about.
    monkeypatch.setattr(torture, "RAW", {"flipped": torture.RAW["flipped"]})
    monkeypatch.setattr(torture, "FORGED", {})
    monkeypatch.setattr(torture, "loaders", lambda _: {"model.zip": lambda path: path.name})
    with pytest.raises(SystemExit, match=r"^1$"):
        torture.main(["--kills", "0", "--operations", "0", "--damaged", "2"])
    assert "2 damaged files: {'WRONG: loaded as something else': 2}" in capsys.readouterr().out

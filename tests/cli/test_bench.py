"""``dreamzoo bench`` measures, with tiny settings."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo.benchmark import measure_peak
from dreamzoo.benchmark.speed import soft_actor_critics
from dreamzoo.benchmark.speed.updates import count
from dreamzoo.cli import main
from dreamzoo.cli.bench import update


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the processor's peak with products that take no seconds."""
    for module in ("updates", "plans"):
        name = f"dreamzoo.benchmark.speed.{module}.measure_peak"
        monkeypatch.setattr(name, partial(measure_peak, n=256))


def test_bench_replay_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "replay", "--records", "400", "--image", "36", "--seconds", "0.1"])
    line = json.loads(capsys.readouterr().out)
    assert line["windows_per_cpu_second"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bench_files_prints_a_line_for_warm_and_cold_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["bench", "files", "--gigabytes", "0.02", "--turns", "2", "--folder", str(tmp_path)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["files"] for line in lines] == ["warm", "cold"]
    for line in lines:
        assert line["gigabytes"] == pytest.approx(0.02, rel=0.01)
        assert min(line["seconds"].values()) > 0
        assert len(line["turns"]["load_per_read"]) == 2
        assert line["save_memory"] < 0.5  # of so small a replay what Python takes is a part
        assert line["load_memory"] < 1.5  # or nothing, where freed memory serves
    assert not [*tmp_path.iterdir()]


def test_bench_ranks_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--size", "debug", "--batch", "2", "--length", "4", "--repeat", "2"]
    main(["bench", "ranks", *small])
    line = json.loads(capsys.readouterr().out)
    assert line["ranks"] == 1
    assert line["updates_per_second"] > 0
    assert line["share_in_all_reduce"] == 0  # there is nobody to talk to


def test_bench_remote_prints_a_line_for_each_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')
    from tests.envs.remote.fake_ray import stand_in

    stand_in(monkeypatch.setattr)
    monkeypatch.setattr("dreamzoo.benchmark.speed.remote.SubprocVecEnv", DummyVecEnv)
    small = ["--n-envs", "2", "--size", "debug", "--seconds", "0.05", "--steps", "32"]
    main(["bench", "remote", "--milliseconds", "5", *small])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(x["measured"], x["milliseconds"]) for x in lines] == [
        *[("steps", 5)] * 2,
        *[("learn", 5)] * 3,
    ]
    # In one process two environments wait one after the other.
    assert all(0 < line["steps_per_second"] < 200 for line in lines[:2])
    assert [line["updates"] for line in lines[2:]] == [32 * 64 / (16 * 64)] * 3
    assert all(line["seconds"] > 0 for line in lines[2:])


def test_bench_sac_prints_one_line_an_estimator_and_one_of_sb3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soft_actor_critics, "STORED", 50)
    small = ["--widths", "8", "--batch", "8", "--rounds", "2", "--updates", "2", "--threads", "1"]
    main(["bench", "sac", *small])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = ["SAC", "gumbel", "st_gumbel", "st", "score", "exact"]
    assert [line["estimator"] for line in lines] == names
    assert all(line["cpu_milliseconds"] > 0 for line in lines)
    assert lines[0]["share_of_sac"] == 1.0


@pytest.mark.parametrize("arguments", [["--repeat", "2", "--breakdown"], ["--act", "1", "3"]])
def test_bench_update_prints_one_line_a_case(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    shape = ["--size", "debug", "--batch", "2", "--length", "4", "--horizon", "3", "--threads", "1"]
    main(["bench", "update", *shape, *arguments])
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


@pytest.mark.parametrize("agent", ["dreamer_v1", "dreamer_v2", "planet"])
def test_bench_update_times_every_agent_with_a_model(
    capsys: pytest.CaptureFixture[str], agent: str
) -> None:
    small = ["--batch", "4", "--length", "8", "--threads", "1", "--repeat", "1", "--breakdown"]
    main(["bench", "update", "--agent", agent, *small])
    line = json.loads(capsys.readouterr().out)
    assert (line["agent"], line["task"], line["size"]) == (agent, "control", None)
    assert (line["batch"], line["length"]) == (4, 8)
    assert line["horizon"] == (None if agent == "planet" else 15)
    assert line["gflop"] > 0
    assert {"filtering", "backward", "optimizer"} <= set(line["breakdown"])
    assert ("imagination" in line["breakdown"]) == (agent != "planet")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--agent", "dreamer_v1", "--size", "1m"],
        ["--agent", "planet", "--horizon", "3"],
        ["--agent", "planet", "--task", "atari"],
    ],
)
def test_bench_update_refuses_what_an_agent_does_not_have(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        update.parse_args(arguments)


def test_bench_update_prints_one_line_a_mode(capsys: pytest.CaptureFixture[str]) -> None:

    shape = ["--size", "debug", "--batch", "2", "--length", "4", "--horizon", "3", "--repeat", "1"]
    main(["bench", "update", *shape, "--graph", "off", "on"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["gflop"] for line in lines] == [lines[0]["gflop"]] * 2
    with pytest.raises(SystemExit):
        update.parse_args(["--graph", "on", "off", "--precision", "fp32", "fp32", "fp32"])
    main(["bench", "update", *shape, "--learn", "3"])
    learned = json.loads(capsys.readouterr().out)
    assert learned["updates"] >= 3
    assert learned["env_steps_per_second"] > 0


def test_bench_update_goes_on_after_a_mode_that_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    def act(args: Any, mode: Any) -> Any:
        if mode.triton:
            raise RuntimeError("no such kernel")
        yield {"milliseconds": 1}

    monkeypatch.setattr(update, "act", act)
    with pytest.raises(SystemExit):
        main(["bench", "update", "--act", "1", "--triton", "on", "off"])
    failed, done = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert "no such kernel" in failed["error"]
    assert done["milliseconds"] == 1


def test_counted_arithmetic_is_that_of_the_shapes() -> None:
    """Twice the horizon costs twice the imagination: counts grow as the shapes say."""

    counts = []
    for horizon in (2, 4, 6):
        args = ["--size", "debug", "--batch", "2", "--length", "4", "--horizon", str(horizon)]
        counts.append(count(update.work_of(update.parse_args(args)))[0])
    assert counts[2] - counts[1] == pytest.approx(counts[1] - counts[0], rel=1e-9)


def test_bench_planner_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--candidates", "500", "--iterations", "2", "--horizon", "3", "--units", "8"]
    main(["bench", "planner", *sizes, "--repeat", "1"])
    result = json.loads(capsys.readouterr().out)
    # Per step: the input, a GRU, two layers of the prior with its two heads, the reward head.
    forward = 36 * 8 + 2 * 3 * 8 * 8 + 8 * 8 + 2 * 8 * 30 + 38 * 8 + 8 * 8 + 8
    assert result["gflop"] == round(2 * forward * 500 * 2 * 3 / 1e9, 4)
    assert result["steps_per_second"] > 0


def test_bench_dream_prints_one_line_an_environment(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--dreams", "1", "4", "--share-at", "2", "--sizes", "debug", "--seconds", "0.02"]
    main(["bench", "dream", "--envs", "CartPole-v1", "pixels/CartPole-v1", *sizes])
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
    main(["bench", "dream", "--envs", "synthetic/vector", *few])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["graph"] for line in lines] == [False, False]  # a CPU has none
    assert all(set(line["dream_steps_per_second"]) == {"1", "2"} for line in lines)

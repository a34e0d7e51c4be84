"""Learning results: SB3's agents in ``dreamzoo train``, tables and pictures of runs."""

import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import save_to_pkl

from dreamzoo.benchmark.results import evaluations, styles
from dreamzoo.cli import main
from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.storage.container import writing
from dreamzoo.common.storage.replay_file import write_replay
from dreamzoo.common.storage.saves import newest
from dreamzoo.envs import make_dmc


def write_run(
    folder: Path,
    returns: list[float],
    agent: str = "dreamer_v3",
    task: str = "dmc/walker-walk",
    seed: int = 0,
    steps: int = 25_000,
    **changes: object,
) -> Path:
    """Write what ``dreamzoo train`` leaves: evaluations of two episodes, 10 apart around a mean."""
    folder.mkdir()
    args = dict(agent=agent, env=task, env_kwargs=[["flatten", True]], seed=seed, steps=steps)
    args |= dict(n_envs=4, eval_every=2_500, deterministic_eval=agent != "dreamer_v3")
    entries = [{"args": args | changes, "commit": "abc"}]
    (folder / "config.json").write_text(json.dumps(entries))
    timesteps = 2_500 * np.arange(1, len(returns) + 1)
    episodes = np.array([[x - 5, x + 5] for x in returns])
    np.savez(folder / "evaluations.npz", timesteps=timesteps, results=episodes)
    return folder


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """Two seeds of DreamerV3 and one of PPO, which completes its rollout, in one file."""
    runs = [
        write_run(tmp_path / "a", [100.0 + 10 * i for i in range(1, 11)]),
        write_run(tmp_path / "b", [300.0 + 10 * i for i in range(1, 11)], seed=1),
        write_run(tmp_path / "c", [10.0] * 10 + [999.0] * 3, agent="ppo"),
    ]
    to = tmp_path / "out" / "results.csv"
    main(["benchmark", "collect", *map(str, runs), "--to", str(to)])
    return to


def test_collected_rows_are_the_evaluations(collected: Path) -> None:
    lines = collected.read_text().splitlines()
    assert lines[0] == (
        "agent,task,seed,steps,frames,mean_return,std_return,episodes,deterministic,commit"
    )
    assert lines[1] == "dreamer_v3,dmc/walker-walk,0,2500,5000,110.0,5.0,2,0,abc"
    assert lines[-1] == "ppo,dmc/walker-walk,0,25000,50000,10.0,5.0,2,1,abc"
    assert len(lines) == 1 + 3 * 10


def test_collecting_again_replaces_the_run(collected: Path, tmp_path: Path) -> None:
    again = write_run(tmp_path / "again", [7.0] * 10, agent="ppo")
    main(["benchmark", "collect", str(again), "--to", str(collected)])
    rows = evaluations.read_rows(collected)
    assert len(rows) == 30
    assert {row.mean_return for row in rows if row.agent == "ppo"} == {7.0}
    with pytest.raises(SystemExit, match="same agent, task and seed"):
        main(["benchmark", "collect", str(again), str(tmp_path / "c"), "--to", str(collected)])


def test_unfinished_runs_are_collected_as_far_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, to = write_run(tmp_path / "begun", [100.0] * 4), tmp_path / "results.csv"
    done = write_run(tmp_path / "done", [100.0] * 10, seed=1)
    new = write_run(tmp_path / "new", [], seed=2)
    (new / "evaluations.npz").unlink()
    main(["benchmark", "collect", *map(str, (begun, done, new)), "--to", str(to)])
    out = capsys.readouterr().out
    assert f"{begun} is not finished: at 10,000 of 25,000 steps." in out
    assert f"{new} is not finished: at 0 of 25,000 steps." in out
    assert f"{done} is not" not in out
    rows = evaluations.read_rows(to)
    assert [row.seed for row in rows] == [0] * 4 + [1] * 10
    # Where the table stands only one seed has come.
    main(["benchmark", "table", str(to)])
    assert "| DreamerV3 | 100 (100 to 100; 1) |" in capsys.readouterr().out


def test_evaluations_that_are_being_written_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", [100.0] * 10)
    whole = (run / "evaluations.npz").read_bytes()
    (run / "evaluations.npz").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(
        evaluations.time, "sleep", lambda _: (run / "evaluations.npz").write_bytes(whole)
    )
    assert len(evaluations.read_run(run)) == 10
    monkeypatch.setattr(evaluations.time, "sleep", lambda _: None)
    (run / "evaluations.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"evaluations.npz is damaged"):
        evaluations.read_run(run)


def test_frames_are_steps_times_action_repeat(tmp_path: Path) -> None:
    assert (
        evaluations.REPEATS["dmc"]
        == inspect.signature(make_dmc).parameters["action_repeat"].default
    )
    slow = write_run(tmp_path / "slow", [1.0] * 10, env_kwargs=[["action_repeat", 4]])
    assert evaluations.read_run(slow)[-1].frames == 100_000
    plain = write_run(tmp_path / "plain", [1.0] * 10, task="Pendulum-v1")
    assert evaluations.read_run(plain)[-1].frames == 25_000


def test_a_label_stands_for_the_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        write_run(tmp_path / "base", [1.0] * 10),
        write_run(tmp_path / "ablation", [2.0] * 10, label="no images"),
        write_run(tmp_path / "old", [3.0] * 10, seed=1, label=""),
    ]
    to = tmp_path / "results.csv"
    main(["benchmark", "collect", *map(str, runs), "--to", str(to)])
    capsys.readouterr()
    main(["benchmark", "table", str(to), "--tasks", "dmc_proprio/walker-walk"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == [
        "| DreamerV3 | 2.00 (1.00 to 3.00; 2) |",
        "| no images | 2.00 (2.00 to 2.00; 1) |",
    ]


def test_agents_are_told_apart_by_color() -> None:
    colors = [style.color for style in styles.AGENTS.values()]
    assert len({*colors, *styles.MORE_COLORS}) == len(colors) + len(styles.MORE_COLORS)


@pytest.mark.parametrize(
    ("options", "dreamer", "published"),
    [
        # At 50k frames the seeds stand at 200 and 400; the window of 25k holds 160..200, 360..400.
        (["--frames", "50000", "--window", "5000"], "300 (200 to 400; 2)", "176 +- 35 (5)"),
        ([], "280 (180 to 380; 2)", "176 +- 35 (5)"),
        (["--frames", "50000"], "280 (180 to 380; 2)", "176 +- 35 (5)"),
        (["--frames", "27000"], "230 (130 to 330; 2)", "66 +- 15 (5)"),
        (["--frames", "100000"], "-", "454 +- 139 (5)"),
    ],
)
def test_table_says_what_the_runs_did(
    collected: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    dreamer: str,
    published: str,
) -> None:
    capsys.readouterr()
    main(["benchmark", "table", str(collected), *options])
    head, _, *lines, _, caption = capsys.readouterr().out.splitlines()
    assert head == "| agent | walker-walk |"
    rows = {name: cells for name, *cells in (line.strip("| ").split(" | ") for line in lines)}
    assert rows["DreamerV3"] == [dreamer]
    assert rows["PPO"][0] == ("-" if dreamer == "-" else "10.00 (10.00 to 10.00; 1)")
    assert rows["DreamerV3, published"][0] == published
    assert "2 episodes each; actions: DreamerV3 sampled, PPO most likely" in caption


def test_published_evaluations_stand_where_they_were_made(
    collected: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    main(["benchmark", "table", str(collected)])
    out = capsys.readouterr().out
    assert "| DreamerV2, published (pixels) | 245 +- 83 (5) |" in out
    assert "DreamerV2 at 50,000 frames" in out
    assert "DreamerV3 in the 24,500 frames that end at 49,000" in out


def test_what_has_no_evaluations_is_named(collected: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.csv"
    none.write_text(",".join(evaluations.Evaluation._fields) + "\n")
    with pytest.raises(SystemExit, match=r"none\.csv holds no evaluations"):
        main(["benchmark", "table", str(none)])
    with pytest.raises(SystemExit, match=r"on CartPole-v1; there are some on: dmc/walker-walk"):
        main(["benchmark", "table", str(collected), "--tasks", "CartPole-v1"])
    with pytest.raises(SystemExit, match=r"There is no file .*nothing.csv"):
        main(["benchmark", "report", str(tmp_path / "nothing.csv"), "--out", "x.html"])


def test_plots_are_one_picture_or_one_of_each_task(collected: Path, tmp_path: Path) -> None:
    picture, folder = tmp_path / "new" / "curves.png", tmp_path / "pictures"
    main(["benchmark", "plot", str(collected), "--out", str(picture)])
    assert picture.stat().st_size > 10_000
    main(["benchmark", "plot", str(collected), "--out", str(folder)])
    assert [path.name for path in folder.iterdir()] == ["dmc-walker-walk.png"]


def test_metrics_are_means_over_windows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = {
        "a/progress.csv": "100,1.0\n200,3.0\n201,\n400,9.0\n",  # cut off after 250 steps
        "a/progress_250.csv": "300,5.0\n400,7.0\n",
        "b/progress.csv": "200,4.0\n,\n400,8.0\n500,1.0\n",
    }
    for name, rows in logs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("time/total_timesteps,train/loss\n" + rows)
    runs = [str(tmp_path / name) for name in "ab"]
    main(["benchmark", "metrics", *runs, "--names", "loss", "--window", "200"])
    header, _, row = capsys.readouterr().out.splitlines()
    assert header == "| steps | 200 | 400 | 600 |"
    assert row == "| loss | 3 | 7 | 1 |"
    with pytest.raises(SystemExit, match="no train/gain"):
        main(["benchmark", "metrics", *runs, "--names", "gain"])


def save_replay(path: Path, replay: SequenceReplayBuffer) -> None:
    """Save a replay without an agent."""
    with path.open("wb") as file, writing(file, "replay", "") as writer:
        write_replay(writer, replay)


def test_scores_are_those_of_the_last_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = spaces.Box(-1, 1, (1,))
    replay = SequenceReplayBuffer(1_000, space, spaces.Discrete(2), n_envs=2)
    obs, rewards = np.zeros((2, 1), np.float32), np.array([1.0, 2.0])
    replay.add(obs, obs, np.zeros((2, 1)), rewards, np.zeros(2), [{}, {}])
    replay.start_new_episodes()  # cut off: the first step belongs to no episode that ended
    for step in range(2, 61):  # episodes of 2 and 20 steps; later of 10, worth less
        if step == 41:
            rewards = np.array([0.0, 0.5])
        done = np.array([step % 2 == 0, step % (20 if step <= 40 else 10) == 0])
        replay.add(obs, obs, np.zeros((2, 1)), rewards, done, [{}, {}])
    (tmp_path / "run").mkdir()
    command = ["benchmark", "scores", str(tmp_path / "run"), "--window", "20"]
    save_to_pkl(tmp_path / "run" / "replay_buffer.pkl", replay)
    with pytest.raises(SystemExit, match="replay_buffer is not of a form that is safe to read"):
        main(command)
    main([*command, "--trusted"])  # as of dreamzoo 0.1
    first = capsys.readouterr().out
    save_replay(tmp_path / "run" / "replay_buffer.npz", replay)
    main(command)
    text = capsys.readouterr().out
    assert text == first
    header, _, row = (line.split(" | ") for line in text.splitlines())
    assert header[1:] == ["20", "40", "60", "80", "100", "120 |"]
    # (1 + 4 * 2) / 5 alone; with 38; 2 and 38; 2 and (38 + 40) / 2; five of ten are 0; all are.
    assert row[1:] == ["1.8", "19.9", "20", "20.5", "14.3", "11 |"]
    same_name = tmp_path / "other" / "run"
    shutil.copytree(tmp_path / "run", same_name)
    main([*command[:3], str(same_name), *command[3:]])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [name for name, *_ in rows] == [f"| {tmp_path / 'run'}", f"| {same_name}"]
    assert [scores for _, *scores in rows] == [row[1:], row[1:]]


def test_scores_need_the_first_episodes_of_every_environment(tmp_path: Path) -> None:
    space = spaces.Box(-1, 1, (1,))
    replay = SequenceReplayBuffer(100, space, spaces.Discrete(2), n_envs=2)
    obs = np.zeros((2, 1), np.float32)
    for _ in range(30):  # the first environment's episodes have one step, and two records each
        replay.add(obs, obs, np.zeros((2, 1)), np.ones(2), np.array([1, 0]), [{}, {}])
    assert not replay.full
    save_replay(tmp_path / "replay_buffer.npz", replay)
    with pytest.raises(SystemExit, match="no longer holds the first episodes"):
        main(["benchmark", "scores", str(tmp_path)])


@pytest.mark.parametrize(
    ("agent", "kind", "kwargs"),
    [("ppo", PPO, ["n_steps=64", "batch_size=32"]), ("sac", SAC, ["learning_starts=150"])],
)
def test_train_runs_and_resumes_agents_of_sb3(
    tmp_path: Path, agent: str, kind: type[BaseAlgorithm], kwargs: list[str]
) -> None:
    run = tmp_path / "run"
    common = ["--agent", agent, "--env", "Pendulum-v1", "-a", *kwargs, "--deterministic-eval"]
    common += ["-p", "net_arch=[8]", "--eval-every", "64", "--save-every", "64"]
    common += ["--eval-episodes", "2", "--out", str(run)]
    main(["train", "--steps", "192", *common])
    assert (newest(run) / "replay_buffer.pkl").exists() == (agent == "sac")
    first = kind.load(newest(run) / "model.zip")
    assert first.num_timesteps == 192
    main(["train", "--steps", "256", "--resume", *common])
    second = kind.load(newest(run) / "model.zip")
    assert second.num_timesteps == 256
    assert second._n_updates > first._n_updates
    rows = evaluations.read_run(run)
    assert [row.steps for row in rows] == [64, 128, 192, 256]
    assert rows[-1].mean_return < 0

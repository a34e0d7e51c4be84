"""Folders of runs that are damaged, half removed, changed, or written by several at once."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env

import dreamzoo
from dreamzoo.analysis.callbacks import SeededEvalCallback
from dreamzoo.benchmark.many.job import Job
from dreamzoo.benchmark.many_runs import collect_all, train_all
from dreamzoo.benchmark.results.aggregates import interquartile_mean, stratified_interval
from dreamzoo.benchmark.results.evaluations import Evaluation, collect, read_rows, read_run
from dreamzoo.benchmark.results.logs import read_log
from dreamzoo.benchmark.results.plot import plot_results
from dreamzoo.benchmark.run_config import (
    FREE,
    Run,
    changes,
    continued,
    current_commit,
    is_saved,
    note_run,
    remove_earlier_run,
)
from dreamzoo.cli import main
from dreamzoo.cli.benchmark.run import decide
from dreamzoo.cli.train import parse_args
from dreamzoo.launch import Outcome
from tests.benchmark.test_many_runs import Scripted, save

RUN = Run("ppo", "CartPole-v1", Path("run"), steps=40)


def begin(run: Run, *returns: float) -> Run:
    """Pretend that a run has been begun, saved, and evaluated so often."""
    save(run.out, 10)
    note_run(run)
    steps = 10 * np.arange(1, len(returns) + 1)
    np.savez(run.out / "evaluations.npz", timesteps=steps, results=np.array(returns)[:, None])
    return run


@pytest.fixture
def make(tmp_path: Path) -> Callable[[int], Run]:
    return lambda seed: replace(RUN, seed=seed, out=tmp_path / "runs" / f"seed-{seed}")


# ------------------------------------------------------------------ what is asked of a resumed run


def test_a_resumed_run_is_told_all_that_can_change(tmp_path: Path) -> None:
    """Also where it equals a default, which would else mean: as before."""
    defaults = {f.name: f.default for f in fields(Run) if f.name in FREE}
    had = replace(RUN, steps=12_000, eval_every=1_200, save_every=7, device="cpu", label="x")
    begin(replace(had, out=tmp_path / "run", threads=2))
    asked = Run("ppo", "CartPole-v1", tmp_path / "run")
    words = Job(asked, 1).attempt().words
    found = parse_args([*words[4:], "--resume"])
    assert {name: getattr(found, name) for name in FREE} == defaults


def test_what_an_older_version_did_not_note_was_its_default(tmp_path: Path) -> None:
    run = begin(replace(RUN, out=tmp_path / "run"))
    config = run.out / "config.json"
    noted = json.loads(config.read_text())
    del noted[0]["args"]["stagger"], noted[0]["args"]["env_kwargs"]
    config.write_text(json.dumps(noted))
    assert not changes(run)
    assert "stagger=50 (it has stagger=0)" in changes(replace(run, stagger=50))
    assert "level=1" in changes(replace(run, env_kwargs=[("level", 1)]))
    with pytest.raises(ValueError, match="cannot go on with stagger=50"):
        continued({"out": run.out, "stagger": 50})


# ------------------------------------------------------------------ several calls


def test_a_run_that_another_call_has_begun_anew_is_not_removed_again(
    make: Callable[[int], Run],
) -> None:
    run = begin(make(0), 1.0)  # with the settings that are asked for, by that other call
    train_all([run], anew=[run.out], backend=Scripted(lambda *_: Outcome(0)))
    assert is_saved(run.out)
    other = replace(run, agent_kwargs=[("batch_size", 16)])
    train_all([other], anew=[run.out], backend=Scripted(lambda *_: Outcome(0)))
    assert not is_saved(run.out)


def test_a_killed_run_goes_on_before_others_begin(make: Callable[[int], Run]) -> None:
    def script(_: object, count: int) -> Outcome:
        return Outcome(-9) if count == 1 else Outcome(0)

    backend = Scripted(script)
    train_all([make(seed) for seed in range(3)], 1, backend=backend)
    names = [attempt.out.name for attempt in backend.attempts]
    assert names == ["seed-0", "seed-0", "seed-1", "seed-2"]


def test_results_are_written_by_one_at_a_time(
    make: Callable[[int], Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, locked = tmp_path / "results.csv", []
    run = begin(make(0), 1.0)

    def read(path: Path) -> list[object]:
        lock = FileLock(f"{path}.lock", blocking=False)
        try:
            lock.acquire()
        except TimeoutError:
            locked.append(path)
        return []

    monkeypatch.setattr("dreamzoo.benchmark.results.evaluations.read_rows", read)
    collect([run.out], file)
    assert locked == [file]


# ------------------------------------------------------------------ damage


def test_one_damaged_folder_withholds_no_results(
    make: Callable[[int], Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, empty, half = (begin(make(seed), 10.0, 20.0) for seed in range(3))
    (empty.out / "config.json").write_text("")
    table = half.out / "evaluations.npz"
    table.write_bytes(table.read_bytes()[:100])
    kept, anew, skipped = decide([good, empty, half], "keep")
    assert (len(kept), anew, skipped) == (3, set(), [])
    found = collect_all(kept, tmp_path / "results.csv")
    assert {row.seed for row in read_rows(tmp_path / "results.csv")} == {0}
    assert list(found.unreadable) == [empty.out, half.out]
    assert "config.json" in found.unreadable[empty.out]
    assert "evaluations.npz is damaged" in found.unreadable[half.out]
    with pytest.raises(SystemExit, match="is damaged"):
        main(["benchmark", "collect", str(half.out), "--to", str(tmp_path / "results.csv")])
    assert capsys.readouterr().out == ""


def test_what_a_run_notes_is_replaced_as_a_whole(
    make: Callable[[int], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(make(0))
    before = (run.out / "config.json").read_text()
    monkeypatch.setattr("os.fsync", _fail)
    with pytest.raises(OSError, match="no space"):
        note_run(replace(run, resume=True))
    assert (run.out / "config.json").read_text() == before


def _fail(_: int) -> None:
    raise OSError("no space")


def test_a_removal_that_is_cut_off_leaves_nothing_to_go_on_from(
    make: Callable[[int], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(make(0), 1.0)
    monkeypatch.setattr("shutil.rmtree", _kill)
    with pytest.raises(KeyboardInterrupt):
        remove_earlier_run(run.out)
    assert (run.out / "config.json").exists()
    assert not is_saved(run.out)
    assert not changes(run)
    monkeypatch.undo()
    remove_earlier_run(run.out)
    assert list(run.out.iterdir()) == []


def _kill(_: Path) -> None:
    raise KeyboardInterrupt


# ------------------------------------------------------------------ what a table is made of


def test_results_of_other_settings_leave_the_file(
    make: Callable[[int], Run], tmp_path: Path
) -> None:
    file = tmp_path / "results.csv"
    runs = [begin(make(seed), 10.0) for seed in range(3)]
    collect_all(runs, file)
    changed = [replace(run, agent_kwargs=[("batch_size", 16)]) for run in runs]
    kept, anew, skipped = decide(changed[:2], "skip")
    assert (kept, anew) == ([], set())
    collect_all(kept, file, skipped)
    assert {row.seed for row in read_rows(file)} == {2}
    collect_all(changed, file)  # to be begun anew
    assert read_rows(file) == []


def test_results_of_runs_that_are_not_here_stay(make: Callable[[int], Run], tmp_path: Path) -> None:
    """Of a folder that was removed, or of another machine whose file was copied."""
    file = tmp_path / "results.csv"
    run = begin(make(0), 10.0)
    collect_all([run], file)
    shutil.rmtree(run.out)
    collect_all([run, make(1)], file)
    assert {row.seed for row in read_rows(file)} == {0}


def test_the_commit_is_that_of_dreamzoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = current_commit()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    assert current_commit() == ours  # wherever it is called from
    (tmp_path / "dreamzoo").mkdir()
    (tmp_path / "dreamzoo" / "__init__.py").touch()
    monkeypatch.setattr(dreamzoo, "__file__", str(tmp_path / "dreamzoo" / "__init__.py"))
    assert current_commit() == ""  # installed within somebody else's repository
    monkeypatch.setenv("PATH", str(tmp_path))
    assert current_commit() == ""  # no git


def test_a_choice_without_runs_is_refused(tmp_path: Path) -> None:
    asked = ["dmc_proprio", "--agents", "dreamer_v2", "--tasks", "dmc/reacher-easy"]
    with pytest.raises(SystemExit, match=r"dmc_proprio has no run of dreamer_v2 on dmc/reacher"):
        main(["benchmark", "run", *asked, "--out", str(tmp_path / "runs")])
    assert not (tmp_path / "runs").exists()


# ------------------------------------------------------------------ evaluations


def test_evaluations_of_neighboring_seeds_share_no_episode(tmp_path: Path) -> None:
    begun: list[list[int]] = []
    for seed in (0, 1):
        env = make_vec_env("CartPole-v1", n_envs=3)
        callback = SeededEvalCallback(env, seed, eval_freq=1, n_eval_episodes=3, verbose=0)
        model = A2C("MlpPolicy", "CartPole-v1", n_steps=4, seed=seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(env, "seed", begun.append)
            model.learn(2, callback=callback)
    firsts = [int(first) for first in begun]  # type: ignore[call-overload]
    assert len(firsts) > 2
    gaps = np.abs(np.subtract.outer(firsts, firsts))[np.triu_indices(len(firsts), 1)]
    assert gaps.min() >= 1_000
    assert 0 <= min(firsts) <= max(firsts) < 2**32 - 1_000


def test_a_table_of_evaluations_is_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make_vec_env("CartPole-v1", n_envs=1)
    callback = SeededEvalCallback(
        env, 0, eval_freq=4, n_eval_episodes=1, verbose=0, log_path=str(tmp_path)
    )
    model = A2C("MlpPolicy", "CartPole-v1", n_steps=4, seed=0)
    model.learn(4, callback=callback)
    table = tmp_path / "evaluations.npz"
    before = table.read_bytes()

    def half(path: str, **_: object) -> None:
        Path(f"{path}.npz").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("numpy.savez", half)
    with pytest.raises(KeyboardInterrupt):
        model.learn(4, callback=callback, reset_num_timesteps=False)
    assert table.read_bytes() == before
    remove_earlier_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_lacks_successes_from_before_goes_on(tmp_path: Path) -> None:
    """As an earlier version left it after a run was resumed."""
    np.savez(
        tmp_path / "evaluations.npz",
        timesteps=[4, 8, 12],
        results=np.ones((3, 2)),
        ep_lengths=np.ones((3, 2)),
        successes=np.ones((1, 2)),
    )
    env = make_vec_env("CartPole-v1", n_envs=1)
    callback = SeededEvalCallback(env, 0, log_path=str(tmp_path))
    callback.resume(8, 1)
    assert callback.evaluations_timesteps == [4, 8]
    assert callback.evaluations_successes == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line + ",foo",
        lambda line: line.rpartition(",")[0],
        lambda line: line[: len(line) // 2],
        lambda line: line.replace(",1,", ",1.0,", 1),
    ],
)
def test_a_damaged_line_of_results_is_named_before_anything_is_trained(
    damage: Callable[[str], str], make: Callable[[int], Run], tmp_path: Path
) -> None:
    file = tmp_path / "results.csv"
    collect_all([begin(make(1), 10.0)], file)
    head, line, *rest = file.read_text().splitlines()
    file.write_text("\n".join([head, damage(line), *rest]) + "\n")
    with pytest.raises(ValueError, match=r"results\.csv, line 2: .* is not an evaluation"):
        read_rows(file)
    asked = ["--tasks", "CartPole-v1", "--agents", "ppo", "--budget", "smoke", "--seed", "0"]
    with pytest.raises(SystemExit, match="line 2"):
        main(["benchmark", "run", *asked, "--out", str(tmp_path)])
    assert not (tmp_path / "CartPole-v1-ppo-0").exists()


def test_a_column_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(",".join([*Evaluation._fields, "note"]) + "\n")
    with pytest.raises(ValueError, match=r"other than these or missing: note"):
        read_rows(tmp_path / "results.csv")


@pytest.mark.parametrize("text", ['[{"args": ', "[]", '[{"args": {}}]', "{}"])
def test_a_damaged_description_of_a_run_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is not what dreamzoo train writes"):
        read_run(tmp_path)


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    asked = ["--tasks", "CartPole-v1", "--agents", "ppo", "--budget", "smoke", "--seed", "0"]
    with pytest.raises(SystemExit, match="nothing was begun"):
        main(["benchmark", "run", *asked, "--out", str(tmp_path / "file")])


def test_half_a_line_of_a_log_is_none(tmp_path: Path) -> None:
    log = tmp_path / "progress.csv"
    log.write_text("time/total_timesteps,train/loss\n10,0.5\n20,4e-")
    assert read_log(tmp_path)["train/loss"] == [(10, 0.5)]
    log.write_text("time/total_timesteps,train/loss\n10,much\n20,0.5\n")
    with pytest.raises(ValueError, match=r"progress\.csv, line 2, is not what"):
        read_log(tmp_path)


def test_of_nan_there_is_no_mean() -> None:
    scores = np.array([[0.1, np.nan], [0.2, 0.3]])
    assert np.isnan(interquartile_mean(scores))
    assert np.isnan(stratified_interval(scores)).all()


def test_a_single_evaluation_is_seen_also_where_the_axis_ends() -> None:
    ends = [Evaluation("sac", "Pendulum-v1", seed, 9, 9, -1, 0, 10, 1, "abc") for seed in (0, 1)]
    (axis, *_) = plot_results(ends, {"Pendulum-v1": 9}).axes
    lines = axis.get_lines()
    assert len(lines) == 3  # the seeds and their mean
    assert all(line.get_marker() == "o" and not line.get_clip_on() for line in lines)
    more = [*ends, *(row._replace(steps=5, frames=5) for row in ends)]
    (axis, *_) = plot_results(more, {"Pendulum-v1": 9}).axes
    assert all(line.get_marker() == "None" for line in axis.get_lines())

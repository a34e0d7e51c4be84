"""Comparisons: runs that one command trains, resumes, tabulates and draws."""

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

import dreamzoo
from dreamzoo.benchmark.comparisons import COMPARISONS, Comparison
from dreamzoo.benchmark.comparisons.of_suite import SAMPLED
from dreamzoo.benchmark.many.folders import is_finished
from dreamzoo.benchmark.many_runs import collect_all, train_all
from dreamzoo.benchmark.results.evaluations import read_rows, read_run
from dreamzoo.benchmark.results.published import window_of
from dreamzoo.benchmark.results.styles import AGENTS
from dreamzoo.benchmark.run_config import Run, changes, command_line
from dreamzoo.benchmark.runs import make_agent, make_envs
from dreamzoo.cli import main
from dreamzoo.cli.benchmark.run import decide
from dreamzoo.cli.train import parse_args
from dreamzoo.hyperparams import dreamer_v2
from dreamzoo.launch import Attempt, local
from tests.benchmark.in_process import train_here

RUNS = [run for comparison in COMPARISONS.values() for run in comparison.runs]
TINY = Run(
    "ppo",
    "CartPole-v1",
    Path(),
    policy_kwargs=[("net_arch", [4])],
    agent_kwargs=[("n_steps", 16), ("batch_size", 16)],
    steps=32,
    eval_every=16,
    eval_episodes=1,
    save_every=16,
)


def named(run: Run) -> str:
    return f"{run.env}-{run.label or run.agent}"


@pytest.mark.parametrize("run", RUNS, ids=named)
def test_a_command_line_says_all_of_a_run(run: Run) -> None:
    assert parse_args(command_line(run)) == run


def test_a_command_line_keeps_texts_that_look_like_numbers() -> None:
    run = replace(TINY, env_kwargs=[("a", "1"), ("b", "x"), ("c", None), ("d", (1, 2.5))])
    assert parse_args(command_line(run)) == run


@pytest.mark.parametrize("run", RUNS, ids=named)
def test_agents_take_the_settings_of_their_comparison(run: Run, tmp_path: Path) -> None:
    env, eval_env = make_envs(replace(run, eval_episodes=1))
    make_agent(run, env)
    env.close()
    eval_env.close()


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_number_is_the_mean_of_thirty_episodes(name: str) -> None:
    comparison = COMPARISONS[name]
    for run in comparison.runs:
        end = comparison.frames[run.env]
        window = comparison.window or window_of(run.env, end)
        steps = range(run.eval_every, run.steps + 1, run.eval_every)
        first = steps[-1] - window * run.steps // end
        assert sum(step > first for step in steps) * run.eval_episodes >= 30, named(run)


def test_baselines_have_the_same_settings_on_a_task_wherever_it_is_compared() -> None:
    runs = [run for name in ("discrete", "discrete_sac") for run in COMPARISONS[name].runs]
    for agent in ("dqn", "ppo"):
        one, other = (r for r in runs if (r.agent, r.env) == (agent, "CartPole-v1"))
        assert one.agent_kwargs == other.agent_kwargs != []
        assert (one.policy_kwargs, one.n_envs) == (other.policy_kwargs, other.n_envs)
        (game,) = (r for r in runs if (r.agent, r.env) == (agent, "minatar/space_invaders"))
        assert game.agent_kwargs == game.policy_kwargs == []
    assert "SB3's defaults on Space Invaders" in COMPARISONS["discrete"].about


def test_normal_latents_are_as_many_as_in_the_papers_ablation() -> None:
    (run,) = (r for r in COMPARISONS["latents"].runs if r.label == "DreamerV2 gaussian")
    expected = dreamer_v2.variants["no_discrete_latents"]["policy_kwargs"]
    assert expected.items() <= dict(run.policy_kwargs).items()


def test_ablations_differ_from_the_agent_in_what_they_name() -> None:
    base, *others = COMPARISONS["ablations"].runs
    for run in others:
        variant = dict(dreamer_v2.variants[run.label.replace(" ", "_")])
        kwargs = dict(base.policy_kwargs) | variant.pop("policy_kwargs", {})
        expected = replace(
            base,
            label=run.label,
            policy_kwargs=list(kwargs.items()),
            agent_kwargs=list((dict(base.agent_kwargs) | variant).items()),
        )
        assert run == expected
        assert run != replace(base, label=run.label)


@pytest.mark.parametrize("name", COMPARISONS)
def test_agents_of_a_comparison_are_evaluated_alike(name: str) -> None:
    """But for those whose authors draw actions, beside others that do not."""
    runs = COMPARISONS[name].runs
    most_likely = {run.deterministic_eval for run in runs if run.agent not in SAMPLED}
    assert len(most_likely) == 1
    assert len({(run.agent, run.deterministic_eval) for run in runs}) == len(
        {run.agent for run in runs}
    )
    assert len({run.eval_episodes for run in runs}) == 1


@pytest.mark.parametrize("name", COMPARISONS)
def test_runs_of_a_comparison_lie_apart_and_are_told_apart(name: str) -> None:
    runs = list(COMPARISONS[name].seeded([0, 1]))
    assert len({run.out for run in runs}) == len(runs)
    assert len({(run.env, run.label or run.agent, run.seed) for run in runs}) == len(runs)
    assert list(COMPARISONS[name].frames) == list(dict.fromkeys(run.env for run in runs))


def test_every_agent_has_a_style() -> None:
    assert dreamzoo.AGENTS.keys() <= AGENTS.keys()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process, which needs no seconds to begin; one test below does not."""
    train_here(monkeypatch)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Comparison:
    """Two agents of which one has a label."""
    runs = (TINY, replace(TINY, label="PPO, greedy", deterministic_eval=True))
    comparison = Comparison("two of PPO", {"CartPole-v1": 32}, 16, runs)
    monkeypatch.setitem(COMPARISONS, "tiny", comparison)
    return comparison


@pytest.mark.usefixtures("tiny")
def test_one_command_trains_tabulates_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmark", "run", "tiny", "--seed", "3", "--out", str(tmp_path), "--jobs", "2"]
    main(arguments)
    out = capsys.readouterr().out
    assert "CartPole-v1-ppo-3: finished" in out
    assert "| PPO | " in out
    assert "| PPO, greedy | " in out
    assert (tmp_path / "table.md").read_text() in out
    assert (tmp_path / "curves.png").stat().st_size > 5_000
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["CartPole-v1.png"]
    page = (tmp_path / "report.html").read_text()
    assert "two of PPO" in page
    assert "dreamzoo benchmark run tiny --seed 3" in page
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("CartPole-v1-*/*")}
    main(arguments)  # has nothing left to do
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("CartPole-v1-*/*")} == before
    main(["benchmark", "list"])
    assert "two of PPO" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_an_interrupted_run_is_resumed(tiny: Comparison, tmp_path: Path) -> None:
    (run,) = tiny.seeded([0], agents=["ppo"], folder=tmp_path)
    file = tmp_path / "results.csv"
    grown: list[int] = []

    def grow() -> None:
        grown.append(collect_all([run], file).evaluations)

    assert train_all([replace(run, steps=16)], 1, after_each=grow) == []
    assert not is_finished(run)
    assert train_all([run], 1, after_each=grow) == []
    assert grown == [1, 2]
    assert is_finished(run)
    assert [row.steps for row in read_run(run.out)] == [16, 32]


@pytest.mark.usefixtures("tiny")
def test_whoever_interrupts_is_not_kept_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[Attempt] = []

    def interrupted(attempt: Attempt, *_: object, **__: object) -> int:
        begun.append(attempt)
        # As a terminal does: a simulated interrupt would not wake whoever waits for this.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(1)
        return 1

    monkeypatch.setattr(local, "watch", interrupted)
    with pytest.raises(SystemExit, match="the same command goes on"):
        main(["benchmark", "run", "tiny", "--seeds", "1", "--out", str(tmp_path)])
    assert len(begun) == 1


@pytest.mark.usefixtures("here")
def test_a_run_of_another_process_is_left_to_it(
    tiny: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = tiny.seeded([0], agents=["ppo"], folder=tmp_path)
    with FileLock(f"{run.out}.lock"):
        assert train_all([run], 1) == []
    assert "another process is at it" in capsys.readouterr().out
    assert not run.out.exists()


@pytest.fixture
def changed(here: None, tiny: Comparison, tmp_path: Path) -> Run:
    """A finished run with a smaller batch than the comparison has."""
    (run,) = tiny.seeded([0], agents=["ppo"], folder=tmp_path)
    other = replace(run, agent_kwargs=[("n_steps", 16), ("batch_size", 8), ("n_epochs", 1)])
    assert train_all([other], 1) == []
    return run


RUN_TINY = ["benchmark", "run", "tiny", "--seed", "0", "--out"]


def test_changed_settings_stop_no_other_run(
    changed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"1 skipped, whose settings .* CartPole-v1-ppo-0"):
        main([*RUN_TINY, str(tmp_path)])
    out = capsys.readouterr().out
    assert (
        "holds a run with other settings; asked for: batch_size=16 (it has batch_size=8), "
        "no n_epochs (it has n_epochs=1)."
    ) in out
    assert {row.agent for row in read_rows(tmp_path / "results.csv")} == {"PPO, greedy"}
    main([*RUN_TINY, str(tmp_path), "--changed", "skip"])  # said, not only suffered


def test_a_changed_run_goes_on_with_its_own_settings(changed: Run, tmp_path: Path) -> None:
    args = [str(tmp_path), "--agents", "ppo", "--changed"]
    main([*RUN_TINY, *args, "keep"])
    assert [row.steps for row in read_rows(tmp_path / "results.csv")] == [16, 32]
    assert changes(changed).startswith("batch_size=16")
    main([*RUN_TINY, *args, "anew"])
    assert changes(changed) == ""
    assert is_finished(changed)


def test_whoever_sits_there_is_asked_until_the_answer_is_one(
    changed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    typed = iter(["", "what?", "K"])
    runs, anew, skipped = decide([changed], None, ask=lambda _: next(typed))
    assert dict(runs[0].agent_kwargs)["batch_size"] == 8
    assert (anew, skipped) == (set(), [])
    assert decide([changed], None, ask=lambda _: "anew") == ([changed], {changed.out}, [])
    assert decide([changed], None, ask=lambda _: "s") == ([], set(), [changed])


@pytest.mark.usefixtures("here")
def test_a_failed_run_is_named_and_the_others_are_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Where it is to lie there is a file.
    (tmp_path / "CartPole-v1-ppo-0").write_text("")
    runs = (TINY, replace(TINY, label="fine"))
    monkeypatch.setitem(COMPARISONS, "tiny", Comparison("one fails", {"CartPole-v1": 32}, 16, runs))
    with pytest.raises(SystemExit, match="1 of 2 runs failed: CartPole-v1-ppo-0"):
        main(["benchmark", "run", "tiny", "--seed", "0", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert f"failed, see {tmp_path / 'CartPole-v1-ppo-0'}.log" in out
    assert "CartPole-v1-ppo-0" in (tmp_path / "CartPole-v1-ppo-0.log").read_text()
    assert "| fine | " in out


@pytest.mark.parametrize("asked", [["--agents", "sac"], ["--tasks", "Pendulum-v1"]])
@pytest.mark.usefixtures("tiny")
def test_what_is_not_compared_is_refused(asked: list[str]) -> None:
    with pytest.raises(SystemExit, match="is not compared; there are"):
        main(["benchmark", "commands", "tiny", *asked])


@pytest.mark.usefixtures("tiny")
def test_commands_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    main(["benchmark", "commands", "tiny", "--seed", "0", "--agents", "ppo"])
    assert capsys.readouterr().out == (
        "dreamzoo train --agent ppo --env CartPole-v1 -p 'net_arch=[4]' -a n_steps=16 "
        "batch_size=16 --steps 32 --eval-every 16 --eval-episodes 1 --save-every 16 --threads 1 "
        "--out runs/tiny/CartPole-v1-ppo-0\n"
    )

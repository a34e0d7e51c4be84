"""Benchmarks of suites and of any tasks: which runs they are, what is refused before they begin."""

from pathlib import Path

import numpy as np
import pytest

from dreamzoo.benchmark.budgets import BUDGETS
from dreamzoo.benchmark.comparisons import COMPARISONS, of_envs, of_suite
from dreamzoo.benchmark.comparisons.of_suite import SAMPLED
from dreamzoo.benchmark.fitting import refuse_unfit
from dreamzoo.benchmark.results.evaluations import read_rows
from dreamzoo.benchmark.run_config import command_line
from dreamzoo.benchmark.suites import suite
from dreamzoo.cli import main
from dreamzoo.cli.train import parse_args
from tests.benchmark.in_process import train_here

CONTROL = ("dreamer_v3", "dreamer_v2", "dreamer_v1", "planet", "sac", "ppo", "a2c")
DISCRETE = ("dreamer_v3", "dreamer_v2", "dreamer_v1", "merlin", "dqn", "ppo", "a2c")


def test_a_suite_makes_runs_of_agents_by_tasks() -> None:
    found = of_suite("dmc_proprio", ["sac", "ppo"], tasks=["walker_walk", "reacher-easy"])
    assert [(run.env, run.agent) for run in found.runs] == [
        (f"dmc/{task}", agent)
        for task in ("walker-walk", "reacher-easy")
        for agent in ("sac", "ppo")
    ]
    assert found.frames == {"dmc/walker-walk": 50_000, "dmc/reacher-easy": 50_000}
    everything = of_suite("dmc_vision", ["dreamer_v3"])
    assert len(everything.runs) == len(suite("dmc_vision").tasks)


#: Suite, task, agents, and those of them that have a paper's settings there.
TASKS = [
    ("dmc_proprio", "walker-walk", CONTROL, ("dreamer_v3", "dreamer_v2", "sac")),
    ("dmc_vision", "cartpole-swingup", CONTROL, CONTROL),
    ("atari100k", "pong", DISCRETE, ("dreamer_v3", "dqn")),
    ("crafter", "reward", DISCRETE, ("dreamer_v3", "recurrent_ppo")),
    ("minatar", "breakout", DISCRETE, ("dqn", "ppo")),
]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize(("name", "named", "agents", "of_papers"), TASKS, ids=lambda x: str(x)[:9])
def test_all_agents_of_a_budget_get_as_many_frames(
    name: str, named: str, agents: tuple[str, ...], of_papers: tuple[str, ...], budget: str
) -> None:
    task = suite(name).task(named)
    chosen = of_papers if budget == "paper" else agents
    runs = of_suite(name, chosen, tasks=[named], budget=budget).runs
    assert [run.agent for run in runs] == list(chosen)
    expected = BUDGETS[budget].frames or task.frames
    assert expected is not None
    for run in runs:
        repeat = dict(run.env_kwargs).get("action_repeat", task.action_repeat)
        assert run.steps * repeat == pytest.approx(expected, abs=repeat)
        assert run.steps // run.eval_every == BUDGETS[budget].evaluations
        assert run.deterministic_eval == (run.agent not in SAMPLED)
        assert parse_args(command_line(run)) == run


@pytest.mark.parametrize("budget", ["smoke", "laptop"])
def test_agents_take_the_settings_of_budgets(budget: str) -> None:
    pytest.importorskip("dm_control", reason='needs pip install "dreamzoo[dmc]"')
    refuse_unfit(of_suite("dmc_proprio", CONTROL, tasks=["walker-walk"], budget=budget).runs)
    refuse_unfit(of_envs(["CartPole-v1"], [*DISCRETE, "discrete_sac"], budget=budget).runs)
    images = ("dreamer_v3", "dreamer_v2", "dreamer_v1", "dqn", "ppo", "merlin")
    refuse_unfit(of_envs(["pixels/CartPole-v1"], images, budget=budget).runs)


def test_the_comparison_on_dm_control_is_of_the_budget_for_laptops() -> None:
    """Runs of the one are those of the other."""
    of = COMPARISONS["dmc_proprio"].runs
    (run,) = (run for run in of if (run.agent, run.env) == ("sac", "dmc/reacher-easy"))
    assert (run,) == of_suite("dmc_proprio", ["sac"], tasks=["reacher-easy"]).runs


def test_discrete_actions_have_settings_of_their_own() -> None:
    (run,) = of_envs(["CartPole-v1"], ["dreamer_v2"]).runs
    (other,) = (
        run
        for run in COMPARISONS["discrete"].runs
        if (run.agent, run.env) == ("dreamer_v2", "CartPole-v1")
    )
    assert (run.n_envs, run.policy_kwargs) == (other.n_envs, other.policy_kwargs)
    assert run.agent_kwargs == other.agent_kwargs
    (first,) = of_envs(["CartPole-v1"], ["dreamer_v1"]).runs
    assert dict(first.agent_kwargs)["reward_transform"] == "tanh"


def test_tasks_of_one_name_lie_apart() -> None:
    names = ["dmc/walker-walk", "dmc_pixels/walker-walk"]
    both = [run.out.name for run in of_envs(names, ["ppo"]).seeded([0])]
    assert both == ["dmc-walker-walk-ppo-0", "dmc_pixels-walker-walk-ppo-0"]
    assert [run.out.name for run in of_envs(names[:1], ["ppo"]).seeded([0])] == both[:1]


def test_replays_of_images_are_no_larger_than_training() -> None:
    (run,) = of_suite("atari100k", ["dqn"], tasks=["pong"]).runs
    assert run.steps < dict(run.agent_kwargs)["buffer_size"] == 50_000
    (run,) = of_suite("dmc_proprio", ["sac"], tasks=["walker-walk"]).runs
    assert run.agent_kwargs == []


def test_whatever_does_not_fit_is_named_at_once(tmp_path: Path) -> None:
    asked = ["benchmark", "run", "--tasks", "CartPole-v1", "Pendulum-v1", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--agents", "sac", "dqn", "planet", "ppo", "dreamer_v3", "--budget", "smoke"])
    said = str(ended.value)
    for pair in ("sac does not fit CartPole-v1", "planet does not fit CartPole-v1"):
        assert pair in said
    assert "dqn does not fit Pendulum-v1" in said
    assert "ppo" not in said.replace("supports", "").replace("supported", "").lower().split()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--suite", "dmc_propio"], "Did you mean dmc_proprio"),
        (["--suite", "dmc_proprio", "--tasks", "walker-wlak"], "Did you mean walker-walk"),
        (["--suite", "dmlab"], "dmlab cannot be run. DeepMind Lab"),
        (["--suite", "crafter", "--agents", "dreamerv3"], "dreamer_v3"),
        (["--suite", "bsuite", "--budget", "paper"], "no such number for bsuite/bandit/0"),
        (["--tasks", "CartPole-v1", "--budget", "paper"], "no such number for CartPole-v1"),
        (
            ["--suite", "crafter", "--budget", "paper", "--agents", "planet"],
            "No paper has settings",
        ),
        (["--tasks", "CartPol-v1", "--agents", "ppo"], "CartPol"),
        (["discrete", "--suite", "crafter"], "leave out --suite"),
        (["discrete", "--budget", "smoke", "--frames", "5"], "leave out --budget and --frames"),
        (["discrete_"], "There is no comparison 'discrete_'"),
        ([], "Name what to compare"),
        (["discrete", "--seeds", "0", "1"], "--seed 0 1"),
        (["discrete", "--seeds", "0"], "must be a whole number of at least 1"),
        (["discrete", "--seeds", "x"], "must be a whole number"),
    ],
    ids=lambda x: " ".join(x)[:40] if isinstance(x, list) else "",
)
def test_what_is_asked_in_vain_is_said_in_one_line(
    asked: list[str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "run", *asked, "--out", str(tmp_path)])
    assert said in str(ended.value.code)
    assert "\n" not in str(ended.value.code)
    assert list(tmp_path.iterdir()) == []


def test_the_smoke_budget_trains_agents_and_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train_here(monkeypatch)
    agents = ["dreamer_v2", "dqn", "ppo"]
    asked = ["--tasks", "CartPole-v1", "--agents", *agents, "--budget", "smoke"]
    main(["benchmark", "run", *asked, "--frames", "300", "--seeds", "1"])
    assert "[3/3] CartPole-v1-ppo-0: finished" in capsys.readouterr().out
    folder = Path("runs/tasks-smoke")
    rows = read_rows(folder / "results.csv")
    assert {(row.agent, row.steps) for row in rows} == {
        (agent, steps) for agent in agents for steps in (150, 300)
    }
    assert np.isfinite([row.mean_return for row in rows]).all()
    names = {"results.csv", "table.md", "curves.png", "report.html", "pictures"}
    assert names <= {path.name for path in folder.iterdir()}

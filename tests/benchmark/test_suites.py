"""Suites are those of the papers: their tasks, protocols and the returns beside them."""

import re
from pathlib import Path
from typing import Any

import pytest

from dreamzoo.benchmark import atari, crafter_score, suite, suite_names
from dreamzoo.benchmark.comparisons import COMPARISONS
from dreamzoo.benchmark.results.published import METHODS, of_task, published_curves
from dreamzoo.benchmark.suite_tables import suites_table, tasks_table
from dreamzoo.cli.suites import main
from dreamzoo.dreamer_v3 import SIZES
from dreamzoo.envs import env_name, make_env
from dreamzoo.hyperparams import published

#: Tasks and DreamerV3's protocol: action repeat, frames, environments, train ratio, size (its table
#: 2; of Crafter its code).
PAPER: dict[str, tuple[Any, ...]] = {
    "atari57": (57, 4, 200_000_000, 16, 32, "200m"),
    "atari55": (55, 4, 200_000_000, 16, 32, "200m"),
    "atari100k": (26, 4, 400_000, 1, 128, "200m"),
    "dmc_proprio": (18, 2, 500_000, 16, 512, "12m"),
    "dmc_vision": (20, 2, 1_000_000, 16, 512, "12m"),
    "procgen": (16, 1, 50_000_000, 16, 64, "200m"),
    "crafter": (1, 1, 1_000_000, 1, 512, "200m"),
    "bsuite": (23, 1, None, 1, 1024, "200m"),
    "minecraft": (1, 1, 100_000_000, 64, 32, "200m"),
    "dmlab": (30, 4, 100_000_000, 16, 32, "200m"),
}
OWN = {"minatar": 5, "memory": 10}


def test_the_suites_are_those_of_the_papers_and_two_more() -> None:
    assert suite_names() == [*PAPER, *OWN]
    assert {name: len(suite(name).tasks) for name in OWN} == OWN


@pytest.mark.parametrize("name", PAPER)
def test_every_task_has_the_papers_protocol(name: str) -> None:
    number, *protocol = PAPER[name]
    tasks = suite(name).tasks
    assert len({task.name for task in tasks}) == len({task.env for task in tasks}) == number
    for task in tasks:
        found = [task.action_repeat, task.frames, task.n_envs, task.train_ratio, task.size]
        assert found == protocol
        assert task.suite == name
        assert task.size in SIZES


def test_settings_of_bsuite_are_tasks_of_their_own() -> None:
    task = suite("bsuite").task("memory_size")
    assert task.envs == [f"bsuite/memory_size/{i}" for i in range(17)]
    assert suite("crafter").tasks[0].envs == ["crafter"]
    assert sum(len(task.envs) for task in suite("bsuite").tasks) == 468


def test_the_paper_of_dreamer_v2_leaves_two_games_out() -> None:
    games = {name: {task.name for task in suite(name).tasks} for name in ("atari57", "atari55")}
    assert games["atari57"] == set(atari.references())
    assert games["atari55"] == set(atari.games())
    pong = suite("atari100k").task("pong")
    assert (pong.steps, pong.env) == (100_000, "atari100k/pong")
    assert [pong.returns[who] for who in ("random", "human", "record")] == [-20.7, 14.6, 21]


def test_returns_are_in_order() -> None:
    for name in suite_names():
        for task in suite(name).tasks:
            who = ("random", "blind", "human", "best")
            found = [task.returns[key] for key in who if key in task.returns]
            assert found == sorted(found), task.env
    known = {"random": 1.33, "random_unlocked": 2.1, "human_unlocked": 14.3, "dreamer_v3": 11.7}
    assert suite("crafter").tasks[0].returns == known


@pytest.mark.parametrize(
    "name", ["atari57", "atari100k", "dmc_proprio", "dmc_vision", "procgen", "minecraft"]
)
def test_what_dreamer_v3_reaches_is_where_its_published_curve_ends(name: str) -> None:
    for task in suite(name).tasks:
        last = of_task(task.env, "dreamerv3")[-1]
        assert last.mean == pytest.approx(task.returns["dreamer_v3"], rel=1e-3), task.env
        assert task.frames is not None
        assert last.frames == pytest.approx(task.frames, rel=0.02), task.env


def test_every_published_curve_stands_beside_a_task() -> None:
    shown = {
        (point.suite, point.method, point.task)
        for name in suite_names()
        for task in suite(name).tasks
        for method in METHODS
        for point in of_task(task.env, method)[:1]
    }
    assert shown == published_curves().keys()


@pytest.mark.parametrize("name", ["walker-walk", "walker_walk", "Walker-Walk"])
def test_a_task_is_found_in_any_spelling(name: str) -> None:
    assert suite("dmc_vision").task(name).env == "dmc_pixels/walker-walk"


def test_names_that_do_not_exist_are_told_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'dmc_visoin'. Did you mean dmc_vision"):
        suite("dmc_visoin")
    with pytest.raises(ValueError, match=r"task of procgen 'coinrnu'. Did you mean coinrun"):
        suite("procgen").task("coinrnu")


def test_what_cannot_be_had_says_why() -> None:
    missing = [name for name in suite_names() if suite(name).unavailable]
    assert missing == ["dmlab"]
    assert "Bazel" in suite("dmlab").unavailable
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    for name in suite_names():
        found = re.search(r"dreamzoo\[(\w+)\]", suite(name).install)
        assert found is None or found.group(1) in extras


def test_the_ladder_of_memory_trains_on_its_suite() -> None:
    assert [task.env for task in suite("memory").tasks] == list(COMPARISONS["memory"].frames)


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("env", "policy", "env_kwargs"),
    [
        ("atari/pong", "CnnPolicy", {}),
        ("atari100k/pong", "CnnPolicy", {}),
        ("dmc_vision/walker-walk", "CnnPolicy", {"action_repeat": 2}),
        ("dmc_proprio/walker-walk", "MultiInputPolicy", {"action_repeat": 2}),
        ("procgen/maze", "CnnPolicy", {}),
        ("crafter", "CnnPolicy", {}),
        ("minecraft/diamond", "MultiInputPolicy", {}),
        ("bsuite/memory_len/22", "MlpPolicy", {}),
    ],
)
def test_dreamer_v3_is_published_with_the_protocol(
    env: str, policy: str, env_kwargs: dict[str, Any]
) -> None:
    settings = published("dreamer_v3", env)
    task = next(
        t for n in suite_names() for t in suite(n).tasks if env_name(env) in t.envs and t.size
    )
    assert settings.get("steps") == task.steps
    assert (settings["policy"], settings["n_envs"]) == (policy, task.n_envs)
    assert dict(settings["env_kwargs"]) == env_kwargs
    assert settings["policy_kwargs"] == [("size", task.size)]
    assert settings["agent_kwargs"] == [("train_ratio", task.train_ratio)]
    if policy != "CnnPolicy":
        return
    assert len(make_env(env, **env_kwargs).observation_space.shape or ()) == 3


# ------------------------------------------------------------------ tables

ROOT = Path(__file__).parents[2]


def test_the_document_shows_the_tables() -> None:
    text = (ROOT / "docs" / "suites.md").read_text()
    assert suites_table() in text
    for name in ("crafter", "procgen", "memory"):
        assert tasks_table(name) in text
    for name in suite_names():
        install = suite(name).install
        assert not install or install in text


def test_the_command_prints_suites_and_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert capsys.readouterr().out == suites_table() + "\n"
    main(["crafter", "dmlab"])
    said = capsys.readouterr().out
    assert said.index('Needs: pip install "dreamzoo[crafter]"') < said.index(tasks_table("crafter"))
    assert suite("dmlab").unavailable in said
    assert tasks_table("dmlab") in said
    main(["DMC-proprio"])
    assert tasks_table("dmc_proprio") in capsys.readouterr().out


# ------------------------------------------------------------------ Crafter's score


def test_crafters_score_is_a_geometric_mean_of_shares() -> None:
    always, never = {"a": 3, "b": 1}, {"a": 0, "b": 0}
    assert crafter_score([always]) == pytest.approx(100)
    assert crafter_score([never]) == 0
    assert crafter_score([always, never]) == pytest.approx(50)
    assert crafter_score([{"a": 1, "b": 0}]) == pytest.approx(101**0.5 - 1)


@pytest.mark.parametrize(
    ("episodes", "message"),
    [([], "no episode"), ([{"a": 1}, {"b": 1}], "different achievements")],
)
def test_episodes_that_cannot_be_scored_are_refused(
    episodes: list[dict[str, int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        crafter_score(episodes)

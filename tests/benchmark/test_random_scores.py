"""Random actions score what is published of them: the environments are those of the papers."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dreamzoo.benchmark import crafter_score, suite
from dreamzoo.envs import DreamerAtariPreprocessing, make_atari, make_env


def play(env: gym.Env, episodes: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Play with random actions; give the returns and what is told at the ends."""
    env.reset(seed=0)
    env.action_space.seed(0)
    returns, infos = [], []
    for _ in range(episodes):
        env.reset()
        total, ended, info = 0.0, False, dict[str, Any]()
        while not ended:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample())
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
        infos.append(info)
    return np.array(returns), infos


def agrees(found: np.ndarray, published: float, rounding: float) -> bool:
    """Tell whether a mean is within four standard errors of what is published, rounded."""
    error = found.std(ddof=1) / len(found) ** 0.5
    return bool(abs(found.mean() - published) <= 4 * error + rounding)


EPISODES = {"mountain_car": 2, "mountain_car_noise": 2, "discounting_chain": 200}


@pytest.mark.parametrize(
    "name",
    [t.name for t in suite("bsuite").tasks if "random" in t.returns and "mnist" not in t.name],
)
def test_random_actions_have_the_regret_that_bsuite_knows(name: str) -> None:
    pytest.importorskip("bsuite", reason='needs pip install "dreamzoo[memory]"')
    task = suite("bsuite").task(name)
    found, _ = play(make_env(task.env), EPISODES.get(name, 800))
    assert agrees(found, task.returns["random"], rounding=0.5 if "car" in name else 0.005)


@pytest.mark.parametrize(
    "name", [task.name for task in suite("memory").tasks if "random" in task.returns]
)
def test_random_actions_guess_what_was_to_be_remembered(name: str) -> None:
    pytest.importorskip("bsuite", reason='needs pip install "dreamzoo[memory]"')
    task = suite("memory").task(name)
    found, _ = play(make_env(task.env), 300)
    assert set(found) == {-1, 1}
    assert agrees(found, task.returns["random"], rounding=0)


SLOW = (
    *("amidar", "assault", "bank_heist", "chopper_command", "demon_attack", "frostbite"),
    *("kangaroo", "krull", "ms_pacman", "qbert", "seaquest"),
)


@pytest.mark.parametrize(
    "game", ["pong", *(pytest.param(game, marks=pytest.mark.slow) for game in SLOW)]
)
def test_random_actions_score_in_a_game_what_is_published(game: str) -> None:
    """Actions are held for six frames and five minutes are played, as in the source."""
    pytest.importorskip("ale_py", reason='needs pip install "dreamzoo[atari]"')
    emulator = make_atari(game, protocol="atari100k").env  # type: ignore[attr-defined]
    env = DreamerAtariPreprocessing(emulator, frame_skip=6, screen_size=64, max_frames=18_000)
    found, _ = play(env, 3 if game == "pong" else 12)
    assert agrees(found, suite("atari57").task(game).returns["random"], rounding=0.05)


@pytest.mark.slow
def test_random_actions_unlock_in_crafter_what_is_published() -> None:
    """
    Returns have 0.9 less, for nine points of health, and 1 less where a step unlocks two.

    The one that is measured here is that of 200 episodes, with a standard error of 0.09.
    """
    pytest.importorskip("crafter", reason='needs pip install "dreamzoo[crafter]"')
    task = suite("crafter").tasks[0]
    returns, infos = play(make_env(task.env), 60)
    ends = [info["achievements"] for info in infos]
    unlocked = np.array([sum(count > 0 for count in end.values()) for end in ends])
    assert agrees(unlocked, task.returns["random_unlocked"], rounding=0.05)
    assert agrees(np.array(returns), task.returns["random"], rounding=0.26)
    twice = np.round(unlocked - 0.9 - returns, 6)
    assert set(twice) <= {0, 1}
    assert twice.mean() < 0.1
    assert 0.8 < crafter_score(ends) < 2.4  # published: 1.6; rare ones are missed in few episodes

"""Crafter, played for real and compared with the package's own."""

from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

from dreamzoo import DreamerV3
from dreamzoo.envs import make_crafter, make_env
from dreamzoo.envs.crafter import _choose_in_order as choose_in_order

crafter = pytest.importorskip("crafter", reason='needs pip install "dreamzoo[crafter]"')


@pytest.mark.parametrize("name", ["crafter", "crafter/noreward"])
def test_both_tasks_pass_the_checkers(name: str) -> None:
    env = make_env(name, render_mode="rgb_array")
    check_gymnasium_env(env)
    check_sb3_env(env)


def test_an_episode_equals_the_packages_own_until_death() -> None:
    env: Any = make_crafter(seed=3)
    original = crafter.Env(seed=env._game._seed)
    choose_in_order(original)
    for _ in range(2):  # the world of reset is the second: seed= has shown the first
        expected = original.reset()
    image, _ = env.reset()
    env.action_space.seed(0)
    total, ended, info = 0.0, False, {}
    while not ended:
        np.testing.assert_array_equal(image, expected)
        action = int(env.action_space.sample())
        image, reward, ended, truncated, info = env.step(action)
        expected, reward_expected, over, _ = original.step(action)
        assert (reward, ended, truncated) == (reward_expected, over, False)
        total += reward
    unlocked = sum(count > 0 for count in info["achievements"].values())
    assert total == pytest.approx(unlocked - 0.9)  # of 9 health points none is left
    assert unlocked > 0


def test_without_rewards_info_still_tells_them() -> None:
    env = make_env("crafter/noreward", seed=3)
    env.action_space.seed(0)
    steps = [env.step(env.action_space.sample()) for _ in range(60)]
    assert {reward for _, reward, *_ in steps} == {0.0}
    assert any(info["reward"] > 0 for *_, info in steps)


def test_a_limit_of_steps_truncates() -> None:
    env: Any = make_crafter(seed=0)
    assert env._game._length == 10_000
    env._game._length = 4
    assert [env.step(0)[2:4] for _ in range(4)] == [(False, False)] * 3 + [(False, True)]


def test_a_seed_decides_all_its_episodes_and_they_differ() -> None:
    def starts(seed: int) -> list[np.ndarray]:
        env = make_crafter(seed=seed)
        return [env.reset()[0] for _ in range(2)]

    first, second = starts(1), starts(1)
    np.testing.assert_array_equal(first, second)
    assert (first[0] != first[1]).any()
    assert (first[0] != starts(2)[0]).any()


def test_environments_without_a_seed_differ() -> None:
    assert (make_crafter().reset()[0] != make_crafter().reset()[0]).any()


def test_creatures_stand_in_the_order_in_which_they_came() -> None:
    """
    Otherwise their addresses decide which of them leaves.

    Without it two games of one seed and one list of actions parted after 390 steps.
    """
    env: Any = make_crafter(seed=0)
    for _ in range(20):
        env.step(0)
    world = env._game._world
    at = {id(creature): number for number, creature in enumerate(world._objects)}
    crowds = [[at[id(x)] for x in crowd] for crowd in world.chunks.values() if len(crowd) > 1]
    assert len(crowds) > 3
    assert all(crowd == sorted(crowd) for crowd in crowds)


def test_what_a_step_tells_stays_as_it_was() -> None:
    env = make_crafter(seed=0)
    places = [env.step(action)[-1]["player_pos"] for action in (1, 2, 3, 4, 1, 2)]
    assert len({tuple(place) for place in places}) > 1


def test_pictures_are_larger_than_images() -> None:
    env: Any = make_crafter(size=96, render_mode="rgb_array", seed=0)
    assert env.reset()[0].shape == (96, 96, 3)
    assert (env.render().shape, env.render().dtype) == ((576, 576, 3), np.uint8)
    assert make_crafter(seed=0).render() is None


def test_looking_at_the_night_changes_nothing() -> None:
    """Its noise is drawn from the numbers that also decide where creatures go."""

    def play(looks: bool) -> list[np.ndarray]:
        env: Any = make_crafter(render_mode="rgb_array", seed=0)
        env._game._step, images = 205, []
        for action in (0, 1, 2, 3, 4, 0, 0, 0):
            if looks:
                env.render()
            images.append(env.step(action)[0])
        return images

    np.testing.assert_array_equal(play(False), play(True))


def test_a_mistyped_task_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'nonreward'. Did you mean noreward"):
        make_env("crafter/nonreward")


def test_an_agent_learns_from_its_images() -> None:
    settings: dict[str, Any] = {**DreamerV3.smallest, "buffer_size": 200}
    model = DreamerV3("CnnPolicy", make_env("crafter"), **settings)
    assert model.learn(60).num_timesteps == 60

"""The card game and the T-maze: their rules, and the same rules in batches of tensors."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_sb3_env

from dreamzoo import DreamerV3
from dreamzoo.envs import (
    CardGame,
    CardGameVectorEnv,
    TMaze,
    TMazeVectorEnv,
    VectorEnvToVecEnv,
    make_env,
)
from dreamzoo.wrappers import VecPreviousActionReward
from tests import second_device

TASKS: dict[str, Callable[[], gym.Env]] = {
    "two cards": partial(CardGame, 2),
    "eight cards": partial(CardGame, 8),
    "sixteen cards": CardGame,
    "maze of one step": partial(TMaze, 1),
    "maze": TMaze,
}
MANUAL: dict[str, Any] = dict(autoreset_mode=AutoresetMode.DISABLED)


@pytest.mark.parametrize("task", TASKS)
def test_single_tasks_pass_the_checkers(task: str) -> None:
    check_gymnasium_env(TASKS[task]())
    check_sb3_env(TASKS[task]())


def test_both_are_registered_alone_and_in_batches() -> None:
    assert make_env("dreamzoo/CardGame-v0", n_cards=6).unwrapped.n_cards == 6  # type: ignore
    assert make_env("dreamzoo/TMaze-v0", length=7).unwrapped.length == 7  # type: ignore
    for name, kind in (("CardGame", CardGameVectorEnv), ("TMaze", TMazeVectorEnv)):
        batch = gym.make_vec(f"dreamzoo/{name}-v0", 3, vectorization_mode="vector_entry_point")
        assert isinstance(batch.unwrapped, kind)
        assert batch.num_envs == 3


# ------------------------------------------------------------------ rules


def play(cards: list[int], flips: list[int]) -> list[tuple[int, float, bool]]:
    env = CardGame(len(cards))
    assert env.reset(options={"cards": cards}) == (len(cards) // 2, {})
    steps = [env.step(card) for card in flips]
    assert not any(truncated for _, _, _, truncated, _ in steps)
    return [(symbol, reward, ended) for symbol, reward, ended, _, _ in steps]


def test_two_flips_of_one_symbol_one_after_the_other_are_a_pair() -> None:
    assert play([0, 1, 1, 0], [0, 3, 1, 2]) == [
        (0, 0, False),
        (0, 1, False),
        (1, 0, False),
        (1, 1, True),  # all are removed
    ]


def test_flips_with_another_between_them_are_none() -> None:
    assert play([0, 1, 1, 0], [0, 1, 3]) == [(0, 0, False), (1, 0, False), (0, 0, False)]


def test_the_same_card_twice_is_none() -> None:
    assert play([0, 1, 1, 0], [0, 0, 3]) == [(0, 0, False), (0, 0, False), (0, 1, False)]


def test_removed_cards_are_blank_and_make_no_pair_again() -> None:
    assert play([0, 0, 1, 1], [0, 1, 0, 1, 0, 1]) == [
        (0, 0, False),
        (0, 1, False),
        (2, 0, False),
        (2, 0, False),
        (2, 0, False),
        (2, 0, True),  # 3 / 2 times 4 flips
    ]


def test_a_removed_card_between_two_of_a_kind_parts_them() -> None:
    seen = play([0, 0, 1, 1], [0, 1, 2, 0, 3, 2])
    assert [reward for _, reward, _ in seen] == [0, 1, 0, 0, 0, 1]


def test_cards_are_shuffled_with_every_order_alike() -> None:
    envs = CardGameVectorEnv(num_envs=6_000, n_cards=4)
    envs.reset(seed=0)
    single = CardGame(4)
    single.reset(seed=0)
    orders = [envs.state.symbols.numpy(), np.array([_deal(single) for _ in range(6_000)])]
    for cards in orders:
        _, counts = np.unique(cards, axis=0, return_counts=True)
        assert len(counts) == 6
        assert np.abs(counts - 1_000).max() < 4 * np.sqrt(1_000)


def _deal(env: CardGame) -> np.ndarray:
    env.reset()
    return env.cards


def test_the_maze_shows_its_cue_once_and_pays_at_the_junction() -> None:
    env = TMaze(4)
    obs, _ = env.reset(options={"cue": 1})
    seen, rewards, ends = [obs.tolist()], list[float](), list[bool]()
    for action in (0, 2, 0, 1, 1):
        obs, reward, ended, truncated, _ = env.step(action)
        assert not truncated
        seen, rewards, ends = [*seen, obs.tolist()], [*rewards, reward], [*ends, ended]
    assert seen == [[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 1, 1], [0, 1, 1]]
    assert rewards == [0, -0.25, 0, -0.25, 1]
    assert ends == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("cue", "action", "reward"), [(1, 2, 0), (-1, 1, 0), (-1, 2, 1), (1, 0, 0)]
)
def test_at_the_junction_only_the_side_of_the_cue_pays(cue: int, action: int, reward: int) -> None:
    env = TMaze(1)
    env.reset(options={"cue": cue})
    env.step(0)
    assert env.step(action)[1:3] == (reward, True)


@pytest.mark.parametrize("batched", [False, True])
def test_cues_are_fair_coins(batched: bool) -> None:
    if batched:
        envs = TMazeVectorEnv(4_000)
        cues = envs.reset(seed=0)[0][:, 0].numpy()
    else:
        env = TMaze()
        cues = np.array([env.reset(seed=i or None)[0][0] for i in range(4_000)])
    assert set(cues) == {-1, 1}
    assert abs(cues.mean()) < 4 / np.sqrt(4_000)


# ------------------------------------------------------------------ batches


@pytest.mark.parametrize("n_cards", [2, 4, 10])
def test_a_batch_of_games_equals_single_ones_step_for_step(n_cards: int) -> None:
    envs = CardGameVectorEnv(num_envs=16, n_cards=n_cards)
    envs.action_space.seed(0)
    envs.reset(seed=0)
    equals_singles(
        envs,
        [CardGame(n_cards) for _ in range(16)],
        lambda row: {"cards": envs.state.symbols[row].tolist()},
    )


@pytest.mark.parametrize("length", [1, 7])
def test_a_batch_of_mazes_equals_single_ones_step_for_step(length: int) -> None:
    envs = TMazeVectorEnv(num_envs=16, length=length)
    envs.action_space.seed(0)
    envs.reset(seed=0)
    equals_singles(
        envs,
        [TMaze(length) for _ in range(16)],
        lambda row: {"cue": int(envs.state.cue[row])},
    )


def equals_singles(
    envs: Any, singles: list[Any], start_of: Callable[[int], dict[str, Any]], steps: int = 60
) -> None:
    """
    Compare many steps, with the ends of many episodes.

    :param envs: a batch that was reset
    :param singles: one for each row
    :param start_of: options with which the episode of a row begins
    :param steps: how many
    """
    for row, single in enumerate(singles):
        single.reset(options=start_of(row))
    ends, paid = 0, 0.0
    for _ in range(steps):
        actions = envs.action_space.sample()
        obs, reward, terminated, truncated, info = envs.step(actions)
        assert not truncated.any()
        for row, single in enumerate(singles):
            expected, reward_of, ended, _, _ = single.step(int(actions[row]))
            assert bool(terminated[row]) == ended
            np.testing.assert_allclose(reward[row], reward_of, rtol=1e-6)
            seen = obs[row]
            if ended:
                assert info["_final_obs"][row]
                seen = info["final_obs"][row]
            np.testing.assert_array_equal(seen, expected)
            if ended:
                first, _ = single.reset(options=start_of(row))
                np.testing.assert_array_equal(obs[row], first)
            ends, paid = ends + ended, paid + abs(reward_of)
    assert ends > len(singles)
    assert paid > 0


BATCHES: dict[str, Callable[..., Any]] = {
    "cards": partial(CardGameVectorEnv, 4, n_cards=6),
    "maze": partial(TMazeVectorEnv, 4, length=3),
}


def roll(envs: Any, steps: int = 12) -> list[Any]:
    envs.action_space.seed(0)
    return [envs.step(envs.action_space.sample())[:3] for _ in range(steps)]


@pytest.mark.parametrize("task", BATCHES)
def test_a_seed_repeats_everything_and_another_does_not(task: str) -> None:
    envs = BATCHES[task]()
    runs = []
    for seed in (3, [3, 5, 6, 7], 4, None):
        first, _ = envs.reset(seed=seed)
        runs.append([first, *(part for step in roll(envs) for part in step)])
    same = [all(map(th.equal, runs[0], run)) for run in runs]
    assert same == [True, True, False, False]


@pytest.mark.parametrize("task", BATCHES)
def test_results_stay_as_they_were_while_the_batch_goes_on(task: str) -> None:
    envs = BATCHES[task]()
    envs.reset(seed=0)
    kept = roll(envs, 5)
    copies = [[part.clone() for part in step] for step in kept]
    roll(envs, 5)
    for step, copied in zip(kept, copies, strict=True):
        assert all(map(th.equal, step, copied))


@pytest.mark.parametrize("task", BATCHES)
def test_without_automatic_resets_a_mask_resets_its_rows_only(task: str) -> None:
    envs = BATCHES[task](**MANUAL)
    first, _ = envs.reset(seed=0)
    *_, info = envs.step([0, 0, 1, 0])
    assert info == {}
    before = envs.state
    obs, _ = envs.reset(options={"reset_mask": th.tensor([False, True, False, False])})
    for old, new in zip(before, envs.state, strict=True):
        assert th.equal(old[[0, 2, 3]], new[[0, 2, 3]])
    assert (obs[1] == first[1]).flatten()[-1]
    steps = envs.state[-1] if task == "maze" else envs.state.flips
    assert steps.tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("task", BATCHES)
def test_without_automatic_resets_rows_stay_where_they_ended(task: str) -> None:
    envs = BATCHES[task](**MANUAL)
    envs.reset(seed=0)
    for _ in range(9):  # flips of six cards; a walk ends before
        obs, _, terminated, _, info = envs.step([0, 0, 0, 0])
        assert not info
    assert terminated.all()
    assert th.equal(obs, envs._observe(envs.state))
    if task == "maze":
        assert obs[:, 1].tolist() == [1, 1, 1, 1]  # at the junction
    else:
        assert envs.state.flips.tolist() == [9, 9, 9, 9]


@pytest.mark.parametrize("task", BATCHES)
def test_steps_stay_on_the_device_and_copy_nothing_to_the_host(device: str, task: str) -> None:
    envs = BATCHES[task](device=device)
    envs.reset(seed=0)
    actions = th.as_tensor([0, 1, 2, 0], device=device)
    envs.step(actions)
    with second_device.counting() as copies:
        steps = [envs.step(actions) for _ in range(9)]
    assert not copies
    for *parts, info in steps:
        assert {x.device.type for x in [*parts, *info.values()]} == {device}
    assert any(terminated.cpu().any() for _, _, terminated, _, _ in steps)
    envs.reset(options={"reset_mask": [True, False, False, True]})


def test_given_starts_are_played_once() -> None:
    cards = CardGameVectorEnv(3, n_cards=4)
    for given in ([0, 1, 1, 0], np.array([[0, 1, 1, 0]] * 3), th.tensor([0, 1, 1, 0])):
        cards.reset(seed=0, options={"cards": given})
        assert cards.state.symbols.tolist() == [[0, 1, 1, 0]] * 3
    cards.reset(seed=0)
    assert cards.state.symbols.tolist() != [[0, 1, 1, 0]] * 3
    maze = TMazeVectorEnv(3)
    assert maze.reset(options={"cue": -1})[0][:, 0].tolist() == [-1, -1, -1]
    assert maze.reset(options={"cue": [1, -1, 1]})[0][:, 0].tolist() == [1, -1, 1]


@pytest.mark.parametrize("task", BATCHES)
@pytest.mark.parametrize("settings", [{}, MANUAL], ids=["same step", "disabled"])
def test_agents_of_sb3_train_in_a_batch(task: str, settings: dict[str, Any]) -> None:
    env = VecPreviousActionReward(VectorEnvToVecEnv(BATCHES[task](**settings)))
    model = PPO("MultiInputPolicy", env, n_steps=16, batch_size=32, seed=0).learn(128)
    assert model.num_timesteps == 128


@pytest.mark.parametrize("task", BATCHES)
def test_world_models_train_in_a_batch(task: str) -> None:
    env = VectorEnvToVecEnv(BATCHES[task]())
    model = DreamerV3("MlpPolicy", env, **DreamerV3.smallest)
    assert model.learn(60).num_timesteps >= 60


# ------------------------------------------------------------------ bad input


def _step(envs: Any, actions: Any) -> None:
    envs.reset(seed=0)
    envs.step(actions)


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "odd cards": (lambda: CardGame(5), ValueError, "n_cards=5 must be an even number"),
    "odd batch": (lambda: CardGameVectorEnv(2, 5), ValueError, "even number"),
    "no cards": (lambda: CardGame(0), ValueError, "at least 2"),
    "no way": (lambda: TMaze(0), ValueError, "length=0 must be at least 1"),
    "no way of many": (lambda: TMazeVectorEnv(2, 0), ValueError, "length=0 must be at least 1"),
    "no rows": (lambda: TMazeVectorEnv(0), ValueError, "num_envs=0 must be at least 1"),
    "wrong cards": (
        lambda: CardGame(4).reset(options={"cards": [0, 0, 0, 1]}),
        ValueError,
        "each of 0 to 1 twice",
    ),
    "few cards": (
        lambda: CardGame(4).reset(options={"cards": [0, 0]}),
        ValueError,
        r"the shape \(2,\); expected symbols of 4 cards",
    ),
    "wrong cue": (lambda: TMaze().reset(options={"cue": 0}), ValueError, "expected 1 or -1"),
    "wrong cues": (
        lambda: TMazeVectorEnv(3).reset(options={"cue": [1, -1]}),
        ValueError,
        "for each of 3",
    ),
    "unknown option": (
        lambda: TMazeVectorEnv(3).reset(options={"cards": 1}),
        ValueError,
        "expected a dict of cue or reset_mask",
    ),
    "next step": (
        lambda: TMazeVectorEnv(3, autoreset_mode=AutoresetMode.NEXT_STEP),
        ValueError,
        "SAME_STEP or DISABLED",
    ),
    "few actions": (
        lambda: _step(TMazeVectorEnv(3), [0, 1]),
        ValueError,
        r"the shape \(2,\); expected \(3,\)",
    ),
    "no such action": (lambda: _step(TMazeVectorEnv(2), [0, 3]), ValueError, "3"),
    "no such card": (lambda: _step(CardGameVectorEnv(2, 4), th.tensor([0, 4])), ValueError, "4"),
    "step first": (lambda: TMazeVectorEnv(2).step([0, 0]), ResetNeeded, "reset"),
    "mask first": (
        lambda: TMazeVectorEnv(2).reset(options={"reset_mask": [True, False]}),
        ResetNeeded,
        "all rows once",
    ),
    "seeds": (lambda: TMazeVectorEnv(2).reset(seed=[1, 2, 3]), ValueError, "for each of the 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_explained(case: str) -> None:
    function, error, message = BAD[case]
    with pytest.raises(error, match=message):
        function()


def test_a_size_that_is_given_twice_is_one_size() -> None:
    assert make_env("memory/TMaze/5", length=5).unwrapped.length == 5  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"'TMaze/5' says length=5, and was given 6"):
        make_env("memory/TMaze/5", length=6)


@pytest.mark.parametrize("env", [TMaze(3), CardGame(4)], ids=["TMaze", "CardGame"])
def test_single_tasks_refuse_what_means_nothing(env: Any) -> None:
    fresh: Any = copy.deepcopy(env)
    with pytest.raises(ResetNeeded, match=r"No episode runs: call reset\(\) first"):
        fresh.step(0)
    env.reset(seed=0)
    n = env.action_space.n
    for action in (n, -1, 1.5, "x", None, np.array([0])):
        with pytest.raises(ValueError, match=rf"\.step\(.*whole number from 0 to {n - 1}"):
            env.step(action)
    with pytest.raises(ValueError, match="No reset option is called 'cues'; there is: "):
        env.reset(options=dict(cues=1))
    ended = False
    while not ended:  # nothing that was refused has changed it
        _, _, ended, _, _ = env.step(np.int64(1))
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    env.step(0)

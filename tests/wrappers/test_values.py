"""What each wrapper does, in numbers, and how it refuses bad input."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RescaleAction

from dreamzoo import wrappers
from dreamzoo.wrappers import vector
from dreamzoo.wrappers.array_conversion import to_torch
from dreamzoo.wrappers.arrays import copy_tree


class OneStep(gym.Env):
    """
    Shows one observation, keeps the action it was given.

    :param observation: what it shows
    :param observation_space: of it
    :param action_space: what it takes
    """

    def __init__(
        self,
        observation: Any = None,
        observation_space: spaces.Space | None = None,
        action_space: spaces.Space | None = None,
    ) -> None:
        self.observation = np.zeros(2, np.float32) if observation is None else observation
        self.observation_space = observation_space or spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = action_space or spaces.Discrete(2)
        self.action: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.observation, {}

    def step(self, action: Any) -> Any:
        self.action = action
        return self.observation, 1.0, False, False, {}


# -------------------------------------------------------------------- observations


def test_symlog_maps_values_and_bounds() -> None:
    x = np.array([-np.e + 1, 0, np.e**2 - 1], np.float32)
    env = wrappers.SymlogObservation(OneStep(x, spaces.Box(-np.inf, 1e4, (3,), np.float32)))
    obs, _ = env.reset()
    np.testing.assert_allclose(obs, [-1, 0, 2], rtol=1e-6)
    assert obs.dtype == np.float32
    space = env.observation_space
    assert isinstance(space, spaces.Box)
    assert (space.low == -np.inf).all()
    np.testing.assert_allclose(space.high, np.log(1e4 + 1), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64])
def test_symlog_of_the_bounds_is_inside_the_bounds(dtype: type) -> None:
    rng = np.random.default_rng(0)
    low, high = -rng.uniform(0, 100, 500), rng.uniform(0, 100, 500)
    box = spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype)
    for corner in (box.low, box.high):
        in_numpy = wrappers.SymlogObservation(OneStep(corner, box))
        in_torch = wrappers.SymlogObservation(OneStep(th.as_tensor(corner), box))
        obs = in_torch.reset()[0]
        assert in_numpy.reset()[0] in in_numpy.observation_space
        assert obs.numpy() in in_torch.observation_space
        np.testing.assert_allclose(in_numpy.reset()[0], obs, atol=1e-6)


@pytest.mark.parametrize("include_images", [False, True])
def test_symlog_leaves_images_and_choices_alone(include_images: bool) -> None:
    image = np.full((2, 2, 3), 255, np.uint8)
    box = spaces.Box(-9, 9, (), np.float64)
    parts = (spaces.Box(0, 255, (2, 2, 3), np.uint8), spaces.Discrete(3), spaces.Dict({"x": box}))
    shown = (image, 2, {"x": np.array(np.e - 1)})
    env = wrappers.SymlogObservation(OneStep(shown, spaces.Tuple(parts)), include_images)
    obs, _ = env.reset()
    assert obs in env.observation_space
    assert obs[0].max() == (np.log(256).astype(np.float32) if include_images else 255)
    assert obs[1] == 2
    np.testing.assert_allclose(obs[2]["x"], 1)


# -------------------------------------------------------------------- rewards and discounts


@pytest.mark.parametrize("xp", [np, th])
def test_rewards_are_compressed(toy: Any, xp: Any) -> None:
    plain, log, tanh = (
        wrap(toy.ToyVectorEnv(xp=xp))
        for wrap in (lambda env: env, vector.SymlogReward, vector.TanhReward)
    )
    actions = xp.asarray(plain.action_space.sample())
    rewards = []
    for env in (plain, log, tanh):
        env.reset(seed=0)
        rewards.append(toy.as_numpy(env.step(actions)[1]))
    expected = np.sign(rewards[0]) * np.log(1 + np.abs(rewards[0]))
    np.testing.assert_allclose(rewards[1], expected, rtol=1e-5)
    np.testing.assert_allclose(rewards[2], np.tanh(rewards[0]), rtol=1e-5)


@pytest.mark.parametrize("xp", [np, th])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_discount_belongs_to_the_step(toy: Any, mode: AutoresetMode, xp: Any) -> None:
    env = vector.EpisodeDiscount(toy.ToyVectorEnv(xp=xp, mode=mode), gamma=0.9)
    _, infos = env.reset(seed=0)
    np.testing.assert_allclose(infos["discount"], 0.9)
    endings = np.zeros(2, int)
    for _ in range(30):
        _, _, terminated, truncated, infos = env.step(xp.asarray(env.action_space.sample()))
        expected = np.where(terminated, 0, 0.9)
        np.testing.assert_allclose(infos["discount"], expected, rtol=1e-6)
        endings += [int(terminated.sum()), int(truncated.sum())]
        if "final_info" in infos:
            np.testing.assert_allclose(infos["final_info"]["discount"], expected, rtol=1e-6)
        elif mode is AutoresetMode.DISABLED and (terminated | truncated).any():
            env.reset(options={"reset_mask": terminated | truncated})
    assert endings.all()


def test_a_row_that_is_not_reset_keeps_its_discount(toy: Any) -> None:
    inner = toy.ToyVectorEnv(mode=AutoresetMode.DISABLED)
    env = vector.EpisodeDiscount(inner, add_to_observation=True)
    env.reset(seed=0)
    terminated = np.zeros(3, bool)
    while not terminated.any():
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if truncated.any():
            env.reset(options={"reset_mask": truncated})
    obs, infos = env.reset(options={"reset_mask": ~terminated})
    np.testing.assert_allclose(infos["discount"], np.where(terminated, 0, 0.99), rtol=1e-6)
    np.testing.assert_allclose(obs["discount"][:, 0], infos["discount"])


# -------------------------------------------------------------------- actions


@pytest.mark.parametrize("xp", [np, th])
def test_normalized_actions_reach_the_bounds_and_no_further(xp: Any) -> None:
    rng = np.random.default_rng(0)
    low, width = rng.normal(size=500), rng.uniform(0.1, 9, 500)
    box = spaces.Box(low.astype(np.float32), (low + width).astype(np.float32))
    inner = OneStep(action_space=box)
    env = wrappers.NormalizeAction(inner)
    for value, bound in [(-1, box.low), (1, box.high), (5, box.high)]:
        env.step(xp.full((500,), value, dtype=xp.float32))
        action = np.asarray(inner.action)
        assert action in box
        np.testing.assert_allclose(action, bound, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("xp", [np, th])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bounds_at_the_end_of_the_type_do_not_overflow(dtype: Any, xp: Any) -> None:
    largest = np.finfo(dtype).max
    for low in (-largest, largest / 2):
        inner = OneStep(action_space=spaces.Box(low, largest, (1,), dtype))
        env = wrappers.NormalizeAction(inner)
        for value, expected in [(-1, low), (0, largest / 2 + low / 2), (1, largest)]:
            env.step(xp.asarray(np.array([value], dtype)))
            np.testing.assert_allclose(np.asarray(inner.action), expected, rtol=1e-3)


def test_normalizing_agrees_with_rescaling() -> None:
    box = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 5], np.float32))
    ours, theirs = OneStep(action_space=box), OneStep(action_space=box)
    action = np.array([0.3, -0.6], np.float32)
    wrappers.NormalizeAction(ours).step(action)
    RescaleAction(theirs, np.float32(-1), np.float32(1)).step(action)
    np.testing.assert_allclose(ours.action, theirs.action, atol=1e-6)


@pytest.mark.parametrize("xp", [np, th])
def test_unbounded_and_normal_actions_pass_unchanged(xp: Any) -> None:
    low = np.array([-np.inf, -1, 0], np.float32)
    inner = OneStep(action_space=spaces.Box(low, np.array([np.inf, 1, np.inf], np.float32)))
    env = wrappers.NormalizeAction(inner)
    assert env.action_space == inner.action_space
    action = xp.asarray(np.array([1e9, 0.123456789, 7], np.float32))
    env.step(action)
    assert (inner.action == action).all()


@pytest.mark.parametrize("xp", [np, th])
def test_the_greatest_element_is_the_choice(xp: Any) -> None:
    inner = OneStep(action_space=spaces.Discrete(3, start=5))
    wrappers.OneHotAction(inner).step(xp.asarray([-1.0, 0.5, 0.2]))
    assert inner.action == 6
    inner = OneStep(action_space=spaces.MultiDiscrete([2, 3], start=[0, 4]))
    wrappers.OneHotAction(inner).step(xp.asarray([0.0, 1, 0, 0, 1]))
    assert np.asarray(inner.action).tolist() == [1, 6]
    assert np.asarray(inner.action) in inner.action_space


def test_one_hot_actions_are_members_of_the_space() -> None:
    inner = OneStep(action_space=spaces.Discrete(3))
    wrappers.OneHotAction(inner).step(np.array([0, 0, 1]))
    assert inner.action in inner.action_space
    assert {2: "hashable"}[inner.action]


def test_previous_action_survives_a_reused_array() -> None:
    env = wrappers.PreviousActionReward(OneStep(action_space=spaces.Box(1, 2, (2,), np.float32)))
    assert env.reset()[0] in env.observation_space  # zero, below the lowest action
    action = np.ones(2, np.float32)
    obs, *_ = env.step(action)
    action += 1
    assert obs["previous_action"].tolist() == [1, 1]


@pytest.mark.parametrize("xp", [np, th])
def test_previous_reward_survives_a_reused_array(toy: Any, xp: Any) -> None:
    """SB3's on-policy loop adds to the rewards of rows that a time limit has ended."""
    env = vector.PreviousActionReward(toy.ToyVectorEnv(xp=xp, mode=AutoresetMode.DISABLED))
    env.reset(seed=0)
    obs, rewards, *_ = env.step(xp.asarray(env.action_space.sample()))
    before = np.asarray(rewards).copy()
    rewards *= 100
    np.testing.assert_array_equal(np.asarray(obs["previous_reward"])[:, 0], before)


def test_a_discount_of_numpy_stays_in_its_space(toy: Any) -> None:
    inner = toy.ToyVectorEnv(mode=AutoresetMode.DISABLED)
    env = vector.EpisodeDiscount(inner, np.float64(0.9), add_to_observation=True)
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[0]["discount"].dtype == np.float32


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("kind", [wrappers.SymlogReward, wrappers.TanhReward])
def test_rewards_that_are_no_floats_are_squashed_in_float32(kind: Any, dtype: str) -> None:
    largest = 1 if dtype == "bool" else 100
    values = np.array([largest, 0, -largest if "u" not in dtype and dtype != "bool" else 1], dtype)
    exact = np.sign(values * 1.0) * np.log1p(np.abs(values * 1.0))
    exact = exact if kind is wrappers.SymlogReward else np.tanh(values * 1.0)
    for batch in (values, th.as_tensor(values)):
        found = kind(OneStep()).func(batch)
        assert "float32" in str(found.dtype)
        np.testing.assert_allclose(np.asarray(found), exact, rtol=1e-6)


def test_arrays_as_they_come_become_tensors() -> None:
    for array in (
        np.arange(4.0)[::-1],
        np.arange(6).reshape(2, 3)[:, ::-1],
        np.arange(3, dtype=">i4"),
    ):
        found = to_torch(array)
        np.testing.assert_array_equal(found.numpy(), array)
    assert to_torch(np.array(2.0)).shape == ()


@pytest.mark.parametrize("wrap", [vector.PreviousActionReward, vector.EpisodeDiscount])
def test_batches_in_torch_take_numpy_too(toy: Any, wrap: Any) -> None:
    # So do dreams; an agent in numpy then needs no conversion of what it gives.
    options = dict(mode=AutoresetMode.DISABLED)
    expected = toy.rollout(wrap(toy.ToyVectorEnv(**options)))
    toy.assert_same(expected, toy.rollout(wrap(toy.ToyVectorEnv(xp=th, **options))))


# -------------------------------------------------------------------- repeats


@pytest.mark.parametrize("xp", [np, th])
def test_a_row_stops_where_its_episode_ends(toy: Any, xp: Any) -> None:
    single = toy.ToyVectorEnv(xp=xp, mode=AutoresetMode.DISABLED)
    single.reset(seed=0)
    actions = xp.asarray(single.action_space.sample())
    expected, running = np.zeros(3), np.ones(3, bool)
    for _ in range(5):
        _, reward, terminated, truncated, _ = single.step(actions)
        expected += np.where(running, reward, 0)
        running &= ~np.asarray(terminated | truncated)
    assert running.any()
    assert not running.all()
    env = vector.RepeatAction(toy.ToyVectorEnv(xp=xp, mode=AutoresetMode.DISABLED), 5)
    env.reset(seed=0)
    _, rewards, terminated, truncated, infos = env.step(actions)
    np.testing.assert_allclose(rewards, expected, rtol=1e-5)
    assert (np.asarray(terminated | truncated) == ~running).all()
    assert (np.asarray(infos["_final_obs"]) == ~running).all()


@pytest.mark.parametrize("xp", [np, th])
def test_repeats_take_simulators_that_write_into_one_array(toy: Any, xp: Any) -> None:
    class Reuses(toy.ToyVectorEnv):
        """Hands out its own memory."""

        def step(self, actions: Any) -> Any:
            obs, rewards, *flags, infos = super().step(actions)
            given = {"obs": obs, "rewards": rewards, "push": infos.get("push", rewards)}
            if not hasattr(self, "memory"):
                self.memory = {name: part + 0 for name, part in given.items()}
            for name, part in given.items():
                self.memory[name][...] = part
            infos = {**infos, "memory": self.memory["push"]}
            return self.memory["obs"], self.memory["rewards"], *flags, infos

    found = []
    for kind in (toy.ToyVectorEnv, Reuses):
        inner = kind(xp=xp, mode=AutoresetMode.DISABLED)
        env = vector.RepeatAction(inner, 5, autoreset_mode=AutoresetMode.DISABLED)
        env.reset(seed=0)
        obs, rewards, *_ = env.step(xp.asarray(inner.action_space.sample() * 0 + 1))
        found.append([np.asarray(obs).copy(), np.asarray(rewards).copy()])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_array_equal(found[0][0], found[1][0])


@pytest.mark.parametrize("xp", [np, th])
def test_repeats_ask_no_more_than_they_must(toy: Any, xp: Any) -> None:
    def calls(repeats: int, mode: AutoresetMode, rows: tuple[int, ...]) -> list[str]:
        inner = toy.ToyVectorEnv(rows, xp=xp, mode=AutoresetMode.DISABLED)
        env = vector.RepeatAction(inner, repeats, autoreset_mode=mode)
        env.reset(seed=0)
        env.step(xp.asarray(env.action_space.sample()))
        return inner.calls[1:]

    disabled, same_step = AutoresetMode.DISABLED, AutoresetMode.SAME_STEP
    assert calls(2, same_step, (0, 1)) in (["step"] * 2, ["step"] * 2 + ["reset"])
    assert "reset" not in calls(50, disabled, (0, 1, 2))
    longest = calls(50, same_step, (0, 1, 2))
    assert longest[-1] == "reset"
    assert len(longest) < 12  # no episode is longer than eight steps


# -------------------------------------------------------------------- conversions


def test_infos_survive_conversion() -> None:
    class Inner(OneStep):
        def step(self, action: Any) -> Any:
            info = {"name": "some", "list": [np.ones(2), None], "number": 3}
            return self.observation, np.float32(1), np.bool_(True), False, info

    env = wrappers.NumpyToTorch(Inner())
    obs, reward, terminated, _, info = env.step(th.tensor(1))
    assert isinstance(obs, th.Tensor)
    assert (type(reward), type(terminated)) == (float, bool)
    assert (info["name"], info["list"][1], int(info["number"])) == ("some", None, 3)
    assert isinstance(info["list"][0], th.Tensor)
    *_, back = wrappers.TorchToNumpy(env).step(1)
    assert isinstance(back["list"][0], np.ndarray)


def test_numpy_copies_are_not_the_environments_tensors() -> None:
    inner = OneStep(th.zeros(2))
    obs, _ = wrappers.TorchToNumpy(inner).reset()
    obs += 1
    assert inner.observation.sum() == 0


def test_single_numbers_are_valid_keys() -> None:
    env = wrappers.NumpyToTorch(gym.make("FrozenLake-v1"))  # looks actions up in a dict
    obs, _ = env.reset(seed=0)
    assert obs.dtype == th.int64
    env.step(th.tensor(1))


# -------------------------------------------------------------------- bad input


DICT = spaces.Dict({"discount": spaces.Box(0, 1), "previous_reward": spaces.Box(0, 1)})
BAD_SINGLE: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: wrappers.SymlogObservation(OneStep(observation_space=spaces.Discrete(2))),
        ValueError,
        "nothing to compress in Discrete",
    ),
    (
        lambda: wrappers.SymlogObservation(
            OneStep(observation_space=spaces.Box(0, 255, (2, 2), np.uint8))
        ),
        ValueError,
        "include_images=True",
    ),
    (lambda: wrappers.NormalizeAction(OneStep()), TypeError, "given Discrete.*OneHotAction"),
    (
        lambda: wrappers.NormalizeAction(
            OneStep(action_space=spaces.Box(0, 9, (2,), dtype=np.int64))
        ),
        TypeError,
        "Box of floats",
    ),
    (
        lambda: wrappers.NormalizeAction(OneStep(action_space=spaces.Box(0, 1, (2,)))).step([1]),
        ValueError,
        r"shape \(1,\), expected \(2,\)",
    ),
    (
        lambda: wrappers.OneHotAction(OneStep(action_space=spaces.Box(0, 1))),
        TypeError,
        "given Box.*NormalizeAction",
    ),
    (lambda: wrappers.OneHotAction(OneStep()).step(1), ValueError, r"shape \(\), expected \(2,\)"),
    (
        lambda: wrappers.OneHotAction(OneStep()).step(th.ones(3)),
        ValueError,
        r"shape \(3,\), expected \(2,\)",
    ),
    (lambda: wrappers.OneHotAction(OneStep()).step([0, np.nan]), ValueError, "NaN"),
    (lambda: wrappers.EpisodeDiscount(OneStep(), 1.5), ValueError, "gamma=1.5 is no discount"),
    (lambda: wrappers.EpisodeDiscount(OneStep(), float("nan")), ValueError, "is no discount"),
    (
        lambda: wrappers.EpisodeDiscount(OneStep(observation_space=DICT), 0.9, True),
        ValueError,
        "key 'discount' already",
    ),
    (
        lambda: wrappers.PreviousActionReward(OneStep(observation_space=DICT)),
        ValueError,
        "key 'previous_reward' already",
    ),
    (
        lambda: wrappers.PreviousActionReward(OneStep(action_space=DICT)),
        TypeError,
        "given Dict.*Flatten",
    ),
    (lambda: wrappers.RepeatAction(OneStep(), 0), ValueError, "equal or greater than one"),
]


@pytest.mark.parametrize("number", range(len(BAD_SINGLE)))
def test_bad_input_is_named(number: int) -> None:
    act, error, message = BAD_SINGLE[number]
    with pytest.raises(error, match=f"(?s){message}"):
        act()


def test_bad_input_of_batches_is_named(toy: Any) -> None:
    disabled = toy.ToyVectorEnv(mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match=r"SAME_STEP.*wrap every single environment"):
        vector.RepeatAction(toy.ToyVectorEnv(), 2)
    with pytest.raises(ValueError, match="SyncVectorEnv and AsyncVectorEnv may not"):
        vector.RepeatAction(toy.sync([toy.ToyEnv], AutoresetMode.DISABLED), 2)
    with pytest.raises(ValueError, match=r"Expected AutoresetMode\.SAME_STEP or"):
        vector.RepeatAction(disabled, 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="at least 1"):
        vector.RepeatAction(disabled, 0)
    for repeats in (2.0, True):
        with pytest.raises(TypeError, match="is no integer"):
            vector.RepeatAction(disabled, repeats)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(2,\), expected \(3, 2\)"):
        vector.NormalizeAction(disabled).step(np.zeros(2))
    with pytest.raises(TypeError, match="given Box"):
        vector.OneHotAction(disabled)
    with pytest.raises(TypeError, match="VectorEnv"):
        vector.PreviousActionReward(toy.ToyEnv())
    disabled.metadata = {"autoreset_mode": "Disabled"}
    with pytest.raises(ValueError, match="expected a member of gymnasium"):
        vector.EpisodeDiscount(disabled)


class Pair(NamedTuple):
    """Of two arrays."""

    one: Any
    other: Any


def test_copies_of_trees_share_no_array() -> None:
    held = np.empty(2, object)
    held[0] = np.zeros(1)
    tree: dict[str, Any] = {"pair": Pair(np.zeros(1), [np.zeros(1), "word"]), "some": held}
    copied = copy_tree(tree)
    for array in (copied["pair"].one, copied["pair"].other[0], copied["some"][0]):
        array += 1
    assert isinstance(copied["pair"], Pair)
    assert copied["pair"].other[1] == "word"
    assert copied["some"][1] is None
    assert [tree["pair"].one[0], tree["pair"].other[0][0], held[0][0]] == [0, 0, 0]

"""What is given to environments counts, and what they share stays shared."""

import collections
import gc
import itertools
import random
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import TransformReward
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from dreamzoo.common.environments import state as state_module
from dreamzoo.common.environments.look import Look, stacks_of
from dreamzoo.common.environments.settings import EnvSettings
from dreamzoo.common.environments.state import load_env_state, save_env_state
from dreamzoo.envs import make_dmc

Make = Callable[[], VecEnv]
State = dict[str, Any]


def _step(env: VecEnv, steps: int) -> list[np.ndarray]:
    rng, out = np.random.default_rng(0), []
    shape = env.action_space.shape or ()
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (env.num_envs, *shape)).astype(np.float32)
        if isinstance(env.action_space, spaces.Discrete):
            actions = (rng.random(env.num_envs) > 0.5).astype(int)
        obs, reward, done, _ = env.step(actions)
        out.append(np.concatenate([np.asarray(obs).ravel(), reward, done]))
    return out


def _train(env: VecEnv, steps: int = 13) -> tuple[EnvSettings, State]:
    """Do to environments what an agent does, and save them."""
    settings = EnvSettings().of(env)
    settings.begin()
    env.reset()
    for _ in range(steps):
        _step(env, 1)
        settings.look_once()
    state = save_env_state(env, settings)
    assert state is not None
    return settings, state


class _Config:
    def __init__(self, speed: float = 1.0) -> None:
        self.speed, self.walls = speed, {"north": 1, "south": [2, 3]}


class _Task(gym.Env):
    """Has settings in all forms, and state that looks like settings."""

    wind = 0.5

    def __init__(self, limit: int | None = None, names: tuple[str, ...] = ("a", "b")) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,))
        self.action_space = spaces.Discrete(2)
        self.limit, self.names, self.table = limit, names, np.arange(12.0)
        self.config = _Config()
        self.kinds = {"red", "green"}
        self.grid = [[0] * 20 for _ in range(20)]
        self.start = random.random()  # where the first episode would begin
        self.score: int | None = None
        self.done, self.t = False, 0
        self.history: list[float] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.start = self.np_random.random()
        self.done, self.score, self.t = False, 0, 0
        self.level = 3
        return self._see(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        self.history.append(self.start)
        self.done = self.t == 5
        return self._see(), self.config.speed, self.done, False, {}

    def _see(self) -> np.ndarray:
        return np.array([self.start, self.t], np.float32)


def _tasks(change: Callable[[_Task], Any] = lambda task: None, n_envs: int = 2) -> VecEnv:
    def make() -> gym.Env:
        task = _Task()
        change(task)
        return task

    return make_vec_env(make, n_envs=n_envs, seed=1)


def _cartpole(**attributes: Any) -> VecEnv:
    env = make_vec_env("CartPole-v1", n_envs=2, seed=1)
    for name, value in attributes.items():
        env.envs[0].unwrapped.__setattr__(name, value)  # type: ignore[attr-defined]
    return env


def _suite(time_limit: float = 1.0, gravity: float = -9.81) -> VecEnv:
    make = partial(make_dmc, "reacher", "easy", flatten=True)
    env = make_vec_env(make, n_envs=1, seed=1)
    task: Any = env.envs[0].unwrapped  # type: ignore[attr-defined]
    task._env._step_limit = time_limit * 50
    task._env.physics.model.opt.gravity[2] = gravity
    return env


def _rewarded(factor: float, other: bool = False) -> VecEnv:
    def make() -> gym.Env:
        env = gym.make("CartPole-v1")
        if other:
            return TransformReward(env, lambda r: float(r) - factor)
        return TransformReward(env, lambda r: float(r) * factor)

    return make_vec_env(make)


def _limited(steps: int) -> VecEnv:
    return make_vec_env("CartPole-v1", env_kwargs={"max_episode_steps": steps})


def _normalized(**settings: Any) -> VecEnv:
    return VecNormalize(_cartpole(), **settings)


CHANGED: dict[str, tuple[Make, Make, str]] = {
    "attribute": (
        _cartpole,
        lambda: _cartpole(gravity=20.0),
        r"CartPoleEnv.gravity was 9.8 and is now 20.0\. What is given counts",
    ),
    "time limit": (
        lambda: _limited(50),
        lambda: _limited(500),
        "saved ones: TimeLimit._max_episode_steps was 50 and is now 500. What",
    ),
    "constructor": (
        lambda: make_vec_env("CartPole-v1"),
        lambda: make_vec_env("CartPole-v1", env_kwargs={"sutton_barto_reward": True}),
        "CartPoleEnv._sutton_barto_reward was False and is now True",
    ),
    "new": (
        _tasks,
        lambda: _tasks(lambda t: setattr(t, "limit", 5)),
        "limit was None and is now 5",
    ),
    "class": (
        _tasks,
        lambda: _tasks(lambda t: setattr(t, "wind", 0.7)),
        "_Task.wind was 0.5 and is now 0.7",
    ),
    "object": (
        _tasks,
        lambda: _tasks(lambda t: setattr(t.config, "speed", 2.0)),
        "_Task.config.speed was 1.0 and is now 2.0",
    ),
    "dictionary": (
        _tasks,
        lambda: _tasks(lambda t: t.config.walls.update(north=4)),
        r"_Task.config.walls\['north'\] was 1 and is now 4",
    ),
    "key": (
        _tasks,
        lambda: _tasks(lambda t: t.config.walls.update(east=4)),
        "\"dict of 'north', 'south'\" and is now \"dict of 'east', 'north', 'south'",
    ),
    "list": (
        _tasks,
        lambda: _tasks(lambda t: t.config.walls["south"].append(1)),  # type: ignore[attr-defined]
        r"walls\['south'\] was 'list of 2' and is now 'list of 3'",
    ),
    "tuple": (
        _tasks,
        lambda: _tasks(lambda t: setattr(t, "names", ("a", "c"))),
        r"names\[1\] was 'b' and is now 'c'",
    ),
    "set": (_tasks, lambda: _tasks(lambda t: t.kinds.add("blue")), "'set of 2 .*'set of 3"),
    "array": (
        _tasks,
        lambda: _tasks(lambda t: setattr(t, "table", np.arange(12.0) + 1e-9)),
        r"table was 'float64 of shape \(12,\) \(\w+\)' and is now",
    ),
    "long list": (
        _tasks,
        lambda: _tasks(lambda t: t.grid[7].__setitem__(3, 1)),
        r"_Task.grid\[7\]\[3\] was 0 and is now 1",
    ),
    "function": (
        lambda: _rewarded(1.0),
        lambda: _rewarded(1.0, other=True),
        "TransformReward.func was",
    ),
    "closure": (lambda: _rewarded(1.0), lambda: _rewarded(5.0), "was 1.0 and is now 5.0"),
    "VecNormalize": (
        _normalized,
        lambda: _normalized(clip_obs=5.0),
        "VecNormalize.clip_obs was 10.0 and is now 5.0",
    ),
    "suite's limit": (_suite, lambda: _suite(2.0), "_step_limit was 50.0 and is now 100.0"),
    "suite's model": (
        _suite,
        lambda: _suite(gravity=-3.0),
        r"model.opt.gravity was 'float64 \[0.0, 0.0, -9.81\]' and is now .*-3.0",
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_other_settings_are_named_and_kept(case: str) -> None:
    make, make_other, message = CHANGED[case]
    env, other = make(), make_other()
    state = _train(env)[1]
    before = Look(stacks_of(other)).values
    with pytest.raises(ValueError, match=message) as raised:
        load_env_state(other, state)
    assert str(raised.value).count(" was ") <= 2
    assert Look(stacks_of(other)).values == before
    load_env_state(make(), state)


def _check_exact(env: VecEnv, other: VecEnv, steps: int = 13) -> None:
    state = _train(env, steps)[1]
    load_env_state(other, state)
    np.testing.assert_array_equal(_step(env, 30), _step(other, 30))


def _use(env: VecEnv, steps: int) -> VecEnv:
    env.reset()
    _step(env, steps)
    return env


@pytest.mark.parametrize("steps", [13, 10], ids=["within an episode", "at its beginning"])
@pytest.mark.parametrize("make", [_tasks, _normalized])
def test_what_changes_by_itself_is_no_setting(make: Make, steps: int) -> None:
    """None: not used before; otherwise reset, and so many steps gone."""
    for saved, given in itertools.product([None, 0, 5, 7], repeat=2):
        env, other = (_use(make(), n) if n is not None else make() for n in (saved, given))
        _check_exact(env, other, steps)


def test_a_checked_environment_is_as_one_that_was_not() -> None:
    def make(check: bool) -> VecEnv:
        def single() -> gym.Env:
            env = gym.make("CartPole-v1")
            if check:
                check_env(env)
            return env

        return make_vec_env(single)

    for checked in (True, False):
        _check_exact(make(checked), make(not checked))


@pytest.mark.parametrize("make", [_cartpole, _suite])
def test_another_seed_is_no_setting(make: Make) -> None:
    """The saved random streams go on."""
    env, other = make(), make()
    env.seed(1)
    other.seed(2)
    for single in other.envs:  # type: ignore[attr-defined]
        single.action_space.seed(3)
    _check_exact(env, other)


def test_what_a_space_remembers_of_being_printed_is_no_setting() -> None:
    env, other = _cartpole(), _cartpole()
    repr(env.observation_space), repr(other.action_space)
    other.observation_space.low_repr = None  # type: ignore[attr-defined]
    _check_exact(env, other)


def test_whether_spaces_are_one_object_is_no_setting() -> None:
    """A VecNormalize has its space from what it wraps, and one of its own if it was loaded."""
    env = VecNormalize(DummyVecEnv([_Task]))
    _, state = _train(env)
    loaded = VecNormalize(DummyVecEnv([_Task]))
    loaded.observation_space = deepcopy(env.observation_space)
    load_env_state(loaded, state)
    loaded.observation_space = spaces.Box(-5.0, np.inf, (2,))
    with pytest.raises(ValueError, match=r"VecNormalize.observation_space was 'Box\(-inf"):
        load_env_state(loaded, state)


def test_equal_numbers_of_other_types_are_equal() -> None:
    load_env_state(_cartpole(gravity=np.float64(10)), _train(_cartpole(gravity=10))[1])


def test_what_is_changed_between_two_calls_is_given() -> None:
    """It was no setting's doing: the last value counts."""
    env = _cartpole()
    settings = _train(env)[0]
    env.envs[0].unwrapped.gravity = 5.0  # type: ignore[attr-defined]
    settings.begin()
    _step(env, 3)
    state = save_env_state(env, settings)
    assert state is not None
    load_env_state(_cartpole(gravity=5.0), state)
    with pytest.raises(ValueError, match=r"gravity was 5.0 and is now 9.8"):
        load_env_state(_cartpole(), state)


def test_settings_are_known_after_going_on() -> None:
    """The flag that an episode had set at the moment of saving is still no setting."""
    state = _train(_tasks(), 13)[1]
    env = _tasks()
    settings = load_env_state(env, state).take(env)
    settings.begin()
    _step(env, 10)
    again = save_env_state(env, settings)
    assert again is not None
    assert "envs[0]._Task.config.speed" in settings.values
    assert not [
        place for place in settings.values if place.endswith(("Task.start", ".t", ".level"))
    ]
    other = _tasks()
    load_env_state(other, again)
    np.testing.assert_array_equal(_step(env, 20), _step(other, 20))


def test_a_state_of_before_settings_were_saved_is_loaded() -> None:
    """It has every environment by itself."""
    env, other = _tasks(), _tasks(lambda task: setattr(task, "limit", 4))
    _train(env)
    stacks = stacks_of(env)
    everyone = [layer for stack in stacks for layer in stack]
    blobs = []
    for stack in stacks:
        file = state_module._Compressed()
        pickler = state_module._Pickler(file, everyone, {})
        pickler.dump([state_module._state(layer) for layer in stack])
        blobs.append(file.getvalue())
    load_env_state(other, {"structure": state_module._structure(stacks), "states": blobs})
    np.testing.assert_array_equal(_step(env, 30), _step(other, 30))


class _Broken(list[int]):
    """Raises where it is looked at."""

    def __len__(self) -> int:
        raise RuntimeError("not ready")

    __iter__ = __getitem__ = __reduce_ex__ = __len__  # type: ignore[assignment]


def test_what_cannot_be_looked_at_does_not_stop_training() -> None:
    env = _tasks(lambda task: setattr(task, "broken", _Broken()))
    settings = EnvSettings().of(env)
    settings.begin()
    env.reset()
    _step(env, 2)
    settings.look_once()
    assert settings.values["envs[1]._Task.config.speed"] == 1.0
    assert save_env_state(env, settings) is None


@pytest.mark.parametrize("name", ["seed", "_seed", "seed_", "env_seed", "seeds"])
def test_a_seed_by_any_name_is_no_setting(name: str) -> None:
    make = [lambda seed=seed: _tasks(lambda task: setattr(task, name, seed)) for seed in (1, 2)]
    _check_exact(make[0](), make[1]())


# ---------------------------------------------------------------------------- sharing


class _Level:
    def __init__(self) -> None:
        self.value, self.parts = 0, [np.zeros(3), np.ones(3)]


class _Sharing(gym.Env):
    """Observes what it shares."""

    def __init__(self, **shared: Any) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,))
        self.action_space = spaces.Discrete(2)
        self.level, self.table, self.rng = _Level(), np.zeros(3), np.random.default_rng(0)
        vars(self).update(shared)
        self.own: dict[str, Any] = {"first": self.level.parts[0]}
        self.t = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self._see(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self._see(), 0.0, self.t == 7, False, {}

    def _see(self) -> np.ndarray:
        return np.array([self.level.value, self.table[0], self.rng.random()], np.float32)


def _sharing(n_envs: int, **shared: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda: _Sharing(**shared) for _ in range(n_envs)])


def _singles(env: VecEnv) -> list[Any]:
    return [single.unwrapped for single in env.envs]  # type: ignore[attr-defined]


@pytest.mark.parametrize("n_envs", [1, 3])
def test_what_a_program_holds_too_stays_its_own(n_envs: int) -> None:
    """And what lies behind it; a program that gives it as it was goes on exactly."""
    level, other_level = _Level(), _Level()
    env, other = _sharing(n_envs, level=level), _sharing(n_envs, level=other_level)
    settings = EnvSettings().of(env)
    settings.begin()
    env.reset()
    level.value = 4
    _step(env, 3)
    state = save_env_state(env, settings)
    assert state is not None
    with pytest.raises(ValueError, match=r"level.value was 4 and is now 0\. It stays as"):
        load_env_state(other, state)
    assert other_level.value == 0
    other_level.value = 4
    load_env_state(other, state)
    for single in _singles(other):
        assert single.level is other_level
        assert single.own["first"] is other_level.parts[0]
    np.testing.assert_array_equal(_step(env, 20), _step(other, 20))


def test_what_only_environments_share_is_restored_and_shared() -> None:
    def make() -> DummyVecEnv:
        return _sharing(3, level=_Level(), rng=np.random.default_rng(5), table=np.zeros(3))

    env, other = make(), make()
    settings = EnvSettings().of(env)
    settings.begin()
    env.reset()
    _singles(env)[0].level.value = 4
    _singles(env)[1].table[0] = 5
    _step(env, 3)
    state = save_env_state(env, settings)
    assert state is not None
    load_env_state(other, state)
    assert len({id(single.level) for single in _singles(other)}) == 1
    assert len({id(single.rng) for single in _singles(other)}) == 1
    assert len({id(single.table) for single in _singles(other)}) == 1
    np.testing.assert_array_equal(_step(env, 20), _step(other, 20))


def test_what_was_shared_and_no_longer_is_is_said() -> None:
    level = _Level()
    state = _train(_sharing(2, level=level))[1]
    with pytest.raises(ValueError, match=r"was 'the object at envs\[0\]._Sharing.level' and"):
        load_env_state(_sharing(2), state)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize(
    "make",
    [np.random.default_rng, random.Random, np.random.RandomState],
    ids=["generator", "python", "legacy"],
)
def test_a_random_stream_that_the_program_has_too_goes_on(
    n_envs: int, make: Callable[[int], Any]
) -> None:
    rng, other_rng = make(0), make(0)
    env, other = _sharing(n_envs, rng=rng), _sharing(n_envs, rng=other_rng)
    load_env_state(other, _train(env)[1])
    assert {id(single.rng) for single in _singles(other)} == {id(other_rng)}
    assert rng.random() == other_rng.random()
    np.testing.assert_array_equal(_step(env, 20), _step(other, 20))


@pytest.mark.parametrize("held", [True, False], ids=["held", "not held"])
@pytest.mark.parametrize("as_tensor", [True, False], ids=["tensor", "array"])
def test_a_table_is_not_stored(held: bool, as_tensor: bool) -> None:
    numbers = np.random.default_rng(0).random(10**6)

    def table() -> Any:
        return th.tensor(numbers) if as_tensor else numbers.copy()

    shared = [table(), table()] if held else []

    def make(i: int) -> DummyVecEnv:
        return _sharing(2, table=shared[i]) if held else _sharing(2, table=table())

    env, other = make(0), make(1)
    given = _singles(other)[0].table
    state = _train(env)[1]
    assert len(state["state"]) + len(state["known"]) < 20_000
    load_env_state(other, state)
    assert all(single.table is given for single in _singles(other))
    np.testing.assert_array_equal(_step(env, 20), _step(other, 20))


def test_a_table_that_changes_is_stored() -> None:
    def make() -> DummyVecEnv:
        return _sharing(2, table=np.zeros(2 * 10**5))

    env, other = make(), make()
    settings = EnvSettings().of(env)
    settings.begin()
    env.reset()
    _singles(env)[0].table[0] = 8
    state = save_env_state(env, settings)
    assert state is not None
    load_env_state(other, state)
    assert [single.table[0] for single in _singles(other)] == [8, 8]


def test_what_is_made_in_a_reset_is_stored_though_the_program_has_it() -> None:
    """The given environments have not got it yet."""
    env, other = _sharing(2), _sharing(2)
    settings = EnvSettings().of(env)
    settings.begin()
    env.reset()
    seen = _singles(env)[0].found = {"a": 1}
    _step(env, 2)
    seen["a"] = 2
    state = save_env_state(env, settings)
    assert state is not None
    load_env_state(other, state)
    assert _singles(other)[0].found == {"a": 2}


def test_an_object_that_is_missing_is_named() -> None:
    level, other = _Level(), _sharing(2)
    state = _train(_sharing(2, level=level))[1]
    for single in _singles(other):
        del single.level, single.own
    with pytest.raises(ValueError, match=r"hold nothing at envs\[0\]._Sharing.level, .* give it"):
        load_env_state(other, state)


def test_own_references_are_not_the_programs() -> None:
    """Cycles, closures, views, partial functions and containers of an environment are its own."""

    def tie(env: _Sharing) -> None:
        level = env.level
        env.view = env.table[1:]  # type: ignore[attr-defined]
        env.ask = lambda: level.value  # type: ignore[attr-defined]
        env.part = partial(max, level)  # type: ignore[attr-defined]
        env.again = collections.deque([level, (level, {"x": level})])  # type: ignore[attr-defined]
        env.boxed = np.array([level, None], dtype=object)  # type: ignore[attr-defined]
        level.owner, level.method = env, env.reset  # type: ignore[attr-defined]
        level.itself = level  # type: ignore[attr-defined]

    envs = [_sharing(2), _sharing(2)]
    for env in envs:
        for single in _singles(env):
            tie(single)
    gc.collect()
    env, other = envs
    settings = EnvSettings().of(env)
    settings.begin()
    env.reset()
    for i, single in enumerate(_singles(env)):
        single.level.value, single.table[1] = 5 + i, 8 + i
    state = save_env_state(env, settings)
    assert state is not None
    load_env_state(other, state)
    for i, single in enumerate(_singles(other)):
        assert single.level.value == single.ask() == single.again[0].value == 5 + i
        assert single.level.itself is single.boxed[0] is single.part.args[0] is single.level
        assert single.level.owner is single
        assert single.table[1] == 8 + i


def test_too_much_is_not_stored_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "LARGEST", 10**6)
    env = _sharing(1)
    env.reset()
    _singles(env)[0].memory = np.random.default_rng(0).random(10**6)
    with pytest.warns(UserWarning, match="takes 8 MB .* more than the 1 MB .*env_state=False"):
        assert save_env_state(env) is None

"""Whoever steps an environment is noticed, and the environment stays as it was."""

import copy
import gc
import inspect
import pickle
import weakref
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, VecNormalize

from dreamzoo.common.environments import watch as watch_module
from dreamzoo.common.environments.watch import EnvWatch
from dreamzoo.envs import VectorEnvToVecEnv


class Counter(gym.Env):
    """Counts, and begins a step with a reset where told so."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.age = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin."""
        self.age = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.age == 5:
            self.reset()
        self.age += 1
        return np.full(1, self.age, np.float32), 1.0, self.age == 3, False, {}


def _watched() -> tuple[VecEnv, EnvWatch]:
    env = VecNormalize(VecMonitor(DummyVecEnv([lambda: Monitor(Counter())] * 2)))
    watch = EnvWatch()
    env.reset()
    watch.follow(env)
    return env, watch


ACTIONS = np.zeros(2, int)


def test_own_calls_are_counted() -> None:
    env, watch = _watched()
    assert not watch.moved()
    for i in range(1, 9):  # episodes end on the way
        env.step(ACTIONS)
        assert watch.moved(i - 1)
        assert not watch.moved(i)
    env.reset()
    assert not watch.moved(9)
    watch.note()
    assert not watch.moved()


FOREIGN: dict[str, Any] = {
    "outermost": lambda env: env.step(ACTIONS),
    "between": lambda env: env.venv.step(ACTIONS),
    "innermost": lambda env: env.unwrapped.reset(),
    "single": lambda env: env.unwrapped.envs[1].step(0),
    "unwrapped": lambda env: env.unwrapped.envs[1].unwrapped.reset(),
    "method": lambda env: env.env_method("step", 0, indices=1),
    "elsewhere": lambda env: DummyVecEnv([lambda: env.unwrapped.envs[0].unwrapped]).reset(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_strangers_are_noticed(name: str) -> None:
    env, watch = _watched()
    env.step(ACTIONS)
    FOREIGN[name](env)
    assert watch.moved(1)


def test_looking_moves_nothing() -> None:
    env, watch = _watched()
    env.get_attr("age")
    env.env_method("get_wrapper_attr", "age")
    env.env_method(method_name="has_wrapper_attr", name="age")
    copied = copy.deepcopy(env.unwrapped.envs[0])  # type: ignore[attr-defined]
    copied.step(0)
    DummyVecEnv([lambda: Counter()]).reset()
    assert not watch.moved()


def test_rows_of_a_vector_environment() -> None:
    inner = SyncVectorEnv([Counter] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    env, watch = VectorEnvToVecEnv(inner), EnvWatch()
    watch.follow(env)
    env.reset()
    env.step(ACTIONS)
    assert not watch.moved(2)
    inner.reset()
    assert watch.moved(2)


def test_two_agents_see_each_other() -> None:
    env, one = _watched()
    two = EnvWatch()
    two.follow(env.unwrapped)  # without the wrappers
    env.step(ACTIONS)
    assert not one.moved(1)
    assert two.moved()
    two.note()
    one.note()
    env.unwrapped.step(ACTIONS)
    assert not two.moved(1)
    assert one.moved()


@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle", "cloudpickle", "by hand"])
def test_copies_are_environments_of_their_own(how: str) -> None:
    env, watch = _watched()
    single: Any = env.unwrapped.envs[0].unwrapped  # type: ignore[attr-defined]
    assert vars(single) == {"age": 0}

    def by_hand(original: Any) -> Any:
        new: Any = object.__new__(original.__class__)
        vars(new).update(copy.deepcopy(vars(original)))
        return new

    ways: dict[str, Any] = {
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda x: pickle.loads(pickle.dumps(x)),
        "cloudpickle": lambda x: cloudpickle.loads(cloudpickle.dumps(x)),
        "by hand": by_hand,
    }
    other = ways[how](single)
    other.step(0)
    assert (single.age, other.age) == (0, 1)
    assert not watch.moved()


def test_classes_travel_as_they_were() -> None:
    """Cloudpickle sends classes of a program's main file as a whole."""

    class Local(Counter):
        def step(self, action: Any) -> Any:
            return super().step(action)

    watch = EnvWatch()
    watch.follow(DummyVecEnv([Local]))
    assert isinstance(vars(Local)["step"], watch_module._Counted)
    sent = cloudpickle.loads(cloudpickle.dumps(Local))
    assert inspect.isfunction(vars(sent)["step"])
    assert sent().step(0)[0] == 1


def test_methods_look_as_they_did() -> None:
    _watched()
    single = Counter()
    assert list(inspect.signature(single.reset).parameters) == ["seed", "options"]
    assert single.reset.__doc__ == "Begin."
    assert inspect.isfunction(Counter.reset)
    assert pickle.loads(pickle.dumps(single.step))(0)[0] == 1


def test_environments_are_let_go() -> None:
    gc.collect()  # those of other tests
    env, watch = _watched()
    number, gone = len(watch_module._WATCHED), weakref.ref(env.unwrapped)
    del env
    gc.collect()
    assert gone() is None
    assert len(watch_module._WATCHED) == number - 4
    assert not watch.moved()


def test_what_cannot_be_watched_is_left_alone() -> None:
    class Frozen(type):
        def __setattr__(cls, name: str, value: Any) -> None:
            if name in watch_module.MOVING:
                raise AttributeError("frozen")
            super().__setattr__(name, value)

    class Odd(Counter, metaclass=Frozen):
        pass

    env, watch = DummyVecEnv([Odd]), EnvWatch()
    watch.follow(env)
    env.reset()
    assert not watch.moved(1)

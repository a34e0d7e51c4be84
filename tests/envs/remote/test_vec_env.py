"""RemoteVecEnv is a VecEnv as SB3's are, whatever happens to its workers; without processes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import Mock

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')

from dreamzoo.envs import RemoteVecEnv
from tests.envs.remote.fake_ray import Death, FakeRay, stand_in
from tests.envs.remote.small_env import SmallEnv


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    return stand_in(monkeypatch.setattr)


def _die() -> Any:
    raise Death


def _run_out_of_memory() -> Any:
    low = "The node is low on memory.\nOOM kill reason: ..."
    raise Death(FakeRay.exceptions.OutOfMemoryError(low))


def _env(*args: Any, **kwargs: Any) -> Any:
    return RemoteVecEnv(*args, **kwargs)


def _make(kind: str = "box") -> SmallEnv:
    return SmallEnv(kind, _die)


def _assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _assert_equal(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.mark.parametrize("kind", ["box", "dict", "tuple", "image"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_numbers_are_those_of_dummy_vec_env(kind: str, size: int) -> None:
    remote = _env(partial(_make, kind), n=3, envs_per_worker=size)
    dummy = DummyVecEnv([partial(_make, kind)] * 3)
    for env in (remote, dummy):
        env.seed(7)
        env.set_options([{"number": i} for i in range(3)])
    _assert_equal(remote.reset(), dummy.reset())
    rng = np.random.default_rng(0)
    for _ in range(12):
        actions = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
        _assert_equal(remote.step(actions), dummy.step(actions))
        _assert_equal(remote.reset_infos, dummy.reset_infos)
    _assert_equal(remote.get_images(), list(dummy.get_images()))
    # Seeds and options are of one reset.
    _assert_equal(remote.reset(), dummy.reset())
    assert (remote.observation_space, remote.action_space) == (
        dummy.observation_space,
        dummy.action_space,
    )


def test_attributes_and_methods_are_those_of_the_rows_asked_for() -> None:
    env = _env(lambda: TimeLimit(SmallEnv(), 9), n=5, envs_per_worker=2)
    assert not env.has_attr("mark")
    env.set_attr("mark", "x", indices=[4, 0])
    env.set_attr("mark", "y", indices=[1, 2, -2])
    assert env.get_attr("mark") == ["x", "y", "y", "y", "x"]
    assert env.get_attr("mark", [4, 1, 4]) == ["x", "y", "x"]
    assert env.env_method("double", 4, plus=1, indices=2) == [9]
    assert env.env_is_wrapped(TimeLimit, [0, 3]) == [True, True]
    assert env.env_is_wrapped(Monitor) == [False] * 5
    with pytest.raises(KeyError, match="nothing there"):
        env.env_method("refuse")


def test_workers_are_as_many_as_asked_for_and_else_as_the_cpus(fake: FakeRay) -> None:
    _env(_make, n=5)  # there are two CPUs
    fake.free = 1
    _env(_make, n=5)
    fake.free = 2
    _env([_make] * 5, envs_per_worker=1)
    _env(_make, worker_options={"num_cpus": 3, "resources": {"simulator": 1}})
    shared = {"scheduling_strategy": "SPREAD", "max_restarts": 0}
    assert [actor.options for actor in fake.actors] == [
        *[{**shared, "num_cpus": 1}] * 2,
        *[{**shared, "num_cpus": 0}] * 2,
        *[{**shared, "num_cpus": 0}] * 5,
        {**shared, "num_cpus": 3, "resources": {"simulator": 1}},
    ]


class Halving(gym.Wrapper):
    """
    Changes all that it is given.

    :param env: environment
    :param start: array
    """

    def __init__(self, env: gym.Env, start: np.ndarray) -> None:
        super().__init__(env)
        self.start = start
        self.start *= 0.5

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        (options or {"start": self.start})["start"] *= 0.5
        return self.env.reset(seed=seed)[0], {"start": self.start}

    def step(self, action: np.ndarray) -> Any:
        action *= 0.5
        self.start *= 0.5
        *found, info = self.env.step(action)
        return *found, info | {"start": self.start}

    def halve(self, array: np.ndarray) -> np.ndarray:
        array *= 0.5
        return array


class Pairs(gym.Env):
    """Takes pairs, and says of what they were."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Tuple([spaces.Discrete(3), spaces.Box(-1, 1, (2,))])

    def reset(self, **kwargs: Any) -> Any:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        info = {"types": [type(action), *(np.shape(part) for part in action)]}
        return np.zeros(2, np.float32), 0.0, False, False, info


def test_actions_of_several_parts_arrive_as_they_are() -> None:
    env = _env(Pairs, n=2, envs_per_worker=2)
    env.reset()
    infos = env.step([(1, np.ones(2, np.float32)), (2, np.ones(2, np.float32))])[3]
    assert [info["types"] for info in infos] == [[tuple, (), (2,)]] * 2


def test_whatever_is_sent_belongs_to_who_gets_it() -> None:
    given = np.full(2, 8.0)
    env = _env(lambda: Halving(_make(), given), n=2, envs_per_worker=2)
    env.set_options([{"start": given}] * 2)
    env.reset()
    rewards, _, infos = env.step(np.full((2, 2), 8.0, np.float32))[1:]
    assert rewards.tolist() == [8, 8]
    env.set_attr("start", given)
    answers = [*env.env_method("halve", given), *env.env_method("halve", array=given)]
    assert [answer.tolist() for answer in answers] == [[4, 4]] * 4
    env.step(np.ones((2, 2), np.float32))
    kept = env.get_attr("start")
    assert [start.tolist() for start in kept] == [[4, 4]] * 2
    for _ in range(3):
        last = env.step(np.ones((2, 2), np.float32))[3]
    ends = [last[0]["terminal_observation"], infos[0]["start"], env.reset_infos[0]["start"]]
    for array in (*answers, *kept, *ends):
        array *= 0.5
    assert given.tolist() == [8, 8]


def test_one_message_a_worker_carries_a_step(fake: FakeRay) -> None:
    env = _env(_make, n=5, envs_per_worker=2)
    env.reset()
    before = [len(actor.calls) for actor in fake.actors]
    env.step(np.zeros((5, 2), np.float32))
    assert [len(actor.calls) - n for actor, n in zip(fake.actors, before, strict=True)] == [1] * 3


@pytest.mark.filterwarnings("ignore:worker")
def test_a_worker_that_is_started_again_gets_a_cpu_if_one_is_free_then(
    monkeypatch: pytest.MonkeyPatch, fake: FakeRay
) -> None:
    env, other = _env(_make, n=2), _env(_make, worker_options={"num_cpus": 2})

    def lose(env: Any) -> float:
        env._fleet.members[0].actor.is_alive = False
        env.step(np.ones((env.num_envs, 2), np.float32))
        return fake.actors[-1].options["num_cpus"]

    env.reset()
    other.reset()
    fake.free = 0
    assert lose(env) == 0
    fake.free = 1
    assert lose(env) == 1
    fake.free = 0
    assert lose(other) == 2
    # Ray knows of what a dead worker leaves a moment later.
    monkeypatch.setattr(fake, "sleep", lambda _: setattr(fake, "free", 1))
    assert lose(env) == 1


def test_a_lost_worker_ends_its_episodes_and_no_others(fake: FakeRay) -> None:
    env = _env(_make, n=5, envs_per_worker=2)
    env.seed(3)
    first = env.reset()
    env.set_attr("length", 50)
    before, *_ = env.step(np.ones((5, 2), np.float32))
    env.set_attr("fate", "dies", indices=2)
    with pytest.warns(
        RuntimeWarning, match=r"worker 1 \(environments 2 to 3; process \d+ on \S+\)"
    ):
        obs, rewards, dones, infos = env.step(np.ones((5, 2), np.float32))
    assert dones.tolist() == [False, False, True, True, False]
    assert rewards.tolist() == [2, 2, 0, 0, 2]
    for row in (2, 3):
        np.testing.assert_array_equal(infos[row]["terminal_observation"], before[row])
        assert infos[row]["TimeLimit.truncated"] is True
        assert "died" in infos[row]["worker_lost"]
        assert env.reset_infos[row] == {"first": obs[row, 1]}
    assert obs[:, 0].tolist() == [2, 2, 0, 0, 2]
    assert "worker_lost" not in infos[0]
    assert set(obs[2:4, 1]).isdisjoint(first[:, 1])
    # What was set is set again, its own end aside.
    assert env.get_attr("length") == [50] * 5
    env.set_attr("fate", "")
    assert env.step(np.ones((5, 2), np.float32))[0][:, 0].tolist() == [3, 3, 1, 1, 3]
    assert len(fake.actors) == 4


@pytest.mark.filterwarnings("ignore:worker")
def test_episodes_after_a_loss_are_others_and_the_same_in_every_run() -> None:
    seen = []
    for seed in (3, 3, 4):
        env = _env(_make)
        env.seed(seed)
        env.reset()
        env.set_attr("fate", "dies")
        seen.append([float(env.step(np.ones((1, 2), np.float32))[0][0, 1]) for _ in range(3)])
    assert seen[0] == seen[1] != seen[2]
    assert len(set(seen[0])) == 3


@pytest.mark.filterwarnings("ignore:worker")
def test_a_loss_between_two_steps_is_told_by_the_next(fake: FakeRay) -> None:
    env = _env(_make, n=2, envs_per_worker=1)
    env.reset()
    before, *_ = env.step(np.ones((2, 2), np.float32))
    fake.actors[0].is_alive = False
    assert env.env_method("double", 1) == [2, 2]
    obs, _, dones, infos = env.step(np.ones((2, 2), np.float32))
    assert dones.tolist() == [True, False]
    assert infos[0]["terminal_observation"].tolist() == before[0].tolist()
    assert obs[:, 0].tolist() == [0, 2]
    # A reset ends all episodes anyway.
    fake.actors[1].is_alive = False
    env.get_attr("time")
    env.reset()
    assert not env.step(np.ones((2, 2), np.float32))[2].any()
    fake.actors[2].is_alive = False
    env.reset()
    assert not env.step(np.ones((2, 2), np.float32))[2].any()


@pytest.mark.filterwarnings("ignore:worker")
def test_monitors_count_no_episode_that_was_cut_off_in_a_worker_as_finished() -> None:
    env = _env(lambda: Monitor(_make()), n=2, envs_per_worker=1)
    actions = np.ones((2, 2), np.float32)
    env.reset()
    env.step(actions)
    env.env_method("set_wrapper_attr", "fate", "dies", indices=0)
    infos = env.step(np.ones((2, 2), np.float32))[3]
    assert "worker_lost" in infos[0]
    assert "episode" not in infos[0]
    for t in range(4):
        assert ["episode" in info for info in env.step(actions)[3]] == [t == 4, t == 2]
    infos = env.step(actions)[3]
    assert {k: infos[0]["episode"][k] for k in "rl"} == {"r": 10, "l": 5}


@pytest.mark.filterwarnings("ignore:worker")
def test_a_monitor_in_the_learner_ends_the_episode_with_what_there_was_of_it() -> None:
    env = VecMonitor(_env(_make, n=2, envs_per_worker=1))
    env.reset()
    env.step(np.ones((2, 2), np.float32))
    env.env_method("set_wrapper_attr", "fate", "dies", indices=0)
    infos = env.step(np.ones((2, 2), np.float32))[3]
    assert {k: infos[0]["episode"][k] for k in "rl"} == {"r": 2, "l": 2}
    assert "episode" not in infos[1]


@pytest.mark.filterwarnings("ignore:worker")
def test_a_worker_that_dies_again_and_again_is_given_up() -> None:
    env = _env(_make, n=2, envs_per_worker=1, max_restarts=2)
    env.reset()
    env.set_attr("fate", "dies", indices=1)  # also of those that follow
    actions = np.ones((2, 2), np.float32)
    assert [env.step(actions)[2].tolist() for _ in range(2)] == [[False, True]] * 2
    with pytest.raises(RuntimeError, match=r"worker 1 .* was lost 3 times in a row.*died"):
        env.step(actions)


def test_a_worker_that_is_killed_for_its_memory_is_a_lost_one(fake: FakeRay) -> None:
    env = _env(lambda: SmallEnv(death=_run_out_of_memory), n=2, envs_per_worker=1)
    env.reset()
    env.env_method("set_wrapper_attr", "fate", "dies", indices=0)
    with pytest.warns(RuntimeWarning, match=r"worker 0 .* was lost: The node is low on memory\."):
        dones, infos = env.step(np.ones((2, 2), np.float32))[2:]
    assert dones.tolist() == [True, False]
    assert infos[0]["worker_lost"] == "The node is low on memory"
    with pytest.raises(RuntimeError, match=r"worker 0 .*could not be started: The node is low on"):
        _env(_run_out_of_memory)


@pytest.mark.filterwarnings("ignore:worker")
def test_what_cannot_be_set_again_is_said(fake: FakeRay) -> None:
    env = _env(lambda: Picky(_make()), restart_on_error=True)
    env.reset()
    env.set_attr("level", 1)
    fake.actors[0].is_alive = False
    with pytest.raises(RuntimeError, match=r"worker 0 .*OSError\('the level is fixed'\)"):
        env.step(np.ones((1, 2), np.float32))


class Picky(gym.Wrapper):
    """Has a level that can be set after a reset only."""

    is_reset = False

    def reset(self, **kwargs: Any) -> Any:
        self.is_reset = True
        return self.env.reset(**kwargs)

    @property
    def level(self) -> int:
        return 0

    @level.setter
    def level(self, _: int) -> None:
        if not self.is_reset:
            raise OSError("the level is fixed")


@pytest.mark.filterwarnings("ignore:worker")
def test_losses_far_from_each_other_are_not_counted_together(
    monkeypatch: pytest.MonkeyPatch, fake: FakeRay
) -> None:
    monkeypatch.setattr("dreamzoo.envs.remote.fleet.SETTLED", 2)
    env = _env(_make, max_restarts=1)
    env.reset()
    ends = []
    for _ in range(4):
        for _ in range(2):
            ends.append(bool(env.step(np.ones((1, 2), np.float32))[2]))
        fake.actors[-1].is_alive = False
        ends.append(bool(env.step(np.ones((1, 2), np.float32))[2]))
    assert ends == [False, False, True] * 4


@pytest.mark.filterwarnings("ignore:worker")
def test_a_worker_that_worked_for_long_is_given_up_as_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dreamzoo.envs.remote.fleet.SETTLED", 2)
    env = _env(_make, max_restarts=2)
    env.reset()
    actions = np.ones((1, 2), np.float32)
    for _ in range(3):
        env.step(actions)
    env.set_attr("fate", "dies")
    for _ in range(2):
        assert env.step(actions)[2].all()
    with pytest.raises(RuntimeError, match="3 times in a row"):
        env.step(actions)


@pytest.mark.filterwarnings("ignore:worker")
def test_what_only_fails_when_started_again_ends_in_an_error() -> None:
    made = []

    def make() -> SmallEnv:
        made.append(0)
        if len(made) > 1:
            raise OSError("no license left")
        return SmallEnv(death=_die)

    env = _env(make, restart_on_error=True)
    env.reset()
    env.set_attr("fate", "dies")
    # The function travels as a copy: its list is the worker's own, and never has two elements.
    env.step(np.ones((1, 2), np.float32))
    env._fleet._makers[0][0] = partial(_raise, "no license left")
    with pytest.raises(RuntimeError, match=r"was lost 4 times in a row.*no license left"):
        env.step(np.ones((1, 2), np.float32))


def _raise(text: str) -> Any:
    raise OSError(text)


def test_what_an_environment_raises_is_raised_with_its_place() -> None:
    env = _env(_make, n=2, envs_per_worker=1)
    env.reset()
    env.env_method("set_wrapper_attr", "fate", "raises", indices=1)
    with pytest.raises(RuntimeError, match=r"worker 1 \(environment 1; .*OSError\('the simulator"):
        env.step(np.ones((2, 2), np.float32))


def test_a_worker_whose_environment_raises_is_replaced_if_wanted() -> None:
    env = _env(_make, n=2, envs_per_worker=1, restart_on_error=True)
    env.reset()
    env.env_method("set_wrapper_attr", "fate", "raises", indices=1)
    with pytest.warns(RuntimeWarning, match="the simulator is gone"):
        dones, infos = env.step(np.ones((2, 2), np.float32))[2:]
    assert dones.tolist() == [False, True]
    assert infos[1]["worker_lost"] == "it raised OSError('the simulator is gone')"
    assert not env.step(np.ones((2, 2), np.float32))[2].any()


def test_asking_for_what_there_is_not_ends_no_episode(fake: FakeRay) -> None:
    env = _env(_make, n=2, envs_per_worker=1, restart_on_error=True)
    env.reset()
    assert not env.has_attr("mark")
    with pytest.raises(KeyError, match="nothing there"):
        env.env_method("refuse")
    assert not env.step(np.ones((2, 2), np.float32))[2].any()
    assert len(fake.actors) == 2


def test_a_worker_that_does_not_answer_counts_as_lost(
    monkeypatch: pytest.MonkeyPatch, fake: FakeRay
) -> None:
    env = _env(_make, n=2, envs_per_worker=1, timeout=0.5)
    env.reset()
    get, asked = fake.get, list[float]()

    def too_late(ref: Any, timeout: float = -1.0) -> Any:
        asked.append(timeout)
        if len(asked) <= 2:  # all, and then the first of them
            raise fake.exceptions.GetTimeoutError
        return get(ref)

    monkeypatch.setattr(fake, "get", too_late)
    with pytest.warns(RuntimeWarning, match="did not answer in time"):
        dones = env.step(np.ones((2, 2), np.float32))[2]
    assert dones.tolist() == [True, False]
    assert all(0 <= seconds <= 0.5 for seconds in asked[:3])
    assert not fake.actors[0].is_alive


# ---------------------------------------------------------------------- bad input


def _other(kind: str) -> Callable[[], SmallEnv]:
    return lambda: SmallEnv(kind)


@pytest.mark.parametrize("size", [1, 2])
def test_spaces_that_differ_are_refused_and_no_worker_is_left(size: int, fake: FakeRay) -> None:
    with pytest.raises(ValueError, match=r"observation_space of .* is Dict.*, and of the first"):
        _env([_other("box"), _other("dict")], envs_per_worker=size)
    assert not any(actor.is_alive for actor in fake.actors)


def test_what_make_env_raises_is_raised() -> None:
    with pytest.raises(OSError, match="no display"):
        _env(partial(_raise, "no display"))


def test_a_worker_that_dies_while_it_starts_is_not_started_again(fake: FakeRay) -> None:
    with pytest.raises(RuntimeError, match=r"worker 0 .*could not be started: .*died"):
        _env(_die)
    assert len(fake.actors) == 1


def test_a_worker_that_finds_no_place_is_told_of(
    monkeypatch: pytest.MonkeyPatch, fake: FakeRay
) -> None:
    monkeypatch.setattr(fake, "get", Mock(side_effect=fake.exceptions.GetTimeoutError))
    needs = {"resources": {"simulator": 1}}
    with pytest.raises(RuntimeError, match=r"could not be started: .*0\.5 s.*'simulator': 1"):
        _env(_make, start_timeout=0.5, worker_options=needs)


def test_what_cannot_be_sent_is_refused() -> None:
    lock = __import__("threading").Lock()
    with pytest.raises(ValueError, match=r"cannot be sent to worker processes .*lock"):
        _env(lambda: (lock, SmallEnv())[1])


@dataclass
class Maker:
    """
    Has no hash, as it can be compared.

    :param length: of episodes
    """

    length: int

    def __call__(self) -> SmallEnv:
        return SmallEnv(length=self.length)


def test_what_makes_environments_needs_no_hash() -> None:
    assert _env([Maker(3), Maker(3)]).get_attr("length") == [3, 3]


def test_one_environment_for_two_rows_is_refused() -> None:
    env = SmallEnv()
    with pytest.raises(ValueError, match="the same environment twice"):
        _env(lambda: env, n=2, envs_per_worker=2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n": 0}, "at least one environment"),
        ({"make_env": [_make] * 2, "n": 3}, "make_env has 2 functions"),
        ({"make_env": [SmallEnv()]}, "no function that makes an environment"),
        ({"envs_per_worker": 0}, "envs_per_worker=0"),
        ({"envs_per_worker": 1.5}, "envs_per_worker=1.5"),
        ({"timeout": 0}, "timeout=0: expected seconds above 0"),
        ({"ahead": 0}, "ahead=0"),
        ({"sync_every": 0}, "sync_every=0"),
        ({"acting": "nobody"}, "expected 'learner' or 'worker'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _env(**{"make_env": _make, **wrong})


def test_closing_twice_closes_once_and_ends_all_workers(fake: FakeRay) -> None:
    env = _env(_make, n=2, envs_per_worker=1)
    env.close()
    env.close()
    assert [actor.calls.count("close") for actor in fake.actors] == [1, 1]
    assert not any(actor.is_alive for actor in fake.actors)


@pytest.mark.parametrize(
    "use",
    [
        lambda env: env.reset(),
        lambda env: env.step(np.ones((2, 2), np.float32)),
        lambda env: env.get_attr("time"),
    ],
)
def test_what_is_closed_starts_no_workers_again(use: Callable[[Any], Any], fake: FakeRay) -> None:
    env = _env(_make, n=2, envs_per_worker=1)
    env.reset()
    env.close()
    with pytest.raises(RuntimeError, match="is closed"):
        use(env)
    assert len(fake.actors) == 2


def test_whoever_steps_workers_that_act_by_themselves_is_told() -> None:
    env = _env(_make, acting="worker")
    env.reset()
    with pytest.raises(RuntimeError, match=r"act by themselves.*acting='learner'"):
        env.step(np.ones((1, 2), np.float32))


def test_spaces_of_one_environment_are_enough() -> None:
    env = _env(_make)
    assert env.num_envs == 1
    assert isinstance(env.action_space, spaces.Box)

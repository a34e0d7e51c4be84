"""Agents that act in workers: what the learner gets is what they did; without processes."""

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')

from dreamzoo import DreamerV1, DreamerV2, DreamerV3, PlaNet
from dreamzoo.envs import RemoteVecEnv
from dreamzoo.nn.state import leaves
from tests.envs.remote.fake_ray import Death, FakeRay, stand_in
from tests.envs.remote.small_env import SmallEnv

AGENTS = [DreamerV1, DreamerV2, DreamerV3, PlaNet]
NEVER = 10**6


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    return stand_in(monkeypatch.setattr)


def _die() -> None:
    raise Death


def _make(kind: str = "box") -> SmallEnv:
    return SmallEnv(kind, _die)


def _remote(kind: str = "box", n: int = 3, size: int = 2, **kwargs: Any) -> RemoteVecEnv:
    return RemoteVecEnv(partial(_make, kind), n, None, size, acting="worker", **kwargs)


def _agent(cls: Any, env: Any, policy: str = "MlpPolicy", **kwargs: Any) -> Any:
    return cls(policy, env, seed=0, device="cpu", **{**cls.smallest, **kwargs})


def _stored(agent: Any, name: str) -> np.ndarray:
    """Return a part of the replay, (n_envs, records, ...)."""
    buffer = agent.replay_buffer
    assert len(set(buffer._count)) == 1
    return buffer._arrays[name][: buffer._count[0]].swapaxes(0, 1)


def _deter(agent: Any, records: Sequence[int]) -> np.ndarray:
    """Return latents that the replay of a DreamerV3 holds, (n, D)."""
    found = agent.replay_buffer._latents.get(th.tensor([*records]), th.device("cpu"))
    return found["deter"].numpy()


@pytest.mark.parametrize("cls", AGENTS)
def test_the_replay_holds_what_the_copies_did(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _check_replay(cls, "box", "MlpPolicy", monkeypatch)


@pytest.mark.parametrize(("kind", "policy"), [("image", "CnnPolicy"), ("dict", "MultiInputPolicy")])
def test_copies_see_what_the_learner_sees(
    kind: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _check_replay(DreamerV3, kind, policy, monkeypatch)


def _noted(make_seed: Callable[[], int], seeds: list[Any]) -> int:
    seeds.append(make_seed())
    return seeds[-1]


def _check_replay(cls: Any, kind: str, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = _remote(kind, n=2, size=1)
    copies: list[Any] = []
    given: Callable[..., None] = RemoteVecEnv.hand_over

    def hand_over(self: Any, make_actor: Any, make_seed: Any) -> None:
        copies.append(pickle.dumps(make_actor()))
        given(self, make_actor, partial(_noted, make_seed, copies))

    monkeypatch.setattr(RemoteVecEnv, "hand_over", hand_over)
    agent = _agent(cls, env, policy, learning_starts=NEVER)
    agent.learn(2 * 8)
    seen = agent.replay_buffer
    for row in range(2):
        copy = pickle.loads(copies[0])
        copy.seed(copies[1 + row])
        by_hand = DummyVecEnv([partial(_make, kind)])
        by_hand.seed(row)
        obs, is_first = by_hand.reset(), np.ones(1, bool)
        record = 0
        for _ in range(8):
            action, (stored, *memory) = copy(obs, is_first)
            np.testing.assert_array_equal(seen._arrays["actions"][record, row], stored[0])
            if cls is DreamerV3:
                deter = _deter(agent, [record * 2 + row])
                np.testing.assert_array_equal(deter[0], memory[0][0])
            obs, reward, is_first, _ = by_hand.step(action)
            record += 1
            if is_first[0]:
                last = seen._arrays["rewards"][record, row], seen._arrays["dones"][record, row]
                assert last == (reward[0], True)
                record += 1
        # The learner remembers what the copies remember.
        for own, theirs in zip(leaves(agent._last_state), memory, strict=True):
            np.testing.assert_array_equal(own[row].numpy(), theirs[0])


@pytest.mark.parametrize("cls", AGENTS)
def test_the_same_seeds_give_the_same_training(cls: Any) -> None:
    agents = [_agent(cls, _remote(), learning_starts=8).learn(48) for _ in range(2)]
    assert agents[0].num_timesteps == 48
    assert agents[0]._n_updates == agents[1]._n_updates > 2
    one, other = (agent.policy.state_dict() for agent in agents)
    assert all(th.equal(one[name], other[name]) for name in one)
    one, other = (_stored(agent, "actions") for agent in agents)
    np.testing.assert_array_equal(one, other)


def test_news_come_after_the_steps_that_were_asked_for_before(fake: FakeRay) -> None:
    every: dict[str, Any] = dict(learning_starts=2 * 3, gradient_steps=1, train_freq=1)
    _agent(DreamerV3, _remote(n=2, size=1, ahead=3, sync_every=2), **every).learn(2 * 8)
    for actor in fake.actors:
        # The first update, and then every second one, is followed by news.
        first = ["take", "reset", "act", "act", "act"]
        steps = ["act"] * 3 + ["act", "load", "act", "act", "load", "act", "act", "load"]
        calls = [name for name in actor.calls if name not in ("start", "get_attr")]
        assert calls == first + steps


def test_copies_get_the_weights_and_what_choosing_depends_on(fake: FakeRay) -> None:
    agent = _agent(DreamerV1, _remote(sync_every=1), learning_starts=8, gradient_steps=1)
    agent.learn(3 * 2)
    copies = [actor._worker._actor for actor in fake.actors]
    assert not any(copy._agent._may_train() for copy in copies)
    agent.learn(3 * 6, reset_num_timesteps=False)
    own = agent.policy.state_dict()
    for copy in copies:
        assert copy._agent._may_train()
        assert copy._agent._n_updates == agent._n_updates > 1
        found = copy._agent.policy.state_dict()
        assert all(th.equal(found[name], own[name]) for name in own)


def test_learning_on_begins_no_new_episodes(fake: FakeRay) -> None:
    env = _remote()
    agent = _agent(DreamerV3, env, learning_starts=NEVER).learn(3 * 2)
    agent.learn(3 * 2, reset_num_timesteps=False)
    assert [actor.calls.count("reset") for actor in fake.actors] == [1, 1]
    assert agent.replay_buffer._arrays["episode_starts"][:4, :].sum() == 3
    agent.learn(3 * 2)
    assert [actor.calls.count("reset") for actor in fake.actors] == [2, 2]
    assert agent.replay_buffer._arrays["episode_starts"][4].all()


@pytest.mark.filterwarnings("ignore:worker")
@pytest.mark.parametrize("lost", [[1], [0, 1]])
def test_training_goes_on_when_workers_are_lost(lost: list[int], fake: FakeRay) -> None:
    env = _remote(ahead=2)
    env.set_attr("length", 1000)
    agent = _agent(DreamerV3, VecMonitor(env), learning_starts=6)
    agent.learn(3 * 2)
    for index in lost:
        fake.actors[index].is_alive = False
    before = agent.num_timesteps
    agent.learn(3 * 9, reset_num_timesteps=False)
    assert agent.num_timesteps == before + 3 * 9
    arrays, rows = agent.replay_buffer._arrays, [2 * index for index in lost]
    for row in rows:
        # Two steps were taken before, two had been made; the fifth is the one that was lost.
        assert arrays["dones"][:7, row].tolist() == [False] * 5 + [True, False]
        assert arrays["timeouts"][5, row]
        assert arrays["rewards"][5, row] == 0
        np.testing.assert_array_equal(
            arrays["observations"][5, row], arrays["observations"][4, row]
        )
        assert arrays["episode_starts"][6, row]
    assert arrays["dones"][5, 1] == (0 in lost)
    assert len(fake.actors) == 2 + len(lost)
    assert np.isfinite(_deter(agent, range(3 * agent.replay_buffer._count.min()))).all()


def test_a_loaded_agent_goes_on_with_new_episodes(tmp_path: Any) -> None:
    agent = _agent(DreamerV3, _remote(), learning_starts=6).learn(3 * 4)
    agent.save(tmp_path / "agent")
    agent.save_replay_buffer(tmp_path / "replay")
    agent.save_training_state(tmp_path / "state")
    again: Any = DreamerV3.load(tmp_path / "agent", env=_remote(), device="cpu")
    again.load_replay_buffer(tmp_path / "replay")
    again.load_training_state(tmp_path / "state")
    again.learn(3 * 2, reset_num_timesteps=False)
    assert again.num_timesteps == 3 * 6
    # What was not finished counts as cut off, not as terminated.
    arrays = again.replay_buffer._arrays
    assert arrays["episode_starts"][4].all()
    assert not arrays["dones"][3].any()


def test_a_copy_that_a_worker_cannot_load_is_not_taken_for_a_lost_environment(
    monkeypatch: pytest.MonkeyPatch, fake: FakeRay
) -> None:
    def missing(*_: Any) -> None:
        raise ModuleNotFoundError("No module named 'dreamzoo'")

    monkeypatch.setattr("dreamzoo.common.remote_acting.ActingCopy.seed", missing)
    env = _remote(restart_on_error=True)
    with pytest.raises(RuntimeError, match=r"worker 0 .*No module named 'dreamzoo'"):
        _agent(DreamerV3, env).learn(3)
    assert len(fake.actors) == 2


def test_a_copy_has_as_long_as_a_worker_that_starts(
    monkeypatch: pytest.MonkeyPatch, fake: FakeRay
) -> None:
    get, limits = fake.get, list[Any]()

    def noted(ref: Any, timeout: float | None = None) -> Any:
        limits.append(timeout)
        return get(ref)

    env = _remote(timeout=2.0, start_timeout=50.0)
    agent = _agent(DreamerV3, env)
    monkeypatch.setattr(fake, "get", noted)
    agent.learn(3)
    given = [limit for limit in limits if limit is not None]
    assert given == [50.0, *[2.0] * (len(given) - 1)]
    assert len(given) > 1


class Actor:
    """Does nothing, and cannot learn."""

    def __call__(self, obs: Any, is_first: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        return np.zeros((len(is_first), 2), np.float32), []

    def seed(self, seed: int) -> None:
        pass

    def load(self, news: Any) -> None:
        raise KeyError(news)


def _acting(**kwargs: Any) -> RemoteVecEnv:
    env = _remote(n=2, size=1, **kwargs)
    env.hand_over(Actor, lambda: 0)
    env.reset()
    return env


def _step(env: RemoteVecEnv) -> Any:
    env.acted()
    return env.step(np.zeros((2, 2), np.float32))


@pytest.mark.parametrize(
    "ask",
    [
        lambda env: env.get_attr("time"),
        lambda env: env.set_attr("mark", 1),
        lambda env: env.env_method("double", 1),
        lambda env: env.reset(),
        lambda env: env.hand_over(Actor, lambda: 0),
    ],
)
def test_the_steps_ahead_have_their_own_time(ask: Callable[[Any], Any], fake: FakeRay) -> None:
    fake.seconds["act"] = 1.0
    env = _acting(ahead=4, timeout=1.5, start_timeout=1.5)
    for _ in range(7):
        _step(env)
    ask(env)
    assert len(fake.actors) == 2


@pytest.mark.filterwarnings("ignore:worker")
def test_a_worker_that_is_lost_before_a_step_is_asked_no_step_too_many(fake: FakeRay) -> None:
    env = _acting(ahead=2)
    for _ in range(3):
        _step(env)
    env.acted()
    fake.actors[0].is_alive = False
    env.get_attr("time")
    env.step(np.zeros((2, 2), np.float32))
    assert env._pipeline is not None
    assert [len(asked) for asked in env._pipeline._asked.values()] == [2, 2]


@pytest.mark.filterwarnings("ignore:worker")
def test_a_worker_that_hangs_ahead_of_the_learner_is_lost(fake: FakeRay) -> None:
    env = _acting(ahead=4, timeout=1.5)
    _step(env)
    fake.seconds["act"] = np.inf
    _step(env)  # which asks for one that never ends
    fake.seconds["act"] = 1.0
    for _ in range(3):
        _step(env)
    assert env.get_attr("time") == [0, 0]
    for actor in fake.actors[2:]:  # asked again before it is asked for steps
        assert actor.calls[:5] == ["start", "take", "reset", "get_attr", "act"]
    assert _step(env)[2].all()
    assert not _step(env)[2].any()
    assert len(fake.actors) == 4


@pytest.mark.parametrize("restart_on_error", [False, True])
def test_news_that_copies_cannot_take_are_not_passed_over(restart_on_error: bool) -> None:
    env = _acting(ahead=2, restart_on_error=restart_on_error)
    env.tell("news")
    env.get_attr("time")  # does not hear of it
    with pytest.raises(RuntimeError, match=r"worker 0 .*KeyError\('news'\)"):
        _step(env)


def test_news_are_not_waited_for_before_they_are_due(fake: FakeRay) -> None:
    env = _acting(ahead=2)
    env.tell("news")
    fake.seconds["act"] = 1.0
    for _ in range(2):
        _step(env)
    assert fake.time == 0.0
    with pytest.raises(RuntimeError, match=r"worker 0 .*KeyError\('news'\)"):
        _step(env)


def test_what_copies_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"VecNormalize changes.*acting='learner'"):
        _agent(DreamerV3, VecNormalize(_remote())).learn(3)
    noise = NormalActionNoise(np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match=r"action_noise.*acting='learner'"):
        _agent(DreamerV3, _remote(), action_noise=noise).learn(3)
    with pytest.raises(RuntimeError, match="DreamerV3 or PlaNet"):
        PPO("MlpPolicy", _remote(), n_steps=4, batch_size=4, device="cpu").learn(3)


def test_a_learner_that_acts_itself_learns_as_with_other_vec_envs() -> None:
    remote = RemoteVecEnv(_make, n=3, envs_per_worker=2)
    agents = [
        _agent(DreamerV3, env, learning_starts=6).learn(30)
        for env in (remote, DummyVecEnv([_make] * 3))
    ]
    one, other = (agent.policy.state_dict() for agent in agents)
    assert all(th.equal(one[name], other[name]) for name in one)
    assert agents[0]._n_updates > 1

"""Settings are checked alike in the constructor, on loading, and when they are changed later."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.facts import HAS_REPLAY, Facts
from tests.resuming import has_replay
from tests.sb3.conftest import of_replays, of_windows
from tests.sb3.stored import Windows, n_steps

NAN, INF = float("nan"), float("inf")

#: What no agent takes.
WRONG: list[tuple[str, Any]] = [
    ("learning_rate", NAN), ("learning_rate", INF), ("learning_rate", -1e-3),
    ("learning_rate", "1e-3"), ("learning_rate", None), ("learning_rate", True),
    ("buffer_size", 0), ("buffer_size", 1e6), ("batch_size", -4), ("batch_size", True),
    ("batch_length", 2.0), ("batch_length", "16"), ("train_ratio", NAN), ("train_ratio", -1.0),
    ("learning_starts", -1), ("gradient_steps", 0.5), ("gradient_steps", -2), ("train_freq", 0),
    ("train_freq", (1, "close")), ("seed", -1), ("seed", "0"),
    ("optimize_memory_usage", "no"), ("free_nats", INF), ("replay_buffer_kwargs", 5),
    ("n_steps", 0), ("n_steps", 20.0), ("n_steps", True), ("vf_coef", INF), ("vf_coef", -1.0),
    ("precision", "half"), ("precision", None), ("precision", 32),
]  # fmt: skip


@pytest.fixture
def saved(make_agent: Any, tmp_path: Path) -> Path:
    make_agent().save(tmp_path / "agent")
    return tmp_path / "agent"


@pytest.fixture
def wrong(agent_class: Any, facts: Facts) -> list[tuple[str, Any]]:
    shared = [(name, value) for name, value in WRONG if name in agent_class.settings]
    return [*shared, ("stats_window_size", 0), *facts.wrong]


def named(name: str) -> str:
    return rf": {name}=.* must be|all must be at least 1, and elites at most"


def test_the_constructor_refuses_what_makes_no_sense(make_agent: Any, wrong: Any) -> None:
    for name, value in wrong:
        with pytest.raises(ValueError, match=named(name)):
            make_agent(**{name: value})


def test_loading_refuses_the_same(saved: Path, agent_class: Any, wrong: Any) -> None:
    for name, value in wrong:
        with pytest.raises(ValueError, match=named(name)):
            agent_class.load(saved, **{name: value})
        if name != "stats_window_size":
            with pytest.raises(ValueError, match=named(name)):
                agent_class.load(saved, custom_objects={name: value})


def test_learning_refuses_what_was_changed_since(make_agent: Any, wrong: Any, still: Any) -> None:
    agent = make_agent(**still(4)).learn(4)
    for name, value in wrong:
        attribute = {"stats_window_size": "_stats_window_size"}.get(name, name)
        before = getattr(agent, attribute)
        setattr(agent, attribute, value)
        with pytest.raises(ValueError, match=named(name)):
            agent.learn(4, reset_num_timesteps=False)
        setattr(agent, attribute, before)
    agent.learn(4, reset_num_timesteps=False)
    assert agent.num_timesteps == 8
    assert n_steps(agent) == (8 if has_replay(agent) else 4)


def test_a_policy_refuses_what_makes_no_sense(make_agent: Any, facts: Facts) -> None:
    for name, value in [("images", "no"), *facts.wrong_policy]:
        with pytest.raises(ValueError, match=rf"MlpPolicy: {name}=.* must be"):
            make_agent(policy_kwargs={name: value})


def test_an_agent_without_an_environment_is_refused(agent_class: Any) -> None:
    with pytest.raises(ValueError, match=f"{agent_class.__name__} needs an environment"):
        agent_class("MlpPolicy", None)


def test_the_constructor_names_the_nearest_setting(make_agent: Any) -> None:
    with pytest.raises(TypeError, match=r"\(\) got leaning_rate, .* name is learning_rate\."):
        make_agent(leaning_rate=4)
    with pytest.raises(TypeError, match=r"got polcy_kwarg, .* nearest name is policy_kwargs\."):
        make_agent(polcy_kwarg={})


def test_what_is_only_shown_by_name_is_not_taken_by_place(agent_class: Any) -> None:
    with pytest.raises(TypeError, match="positional arguments"):
        agent_class(*[None] * len(inspect.signature(agent_class).parameters))


def test_loading_knows_the_names_of_settings(saved: Path, agent_class: Any) -> None:
    with pytest.raises(TypeError, match=r"load\(\) got gama, which no setting is called"):
        agent_class.load(saved, gama=0.9)
    loaded = agent_class.load(saved, learning_rate=0.3, seed=4, stats_window_size=7)
    assert (loaded.learning_rate, loaded.seed, loaded._stats_window_size) == (0.3, 4, 7)


@pytest.mark.parametrize("way", ["kwargs", "custom_objects"])
def test_networks_of_another_size_are_refused_before_they_are_built(
    saved: Path, agent_class: Any, facts: Facts, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(agent_class, "_setup_model", lambda _: pytest.fail("was built"))
    given: dict[str, Any] = {"policy_kwargs": {"images": False, **facts.large}}
    with pytest.raises(ValueError, match="policy kwargs"):
        agent_class.load(saved, **(given if way == "kwargs" else {"custom_objects": given}))


def test_the_same_networks_may_be_named(saved: Path, agent_class: Any, tiny_policy: Any) -> None:
    given = {"policy_kwargs": dict(tiny_policy)}
    assert agent_class.load(saved, custom_objects=given).policy_kwargs == tiny_policy
    with saved.with_suffix(".zip").open("rb") as file:
        assert agent_class.load(file, custom_objects=given).policy_kwargs == tiny_policy


def test_numbers_of_numpy_are_numbers(
    make_agent: Any, agent_name: str, facts: Facts, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        **facts.numbers,
        "learning_rate": np.float32(1e-3),
        "seed": np.uint32(3),
    }
    if agent_name in HAS_REPLAY:
        given |= {"buffer_size": np.int64(1000), "batch_length": np.int32(4)}
        given |= {"train_freq": np.int64(2)}
    agent = make_agent(**given).learn(20)
    assert agent._n_updates > 0
    agent.save(tmp_path / "agent")
    loaded = type(agent).load(tmp_path / "agent")
    for name in given.keys() - {"train_freq"}:
        assert type(getattr(loaded, name)) in (int, float)
        assert getattr(loaded, name) == given[name]
    if agent_name in HAS_REPLAY:
        assert loaded.train_freq.frequency == 2


def test_learning_rates_of_schedules_are_checked_before_they_are_used(make_agent: Any) -> None:
    with pytest.raises(ValueError, match=r"the learning rate inf .* progress 1 must be at least 0"):
        make_agent(learning_rate=lambda _: INF)
    for bad in (NAN, INF, -1e-3):
        agent = make_agent(learning_rate=lambda progress, bad=bad: bad if progress < 0.5 else 1e-3)
        with pytest.raises(ValueError, match=rf"the learning rate {bad} that the schedule gives"):
            agent.learn(40)
        assert agent._n_updates > 0
        assert agent.policy.optimizer.param_groups[0]["lr"] == 1e-3
        agent.learning_rate = 1e-3
        agent.learn(5, reset_num_timesteps=False)


def test_a_learning_rate_that_was_changed_is_learned_with(
    make_agent: Any, agent_class: Any, update: Any, tmp_path: Path
) -> None:
    def rate(agent: Any) -> float:
        return agent.policy.optimizer.param_groups[0]["lr"]

    agent = make_agent(learning_rate=1e-3).learn(24)
    agent.learning_rate = 1e-4
    agent.learn(4, reset_num_timesteps=False)
    assert rate(agent) == 1e-4
    agent.learning_rate = lambda progress: 1e-2 + progress
    update(agent)
    assert 1e-2 <= rate(agent) <= 1.01
    agent.save(tmp_path / "agent")
    loaded = agent_class.load(tmp_path / "agent", env=agent.get_env(), learning_rate=1e-5)
    loaded.learning_rate = 2e-5
    loaded.learn(24)
    assert rate(loaded) == 2e-5
    loaded.lr_schedule = lambda _: 3e-5  # as one does with SB3's own agents
    loaded.learn(4, reset_num_timesteps=False)
    assert rate(loaded) == 3e-5


@of_windows
def test_windows_have_as_many_steps_as_they_are_to_have_now(make_agent: Any) -> None:
    agent, windows = make_agent(n_steps=4).learn(8), Windows()
    agent.n_steps = 6
    agent.learn(12, windows, reset_num_timesteps=False)
    assert [window.rewards.shape for window in windows.kept] == [(1, 6)] * 2
    assert (agent.num_timesteps, agent._n_updates) == (20, 4)


@of_replays
def test_windows_follow_a_length_that_was_changed(make_agent: Any) -> None:
    agent = make_agent(gradient_steps=0).learn(24)
    agent.batch_length = 6
    agent.learn(4, reset_num_timesteps=False)
    assert agent.replay_buffer.sample(2).rewards.shape == (2, 6)


def test_what_is_no_policy_is_refused(make_env: Any, agent_class: Any, saved: Path) -> None:
    """Loading took another policy's name and left it."""
    with pytest.raises(ValueError, match=r"policy=None must be one of MlpPolicy, .* class"):
        agent_class(None, make_env())
    with pytest.raises(ValueError, match="policy_kwargs=5 must be a dict of named arguments"):
        agent_class("MlpPolicy", make_env(), policy_kwargs=5)
    with pytest.raises(ValueError, match=r"policy='CnnPolicy'.*Build a new agent"):
        agent_class.load(saved, policy="CnnPolicy")

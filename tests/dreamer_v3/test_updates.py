"""How many updates follow how many steps (checklist D9, pitfall 14)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo import DreamerV3
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.dreamer_v3 import SIZES
from dreamzoo.nn.fast.switch import use

MakeAgent = Callable[..., DreamerV3]
CountUpdates = Callable[..., list[tuple[int, int]]]


def _updates(agent: DreamerV3) -> int:
    """Return how many updates the optimizer has made."""
    (group,) = agent.policy.optimizer.param_groups
    return group["n_updates"]


@pytest.fixture
def count_updates(
    make_agent: MakeAgent, space_env: Any, monkeypatch: pytest.MonkeyPatch
) -> CountUpdates:
    """Learn with updates and a policy that do nothing; return (steps, updates) of every round."""

    def count(steps: int, length: int = 0, **kwargs: Any) -> list[tuple[int, int]]:
        box = spaces.Box(-1, 1, (1,))
        agent = make_agent(lambda: space_env(box, spaces.Discrete(2), length=length), **kwargs)
        rounds: list[tuple[int, int]] = []
        action = th.zeros(agent.n_envs, 1, dtype=th.int64)
        monkeypatch.setattr(agent.policy, "act", lambda _obs, state, *_, **__: (action, state))
        monkeypatch.setattr(
            agent, "train", lambda n, _batch_size: rounds.append((agent.num_timesteps, n))
        )
        agent.learn(steps)
        return rounds

    return count


def test_ratio_512_with_16_environments(count_updates: CountUpdates) -> None:
    """First when 1024 windows are there, at 2048 records; then 8 for every step of 16."""
    sizes = {"batch_size": 16, "batch_length": 64, "train_ratio": 512}
    rounds = count_updates(2048 + 5 * 16, n_envs=16, **sizes)
    assert rounds == [(2048, 1)] + [(2048 + 16 * i, 8) for i in range(1, 6)]


def test_ratio_1024_with_one_environment(count_updates: CountUpdates) -> None:
    sizes = {"batch_size": 16, "batch_length": 64, "train_ratio": 1024}
    rounds = count_updates(1100, **sizes)
    assert rounds == [(step, 1) for step in range(1088, 1101)]


@pytest.mark.parametrize("ratio", [3.0, 0.5, 12.0])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_fractions_of_updates_are_kept(
    count_updates: CountUpdates, ratio: float, n_envs: int
) -> None:
    rounds = count_updates(300, n_envs=n_envs, train_ratio=ratio)
    first = rounds[0][0]
    assert rounds[0][1] == 1
    for i, (steps, _) in enumerate(rounds):
        done = sum(n for _, n in rounds[: i + 1])
        assert done == int(1 + (steps - first) * ratio / 32)
    assert sum(n for _, n in rounds) == int(1 + (300 - first) * ratio / 32)


def test_there_is_no_catching_up_on_the_warm_up(count_updates: CountUpdates) -> None:
    rounds = count_updates(500, learning_starts=400, train_ratio=32)
    assert rounds == [(step, 1) for step in range(401, 501)]


def test_minus_one_makes_an_update_for_every_step(count_updates: CountUpdates) -> None:
    """As in SB3: gradient_steps=-1, all environments together."""
    rounds = count_updates(60, n_envs=3, gradient_steps=-1, learning_starts=30)
    assert rounds == [(step, 3) for step in range(33, 61, 3)]


def test_gradient_steps_override_the_ratio(count_updates: CountUpdates) -> None:
    rounds = count_updates(60, gradient_steps=2, learning_starts=50, train_freq=5)
    assert rounds == [(55, 2), (60, 2)]


def test_updates_after_whole_episodes_follow_the_ratio(count_updates: CountUpdates) -> None:
    rounds = count_updates(
        70, length=7, train_freq=(1, "episode"), learning_starts=30, train_ratio=32
    )
    assert rounds == [(35, 1)] + [(step, 7) for step in (42, 49, 56, 63, 70)]


def test_a_ratio_of_zero_never_goes_on_updating(count_updates: CountUpdates) -> None:
    assert not count_updates(100, train_ratio=0.0)


def test_going_on_learning_keeps_the_fraction(make_agent: MakeAgent) -> None:
    one, two = (make_agent(train_ratio=3.0) for _ in range(2))
    one.learn(150)
    two.learn(90)
    two.learn(60, reset_num_timesteps=False)
    assert _updates(one) == _updates(two) > 5


def test_a_seed_fixes_everything(make_agent: MakeAgent) -> None:
    one, two, other = (make_agent(seed=s, n_envs=2) for s in (3, 3, 4))
    for agent in (one, two, other):
        agent.learn(60)
    assert _updates(one) >= 10
    states = [agent.policy.state_dict() for agent in (one, two, other)]
    assert all(th.equal(v, states[1][k]) for k, v in states[0].items())
    assert not all(th.equal(v, states[2][k]) for k, v in states[0].items())


def test_predicting_between_calls_changes_nothing_in_training(make_agent: MakeAgent) -> None:
    one, two = (make_agent() for _ in range(2))
    for agent in (one, two):
        agent.learn(40)
        if agent is two:
            agent.predict(np.zeros(3, np.float32))
        agent.learn(20, reset_num_timesteps=False)
    pairs = zip(one.policy.parameters(), two.policy.parameters(), strict=True)
    assert all(th.equal(a, b) for a, b in pairs)


def test_updates_replay_new_windows_first(
    collected: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new window once before others are drawn (reference replay.py, online queue)."""
    agent = collected()
    assert agent.replay_buffer is not None
    sample, starts = agent.replay_buffer.sample, list[int]()

    def spy(*args: Any, **kwargs: Any) -> SequenceBatch:
        batch = sample(*args, **kwargs)
        starts.extend(batch.windows.start.tolist())
        return batch

    monkeypatch.setattr(agent.replay_buffer, "sample", spy)
    agent.train(1)
    # One after the other, with a record before each whose latent it starts from.
    length = agent.batch_length + 1
    assert starts == [starts[0] + i * length for i in range(agent.batch_size)]


@pytest.mark.parametrize("kind", [th.optim.Adam, th.optim.SGD])
def test_what_acts_has_the_weights_of_the_last_update(make_agent: MakeAgent, kind: Any) -> None:
    """Torch's fused optimizers do not raise the versions of tensors, by which layouts are kept."""
    policy = dict(optimizer_class=kind, optimizer_kwargs=dict(fused=True))
    agent = make_agent(learning_rate=1e-2, policy_kwargs={"size": "debug", **policy})
    agent.learn(60)
    latent = agent.world_model.initial(8)
    choices = int(agent.action_space.n)  # type: ignore[attr-defined]
    action = th.eye(choices)[th.arange(8) % choices]
    found = []
    for form in ("fast", "plain"):
        with use(form), th.no_grad():
            state = latent
            for _ in range(3):
                state = agent.world_model.imagine_step(state, action, mode=True)
            found.append(state.deter)
    th.testing.assert_close(*found)


@pytest.mark.parametrize("classes", [256, 257, 300])
def test_latents_of_any_number_of_classes_can_be_stored(
    make_agent: MakeAgent, classes: int
) -> None:
    size = dataclasses.replace(SIZES["debug"], stoch=2, classes=classes)
    agent = make_agent(policy_kwargs=dict(size=size)).learn(40)
    written = agent.losses(agent.replay_buffer.sample(2)).latents["stoch"]  # type: ignore[union-attr]
    assert th.iinfo(written.dtype).max >= classes - 1
    kept = agent.replay_buffer.latents["stoch"]  # type: ignore[union-attr]
    assert np.iinfo(kept.dtype).max >= classes - 1
    assert kept.max() > 0


def test_what_a_replay_keeps_is_not_changed_on_the_way(make_agent: MakeAgent) -> None:
    for was in (True, False):
        agent = make_agent(replay_context=was).learn(30)
        agent.replay_context = not was
        with pytest.raises(ValueError, match=r"was decided when it was made.*replay_context"):
            agent.learn(30)
        agent.replay_context = was
        agent.learn(30)


def test_the_logged_ratio_counts_updates_since_the_steps_were_reset(make_agent: MakeAgent) -> None:
    agent = make_agent(train_ratio=3.0)
    updates = []
    for _ in range(2):
        agent.learn(150)
        agent.train(0)  # logs where it stands
        updates.append(agent.logger.name_to_value["train/n_updates"])
    per_update = agent.batch_size * agent.batch_length / agent.num_timesteps
    expected = (updates[1] - updates[0]) * per_update
    assert agent.logger.name_to_value["train/replay_ratio"] == pytest.approx(expected)
    assert 0 < updates[0] < updates[1]

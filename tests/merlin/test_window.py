"""Going through a window again gives what was known when it was collected."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.merlin import MERLIN, RLMEM
from dreamzoo.nn.state import leaves, map_parts
from tests.dreamers import ACTIONS, VECTOR
from tests.merlin.agents import SETTINGS, TWO, T, collect, make_agent
from tests.merlin.lives import Windows, make_env
from tests.resuming import assert_equal

pytestmark = pytest.mark.filterwarnings("ignore:Episodes have")


class _Again(Windows):
    """Go through every window again before it is learned from, and compare."""

    def look(self, agent: Any, window: Any) -> None:
        path = agent.policy.unroll(window)
        distribution = agent.policy.actor(path.z, path.context)
        now = path.z, path.context, distribution.log_prob(window.actions)
        for was, again in zip(self.known[-1], now, strict=True):
            error = (th.stack(was, dim=1) - again).abs().max()
            assert error < 1e-5


@pytest.mark.parametrize("rows", [0, 3, 50])
@pytest.mark.parametrize("actions", sorted(ACTIONS))
def test_a_window_is_gone_through_again_as_it_was(actions: str, rows: int) -> None:
    """z, what the policy knows, and its log-probabilities, also across ends of episodes."""
    windows = _Again()
    agent = make_agent(VECTOR, ACTIONS[actions], SETTINGS, rows=rows)
    agent.learn(4 * 2 * T, callback=windows)
    assert len(windows.kept) == agent._n_updates == 4
    assert any(window.is_first[:, 1:].any() for window in windows.kept)
    assert any(not window.is_first[:, 0].all() for window in windows.kept[1:])


class _Crash(BaseCallback):
    def _on_step(self) -> bool:
        if self.num_timesteps >= 3 * 2 * T:
            raise KeyboardInterrupt
        return True


def test_a_training_goes_on_exactly_from_its_last_save(tmp_path: Path) -> None:
    """In the middle of episodes, and of what the memory has gathered."""

    def make() -> MERLIN:
        return make_agent(TWO, ACTIONS["discrete"], SETTINGS, rows=3)

    whole, broken = make().learn(4 * 2 * T), make()
    with pytest.raises(KeyboardInterrupt):
        broken.learn(4 * 2 * T, callback=[SaveCallback(tmp_path, 2 * 2 * T), _Crash()])
    env = make_env(TWO, ACTIONS["discrete"])
    again = MERLIN.load(tmp_path, env=env, device="cpu", trusted=True)
    again.resume(tmp_path, trusted=True)
    assert again.num_timesteps == 2 * 2 * T
    assert not again._last_episode_starts.all()  # type: ignore[union-attr]
    remembered: Any = again._last_state
    assert remembered.latent.rows.written.any()
    windows = _Again()
    again.learn(2 * 2 * T, callback=windows, reset_num_timesteps=False)
    assert len(windows.kept) == 2
    assert_equal(whole.policy.state_dict(), again.policy.state_dict())
    for name, optimizer in whole.policy.optimizers.items():
        assert_equal(optimizer.state_dict(), again.policy.optimizers[name].state_dict(), name)
    assert_equal(whole._last_state, again._last_state)


def test_noise_is_that_of_the_window_and_last_observations_have_their_own() -> None:
    """Pitfall 7: new noise would give other actions their blame."""
    agent, windows = collect()
    window = windows.kept[1]
    steps = window.rewards.numel()
    one, other = (agent.policy.unroll(window, th.Generator().manual_seed(seed)) for seed in (0, 1))
    assert th.equal(one.seen_z[:steps], other.seen_z[:steps])
    assert (one.seen_z[steps:] != other.seen_z[steps:]).all()
    assert window.notes.flatten().unique().numel() == window.notes.numel()
    silent = agent.policy.unroll(window._replace(notes=th.zeros_like(window.notes)))
    assert (one.z != silent.z).any(-1).all()


def test_last_observations_are_seen_with_the_reward_that_came_with_the_end() -> None:
    agent, windows = collect()
    window, endings = windows.kept[1], windows.kept[1].endings
    path = agent.policy.unroll(window)
    steps = window.rewards.numel()
    # By time: a time limit of the first, the second's, its shortest, and two for good.
    assert endings.steps.tolist() == [0, 1, 2, 3, 5]
    assert endings.rows.tolist() == [0, 1, 1, 0, 1]
    assert endings.is_terminal.tolist() == [False, False, True, True, True]
    at = endings.rows, endings.steps
    assert th.equal(path.prev_rewards[steps:], window.rewards[at])
    assert th.equal(path.prev_actions[steps:], path.actions[at])
    assert th.equal(path.targets["observation"][steps:], endings.observations)
    assert path.is_terminal[steps:].tolist() == endings.is_terminal.tolist()
    assert not path.is_terminal[:steps].any()
    assert th.equal(path.is_first[:steps], window.is_first.flatten())
    assert not path.is_first[steps:].any()
    # They are no steps: nothing was done there.
    assert path.z.shape[:2] == path.context.shape[:2] == window.rewards.shape


def test_a_window_without_ends_has_no_last_observations() -> None:
    agent, windows = collect()
    window = windows.kept[1]
    none = window.endings._replace(
        rows=window.endings.rows[:0],
        steps=window.endings.steps[:0],
        observations=window.endings.observations[:0],
        is_terminal=window.endings.is_terminal[:0],
    )
    path = agent.policy.unroll(window._replace(endings=none))
    assert len(path.seen_z) == len(path.targets["observation"]) == window.rewards.numel()
    assert all(th.isfinite(x) for x in agent.losses(window._replace(endings=none)).terms.values())


def test_asking_for_values_changes_nothing_that_is_remembered() -> None:
    """Pitfall 7: a step that was only looked ahead must not be written into the memory."""
    agent, _ = collect()
    assert agent._generator is not None
    before = map_parts(th.clone, agent._last_state)
    draws = agent._generator.get_state()
    one, other = agent._next_values(), agent._next_values()
    assert (one == other).all()
    assert th.equal(draws, agent._generator.get_state())
    assert_equal(leaves(before), leaves(agent._last_state))


def test_values_of_the_next_window_begin_where_those_of_the_last_have_ended() -> None:
    """The value of what follows is that of the state after it, without noise."""
    agent, windows = collect()
    last, window = windows.kept
    quiet = window._replace(notes=th.zeros_like(window.notes))
    path = agent.policy.unroll(quiet)
    value = agent.policy.judge(path.z, agent.policy.actor(path.z, path.context))
    goes_on = ~window.is_first[:, 0]
    assert goes_on.any()
    th.testing.assert_close(last.bootstrap[goes_on, -1], value[goes_on, 0].detach())
    assert not last.bootstrap[~goes_on & ~last.is_last[:, -1], -1].any()


def test_each_step_is_written_once_and_rows_of_an_episode_are_its_own() -> None:
    """Pitfall 1: rows are emptied where an episode begins, not one step later."""
    agent, windows = collect(rows=50)
    counts = [0, 0]
    for window in windows.kept:
        for row in range(2):
            for is_first in window.is_first[row].tolist():
                counts[row] = 0 if is_first else counts[row] + 1
    # The newest z is written at the next step: until then the action after it is not known.
    assert agent._last_state.latent.rows.written.tolist() == [float(c) for c in counts]


@pytest.mark.parametrize("kind", [MERLIN, RLMEM])
def test_how_the_memory_is_read_is_logged(kind: type[MERLIN] | type[RLMEM]) -> None:
    kwargs: dict[str, Any] = {**kind.smallest, "n_steps": 6}
    agent = kind("MlpPolicy", "CartPole-v1", **kwargs, seed=0)
    agent.learn(6)
    names = "rows_used", "read_age", "read_entropy", "read_strength"
    used, age, entropy, strength = (agent.logger.name_to_value[f"train/{x}"] for x in names)
    assert used == pytest.approx(5 / 8)  # the sixth is written when the next step reads
    assert 0 <= age <= 4
    assert 0 < entropy <= np.log(5) + 1e-6
    assert strength > 1
    if kind is MERLIN:
        logged: Any = agent.logger.name_to_value
        size = cast("Any", agent.policy).world_model.dynamics.memory.rows
        assert 0 <= logged["train/predictor_read_age"] <= 4
        assert 0 < logged["train/predictor_read_entropy"] <= np.log(size) + 1e-6
        assert logged["train/predictor_read_strength"] > 1


@pytest.mark.parametrize("stochastic", [True, False])
def test_the_bound_is_what_the_predictor_descends(stochastic: bool) -> None:
    """Equation 7; without a posterior there is none."""
    agent, windows = collect(stochastic=stochastic)
    losses = agent.losses(windows.kept[1])
    if not stochastic:
        assert "neg_vlb" not in losses.metrics
        return
    terms, weights = losses.terms, agent._loss_weights()
    known = {"recon", "action", "reward", "cont", "kl", "value", "advantage"}
    assert terms.keys() == known | {"policy", "entropy"}
    expected = sum(float(weights[name]) * float(terms[name]) for name in sorted(known))
    assert float(losses.metrics["neg_vlb"]) == pytest.approx(expected, rel=1e-5)

"""Acting: the memory protocol of SB3's recurrent policies."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

OBS = np.array([[0.5, -0.5, 1.0], [-1.0, 0.2, 0.0], [0.1, 0.9, -0.3]], np.float32)


@pytest.fixture
def actor(make_agent: Any, shake: Any) -> Any:
    """Return an agent whose actions depend on what it sees and remembers."""
    return shake(make_agent())


@pytest.fixture
def memory(actor: Any) -> tuple[np.ndarray, ...]:
    """Return what the agent remembers after a few steps of three environments."""
    state: tuple[np.ndarray, ...] | None = None
    for _ in range(3):
        _, state = actor.predict(OBS, state)
    assert state is not None
    return state


def equal(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("deterministic", [True, False])
def test_one_observation_gives_one_action(actor: Any, deterministic: bool) -> None:
    action, state = actor.predict(OBS[0], deterministic=deterministic)
    assert isinstance(action, np.ndarray)
    assert actor.action_space.contains(action)
    assert all(len(part) == 1 for part in state)  # the state stays batched


def test_a_batch_gives_a_batch(actor: Any) -> None:
    actions, state = actor.predict(OBS)
    assert actions.shape == (3, 2)
    assert actions.dtype == actor.action_space.dtype
    assert all(isinstance(part, np.ndarray) and len(part) == 3 for part in state)


def test_rows_of_a_batch_are_independent(actor: Any) -> None:
    together, _ = actor.predict(OBS, deterministic=True)
    alone = [actor.predict(obs, deterministic=True)[0] for obs in OBS]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)


def test_memory_matters(actor: Any, memory: tuple[np.ndarray, ...]) -> None:
    _, fresh = actor.predict(OBS, deterministic=True)
    _, carried = actor.predict(OBS, memory, deterministic=True)
    assert not equal(fresh, carried)


def test_an_episode_start_forgets_everything(
    actor: Any, memory: tuple[np.ndarray, ...]
) -> None:  # pytorch/rl#4128
    assert np.abs(memory[-1]).min() > 0  # there is an action to forget
    fresh_action, fresh = actor.predict(OBS, deterministic=True)
    action, state = actor.predict(OBS, memory, np.ones(3, bool), deterministic=True)
    assert equal((fresh_action, *fresh), (action, *state))


def test_an_episode_start_forgets_its_own_row_only(
    actor: Any, memory: tuple[np.ndarray, ...]
) -> None:
    starts = np.array([False, True, False])
    _, fresh = actor.predict(OBS, deterministic=True)
    _, carried = actor.predict(OBS, memory, deterministic=True)
    _, mixed = actor.predict(OBS, memory, starts, deterministic=True)
    for part, new, old in zip(mixed, fresh, carried, strict=True):
        np.testing.assert_allclose(part, np.where(starts[:, None], new, old), atol=1e-6)


def test_no_memory_means_new_episodes(actor: Any) -> None:
    with_flags = actor.predict(OBS, None, np.zeros(3, bool), deterministic=True)
    assert np.array_equal(with_flags[0], actor.predict(OBS, deterministic=True)[0])


def test_deterministic_actions_are_a_function_of_the_arguments(
    actor: Any, memory: tuple[np.ndarray, ...]
) -> None:
    before, kept = th.get_rng_state(), tuple(part.copy() for part in memory)
    one, state = actor.predict(OBS, memory, deterministic=True)
    two, again = actor.predict(OBS, memory, deterministic=True)
    assert equal((one, *state), (two, *again))
    assert equal(kept, memory)
    assert th.equal(before, th.get_rng_state())


def test_other_actions_are_drawn(actor: Any) -> None:
    one, two = (actor.predict(OBS)[0] for _ in range(2))
    assert not np.array_equal(one, two)


def test_predicting_switches_training_off(actor: Any) -> None:
    actor.policy.set_training_mode(True)
    actor.predict(OBS)
    assert not actor.policy.training


@pytest.mark.parametrize("batched", [True, False])
def test_images_come_with_channels_first_or_last(
    make_agent: Any, make_env: Any, shake: Any, batched: bool
) -> None:
    env = make_env(spaces.Box(0, 255, (40, 36, 3), np.uint8))
    agent = shake(make_agent(env, "CnnPolicy"))
    image = env.observation_space.sample()
    image = image[None] if batched else image
    last, _ = agent.predict(image, deterministic=True)
    first, _ = agent.predict(np.moveaxis(image, -1, -3), deterministic=True)
    assert last.shape == ((1, 2) if batched else (2,))
    assert np.array_equal(last, first)


def test_what_gymnasium_returns_is_explained(actor: Any) -> None:
    with pytest.raises(ValueError, match="mixing Gym API"):
        actor.predict((OBS[0], {}))


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 2, 3)])
def test_observations_of_a_wrong_shape_are_refused(actor: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Unexpected observation shape"):
        actor.predict(np.zeros(shape, np.float32))


def test_memory_of_other_environments_is_refused(
    actor: Any, memory: tuple[np.ndarray, ...]
) -> None:
    with pytest.raises(ValueError, match="same number of environments"):
        actor.predict(OBS[:2], memory)


@pytest.mark.parametrize("n_envs", [1, 2, 3])
def test_evaluation_counts_episodes(actor: Any, make_env: Any, n_envs: int) -> None:
    env = make_vec_env(make_env, n_envs)
    rewards, lengths = evaluate_policy(actor, env, n_eval_episodes=4, return_episode_rewards=True)
    assert lengths == [10] * 4
    assert np.size(rewards) == 4


def test_the_policy_alone_is_evaluated_like_the_agent(actor: Any, make_env: Any) -> None:
    scores = []
    for predictor in (actor, actor.policy):
        env = make_vec_env(make_env, 2, seed=1)
        scores.append(evaluate_policy(predictor, env, n_eval_episodes=2))
    assert scores[0] == scores[1]

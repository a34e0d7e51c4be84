"""Exploration of Dreamer V1: noise, random actions and their schedule."""

import pytest
import torch as th

from dreamzoo.dreamer_v1.exploration import epsilon_after, epsilon_greedy, noisy
from dreamzoo.nn.distributions import one_hot

SIZES = [3, 2]


def _actions(n: int) -> th.Tensor:
    return th.cat([one_hot(th.zeros(n).long(), 3), one_hot(th.ones(n).long(), 2)], dim=1)


def test_noise_has_its_deviation_and_stays_in_the_range() -> None:
    drawn = noisy(th.zeros(20_000, 2), 0.3, th.Generator().manual_seed(0))
    assert drawn.std().item() == pytest.approx(0.3, abs=0.01)
    edge = noisy(th.ones(1000, 1), 0.3, th.Generator().manual_seed(0))
    assert edge.max() == 1.0
    assert (edge < 1.0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert th.equal(noisy(th.full((3, 1), 0.4), 0.0), th.full((3, 1), 0.4))


def test_as_many_actions_are_random_as_epsilon_says_and_those_are_uniform() -> None:
    action = _actions(30_000)
    assert th.equal(epsilon_greedy(action, SIZES, 0.0), action)
    drawn = epsilon_greedy(action, SIZES, 0.4, th.Generator().manual_seed(0))
    changed = (drawn != action).any(1).float().mean().item()
    assert changed == pytest.approx(0.4 * (1 - 1 / 6), abs=0.01)  # a sixth stays by chance
    uniform = epsilon_greedy(action, SIZES, 1.0, th.Generator().manual_seed(0))
    expected = th.tensor([1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2])
    assert (uniform.mean(0) - expected).abs().max() < 0.01
    for part in uniform.split(SIZES, 1):
        assert th.equal(part.sum(1), th.ones(len(action)))


def test_epsilon_changes_how_many_are_replaced_and_not_by_what() -> None:
    action = _actions(200)
    some, all_of_them = (
        epsilon_greedy(action, SIZES, epsilon, th.Generator().manual_seed(1))
        for epsilon in (0.5, 1.0)
    )
    same = (some == all_of_them).all(1) | (some == action).all(1)
    assert same.all()


@pytest.mark.parametrize(
    ("n_updates", "epsilon"), [(0, 0.4), (100_000, 0.25), (200_000, 0.1), (10**7, 0.1)]
)
def test_epsilon_falls_linearly(n_updates: int, epsilon: float) -> None:
    assert epsilon_after(n_updates, 0.4, 0.1, 200_000) == pytest.approx(epsilon)

"""The cross-entropy method finds what can be found by trying everything."""

import pytest
import torch as th
from torch import Tensor

from dreamzoo.planning import CEM, Rollout, random_shooting
from dreamzoo.planning.cem import VARIANCE_FLOOR

# Not diagonal: the best step depends on the other, as in a real task.
CURVATURE = th.tensor([[2.0, 0.8], [0.8, 1.0]])


def seeded(seed: int = 0) -> th.Generator:
    return th.Generator().manual_seed(seed)


def quadratic(best: Tensor) -> Rollout:
    """
    Rate plans of two steps and one action by their distance from the best.

    :param best: the best plan, (2,), or one for each environment, (N, 1, 2)
    """

    def rollout(actions: Tensor) -> Tensor:
        error = actions[..., 0] - best  # (N, J, H)
        return -th.einsum("nji,ik,njk->nj", error, CURVATURE, error)

    return rollout


@pytest.mark.parametrize("best", [(0.3, -0.6), (1.7, -0.2), (-3.0, 5.0)])
def test_finds_the_optimum_of_a_quadratic(best: tuple[float, float]) -> None:
    rollout = quadratic(th.tensor(best))
    axis = th.linspace(-1, 1, 401)
    grid = th.cartesian_prod(axis, axis)[None, :, :, None]
    brute_force = grid[0, rollout(grid).argmax(), :, 0]
    plan = CEM(horizon=2, iterations=20, candidates=500, elites=50).plan(
        rollout, action_dim=1, generator=seeded()
    )
    assert plan.mean.shape == plan.std.shape == (1, 2, 1)
    assert plan.mean.abs().max() <= 1
    th.testing.assert_close(plan.mean[0, :, 0], brute_force, atol=0.01, rtol=0)
    th.testing.assert_close(plan.returns, rollout(grid).max(dim=1).values, atol=0.01, rtol=1e-3)


def test_one_iteration_is_a_refit_to_the_best() -> None:
    """Mean and population standard deviation of the elites, one number at a time."""
    rated = []

    def rollout(actions: Tensor) -> Tensor:
        rated.append(actions)
        return actions.sum(dim=(2, 3)).sin()

    cem = CEM(horizon=3, iterations=1, candidates=20, elites=6)
    plan = cem.plan(rollout, action_dim=2, n=2, generator=seeded())
    (actions,) = rated
    assert actions.shape == (2, 20, 3, 2)
    assert actions.abs().max() == 1
    for env in range(2):
        order = sorted(range(20), key=lambda j: -float(actions[env, j].sum().sin()))
        for step in range(3):
            for dim in range(2):
                elites = [float(actions[env, j, step, dim]) for j in order[:6]]
                mean = sum(elites) / 6
                variance = sum((action - mean) ** 2 for action in elites) / 6
                assert plan.mean[env, step, dim] == pytest.approx(mean, abs=1e-6)
                std = (variance + VARIANCE_FLOOR) ** 0.5
                assert plan.std[env, step, dim] == pytest.approx(std, abs=1e-6)
        best = [float(actions[env, j].sum().sin()) for j in order[:6]]
        assert plan.returns[env] == pytest.approx(sum(best) / 6, abs=1e-6)


def test_later_rounds_draw_from_the_belief_and_are_clipped() -> None:
    rated = []

    def rollout(actions: Tensor) -> Tensor:
        rated.append(actions)
        return actions.sum(dim=(2, 3))

    CEM(horizon=2, iterations=5, candidates=300, elites=10).plan(rollout, 1, generator=seeded())
    assert len(rated) == 5
    means = [float(actions.mean()) for actions in rated]
    assert abs(means[0]) < 0.1
    assert min(means[1:]) > 0.9
    assert all(actions.abs().max() <= 1 for actions in rated)


def test_random_shooting_takes_the_single_best_candidate() -> None:
    rated = []

    def rollout(actions: Tensor) -> Tensor:
        rated.append(actions)
        return quadratic(th.tensor([0.5, 0.5]))(actions)

    plan = random_shooting(horizon=2, candidates=50).plan(rollout, 1, n=3, generator=seeded())
    (actions,) = rated
    returns = quadratic(th.tensor([0.5, 0.5]))(actions)
    for env, best in enumerate(returns.argmax(dim=1)):
        assert th.equal(plan.mean[env], actions[env, best])
    th.testing.assert_close(plan.std, th.full_like(plan.std, VARIANCE_FLOOR**0.5))
    assert th.equal(plan.returns, returns.max(dim=1).values)


def test_candidates_rated_nan_never_become_elites() -> None:
    def rollout(actions: Tensor) -> Tensor:
        first = actions[:, :, 0, 0]
        return th.where(first > 0, th.nan, first)  # the best is next to the edge

    plan = CEM(horizon=2, iterations=8, candidates=200, elites=20).plan(
        rollout, action_dim=1, generator=seeded()
    )
    assert -0.05 < plan.mean[0, 0, 0] <= 0
    assert plan.returns.isfinite().all()


def test_common_noise_makes_a_plan_independent_of_the_batch() -> None:
    best = th.tensor([[0.3, -0.6], [-0.9, 0.1], [2.0, 0.0]])[:, None]  # (N, 1, H)
    cem = CEM(horizon=2, iterations=4, candidates=60, elites=6)
    together = cem.plan(quadratic(best), 1, n=3, generator=seeded(), common_noise=True)
    for env in range(3):
        rollout = quadratic(best[env : env + 1])
        alone = cem.plan(rollout, 1, n=1, generator=seeded(), common_noise=True)
        th.testing.assert_close(together.mean[env], alone.mean[0])
        th.testing.assert_close(together.std[env], alone.std[0])


def test_environments_draw_their_own_candidates_by_default() -> None:
    cem = CEM(horizon=2, iterations=2, candidates=20, elites=2)
    plan = cem.plan(quadratic(th.tensor([0.3, -0.6])), 1, n=2, generator=seeded())
    assert not th.equal(plan.mean[0], plan.mean[1])


def test_same_seed_same_plan() -> None:
    cem = CEM(horizon=2, iterations=3, candidates=30, elites=3)
    rollout = quadratic(th.tensor([0.3, -0.6]))
    plans = [cem.plan(rollout, 1, generator=seeded(seed)) for seed in (1, 1, 2)]
    assert th.equal(plans[0].mean, plans[1].mean)
    assert th.equal(plans[0].std, plans[1].std)
    assert not th.equal(plans[0].mean, plans[2].mean)


@pytest.mark.parametrize(
    "numbers",
    [{"horizon": 0}, {"iterations": 0}, {"candidates": 0}, {"elites": 0}, {"candidates": 99}],
)
def test_numbers_that_make_no_plan_raise(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="elites at most candidates"):
        CEM(**numbers)

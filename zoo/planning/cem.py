"""The cross-entropy method and random shooting, over any function that rates action sequences."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch as th
from torch import Tensor

from dreamzoo.nn.process import restores_process

#: Added to the elites' variance before its root (reference code of PlaNet).
VARIANCE_FLOOR = 1e-6


class Rollout(Protocol):
    """What a plan is judged by: a learned model, or the true simulator."""

    def __call__(self, actions: Tensor) -> Tensor:
        """
        Rate action sequences from where each of N environments stands.

        :param actions: in [-1, 1], (N, J, H, A)
        :return: the return of each sequence, (N, J)
        """


class Plan(NamedTuple):
    """
    Belief about the best actions of N environments.

    Example:
        >>> import torch
        >>> from dreamzoo.planning import CEM
        >>> plan = CEM(horizon=5).plan(lambda actions: actions.sum((2, 3)), action_dim=2, n=3)
        >>> plan.mean[:, 0].shape  # what each of the three environments should do now
        torch.Size([3, 2])

    :param mean: (N, H, A); the first step is what to do now
    :param std: (N, H, A)
    :param returns: mean return of the last elites, (N,)
    """

    mean: Tensor
    std: Tensor
    returns: Tensor


@dataclass(frozen=True)
class CEM:
    """
    Cross-entropy method (PlaNet, algorithm 2; constants of its appendix A).

    Every call begins anew at a unit normal: the paper found that a warm start from the last plan
    risks local optima. Candidates are clipped to [-1, 1] before they are rated *and* refitted,
    without which the mean leaves the box, and the elites' standard deviation is the population's,
    both as in the authors' code.

    Example:
        >>> import torch
        >>> from dreamzoo.planning import CEM
        >>> def rollout(actions):  # (N, J, H, A): 0.5 is the best action at every step
        ...     return -(actions - 0.5).abs().sum((2, 3))
        >>> generator = torch.Generator().manual_seed(0)
        >>> plan = CEM(horizon=3).plan(rollout, action_dim=1, generator=generator)
        >>> [round(action, 1) for action in plan.mean.flatten().tolist()]
        [0.5, 0.5, 0.5]

    :param horizon: planned steps H
    :param iterations: rounds of sampling and refitting I
    :param candidates: action sequences in a round J
    :param elites: best sequences that the belief is refitted to K
    :raises ValueError: for numbers that make no plan
    """

    horizon: int = 12
    iterations: int = 10
    candidates: int = 1_000
    elites: int = 100

    def __post_init__(self) -> None:
        if min(self.horizon, self.iterations, self.elites) < 1 or self.elites > self.candidates:
            raise ValueError(f"{self}: all must be at least 1, and elites at most candidates.")

    @restores_process
    @th.no_grad()
    def plan(
        self,
        rollout: Rollout,
        action_dim: int,
        n: int = 1,
        generator: th.Generator | None = None,
        device: th.device | str = "cpu",
        *,
        common_noise: bool = False,
    ) -> Plan:
        """
        Search for the best actions.

        :param rollout: rates candidates
        :param action_dim: width A of an action in [-1, 1]
        :param n: environments N, planned for side by side
        :param generator: source of the candidates
        :param device: where to compute
        :param common_noise: give all environments the same candidates' noise, so that the plan of
            one does not depend on which others there are
        """
        shape = (1 if common_noise else n, self.candidates, self.horizon, action_dim)
        mean = th.zeros(n, 1, self.horizon, action_dim, device=device)
        std = th.ones_like(mean)
        best = th.zeros(n, 0, device=device)
        for _ in range(self.iterations):
            noise = th.randn(shape, generator=generator, device=device)
            actions = (mean + std * noise).clamp_(-1.0, 1.0)  # (N, J, H, A)
            returns = rollout(actions)
            # What blew up is the worst there is; topk would call NaN the best.
            returns = returns.where(returns.isfinite(), -th.inf)
            best, index = returns.topk(self.elites, dim=1, sorted=False)  # (N, K)
            elites = actions.gather(1, index[..., None, None].expand(-1, -1, *actions.shape[2:]))
            mean = elites.mean(dim=1, keepdim=True)
            std = (elites.var(dim=1, keepdim=True, correction=0) + VARIANCE_FLOOR).sqrt()
        return Plan(mean[:, 0], std[:, 0], best.mean(dim=1))


def random_shooting(horizon: int = 12, candidates: int = 1_000) -> CEM:
    """
    Take the best of many random sequences: the ablation of PlaNet's figure 5.

    It is one round of the cross-entropy method with a single elite.

    Example:
        >>> from dreamzoo.planning import random_shooting
        >>> random_shooting(candidates=500)
        CEM(horizon=12, iterations=1, candidates=500, elites=1)

    :param horizon: planned steps H
    :param candidates: action sequences J
    """
    return CEM(horizon, iterations=1, candidates=candidates, elites=1)

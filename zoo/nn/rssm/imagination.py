"""What imagination asks of an actor, what it returns, and what is held fixed meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from dreamzoo.nn.state import State


class Acts(Protocol):
    """Chooses actions by features: what imagination needs of an actor."""

    def evaluate(self, feat: Tensor) -> Tensor:
        """From features (..., F) to what :meth:`distribution` reads."""

    def distribution(self, evaluated: Tensor) -> Any:
        """Return a distribution of actions, with ``sample(generator)`` and ``mode()``."""

    def encode(self, actions: Tensor) -> Tensor:
        """Turn actions into what the dynamics read, (..., A)."""


class Trajectory(NamedTuple):
    """
    What was lived through in imagination, N times, time first.

    Example:
        >>> import torch
        >>> from dreamzoo import DreamerV3
        >>> agent = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> dynamics, actor = agent.policy.world_model.dynamics, agent.policy.actor
        >>> dream = dynamics.imagine(dynamics.initial(4), actor, horizon=5)
        >>> dream.feat.shape[:2], dream.actions.shape
        (torch.Size([6, 4]), torch.Size([5, 4, 1]))

    :param states: states 0..H, the start included, (H + 1, N, ...)
    :param feat: their features, (H + 1, N, F)
    :param actions: chosen in states 0..H-1, (H, N, ...)
    :param policy: the actor's distributions in these states, with its gradient; None where actions
        were given
    """

    states: State
    feat: Tensor
    actions: Tensor
    policy: Any


def steps_of(actor: Acts | Tensor, horizon: int | None) -> int:
    """Return how many steps to imagine."""
    given = len(actor) if isinstance(actor, Tensor) else None
    if horizon is None and given is None:
        raise ValueError("An actor needs a horizon: imagine(latent, actor, horizon).")
    if None not in (horizon, given) and horizon != given:
        raise ValueError(f"{horizon=}, but there are actions for {given} steps.")
    steps = given if horizon is None else horizon
    assert steps is not None
    return steps


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """
    Let gradients pass through modules without reaching their parameters.

    What is computed inside treats the parameters as constants, also if it is differentiated later;
    graphs that were recorded before keep theirs. Under ``torch.no_grad()`` an actor would learn
    nothing, and unfrozen it would train the model to please it.

    :param modules: whose parameters are held
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)

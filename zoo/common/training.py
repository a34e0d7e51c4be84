"""What the update steps of all agents need beside mathematics: means and a finite check."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch as th
from torch import Tensor, nn

from dreamzoo.common.last_good import stop_training
from dreamzoo.nn.fast import streams

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from dreamzoo.nn.world_model import Filtered, WorldModel

First = TypeVar("First")
Second = TypeVar("Second")


class Losses(NamedTuple):
    """
    What an agent says about one batch.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> agent = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> batch = agent.learn(60).replay_buffer.sample(2, batch_length=8)
        >>> sorted(agent.losses(batch).terms)
        ['actor', 'cont', 'critic', 'dyn', 'recon', 'rep', 'replay_critic', 'reward']

    :param terms: of the loss, by name, not weighted: scalars with gradient
    :param metrics: what else describes the update; tensors of any shape
    :param latents: of the batch, for the replay, by name, (B, T, ...)
    """

    terms: dict[str, Tensor]
    metrics: dict[str, Tensor]
    latents: dict[str, Tensor]


class Outcome(NamedTuple):
    """
    What an update leaves behind.

    :param metrics: losses and what else describes the update; tensors of any shape
    :param latents: of the batch, for the replay, by name, (B, T, ...)
    """

    metrics: dict[str, Tensor]
    latents: dict[str, Tensor]


def to_means(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """
    Reduce tensors of any shape to their means.

    :param values: without a graph or with one
    :return: float32 scalars without a graph
    """
    return {name: value.detach().float().mean() for name, value in values.items()}


class MeanMetrics:
    """Average metrics over updates, on their device, and read them out once."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._counts: dict[tuple[str, ...], int] = defaultdict(int)

    def add(self, means: dict[str, Tensor]) -> None:
        """
        Count the metrics of one update.

        :param means: scalars, see :func:`to_means`
        """
        names, values = tuple(means), th.stack(list(means.values()))
        self._sums[names] = self._sums[names] + values if names in self._sums else values
        self._counts[names] += 1

    def means(self) -> dict[str, float]:
        """Copy all averages to the host, in one transfer for all updates of the same metrics."""
        totals: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        for names, sums in self._sums.items():
            for name, value in zip(names, sums.tolist(), strict=True):
                totals[name] += value
                counts[name] += self._counts[names]
        return {name: total / counts[name] for name, total in totals.items()}


def reconstruction_losses(
    model: "WorldModel", filtered: "Filtered", feat: Tensor
) -> dict[str, Tensor]:
    """
    Compute how badly states reproduce what was observed, on average over steps and rows.

    :param model: whose decoder predicts
    :param filtered: states of a batch, and what they should reproduce
    :param feat: features of these states, (B, T, F)
    :return: ``recon``, or of a Dict ``recon_<key>`` for every key
    """
    predictions = model.decoder(feat.flatten(0, 1))
    return {
        f"recon_{name}" if model.codec.is_dict else "recon": loss.mean()
        for name, loss in model.decoder.loss(predictions, filtered.targets).items()
    }


def at_once(
    first: Callable[..., First], second: Callable[..., Second], *inputs: Any
) -> tuple[First, Second]:
    """
    Apply two functions to the same inputs; neither may need what the other does.

    A GPU computes both at the same time, everything else one after the other, see
    :func:`dreamzoo.nn.fast.streams.at_once`.

    :param first: of all inputs
    :param second: of all inputs
    :param inputs: tensors, alone or nested in tuples and dicts
    :return: what both return
    """
    return streams.at_once(first, second, *inputs)


def derived(
    losses: Callable[[Tensor], dict[str, Tensor]], x: Tensor, module: nn.Module
) -> dict[str, Tensor]:
    """
    Compute losses; if it is one, a GPU computes its gradients in the same go.

    There these do not wait for what is computed :func:`at_once` with it, see
    :func:`dreamzoo.nn.fast.streams.derived`.

    :param losses: of x, of a module's parameters and of nothing else that learns; scalars by name
    :param x: with gradient
    :param module: the module
    """
    return streams.derived(losses, x, module)


def total(losses: dict[str, Tensor]) -> Tensor:
    """Add up the terms of a loss."""
    return th.stack(list(losses.values())).sum()


def check_finite_losses(model: "BaseAlgorithm", loss: Tensor, terms: dict[str, Tensor]) -> None:
    """
    Stop before an update that would destroy the parameters.

    On a CPU only: elsewhere looking at the loss would wait for the device. There
    :func:`guard_gradients` protects the parameters until :func:`check_means` looks.

    :param model: the agent
    :param loss: total
    :param terms: named parts of it
    :raises FloatingPointError: names the terms, the step and the file of the last good model
    """
    if _on_host(loss) and not th.isfinite(loss):
        stop_training(
            model, {name: term.item() for name, term in terms.items()} | {"loss": loss.item()}
        )


def guard_gradients(
    model: "BaseAlgorithm",
    parameters: Iterable[Tensor],
    loss: Tensor,
    norms: dict[str, Tensor],
) -> None:
    """
    Let no gradient that is not finite reach the parameters.

    On a CPU it stops; elsewhere it sets all gradients of this update to zero.

    :param model: the agent
    :param parameters: with their gradients
    :param loss: total
    :param norms: of the gradients of every optimizer, by name
    :raises FloatingPointError: as :func:`check_finite_losses`
    """
    finite = th.isfinite(loss)
    for norm in norms.values():
        finite = finite & th.isfinite(norm)
    if _on_host(loss):
        if not finite:
            stop_training(model, {name: norm.item() for name, norm in norms.items()})
        return
    with_grad = [p for p in parameters if p.grad is not None]
    # In one piece: a hundred single tensors would be as many launches.
    grads = [p.grad for p in with_grad if p.grad is not None]
    sizes = [grad.numel() for grad in grads]
    flat = loss.new_empty(sum(sizes), dtype=grads[0].dtype)
    # Joined by th.cat, so many small ones would take several times as long.
    th._foreach_copy_([x.view_as(p) for x, p in zip(flat.split(sizes), grads, strict=True)], grads)
    kept = th.where(finite, flat, 0.0).split(sizes)
    for parameter, grad in zip(with_grad, kept, strict=True):
        parameter.grad = grad.view_as(parameter)


def _on_host(x: Tensor) -> bool:
    """Return whether looking at a value waits for nothing."""
    return x.is_cpu


def check_means(model: "BaseAlgorithm", means: dict[str, float]) -> None:
    """
    Stop if the loss or the gradient of one of several updates was not finite.

    :param model: the agent
    :param means: of the metrics; terms of the loss end in ``_loss``
    :raises FloatingPointError: as :func:`check_finite_losses`
    """
    terms = {k.removesuffix("_loss"): v for k, v in means.items() if k.endswith("_loss")}
    terms |= {k: v for k, v in means.items() if k.endswith("grad_norm")}
    if not all(map(math.isfinite, terms.values())):
        stop_training(model, terms)


def check_actions(model: "BaseAlgorithm", actions: np.ndarray) -> None:
    """
    Stop before an environment gets actions of a destroyed model.

    :param model: the agent
    :param actions: on the host anyway
    :raises FloatingPointError: as :func:`check_finite_losses`
    """
    if not np.isfinite(actions).all():
        stop_training(model, {"action": math.nan}, "action")

"""What the update steps of all agents need beside mathematics: means and a finite check."""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch as th
from torch import Tensor

from dreamzoo.common.last_good import stop_training

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class MeanMetrics:
    """Average tensors over updates, on their device, and read them out once."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, values: dict[str, Tensor]) -> None:
        """
        :param values: tensors of any shape; each counts with its mean
        """
        for name, value in values.items():
            mean = value.detach().float().mean()
            self._sums[name] = self._sums[name] + mean if name in self._sums else mean
            self._counts[name] += 1

    def means(self) -> dict[str, float]:
        """Copy all averages to the host, in one transfer."""
        if not self._sums:
            return {}
        values = th.stack(list(self._sums.values())).tolist()
        return {k: v / self._counts[k] for k, v in zip(self._sums, values, strict=True)}


def check_finite(model: "BaseAlgorithm", loss: Tensor, terms: dict[str, Tensor]) -> None:
    """
    Stop before an update that would destroy the parameters.

    On a CPU only: elsewhere looking at the loss would wait for the device. There
    :func:`guard_gradients` protects the parameters until :func:`check_means` looks.

    :param model: the agent
    :param loss: total
    :param terms: named parts of it
    :raises FloatingPointError: names the terms, the step and the file of the last good model
    """
    if loss.device.type == "cpu" and not th.isfinite(loss):
        stop_training(
            model, {name: term.item() for name, term in terms.items()} | {"loss": loss.item()}
        )


def guard_gradients(
    model: "BaseAlgorithm", parameters: Iterable[Tensor], loss: Tensor, norm: Tensor
) -> None:
    """
    Let no gradient that is not finite reach the parameters.

    On a CPU it stops; elsewhere it sets all gradients of this update to zero.

    :param model: the agent
    :param parameters: with their gradients
    :param loss: total
    :param norm: of all gradients
    :raises FloatingPointError: as :func:`check_finite`
    """
    finite = th.isfinite(loss) & th.isfinite(norm)
    if loss.device.type == "cpu":
        if not finite:
            stop_training(model, {"grad_norm": norm.item()})
        return
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = th.where(finite, parameter.grad, 0.0)


def check_means(model: "BaseAlgorithm", means: dict[str, float]) -> None:
    """
    Stop if the loss or the gradient of one of several updates was not finite.

    :param model: the agent
    :param means: of the metrics; terms of the loss end in ``_loss``
    :raises FloatingPointError: as :func:`check_finite`
    """
    terms = {k.removesuffix("_loss"): v for k, v in means.items() if k.endswith("_loss")}
    terms |= {k: v for k, v in means.items() if k == "grad_norm"}
    if not all(map(math.isfinite, terms.values())):
        stop_training(model, terms)


def check_actions(model: "BaseAlgorithm", actions: np.ndarray) -> None:
    """
    Stop before an environment gets actions of a destroyed model.

    :param model: the agent
    :param actions: on the host anyway
    :raises FloatingPointError: as :func:`check_finite`
    """
    if not np.isfinite(actions).all():
        stop_training(model, {"action": math.nan}, "action")

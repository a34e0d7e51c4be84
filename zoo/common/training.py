"""What the update steps of all agents need beside mathematics: means and a finite check."""

import pathlib
from collections import defaultdict
from typing import TYPE_CHECKING

import torch as th
from torch import Tensor

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

    Nothing was updated yet with this batch, so the model is still good: it is saved.

    :param model: the agent
    :param loss: total
    :param terms: named parts of it
    :raises FloatingPointError: names the terms, the step and the file
    """
    if th.isfinite(loss):
        return
    bad = [name for name, term in terms.items() if not th.isfinite(term)]
    folder = pathlib.Path(model.logger.get_dir() or ".")
    path = folder / f"last_good_{model.num_timesteps}_steps.zip"
    model.save(path)
    raise FloatingPointError(
        f"The loss is not finite at step {model.num_timesteps}, update {model._n_updates}: "
        f"{', '.join(f'{name} = {terms[name].item()}' for name in bad)}. The parameters of before "
        f"this update are saved in {path}. Look at the observations and rewards of the "
        "environment first, then lower learning_rate."
    )

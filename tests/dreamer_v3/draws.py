"""Draws that do not depend on any random generator: the same here as in another implementation."""

from typing import Any

import numpy as np
import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn import distributions
from dreamzoo.nn.fast import unroll
from dreamzoo.nn.rssm import block as rssm

#: Uniform numbers of the latents of up to 64 rows, the same at every step.
UNIFORM = th.as_tensor(np.random.default_rng(99).uniform(size=(64, 32)).astype(np.float32))
#: Standard deviations that continuous actions lie away from the mean.
AWAY = th.tensor([0.9, -1.3, 0.4, -0.2, 1.7, -0.8])


def fix_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let latents be the inverse distribution at :data:`UNIFORM`, continuous actions mean + std *
    :data:`AWAY`, and discrete ones the class after the most likely.

    :param monkeypatch: takes all of it back
    """

    def draw(shape: tuple[int, ...], *_: Any) -> Tensor:
        rows = UNIFORM[: shape[-2], : shape[-1]]
        return rows.expand(shape).contiguous()

    step = unroll.Imagination.step

    def imagine(self: Any, feat: Tensor, action: Tensor, draws: Tensor, out: Tensor) -> Tensor:
        return step(self, feat, action, draw(tuple(draws.shape)), out)

    def away(self: distributions.BoundedNormalActions, *_: Any) -> Tensor:
        return self.mean + self.std * AWAY[: self.mean.shape[-1]]

    def after(self: distributions.CategoricalActions, *_: Any) -> Tensor:
        sizes = th.as_tensor([p.shape[-1] for p in self.probs])
        return (self.mode() + 1) % sizes

    monkeypatch.setattr(rssm, "_draws", draw)
    monkeypatch.setattr(unroll.Imagination, "step", imagine)
    monkeypatch.setattr(distributions.BoundedNormalActions, "from_noise", away)
    monkeypatch.setattr(distributions.CategoricalActions, "from_noise", after)

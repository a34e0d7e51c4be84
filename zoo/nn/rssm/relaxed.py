"""Categorical latents by way of the Gumbel-softmax: relaxed, or rounded."""

from collections.abc import Mapping
from typing import ClassVar

import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Categorical
from dreamzoo.nn.estimators.relaxed import relax, threshold
from dreamzoo.nn.rssm.latents import CategoricalLatents, Terms
from dreamzoo.nn.settings import Line, Moving, Setting, at_step


class GumbelLatents(CategoricalLatents):
    """
    Categoricals that are drawn by the Gumbel-softmax (Jang et al. 2017; Maddison et al. 2017).

    Logits ``l`` and Gumbel noise ``g`` give ``y = softmax((l + g) / temperature)``. That is the
    latent; with ``hard`` the latent is its largest class as a one-hot vector, which has the
    gradient of ``y``. The most likely latent, asked for by ``mode``, is a one-hot vector for both.

    The temperature is a part of the state: what was saved acts and dreams with the temperature that
    it was trained with last.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.relaxed import GumbelLatents
        >>> latents = GumbelLatents(stoch=3, classes=4, temperature=(1.0, 0.5, 20_000))
        >>> latents.move(10_000)  # steps
        >>> latents.temperature
        tensor(0.7500)
        >>> belief = latents.belief(torch.zeros(2, latents.outputs))
        >>> latents.draw(belief, None, mode=False).sum(-1)[0].round()
        tensor([1., 1., 1.])

    :param stoch: number S of latents
    :param classes: classes C of each
    :param temperature: near 0 draws are almost hard, and their gradients vary a lot; a number, or a
        line ``(from, to, steps)`` that it moves along (the paper's VAE: from 1 to 0.5)
    :param hard: round what is drawn
    """

    settings: ClassVar[Mapping[str, Setting]] = {
        "temperature": Line(0.01, such_as=(1.0, 0.5, 100_000))
    }
    temperature: Tensor

    def __init__(
        self,
        stoch: int = 32,
        classes: int = 32,
        temperature: Moving = 1.0,
        *,
        hard: bool = False,
    ) -> None:
        super().__init__(stoch, classes)
        self.schedule, self.one_hot = temperature, hard
        self.register_buffer("temperature", th.tensor(at_step(temperature, 0)))

    def draw(self, belief: Categorical, generator: th.Generator | None, mode: bool) -> Tensor:
        if mode:
            return belief.mode()
        soft = relax(belief, self.temperature, generator)
        return threshold(belief, soft) if self.one_hot else soft

    def move(self, step: int) -> None:
        self.temperature.fill_(at_step(self.schedule, step))

    def losses(self, post: Categorical, generator: th.Generator | None = None) -> Terms:
        return {}, {"temperature": self.temperature}

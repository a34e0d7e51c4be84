"""How a model draws its stochastic part: what a choice of latents has to say."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Categorical, Gaussian

D = TypeVar("D", Categorical, Gaussian)


class Latents(ABC, Generic[D]):
    """
    A kind of latents: how a head's numbers become a distribution, and how that is drawn from.

    :param stoch: number S of latents
    :param classes: numbers C of one latent
    :param outputs: numbers that a head has to predict for all of them
    """

    def __init__(self, stoch: int, classes: int, outputs: int) -> None:
        self.stoch, self.classes, self.outputs = stoch, classes, outputs

    @abstractmethod
    def belief(self, raw: Tensor) -> D:
        """Read a head's predictions, (..., outputs), as a distribution."""

    @abstractmethod
    def draw(self, belief: D, generator: th.Generator | None, mode: bool) -> Tensor:
        """Take latents from a belief, (..., S, C), with a gradient."""


class OneHotLatents(Latents[Categorical]):
    """
    Categoricals whose one-hot draws have the gradient of their probabilities (DreamerV2, alg. 1).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.latents import OneHotLatents
        >>> latents = OneHotLatents(stoch=3, classes=4)
        >>> belief = latents.belief(torch.zeros(2, latents.outputs))
        >>> latents.draw(belief, None, mode=False).sum(-1)[0]
        tensor([1., 1., 1.])

    :param stoch: number S of latents (DreamerV2, table D.1: 32)
    :param classes: classes C of each (32)
    """

    def __init__(self, stoch: int = 32, classes: int = 32) -> None:
        super().__init__(stoch, classes, stoch * classes)

    def belief(self, raw: Tensor) -> Categorical:
        return Categorical.from_logits(raw.unflatten(-1, (self.stoch, self.classes)))

    def draw(self, belief: Categorical, generator: th.Generator | None, mode: bool) -> Tensor:
        return belief.mode() if mode else belief.sample(generator)


class NormalLatents(Latents[Gaussian]):
    """
    Diagonal normals, the ablation "No Discrete Latents" of DreamerV2's table 2.

    The standard deviation is ``2 sigmoid(raw / 2) + 0.1`` (``sigmoid2`` of danijar/dreamerv2).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.latents import NormalLatents
        >>> latents = NormalLatents(stoch=3)
        >>> latents.belief(torch.zeros(2, latents.outputs)).std[0]
        tensor([1.1000, 1.1000, 1.1000])

    :param stoch: number S of latents (the first release of danijar/dreamerv2: 50)
    """

    MIN_STD = 0.1

    def __init__(self, stoch: int = 50) -> None:
        super().__init__(stoch, 1, 2 * stoch)

    def belief(self, raw: Tensor) -> Gaussian:
        mean, std = raw.chunk(2, dim=-1)
        return Gaussian(mean, 2.0 * th.sigmoid(0.5 * std) + self.MIN_STD)

    def draw(self, belief: Gaussian, generator: th.Generator | None, mode: bool) -> Tensor:
        return (belief.mode() if mode else belief.sample(generator))[..., None]

"""How a model draws its stochastic part: what a choice of latents has to say."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Categorical, Gaussian

D = TypeVar("D")
#: Terms of a loss and metrics, by name.
Terms = tuple[dict[str, Tensor], dict[str, Tensor]]


class Latents(nn.Module, Generic[D]):
    """
    A kind of latents: how a head's numbers become a distribution, and how that is drawn from.

    What it has to remember are buffers, which are saved and restored with the model.

    :param stoch: number S of latents
    :param classes: numbers C of one latent
    :param outputs: numbers that a head has to predict of what is expected of all of them
    :param post_outputs: the same of what is believed after an observation; None: as many
    """

    #: Whether draws are one-hot vectors: layers that read them need not multiply.
    one_hot: bool = False
    #: Of the terms that :meth:`losses` has.
    weights: Mapping[str, float] = {}

    def __init__(
        self, stoch: int, classes: int, outputs: int, post_outputs: int | None = None
    ) -> None:
        super().__init__()
        self.stoch, self.classes, self.outputs = stoch, classes, outputs
        self.post_outputs = outputs if post_outputs is None else post_outputs

    @abstractmethod
    def belief(self, raw: Tensor) -> D:
        """Read a head's predictions after an observation, (..., post_outputs)."""

    def expectation(self, raw: Tensor) -> D:
        """Read a head's predictions before an observation, (..., outputs)."""
        return self.belief(raw)

    def draw(self, belief: D, generator: th.Generator | None, mode: bool) -> Tensor:
        """Take latents from what is believed or expected, (..., S, C), with a gradient."""
        drawn: Any = belief
        return drawn.mode() if mode else drawn.sample(generator)

    def losses(self, post: D, generator: th.Generator | None = None) -> Terms:
        """
        Compute what these latents ask for beside reconstruction and divergence.

        What :meth:`averages` lists moves on, as in an update.

        :param post: what was believed after the observations of a batch, (B, T, ...)
        :param generator: source of randomness
        :return: terms of the loss, not weighted, and metrics
        """
        return {}, {}

    def averages(self) -> list[Tensor]:
        """List the running means that :meth:`losses` moves."""
        return []

    def move(self, step: int) -> None:
        """
        Set what depends on how far training is.

        :param step: of all environments together
        """


class CategoricalLatents(Latents[Categorical]):
    """
    Base of latents that are categoricals, however these are drawn.

    :param stoch: number S of latents
    :param classes: classes C of each
    """

    def __init__(self, stoch: int, classes: int) -> None:
        super().__init__(stoch, classes, stoch * classes)

    def belief(self, raw: Tensor) -> Categorical:
        return Categorical.from_logits(raw.unflatten(-1, (self.stoch, self.classes)))


class OneHotLatents(CategoricalLatents):
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

    one_hot = True

    def __init__(self, stoch: int = 32, classes: int = 32) -> None:
        super().__init__(stoch, classes)


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
        return super().draw(belief, generator, mode)[..., None]

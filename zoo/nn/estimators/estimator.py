"""What all estimators of gradients through discrete samples share."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Bernoulli, Categorical

#: What a layer draws from: bits (..., S) or one-hot vectors (..., S, C).
Discrete: TypeAlias = Bernoulli | Categorical
#: Draws from a layer; what it returns has the shape of the layer's probabilities.
Draw: TypeAlias = Callable[[Discrete], Tensor]
#: A model: draws from its layers, one after the other, and says what each example loses, (B,).
Objective: TypeAlias = Callable[[Draw], Tensor]


class Estimate(NamedTuple):
    """
    What an estimator makes of a model's losses.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli
        >>> from dreamzoo.nn.estimators import StraightThrough
        >>> logits = torch.zeros(8, 5, requires_grad=True)
        >>> estimate = StraightThrough()(lambda draw: draw(Bernoulli(logits)).sum(-1))
        >>> estimate.loss.requires_grad, estimate.surrogate.requires_grad
        (False, True)

    :param loss: of each example, for one sample of the layers, without gradient, (B,)
    :param surrogate: has the estimate as its gradient, example by example; its own number means
        nothing. Minimize its mean, (B,)
    """

    loss: Tensor
    surrogate: Tensor


class Estimator(nn.Module, ABC):
    """
    Estimates the gradient of an expected loss for the parameters of what is drawn from.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli, Categorical
        >>> from dreamzoo.nn.estimators import GumbelSoftmax, ScoreFunction
        >>> logits = torch.zeros(8, 5, requires_grad=True)
        >>> weights = torch.ones(5, 2 * 3)
        >>> def lost(draw):
        ...     bits = draw(Bernoulli(logits))  # (8, 5)
        ...     pairs = draw(Categorical.from_logits((bits @ weights).unflatten(-1, (2, 3))))
        ...     return (pairs[..., 0].sum(-1) - 1.0).square()  # (8,)
        >>> for estimator in (GumbelSoftmax(temperature=1.0), ScoreFunction()):
        ...     estimate = estimator(lost)
        ...     estimate.surrogate.mean().backward()
        >>> estimate.loss.shape, logits.grad.shape
        (torch.Size([8]), torch.Size([8, 5]))
    """

    @abstractmethod
    def forward(
        self,
        objective: Objective,
        generator: th.Generator | None = None,
        context: Tensor | None = None,
        closed_form: Tensor | None = None,
    ) -> Estimate:
        """
        Run a model and estimate the gradient of its mean loss.

        :param objective: the model
        :param generator: source of randomness; None is torch's global one
        :param context: what an input-dependent baseline sees, (B, ...); others look at nothing
        :param closed_form: part of the losses that needs no sample, such as a divergence, (B,).
            Whoever normalizes learning signals scales it along: added to the surrogate afterwards
            it would outweigh what is drawn
        """


class Pathwise(Estimator):
    """
    An estimator whose samples carry the gradient themselves, so that autograd does the rest.

    Such a sample can also be drawn on its own and handed to anything that reads probabilities or
    one-hot vectors: a critic, a decoder.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Categorical
        >>> from dreamzoo.nn.estimators import GumbelSoftmax
        >>> logits = torch.zeros(8, 4, requires_grad=True)
        >>> actions = GumbelSoftmax(hard=True).draw(Categorical.from_logits(logits))
        >>> bool((actions.sum(-1) == 1.0).all()), actions.requires_grad
        (True, True)
    """

    @abstractmethod
    def draw(self, belief: Discrete, generator: th.Generator | None = None) -> Tensor:
        """
        Draw from one layer.

        :param belief: what is drawn from
        :param generator: source of randomness
        :return: with this estimator's gradient; the shape of the probabilities
        """

    def forward(
        self,
        objective: Objective,
        generator: th.Generator | None = None,
        context: Tensor | None = None,
        closed_form: Tensor | None = None,
    ) -> Estimate:
        loss = objective(partial(self.draw, generator=generator))
        loss = loss if closed_form is None else loss + closed_form
        return Estimate(loss.detach(), loss)


def draw_hard(belief: Discrete, generator: th.Generator | None = None) -> Tensor:
    """
    Draw as at evaluation: zeros and ones without a gradient.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli
        >>> from dreamzoo.nn.estimators import draw_hard
        >>> draw_hard(Bernoulli(torch.tensor([99.0, -99.0])))
        tensor([1., 0.])

    :param belief: what is drawn from
    :param generator: source of randomness
    :return: the shape of the probabilities
    """
    with th.no_grad():
        return belief.sample(generator)

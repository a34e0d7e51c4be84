"""Estimators whose samples carry the gradient: straight-through, slopes, DARN, Gumbel-softmax."""

import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Bernoulli
from dreamzoo.nn.estimators.estimator import Discrete, Pathwise
from dreamzoo.nn.estimators.relaxed import relax, threshold


class StraightThrough(Pathwise):
    """
    Samples whose gradient is that of their probabilities (Bengio et al. 2013).

    Biased. The derivative of the sigmoid or softmax is part of it (Raiko et al. 2015).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli
        >>> from dreamzoo.nn.estimators import StraightThrough
        >>> logits = torch.zeros(2, requires_grad=True)
        >>> StraightThrough().draw(Bernoulli(logits)).sum().backward()
        >>> logits.grad  # p (1 - p)
        tensor([0.2500, 0.2500])
    """

    def draw(self, belief: Discrete, generator: th.Generator | None = None) -> Tensor:
        return belief.sample(generator)


class SlopeAnnealed(Pathwise):
    """
    Straight-through with a steeper way back: through sigmoid(a l) or softmax(a l).

    (Chung et al. 2017, who let the slope a grow during training; see
    :class:`dreamzoo.nn.estimators.GrowingSlope`.)

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli
        >>> from dreamzoo.nn.estimators import SlopeAnnealed
        >>> logits = torch.zeros(2, requires_grad=True)
        >>> SlopeAnnealed(slope=2.0).draw(Bernoulli(logits)).sum().backward()
        >>> logits.grad  # a p (1 - p)
        tensor([0.5000, 0.5000])

    :param slope: a, may be set anew before every update; 1 is plain straight-through
    """

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        if not slope > 0.0:
            raise ValueError(f"slope={slope}: the slope of a sigmoid is positive")
        self.slope = slope

    def draw(self, belief: Discrete, generator: th.Generator | None = None) -> Tensor:
        hard = belief.detach().sample(generator)
        if isinstance(belief, Bernoulli):
            steep = (self.slope * belief.logits).sigmoid()
        else:
            steep = (self.slope * belief.logs).softmax(-1)
        return hard + (steep - steep.detach())


class DARN(Pathwise):
    """
    The "1/2" estimator: a first-order baseline around the sample (Gregor et al. 2014).

    The gradient for a variable's logits is [f'(z) . (z - 1/k)] grad log p(z), with k classes and 2
    for a bit (MuProp, section 3.2, found 1/k best). The inner product runs over the classes of
    that variable alone: so the estimate is exact where f is quadratic in bits, which one product
    over a whole layer would not be; elsewhere it is biased.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli
        >>> from dreamzoo.nn.estimators import DARN
        >>> logits = torch.zeros(2, requires_grad=True)
        >>> DARN().draw(Bernoulli(logits)).sum().backward()
        >>> logits.grad  # (z - 1/2) (z - p)
        tensor([0.2500, 0.2500])
    """

    def draw(self, belief: Discrete, generator: th.Generator | None = None) -> Tensor:
        hard = belief.detach().sample(generator)
        score = belief.log_prob(hard)
        score = score - score.detach()  # nothing but a gradient
        if isinstance(belief, Bernoulli):
            return hard + (hard - 0.5) * score
        return hard + (hard - 1.0 / hard.shape[-1]) * score[..., None]


class GumbelSoftmax(Pathwise):
    """
    Relaxed samples, reparameterized by Gumbel noise (Jang et al. 2017; Maddison et al. 2017).

    Soft samples have the exact gradient of another objective, the relaxed one. Hard ones, the
    straight-through form, look discrete to the model and are biased for that.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Categorical
        >>> from dreamzoo.nn.estimators import GumbelSoftmax
        >>> belief = Categorical.from_logits(torch.zeros(4, 3, 2))
        >>> GumbelSoftmax(temperature=0.5).draw(belief).sum(-1)[0].round()
        tensor([1., 1., 1.])
        >>> GumbelSoftmax(hard=True).draw(belief).unique()
        tensor([0., 1.])

    :param temperature: may be set anew before every update
    :param hard: round samples to one-hot vectors and let the gradient pass
    """

    def __init__(self, temperature: float = 1.0, *, hard: bool = False) -> None:
        super().__init__()
        self.temperature = temperature
        self.hard = hard

    def draw(self, belief: Discrete, generator: th.Generator | None = None) -> Tensor:
        soft = relax(belief, self.temperature, generator)
        return threshold(belief, soft) if self.hard else soft

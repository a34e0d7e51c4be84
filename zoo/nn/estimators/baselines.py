"""What makes learning signals small: baselines and their scale (NVIL, Mnih and Gregor 2014)."""

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.settings import Whole, read_settings


class InputBaseline(nn.Module):
    """
    Predicts a loss from what a model is given: one hidden layer (MuProp, section 4: 100 tanh).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.estimators import InputBaseline
        >>> InputBaseline(inputs=784)(torch.zeros(8, 784)).shape
        torch.Size([8])

    :param inputs: width of the context
    :param hidden: width of the hidden layer
    """

    def __init__(self, inputs: int, hidden: int = 100) -> None:
        super().__init__()
        read_settings("InputBaseline", dict.fromkeys(("inputs", "hidden"), Whole(1)), locals())
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, context: Tensor) -> Tensor:
        """Predict from contexts, (B, inputs) to (B,)."""
        return self.body(context).squeeze(-1)


class Centering(nn.Module):
    """
    Centers learning signals by their running mean and tells, by choice, their spread.

    A signal is compared with what earlier calls saw, so the mean adds no bias; the very first one
    is centered by its own mean, which shortens its gradient by one part in the batch, and of
    several layers, whose signals have one mean, turns it a little.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.estimators import Centering
        >>> centering = Centering(normalize=True)
        >>> centering(torch.tensor([96.0, 104.0]))
        (tensor([-4.,  4.]), tensor(4.))
        >>> centering(torch.tensor([99.0, 111.0]))  # the running mean moves afterwards
        (tensor([-1., 11.]), tensor(4.))

    :param decay: of running mean and variance
    :param normalize: tell the running standard deviation, at least 1, to divide by
    """

    mean: Tensor
    var: Tensor
    calls: Tensor

    def __init__(self, decay: float = 0.9, *, normalize: bool = False) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay={decay}: the decay of a running mean is at least 0, below 1")
        self.decay = decay
        self.normalize = normalize
        for name in ("mean", "var", "calls"):
            self.register_buffer(name, th.zeros(()))

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """
        Center signals, and learn from them where the module trains.

        :param signal: any shape; the statistics take no part in its gradient
        :return: centered signals; what to divide gradients by, 1 if not to normalize
        """
        started, seen = self.calls > 0, signal.detach()
        mean = th.where(started, self.mean.to(seen.dtype), seen.mean())
        spread = (seen - mean).square().mean()
        var = th.where(started, self.var.to(seen.dtype), spread)
        if self.training:
            self.mean.copy_(th.lerp(seen.mean(), mean, self.decay))
            self.var.copy_(th.lerp(spread, var, self.decay))
            self.calls += 1
        scale = var.sqrt().clamp(min=1.0) if self.normalize else th.ones_like(var)
        return signal - mean, scale

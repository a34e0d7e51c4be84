"""Estimators that weigh scores, the gradients of log-probabilities, by learning signals."""

from functools import partial

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.estimators.baselines import Centering
from dreamzoo.nn.estimators.estimator import Discrete, Estimate, Estimator, Objective, draw_hard


class Recorder:
    """
    Draws hard samples and remembers what they were drawn from.

    :param generator: source of randomness
    """

    def __init__(self, generator: th.Generator | None) -> None:
        self.generator = generator
        self.beliefs: list[Discrete] = []
        self.samples: list[Tensor] = []

    def __call__(self, belief: Discrete) -> Tensor:
        sample = draw_hard(belief, self.generator)
        self.beliefs.append(belief)
        self.samples.append(sample)
        return sample

    def log_probs(self, loss: Tensor) -> list[Tensor]:
        """
        Score the samples of every layer, given those above, (B,) each.

        :param loss: of the examples, (B,)
        :raises ValueError: if a layer has other examples than the loss
        """
        pairs = zip(self.beliefs, self.samples, strict=True)
        return [per_example(belief.log_prob(sample), loss) for belief, sample in pairs]


def per_example(x: Tensor, loss: Tensor) -> Tensor:
    """
    Sum what a layer's variables have over all but the examples.

    :param x: (B, ...)
    :param loss: of the examples, (B,)
    :raises ValueError: if their numbers of examples differ
    """
    lead = loss.dim()
    averaged = lead == 0 and x.dim() > 1
    if x.shape[:lead] != loss.shape or averaged:
        raise ValueError(
            f"The model's losses have the shape {tuple(loss.shape)}, a layer's variables "
            f"{tuple(x.shape)}: return one loss for each example, and do not average over them."
        )
    return x.flatten(lead).sum(-1) if x.dim() > lead else x


class ScoreFunction(Estimator):
    """
    The score-function estimator, or REINFORCE (Williams 1992; NVIL, Mnih and Gregor 2014).

    The gradient is (f(z) - b) grad log p(z): unbiased for any baseline b that has not seen z, and
    noisy. f need not be differentiable.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli
        >>> from dreamzoo.nn.estimators import InputBaseline, ScoreFunction
        >>> logits, inputs = torch.zeros(8, 5, requires_grad=True), torch.randn(8, 3)
        >>> estimator = ScoreFunction(normalize=True, baseline=InputBaseline(inputs=3))
        >>> lost = lambda draw: draw(Bernoulli(logits)).sum(-1).round()
        >>> estimate = estimator(lost, context=inputs)
        >>> estimate.surrogate.mean().backward()  # trains the baseline, too
        >>> estimate.loss.shape
        torch.Size([8])

    :param center: subtract the running mean of the signal (C)
    :param normalize: divide the gradient of what is drawn from by the signal's running standard
        deviation where that is above 1 (VN): a learning rate of its own, not another direction
    :param baseline: predicts losses from the context and is trained with squared error on what
        centering leaves of them (IDB); its parameters are among the estimator's
    :param decay: of the running statistics
    """

    def __init__(
        self,
        *,
        center: bool = True,
        normalize: bool = False,
        baseline: nn.Module | None = None,
        decay: float = 0.9,
    ) -> None:
        super().__init__()
        if normalize and not center:
            raise ValueError("normalize=True divides by the spread around a mean: set center=True")
        self.centering = Centering(decay, normalize=normalize) if center else None
        self.baseline = baseline

    def forward(
        self,
        objective: Objective,
        generator: th.Generator | None = None,
        context: Tensor | None = None,
        closed_form: Tensor | None = None,
    ) -> Estimate:
        draws = Recorder(generator)
        loss = objective(draws)
        known = th.zeros_like(loss) if closed_form is None else closed_form
        signal, scale, error = self.learning_signal(loss.detach(), context)
        drawn = sum(draws.log_probs(loss), th.zeros_like(loss)) * signal
        return Estimate((loss + known).detach(), loss + (drawn + known) / scale + error)

    def learning_signal(self, raw: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """
        Take from signals what can be known without the sample.

        :param raw: signals, without gradient, (B,)
        :param context: what the baseline sees, (B, ...)
        :return: signals, without gradient, (B,); what to divide gradients by; the baseline's
            squared error, in units of that, (B,), zeros without a baseline
        :raises ValueError: if there is a baseline and it is shown nothing
        """
        if self.baseline is not None:
            if context is None:
                raise ValueError("The baseline predicts from a context: estimator(f, context=x)")
            raw = raw - self.baseline(context.detach())  # which its error shall not move
        scale = th.ones((), dtype=raw.dtype, device=raw.device)
        if self.centering is not None:
            raw, scale = self.centering(raw)
        error = th.zeros_like(raw) if self.baseline is None else (raw / scale).square()
        return raw.detach(), scale, error


class MuProp(ScoreFunction):
    """
    The score function with a Taylor expansion as its control variate (Gu et al. 2016).

    A first pass, without noise, replaces every sample by its mean zbar: it gives f(zbar) and its
    slope d. The gradient is [f(z) - f(zbar) - d . (z - zbar) - b] grad log p(z) + d . grad mu, with
    the mean mu that was drawn from (appendix A): unbiased, through several layers, too. The model
    runs twice.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli
        >>> from dreamzoo.nn.estimators import MuProp
        >>> logits = torch.zeros(2, 3, requires_grad=True)
        >>> estimator = MuProp()
        >>> estimator(lambda draw: draw(Bernoulli(logits)).sum(-1)).surrogate.sum().backward()
        >>> logits.grad  # of a linear function it has no noise: p (1 - p)
        tensor([[0.2500, 0.2500, 0.2500],
                [0.2500, 0.2500, 0.2500]])

    :param center: subtract the running mean of the bracket (C)
    :param normalize: divide the gradient of what is drawn from by the bracket's running standard
        deviation where that is above 1 (VN)
    :param baseline: predicts the bracket from the context (IDB)
    :param decay: of the running statistics
    """

    def forward(
        self,
        objective: Objective,
        generator: th.Generator | None = None,
        context: Tensor | None = None,
        closed_form: Tensor | None = None,
    ) -> Estimate:
        means: list[Tensor] = []
        at_means = objective(partial(_mean, means=means))
        if not means or not at_means.requires_grad:
            raise ValueError(
                "MuProp needs the slope of the loss at the means of what is drawn, and there is "
                "none: the model draws nothing, or its loss has no gradient towards it. Use "
                "ScoreFunction, which needs no slope."
            )
        slopes = th.autograd.grad(at_means.sum(), means, materialize_grads=True)
        draws = Recorder(generator)
        loss = objective(draws)
        value = loss.detach()
        brackets = [
            value - at_means.detach() - per_example(slope * (sample - mean.detach()), value)
            for slope, sample, mean in zip(slopes, draws.samples, means, strict=True)
        ]
        signals, scale, error = self.learning_signal(th.stack(brackets), context)
        known = th.zeros_like(value) if closed_form is None else closed_form
        drawn = known
        parts = zip(signals, draws.log_probs(value), slopes, draws.beliefs, strict=True)
        for signal, log_prob, slope, belief in parts:
            drawn = drawn + signal * log_prob + per_example(slope * belief.probs, value)
        return Estimate(value + known.detach(), loss + drawn / scale + error.sum(0))


def _mean(belief: Discrete, means: list[Tensor]) -> Tensor:
    """Stand for a sample, and be remembered in ``means``."""
    mean = belief.probs
    mean = mean if mean.requires_grad else mean.detach().requires_grad_()
    means.append(mean)
    return mean

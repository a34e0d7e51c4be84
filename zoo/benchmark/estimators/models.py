"""Structured output prediction and the VAE of the Gumbel-softmax paper, sections 4.1 and 4.2."""

import math
from abc import ABC, abstractmethod

import torch as th
from torch import Tensor, nn

from dreamzoo.benchmark.estimators.digits import N_PIXELS
from dreamzoo.nn.beliefs import Bernoulli, Categorical
from dreamzoo.nn.estimators import Discrete, Draw, Estimate, Estimator, draw_hard
from dreamzoo.nn.networks.world_models import GlorotLinear

#: A layer is 200 bits, or 20 variables of 10 classes.
WIDTH, GROUPS, CLASSES = 200, 20, 10
KINDS = ("bernoulli", "categorical")


def log_likelihood(logits: Tensor, images: Tensor) -> Tensor:
    """Score binary images, (..., P) both, in nats, (...)."""
    return Bernoulli(logits).log_prob(images.expand_as(logits)).sum(-1)


class DiscreteModel(nn.Module, ABC):
    """
    What both tasks share: layers of one kind, and the bound that they are compared by.

    :param kind: of :data:`KINDS`
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}: layers are of one of the kinds {KINDS}")
        self.kind = kind

    def layer(self, logits: Tensor) -> Discrete:
        """Read outputs of a linear layer, (..., 200), as a belief."""
        if self.kind == "bernoulli":
            return Bernoulli(logits)
        return Categorical.from_logits(logits.unflatten(-1, (GROUPS, CLASSES)))

    def flat(self, sample: Tensor) -> Tensor:
        """Hand a sample of a layer to a linear one, (..., 200)."""
        return sample if self.kind == "bernoulli" else sample.flatten(-2)

    @abstractmethod
    def estimate(
        self, images: Tensor, estimator: Estimator, generator: th.Generator | None = None
    ) -> Estimate:
        """
        Estimate the gradient of what is trained, for one sample an image.

        :param images: (B, 784)
        :param estimator: of gradients
        :param generator: source of randomness
        """

    @abstractmethod
    def first(self, images: Tensor) -> Tensor:
        """Compute the first layer's logits, (B, 784) to (B, 200)."""

    @abstractmethod
    def log_weights(
        self, first: Tensor, images: Tensor, generator: th.Generator | None = None
    ) -> Tensor:
        """
        Draw hard samples and compute the logarithms of their importance weights.

        :param first: logits of the first layer, (..., B, 200)
        :param images: (B, 784)
        :param generator: source of randomness
        :return: nats, (..., B)
        """

    @th.no_grad()
    def bound(
        self,
        images: Tensor,
        samples: int = 1_000,
        generator: th.Generator | None = None,
        at_once: int = 10,
    ) -> Tensor:
        """
        Bound the negative log-likelihood, -log (1/m) sum w, with m hard samples an image.

        :param images: (B, 784)
        :param samples: m
        :param generator: source of randomness
        :param at_once: samples that are held in memory together
        :return: nats, (B,)
        """
        first = self.first(images)
        sizes = [len(part) for part in th.arange(samples).split(at_once)]
        weights = [
            self.log_weights(first.expand(n, *first.shape), images, generator) for n in sizes
        ]
        return math.log(samples) - th.cat(weights).logsumexp(0)


class StructuredPrediction(DiscreteModel):
    """
    Predicts the lower half of a digit from the upper one, through two layers (section 4.1).

    Example:
        >>> import torch
        >>> from dreamzoo.benchmark.estimators.models import StructuredPrediction
        >>> model = StructuredPrediction("categorical")  # 392-(20x10)-(20x10)-392
        >>> model.bound(torch.zeros(3, 784), samples=5).shape
        torch.Size([3])

    :param kind: of :data:`KINDS`
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        half = N_PIXELS // 2
        self.upper = GlorotLinear(half, WIDTH)
        self.lower = GlorotLinear(WIDTH, WIDTH)
        self.head = GlorotLinear(WIDTH, half)

    def first(self, images: Tensor) -> Tensor:
        return self.upper(images[:, : N_PIXELS // 2])

    def _score(self, first: Tensor, images: Tensor, draw: Draw) -> Tensor:
        hidden = self.flat(draw(self.layer(first)))
        hidden = self.flat(draw(self.layer(self.lower(hidden))))
        return log_likelihood(self.head(hidden), images[:, N_PIXELS // 2 :])

    def estimate(
        self, images: Tensor, estimator: Estimator, generator: th.Generator | None = None
    ) -> Estimate:
        first = self.first(images)
        return estimator(lambda draw: -self._score(first, images, draw), generator)

    def log_weights(
        self, first: Tensor, images: Tensor, generator: th.Generator | None = None
    ) -> Tensor:
        return self._score(first, images, lambda belief: draw_hard(belief, generator))


class DiscreteVAE(DiscreteModel):
    """
    A variational autoencoder with one layer, a uniform prior and linear networks (section 4.2).

    Its divergence from the prior is that of the discrete posterior, in closed form.

    Example:
        >>> import torch
        >>> from dreamzoo.benchmark.estimators.models import DiscreteVAE
        >>> from dreamzoo.nn.estimators import GumbelSoftmax
        >>> model = DiscreteVAE("bernoulli")  # 784-200-784
        >>> model.estimate(torch.zeros(3, 784), GumbelSoftmax()).loss.shape
        torch.Size([3])

    :param kind: of :data:`KINDS`
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.encoder = GlorotLinear(N_PIXELS, WIDTH)
        self.decoder = GlorotLinear(WIDTH, N_PIXELS)
        bits = kind == "bernoulli"
        #: Entropy of the prior.
        self.prior_nats = WIDTH * math.log(2) if bits else GROUPS * math.log(CLASSES)

    def first(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def estimate(
        self, images: Tensor, estimator: Estimator, generator: th.Generator | None = None
    ) -> Estimate:
        posterior = self.layer(self.first(images))
        divergence = self.prior_nats - posterior.entropy()

        def distortion(draw: Draw) -> Tensor:
            return -log_likelihood(self.decoder(self.flat(draw(posterior))), images)

        return estimator(distortion, generator, closed_form=divergence)

    def log_weights(
        self, first: Tensor, images: Tensor, generator: th.Generator | None = None
    ) -> Tensor:
        posterior = self.layer(first)
        sample = draw_hard(posterior, generator)
        log_posterior = posterior.log_prob(sample).sum(-1)
        log_joint = log_likelihood(self.decoder(self.flat(sample)), images) - self.prior_nats
        return log_joint - log_posterior


TASKS: dict[str, type[DiscreteModel]] = {"sbn": StructuredPrediction, "vae": DiscreteVAE}

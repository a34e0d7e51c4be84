"""What models believe about codes: vectors of a codebook, found or expected (VQ-VAE)."""

from typing import NamedTuple

import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Categorical


def look_up(codes: Tensor, places: Tensor) -> Tensor:
    """
    Return codes by their places in codebooks.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.codes import look_up
        >>> codes = torch.tensor([[[0.0], [1.0]], [[5.0], [6.0]]])  # two latents, two codes
        >>> look_up(codes, torch.tensor([[1, 0]])).flatten()
        tensor([1., 5.])

    :param codes: (S, C, W)
    :param places: of codes in the codebooks of their latents, (..., S)
    :return: (..., S, W)
    """
    return codes[th.arange(len(codes), device=places.device), places]


class NearestCodes(NamedTuple):
    """
    The codes nearest to what a network has computed: certain, so that drawing is finding.

    The way back passes the codes as if they were not there (van den Oord et al. 2017, section 3.2).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.codes import NearestCodes
        >>> vectors = torch.tensor([[[0.9]]], requires_grad=True)
        >>> belief = NearestCodes(vectors, torch.ones(1, 1, 1), torch.zeros(1, 1).long())
        >>> belief.sample()
        tensor([[[1.]]], grad_fn=<AddBackward0>)
        >>> torch.autograd.grad(belief.sample().sum(), vectors)[0]
        tensor([[[1.]]])

    :param vectors: what the network has computed, (..., S, W)
    :param codes: nearest to these, without gradient, (..., S, W)
    :param places: of these in the codebooks of their latents, (..., S)
    """

    vectors: Tensor
    codes: Tensor
    places: Tensor

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        """Return the codes, with the gradient of the vectors, (..., S, W); nothing is random."""
        return self.mode()

    def mode(self) -> Tensor:
        """Do the same."""
        return self.codes + (self.vectors - self.vectors.detach())

    def kl(self, other: "ExpectedCodes") -> Tensor:
        """
        Compute KL(self || other), summed over latents: nats, (...).

        All of the posterior's probability lies on the codes found, which leaves -log of what was
        expected of these. It has a gradient to the expectation alone: which code is the nearest
        one has none.
        """
        logs = other.classes.logs.gather(-1, self.places[..., None])
        return -logs.sum((-2, -1))

    def entropy(self) -> Tensor:
        """Zero nats, (...)."""
        return self.vectors.new_zeros(self.places.shape[:-1])

    def detach(self) -> "NearestCodes":
        """Cut the autograd graph."""
        return NearestCodes(self.vectors.detach(), self.codes, self.places)


class ExpectedCodes(NamedTuple):
    """
    Independent categoricals over the codes of each latent.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Categorical
        >>> from dreamzoo.nn.codes import ExpectedCodes
        >>> classes = Categorical.from_logits(torch.zeros(4, 1, 2))
        >>> belief = ExpectedCodes(classes, codes=torch.tensor([[[7.0], [9.0]]]))
        >>> belief.sample().shape, belief.mode()[0]  # of two that are as likely, the first
        (torch.Size([4, 1, 1]), tensor([[7.]]))

    :param classes: how likely each code is, (..., S, C)
    :param codes: the codebooks of all latents, (S, C, W)
    """

    classes: Categorical
    codes: Tensor

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        """Draw codes, (..., S, W), with the gradient of the mean code (straight through)."""
        return self._mean(self.classes.sample(generator))

    def mode(self) -> Tensor:
        """Take the most likely codes, (..., S, W), with the gradient of a sample."""
        return self._mean(self.classes.mode())

    def _mean(self, one_hot: Tensor) -> Tensor:
        fixed = one_hot.detach()
        # As a product with the one-hot vector a code could be rounded, see nn/fast/precision.py.
        code = look_up(self.codes, fixed.argmax(-1))
        return code + th.einsum("...sc,scw->...sw", one_hot - fixed, self.codes)

    def entropy(self) -> Tensor:
        """Sum of the latents' entropies, nats, (...)."""
        return self.classes.entropy()

    def detach(self) -> "ExpectedCodes":
        """Cut the autograd graph."""
        return ExpectedCodes(self.classes.detach(), self.codes)

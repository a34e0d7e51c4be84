"""Latents that are codes of a codebook, as in a VQ-VAE."""

from collections.abc import Mapping
from typing import ClassVar

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Categorical
from dreamzoo.nn.codes import ExpectedCodes, NearestCodes, look_up
from dreamzoo.nn.distributions import one_hot
from dreamzoo.nn.fast.ranks import mean_of_all, of_first
from dreamzoo.nn.rssm.latents import Latents, Terms
from dreamzoo.nn.settings import Number, Setting, Whole


class Codebook(nn.Module):
    """
    Codes that follow the vectors they stand for; those that stand for none begin anew.

    A code is the running mean of the vectors that it is nearest to (van den Oord et al. 2017,
    appendix A.1), which takes the place of a loss: no gradient reaches it. A code of which hardly
    a vector is found any more is put where one of the newest is (Dhariwal et al. 2020, section
    3.1). At first no code stands for any: the first update puts all of them where vectors are,
    unless ``revive`` is 0.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.codebook import Codebook
        >>> book = Codebook(stoch=1, classes=2, dim=3)
        >>> vectors = torch.cat([torch.zeros(5, 1, 3), torch.ones(5, 1, 3)])
        >>> usage = book.update(vectors, book.nearest(vectors))
        >>> bool(usage["codebook_revived"].all())
        True

    :param stoch: number S of latents, each of which has codes of its own
    :param classes: codes C of each
    :param dim: length W of a code
    :param decay: how much of the running means an update keeps
    :param revive: a code begins anew that stood for less than this part of its fair share 1 / C
    """

    codes: Tensor  # (S, C, W)
    shares: Tensor  # running mean of the share of vectors that each stands for, (S, C)

    def __init__(
        self, stoch: int, classes: int, dim: int, decay: float = 0.99, revive: float = 0.01
    ) -> None:
        super().__init__()
        self.decay, self.revive = decay, revive
        self.register_buffer("codes", th.randn(stoch, classes, dim))
        self.register_buffer("shares", th.zeros(stoch, classes))

    @th.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """
        Find the codes with the smallest distance to vectors.

        :param vectors: (..., S, W)
        :return: their places in the codebooks of their latents, (..., S)
        """
        # Not by products of matrices: their numbers may be rounded, and differences are small.
        distances = (vectors[..., None, :] - self.codes).square().sum(-1)  # (..., S, C)
        return distances.argmin(-1)

    @th.no_grad()
    def update(
        self, vectors: Tensor, places: Tensor, generator: th.Generator | None = None
    ) -> dict[str, Tensor]:
        """
        Let codes follow, and replace those that died.

        :param vectors: (N, S, W)
        :param places: of the nearest codes, (N, S)
        :param generator: of what replaces codes
        :return: ``codebook_perplexity``, the number of codes that would be as hard to guess if all
            were as frequent, (S,); ``codebook_used``, whether a code was found at all, (S, C);
            ``codebook_revived``, whether it begins anew, (S, C)
        """
        found = one_hot(places, self.shares.shape[-1]).to(vectors.dtype)  # (N, S, C)
        now = mean_of_all(found.mean(0))
        total = mean_of_all(th.einsum("nsc,nsw->scw", found, vectors) / len(vectors))
        shares = self.decay * self.shares + (1.0 - self.decay) * now
        kept = self.decay * self.shares[..., None] * self.codes
        codes = (kept + (1.0 - self.decay) * total) / shares[..., None]
        codes = th.where(shares[..., None] > 0.0, codes, self.codes)
        dead = shares < self.revive / shares.shape[-1]
        if self.revive > 0.0:
            dead = dead | ~self.shares.any()  # at first all
        rows = th.randint(
            len(vectors), shares.shape, generator=generator, device=vectors.device
        )  # (S, C)
        latent = th.arange(len(shares), device=vectors.device)[:, None]
        newest = of_first(vectors[rows, latent])
        self.codes.copy_(th.where(dead[..., None], newest, codes))
        self.shares.copy_(th.where(dead, 1.0 / shares.shape[-1], shares))
        return {
            "codebook_perplexity": th.special.entr(now).sum(-1).exp(),
            "codebook_used": now > 0.0,
            "codebook_revived": dead,
        }


class CodebookLatents(Latents[NearestCodes | ExpectedCodes]):
    """
    Codes of a codebook (VQ-VAE, van den Oord et al. 2017), a codebook for each latent.

    After an observation a latent is the code nearest to what the network computes, with the
    gradient of the latter. Before it the model expects a categorical over the codes, and dreams
    draw from that. The divergence of the two is the cross-entropy -log p(code): it teaches the
    expectation alone, and with it the memory that the expectation is read from, because which code
    is the nearest one has no gradient. Of KL balancing only the share of the prior is left: 0.8 of
    the gradient, and nothing draws codes to where they are expected. What bounds what they hold is
    their number, S log C nats.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.codebook import CodebookLatents
        >>> latents = CodebookLatents(stoch=3, classes=4, code_dim=5)
        >>> seen = latents.belief(torch.randn(2, latents.post_outputs))
        >>> expected = latents.expectation(torch.zeros(2, latents.outputs))
        >>> latents.draw(expected, None, mode=False).shape
        torch.Size([2, 3, 5])
        >>> seen.kl(expected)  # log 4 for each of three latents
        tensor([4.1589, 4.1589])

    :param stoch: number S of latents
    :param classes: codes C of each
    :param code_dim: length W of a code
    :param commitment: weight of the loss that keeps vectors near their codes, beta (0.25)
    :param decay: see :class:`Codebook` (appendix A.1: 0.99)
    :param revive: see :class:`Codebook`; 0: never
    """

    settings: ClassVar[Mapping[str, Setting]] = {
        "code_dim": Whole(1),
        "commitment": Number(0),
        "decay": Number(0, 1),
        "revive": Number(0, 1),
    }

    def __init__(
        self,
        stoch: int = 32,
        classes: int = 32,
        code_dim: int = 16,
        commitment: float = 0.25,
        decay: float = 0.99,
        revive: float = 0.01,
    ) -> None:
        super().__init__(stoch, code_dim, stoch * classes, stoch * code_dim)
        self.codebook = Codebook(stoch, classes, code_dim, decay, revive)
        self.weights = {"commitment": commitment}

    def belief(self, raw: Tensor) -> NearestCodes:
        vectors = raw.unflatten(-1, (self.stoch, self.classes))
        places = self.codebook.nearest(vectors)
        return NearestCodes(vectors, look_up(self.codebook.codes, places), places)

    def expectation(self, raw: Tensor) -> ExpectedCodes:
        # A copy: an update moves the codebook before gradients are computed.
        codes = self.codebook.codes.clone()
        return ExpectedCodes(Categorical.from_logits(raw.unflatten(-1, (self.stoch, -1))), codes)

    def losses(
        self, post: NearestCodes | ExpectedCodes, generator: th.Generator | None = None
    ) -> Terms:
        """
        Compute how far vectors are from their codes, and let the codes follow them.

        Squares are added up over a code and averaged over latents (section 3.2).
        """
        assert isinstance(post, NearestCodes)
        commitment = (post.vectors - post.codes).square().sum(-1).mean()
        vectors = post.vectors.detach().flatten(0, -3)
        usage = self.codebook.update(vectors, post.places.flatten(0, -2), generator)
        return {"commitment": commitment}, usage

    def averages(self) -> list[Tensor]:
        return list(self.codebook.buffers())

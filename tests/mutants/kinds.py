"""Mistakes in latents by the Gumbel-softmax and by codebooks."""

from tests.mutants.mutant import Mutant

CODES, BOOK, RELAXED = (
    "zoo/nn/codes.py",
    "zoo/nn/rssm/codebook.py",
    "zoo/nn/rssm/relaxed.py",
)
AGENT, POLICY = "zoo/dreamer_v2/dreamer_v2.py", "zoo/dreamer_v2/policies.py"
OF_CODES, OF_BOOK = ("tests/nn/test_codes.py",), ("tests/nn/rssm/test_codebook.py",)
OF_RELAXED, OF_AGENT = ("tests/nn/rssm/test_relaxed.py",), ("tests/dreamer_v2/test_latents.py",)

MUTANTS = [
    Mutant(
        "codes: those found pass no gradient on",
        CODES,
        "return self.codes + (self.vectors - self.vectors.detach())",
        "return self.codes",
        OF_CODES,
    ),
    Mutant(
        "codes: the gradient of found ones is doubled",
        CODES,
        "return self.codes + (self.vectors - self.vectors.detach())",
        "return self.codes + 2.0 * (self.vectors - self.vectors.detach())",
        OF_CODES,
    ),
    Mutant(
        "codes: divergences are averaged over latents",
        CODES,
        "return -logs.sum((-2, -1))",
        "return -logs.sum(-1).mean(-1)",
        OF_CODES,
    ),
    Mutant(
        "codes: expected ones pass no gradient on",
        CODES,
        'return code + th.einsum("...sc,scw->...sw", one_hot - fixed, self.codes)',
        "return code",
        OF_CODES,
    ),
    Mutant(
        "codes: the most likely ones are drawn all the same",
        CODES,
        "return self._mean(self.classes.mode())",
        "return self._mean(self.classes.sample())",
        OF_CODES,
    ),
    Mutant(
        "codebook: means forget how many vectors a code stood for",
        BOOK,
        "kept = self.decay * self.shares[..., None] * self.codes",
        "kept = self.decay * self.codes / shares.shape[-1]",
        OF_BOOK,
    ),
    Mutant(
        "codebook: a code that stands for nothing becomes no number",
        BOOK,
        "codes = th.where(shares[..., None] > 0.0, codes, self.codes)",
        "codes = codes + 0.0",
        OF_BOOK,
    ),
    Mutant(
        "codebook: the first update leaves codes where chance has put them",
        BOOK,
        "dead = self.shares < self.revive / shares.shape[-1]",
        "dead = shares < self.revive / shares.shape[-1]",
        OF_BOOK,
    ),
    Mutant(
        "codebook: a dead code is measured by all vectors, not by its fair share",
        BOOK,
        "dead = self.shares < self.revive / shares.shape[-1]",
        "dead = self.shares < self.revive",
        OF_BOOK,
    ),
    Mutant(
        "codebook: a revived code is dead at once",
        BOOK,
        "self.shares.copy_(th.where(dead, 1.0 / shares.shape[-1], shares))",
        "self.shares.copy_(shares)",
        OF_BOOK,
    ),
    Mutant(
        "codebook: all dead codes begin in the same vector",
        BOOK,
        "vectors[rows, latent]",
        "vectors[rows[:, :1], latent]",
        OF_BOOK,
    ),
    Mutant(
        "codebook: dead codes are replaced by torch's own randomness",
        BOOK,
        "shares.shape, generator=generator",
        "shares.shape",
        OF_BOOK,
    ),
    Mutant(
        "codebook: usage is that of all latents together",
        BOOK,
        "th.special.entr(now).sum(-1).exp()",
        "th.special.entr(now).sum().exp().expand(len(now))",
        OF_BOOK,
    ),
    Mutant(
        "codebook: the farthest code is found",
        BOOK,
        "return distances.argmin(-1)",
        "return distances.argmax(-1)",
        OF_BOOK,
    ),
    Mutant(
        "codebook: commitment is averaged over the numbers of a code",
        BOOK,
        "(post.vectors - post.codes).square().sum(-1).mean()",
        "(post.vectors - post.codes).square().mean()",
        OF_BOOK,
    ),
    Mutant(
        "codebook: commitment teaches nothing",
        BOOK,
        "commitment = (post.vectors - post.codes)",
        "commitment = (post.vectors.detach() - post.codes)",
        OF_BOOK,
    ),
    Mutant(
        "codebook: gradients are computed with codes that have moved",
        BOOK,
        "codes = self.codebook.codes.clone()",
        "codes = self.codebook.codes",
        OF_BOOK,
    ),
    Mutant(
        "codebook: a bad loss remains in it",
        BOOK,
        "return list(self.codebook.buffers())",
        "return []",
        (*OF_BOOK, *OF_AGENT),
    ),
    Mutant(
        "relaxed latents: rounded ones are soft",
        RELAXED,
        "return threshold(belief, soft) if self.one_hot else soft",
        "return soft",
        OF_RELAXED,
    ),
    Mutant(
        "relaxed latents: the most likely ones are soft",
        RELAXED,
        "return belief.mode()",
        "return belief.probs",
        OF_RELAXED,
    ),
    Mutant(
        "relaxed latents: the temperature stays where it began",
        RELAXED,
        "self.temperature.fill_(at_step(self.schedule, step))",
        "self.temperature.fill_(at_step(self.schedule, 0))",
        OF_RELAXED,
    ),
    Mutant(
        "relaxed latents: the temperature is not saved",
        RELAXED,
        'self.register_buffer("temperature", th.tensor(at_step(temperature, 0)))',
        "value = th.tensor(at_step(temperature, 0))\n"
        '        self.register_buffer("temperature", value, persistent=False)',
        OF_RELAXED,
    ),
    Mutant(
        "DreamerV2: temperatures do not move with training",
        AGENT,
        "self.policy.latents.move(self.num_timesteps)",
        "self.policy.latents.move(0)",
        OF_AGENT,
    ),
    Mutant(
        "DreamerV2: a kind of latents has losses that weigh 1",
        AGENT,
        "return {**super()._loss_weights(), **self.policy.latents.weights}",
        "return super()._loss_weights()",
        OF_AGENT,
    ),
    Mutant(
        "DreamerV2: a bad loss remains in the codebook",
        AGENT,
        "return self.policy.latents.averages()",
        "return []",
        OF_AGENT,
    ),
    Mutant(
        "DreamerV2: settings of a kind of latents are lost",
        POLICY,
        "make_latents(latents, stoch, classes, **(latents_kwargs or {}))",
        "make_latents(latents, stoch, classes)",
        OF_AGENT,
    ),
]

"""Mistakes in gradients through discrete samples."""

from tests.mutants.mutant import Mutant

FOLDER = "zoo/nn/estimators/"
PATHS, SCORES, RELAXED = (FOLDER + name for name in ("paths.py", "scores.py", "relaxed.py"))
BASELINES, SCHEDULES = (FOLDER + name for name in ("baselines.py", "schedules.py"))
OF_BIAS, OF_RELAXED, OF_BASELINES = (
    (f"tests/nn/estimators/test_{name}.py",) for name in ("bias", "relaxed", "baselines")
)

MUTANTS = [
    Mutant(
        "estimators: DARN expands bits around zero",
        PATHS,
        "return hard + (hard - 0.5) * score",
        "return hard + hard * score",
        OF_BIAS,
    ),
    Mutant(
        "estimators: DARN expands categoricals around a half, too",
        PATHS,
        "(hard - 1.0 / hard.shape[-1]) * score",
        "(hard - 0.5) * score",
        OF_BIAS,
    ),
    Mutant(
        "estimators: samples are drawn at the slope of the way back",
        PATHS,
        "steep = (self.slope * belief.logits).sigmoid()",
        "steep = belief.logits.sigmoid()",
        OF_BIAS,
    ),
    Mutant(
        "estimators: Gumbel noise has the wrong sign",
        RELAXED,
        "return -waiting.clamp_(min=th.finfo(like.dtype).tiny).log()",
        "return waiting.clamp_(min=th.finfo(like.dtype).tiny).log()",
        OF_RELAXED,
    ),
    Mutant(
        "estimators: noise may be infinite",
        RELAXED,
        "-waiting.clamp_(min=th.finfo(like.dtype).tiny).log()",
        "-waiting.log()",
        OF_RELAXED,
    ),
    Mutant(
        "estimators: bits are relaxed with one Gumbel variable",
        RELAXED,
        "(belief.logits + (up - down))",
        "(belief.logits + up)",
        OF_RELAXED,
    ),
    Mutant(
        "estimators: noise is not drawn from the generator",
        RELAXED,
        "exponential_(generator=generator)",
        "exponential_()",
        OF_RELAXED,
    ),
    Mutant(
        "estimators: MuProp has no gradient along the means",
        SCORES,
        "signal * log_prob + per_example(slope * belief.probs, value)",
        "signal * log_prob",
        OF_BIAS,
    ),
    Mutant(
        "estimators: MuProp trains what is below at the means",
        SCORES,
        "surrogate = loss + error.sum(0)",
        "surrogate = loss + at_means + error.sum(0)",
        OF_BIAS,
    ),
    Mutant(
        "estimators: learning signals reach the baseline",
        SCORES,
        "return raw.detach(), error",
        "return raw, error",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: the baseline of the score function learns nothing",
        SCORES,
        "surrogate = loss + error\n",
        "surrogate = loss\n",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: losses that were averaged are let in",
        SCORES,
        "if x.shape[:lead] != loss.shape:",
        "if False:",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: signals are centered by a mean that has seen them",
        BASELINES,
        "centered = signal - mean",
        "centered = signal - self.mean",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: small signals are blown up",
        BASELINES,
        "var.sqrt().clamp(min=1.0)",
        "var.sqrt()",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: statistics move in evaluation",
        BASELINES,
        "        if self.training:",
        "        if True:",
        OF_BASELINES,
    ),
    Mutant(
        "schedules: temperatures fall at every update",
        SCHEDULES,
        "changed = update // self.every * self.every",
        "changed = update",
        OF_BASELINES,
    ),
    Mutant(
        "schedules: DALL-E's temperature rises again",
        SCHEDULES,
        "min(update / self.updates, 1.0)",
        "update / self.updates",
        OF_BASELINES,
    ),
]

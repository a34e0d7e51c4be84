"""Mistakes in gradients through discrete samples."""

from tests.mutants.mutant import Mutant

FOLDER = "zoo/nn/estimators/"
PATHS, SCORES, RELAXED = (FOLDER + name for name in ("paths.py", "scores.py", "relaxed.py"))
BASELINES, SCHEDULES = (FOLDER + name for name in ("baselines.py", "schedules.py"))
BENCHMARK = "zoo/benchmark/estimators/"
DIGITS, MODELS, TRAINING, RESULTS, TABLE = (
    f"{BENCHMARK}{name}.py" for name in ("digits", "models", "training", "results", "table")
)
OF_MODELS, OF_TRAINING = (
    (f"tests/benchmark/estimators/test_{name}.py",) for name in ("models", "training")
)
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
        "estimators: noise of bits may be infinite",
        RELAXED,
        "uniform.logit(eps=th.finfo(logits.dtype).eps)",
        "uniform.logit()",
        OF_RELAXED,
    ),
    Mutant(
        "estimators: bits are relaxed with a Gumbel variable instead of a logistic one",
        RELAXED,
        "noise = uniform.logit(eps=th.finfo(logits.dtype).eps)",
        "noise = gumbel_noise(logits, generator)",
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
        "loss + drawn / scale + error.sum(0)",
        "loss + at_means + drawn / scale + error.sum(0)",
        OF_BIAS,
    ),
    Mutant(
        "estimators: learning signals reach the baseline",
        SCORES,
        "return raw.detach(), scale, error",
        "return raw, scale, error",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: the baseline of the score function learns nothing",
        SCORES,
        "loss + (drawn + known) / scale + error)",
        "loss + (drawn + known) / scale)",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: the score function weighs a divergence more than what is drawn",
        SCORES,
        "loss + (drawn + known) / scale + error)",
        "loss + drawn / scale + known + error)",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: MuProp normalizes its bracket alone",
        SCORES,
        "drawn = drawn + signal * log_prob + per_example(",
        "drawn = drawn + signal * log_prob + scale * per_example(",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: losses that were averaged are let in",
        SCORES,
        "if x.shape[:lead] != loss.shape or averaged:",
        "if averaged:",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: a mean over all examples is let in",
        SCORES,
        "averaged = lead == 0 and x.dim() > 1",
        "averaged = False",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: a baseline's error moves what made its context",
        SCORES,
        "self.baseline(context.detach())",
        "self.baseline(context)",
        OF_BASELINES,
    ),
    Mutant(
        "estimators: signals are centered by a mean that has seen them",
        BASELINES,
        "return signal - mean, scale",
        "return signal - self.mean, scale",
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
    Mutant(
        "digits: they stay sorted by class",
        DIGITS,
        "images = th.bernoulli(brightness[order], generator=generator)",
        "images = th.bernoulli(brightness, generator=generator)",
        OF_MODELS,
    ),
    Mutant(
        "estimators' models: the bound is the mean of logarithms",
        MODELS,
        "math.log(samples) - th.cat(weights).logsumexp(0)",
        "-th.cat(weights).mean(0)",
        OF_MODELS,
    ),
    Mutant(
        "estimators' models: importance weights forget the prior",
        MODELS,
        "images) - self.prior_nats",
        "images)",
        OF_MODELS,
    ),
    Mutant(
        "estimators' models: the divergence is that of a prior of one class less",
        MODELS,
        "GROUPS * math.log(CLASSES)",
        "GROUPS * math.log(CLASSES - 1)",
        OF_MODELS,
    ),
    Mutant(
        "estimators' models: structured prediction sees what it predicts",
        MODELS,
        "return self.upper(images[:, : N_PIXELS // 2])",
        "return self.upper(images[:, N_PIXELS // 2 :])",
        OF_MODELS,
    ),
    Mutant(
        "estimators' training: the last weights are tested, not the best",
        TRAINING,
        "        self.model.load_state_dict(weights)\n",
        "",
        OF_TRAINING,
    ),
    Mutant(
        "estimators' training: validation and test see other images",
        TRAINING,
        "test = self._bound(self.digits.test, effort.test_samples)",
        "test = self._bound(self.digits.valid, effort.test_samples)",
        OF_TRAINING,
    ),
    Mutant(
        "estimators' training: a model that diverged is trained to the end",
        TRAINING,
        "if not math.isfinite(valid):",
        "if math.isnan(0.0):",
        OF_TRAINING,
    ),
    Mutant(
        "estimators' training: initial weights do not follow the seed",
        TRAINING,
        "th.manual_seed(cell.seed)\n",
        "pass\n",
        OF_TRAINING,
    ),
    Mutant(
        "estimators' results: the learning rate is chosen by the test",
        RESULTS,
        "row.rate: row.valid if math.isfinite(row.valid)",
        "row.rate: row.test if math.isfinite(row.valid)",
        OF_TRAINING,
    ),
    Mutant(
        "estimators' results: the search ends before the lower neighbor",
        RESULTS,
        "RATES[max(best - 1, 0) : best + 2]",
        "RATES[best : best + 2]",
        OF_TRAINING,
    ),
    Mutant(
        "estimators' table: intervals are standard errors",
        TABLE,
        "STUDENT[len(values)] * stdev(values)",
        "stdev(values)",
        OF_TRAINING,
    ),
    Mutant(
        "estimators' table: ties of the paper count as pairs",
        TABLE,
        "pairs = sum(paper[x] != paper[y] for",
        "pairs = sum(1 for",
        OF_TRAINING,
    ),
    Mutant(
        "estimators: what was trained last is not validated",
        TRAINING,
        "if epoch % effort.valid_every and epoch < end:",
        "if epoch % effort.valid_every:",
        OF_TRAINING,
    ),
    Mutant(
        "estimators: a cell that two processes have trained is kept twice",
        RESULTS,
        "if any(row.cell == cell for row in self.rows()):",
        "if False:",
        OF_TRAINING,
    ),
    Mutant(
        "estimators: half a line is read",
        RESULTS,
        'return text[: text.rfind("\\n") + 1]',
        "return text",
        OF_TRAINING,
    ),
    Mutant(
        "estimators: what has diverged counts",
        TABLE,
        "for row in chosen(rows, column, estimator) if math.isfinite(row.valid)",
        "for row in chosen(rows, column, estimator)",
        OF_TRAINING,
    ),
]

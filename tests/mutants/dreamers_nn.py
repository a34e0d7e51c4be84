"""Mistakes in what Dreamer V1 and V2 are made of, and in Atari's summaries."""

from tests.mutants.mutant import Mutant

ACTIONS, ACTORS = "zoo/nn/action_distributions.py", "zoo/nn/networks/actors.py"
GRU, RSSM, LATENTS = (
    "zoo/nn/networks/gru.py",
    "zoo/nn/rssm/categorical.py",
    "zoo/nn/rssm/latents.py",
)
DREAM, MODEL = "zoo/nn/rssm/imagination.py", "zoo/nn/dreamer_model.py"
RETURNS, OPTIM = "zoo/nn/returns.py", "zoo/nn/optim.py"
ONES, TWICE = "zoo/nn/fast/one_hots.py", "zoo/nn/fast/scalars.py"
COMPILED, PLAIN = "zoo/nn/fast/compiled.py", "zoo/nn/networks/world_models.py"
ATARI = "zoo/benchmark/atari.py"
MEMORY, ELUS = "zoo/nn/fast/memory.py", "zoo/nn/fast/elus.py"
DENSE, CELLS = "zoo/nn/fast/dense.py", "zoo/nn/fast/gru_cells.py"

#: Tests that are tried first, by file.
TESTS = {
    ACTIONS: ("tests/nn/test_action_distributions.py", "tests/dreamer_v2"),
    ACTORS: ("tests/nn/networks/test_actors.py",),
    GRU: ("tests/nn/networks/test_gru.py",),
    RSSM: ("tests/nn/rssm/test_categorical.py",),
    LATENTS: ("tests/nn/rssm/test_categorical.py",),
    DREAM: ("tests/nn/rssm/test_imagination.py",),
    MODEL: ("tests/nn/test_dreamer_model.py", "tests/dreamer_v1"),
    RETURNS: ("tests/nn/test_inclusive_returns.py",),
    OPTIM: ("tests/nn/test_shrinking_adam.py",),
    ONES: ("tests/nn/fast/test_one_hots.py",),
    COMPILED: ("tests/nn/fast/test_one_hots.py", "tests/nn/fast/test_elus.py"),
    MEMORY: ("tests/nn/fast/test_memory.py",),
    ELUS: ("tests/nn/fast/test_elus.py",),
    DENSE: ("tests/nn/fast/test_elus.py",),
    CELLS: ("tests/nn/fast/test_elus.py",),
    TWICE: ("tests/nn/fast/test_scalars.py",),
    PLAIN: ("tests/nn/networks/test_world_models.py",),
    ATARI: ("tests/benchmark/test_atari.py",),
}


def _mutant(file: str, what: str, old: str, new: str) -> Mutant:
    return Mutant(f"Dreamers: {what}", file, old, new, TESTS[file])


MUTANTS = [
    # ------------------------------------------------------------------ fast forms
    _mutant(ONES, "what is no one-hot vector is summed", "columns if found else None", "columns"),
    _mutant(
        ONES,
        "columns of other inputs are counted",
        "weight[:, ones].t().contiguous()",
        "weight[:, : ones.stop - ones.start].t().contiguous()",
    ),
    _mutant(
        ONES,
        "threads leave the last outputs out",
        "range(0, width, BLOCK)]",
        "range(0, width - BLOCK + 1, BLOCK)]",
    ),
    _mutant(
        COMPILED,
        "two ones in a vector are one",
        "i32(ones != i32(1)) | i32(ones",
        "i32(ones == i32(0)) | i32(ones",
    ),
    _mutant(
        COMPILED,
        "columns beyond a multiple of four are left out",
        "range(count - count % 4, count)",
        "range(count, count)",
    ),
    _mutant(
        MEMORY, "memory in use is lent again", "lent, self._give_back, block)", "block, print)"
    ),
    _mutant(MEMORY, "memory is never given back", "append(block)", "append(block[:0])"),
    _mutant(MEMORY, "memory piles up", "self._free.clear()", "pass"),
    _mutant(MEMORY, "the first entry's gradient is left to chance", "whole[0] = 0.0", "pass"),
    _mutant(
        ELUS, "of images the wrong layout is flattened", "x.permute(0, 2, 3, 1)", "x.contiguous()"
    ),
    _mutant(
        ELUS,
        "gradients of another layout are not moved",
        "th.empty_like(result).copy_(grad)",
        "grad",
    ),
    _mutant(DENSE, "given gradients are overwritten", "i == len(weights) - 1 else", "i < 0 else"),
    _mutant(
        DENSE, "all parts but the first are lost", "for other in others if", "for other in () if"
    ),
    _mutant(DENSE, "of a part one piece counts", "sums[2 * i].addmm_(", "(0 * sums[0]).addmm_("),
    _mutant(CELLS, "biases have each other's gradients", "into_own.sum(0)", "into_gates.sum(0)"),
    _mutant(
        CELLS,
        "memory has no gradient of its own weight",
        "into_deter.addmm_(into_own, own_weight)",
        "into_deter",
    ),
    _mutant(COMPILED, "a bias is forgotten", "row[j] += bias[j]", "row[j] += f32(0)"),
    _mutant(COMPILED, "slopes of ELUs are ones", "else row[j] + ONE)", "else ONE)"),
    _mutant(
        COMPILED,
        "ELUs are imprecise close to zero",
        "return (p * r * r + r) * scale + (scale - ONE)",
        "return ((p * r * r + r) + ONE) * scale - ONE",
    ),
    _mutant(
        COMPILED,
        "the reset gate forgets the memory's part",
        "d = taken * more[j] * (ONE - reset[j])",
        "d = taken * (ONE - reset[j])",
    ),
    _mutant(TWICE, "what does not learn is learned from", "where.start >= len(whole)", "False"),
    _mutant(
        MODEL,
        "of dreams whose start is not judged the last state is not",
        "memory.after_first(feat)",
        "feat[:-1]",
    ),
    _mutant(TWICE, "both gradients are added", "to_weights[rows, None]", "to_x[rows, None]"),
    _mutant(TWICE, "every piece's gradient replaces the last one's", "bias += ", "bias = "),
    _mutant(
        PLAIN,
        "a pixel that grows takes the biases in turn",
        "self.bias.repeat_interleave(self.weight[0, 0].numel())",
        "self.bias.repeat(self.weight[0, 0].numel())",
    ),
    # ------------------------------------------------------------------ actions
    _mutant(ACTIONS, "the tanh-normal's mean is not bounded", "self.MEAN_SCALE * th.tanh(", "("),
    _mutant(ACTIONS, "the tanh-normal begins narrow", "math.log(math.expm1(self.INIT_STD))", "0.0"),
    _mutant(
        ACTIONS,
        "the tanh-normal's density ignores the tanh",
        "(normal - slope).sum(-1)",
        "normal.sum(-1)",
    ),
    _mutant(
        ACTIONS, "the tanh-normal's mode is the mean", "density.argmax(0)", "density.argmin(0)"
    ),
    _mutant(
        ACTIONS,
        "the tanh-normal's mode is drawn anew every time",
        "np.random.default_rng(0)",
        "np.random.default_rng(th.seed())",
    ),
    _mutant(
        ACTIONS,
        "atanh is asked for 1",
        "th.atanh(action.clamp(-self.LIMIT, self.LIMIT))",
        "th.atanh(action)",
    ),
    _mutant(
        ACTIONS,
        "the truncated normal's deviation is not halved",
        "th.sigmoid(0.5 * self.raw_std)",
        "th.sigmoid(self.raw_std)",
    ),
    _mutant(
        ACTIONS,
        "the truncated normal is not normalized",
        "(normal - self._masses(mean, std)[1].log()).sum(-1)",
        "normal.sum(-1)",
    ),
    _mutant(
        ACTIONS,
        "the truncated normal clips its gradient away",
        "action + (action.clamp(-limit, limit) - action).detach()",
        "action.clamp(-limit, limit)",
    ),
    _mutant(
        ACTIONS,
        "the truncated normal draws at the very edge",
        "(below + noise * inside).clamp(smallest, 1.0 - smallest)",
        "(below + noise * inside)",
    ),
    _mutant(
        ACTIONS,
        "the truncated normal's entropy forgets the edges",
        "(whole + 0.5 * edges / inside).sum(-1)",
        "whole.sum(-1)",
    ),
    _mutant(
        ACTIONS,
        "one-hot draws have no gradient",
        "drawn.append(one_hot(index, probs.shape[-1]) + (probs - probs.detach()))",
        "drawn.append(one_hot(index, probs.shape[-1]))",
    ),
    _mutant(
        ACTIONS,
        "the score has the action's gradient",
        "(action.detach() * th.cat(",
        "(action * th.cat(",
    ),
    _mutant(
        ACTIONS,
        "action dimensions share one softmax",
        "[part.log_softmax(-1) for part in self.logits.split(self.sizes, dim=-1)]",
        "list(self.logits.log_softmax(-1).split(self.sizes, dim=-1))",
    ),
    _mutant(
        ACTORS,
        "actors swap mean and deviation",
        "self.continuous(*raw.chunk(2, dim=-1))",
        "self.continuous(*reversed(raw.chunk(2, dim=-1)))",
    ),
    # ------------------------------------------------------------------ the model
    _mutant(GRU, "the update gate is mostly open", "UPDATE_BIAS = -1.0", "UPDATE_BIAS = 0.0"),
    _mutant(GRU, "the norm's epsilon is torch's", "NORM_EPS = 1e-3", "NORM_EPS = 1e-5"),
    _mutant(
        GRU,
        "the reset gate acts after the tanh",
        "th.tanh(th.sigmoid(reset) * candidate)",
        "th.sigmoid(reset) * th.tanh(candidate)",
    ),
    _mutant(
        GRU,
        "the gates stand in torch's order",
        "reset, candidate, update = parts",
        "reset, update, candidate = parts",
    ),
    _mutant(
        GRU,
        "the update gate keeps the memory",
        "th.lerp(deter, candidate,",
        "th.lerp(candidate, deter,",
    ),
    _mutant(
        GRU,
        "Keras' recurrent kernel is not orthogonal",
        "nn.init.orthogonal_(cell.weight_hh)",
        "nn.init.xavier_uniform_(cell.weight_hh)",
    ),
    _mutant(
        RSSM,
        "actions of starts are not masked",
        "split_input(self.input[0], prev_actions * keep)",
        "split_input(self.input[0], prev_actions)",
    ),
    _mutant(
        RSSM,
        "memory survives a start",
        "self.cell(embedded, deter * kept)",
        "self.cell(embedded, deter)",
    ),
    _mutant(RSSM, "latents survive a start", "stoch.flatten(-2) * kept", "stoch.flatten(-2)"),
    _mutant(
        RSSM,
        "imagination draws from the memory before",
        "self.latents.draw(self.prior(deter), generator, mode)",
        "self.latents.draw(self.prior(latent.deter), generator, mode)",
    ),
    _mutant(
        RSSM,
        "the prior forgets its activation",
        'nn.Sequential(*glorot_mlp(in_dim, [hidden], "elu"), GlorotLinear(hidden, outputs))',
        'nn.Sequential(*glorot_mlp(in_dim, [hidden], "relu"), GlorotLinear(hidden, outputs))',
    ),
    _mutant(
        LATENTS,
        "normal latents have a softplus",
        "2.0 * th.sigmoid(0.5 * std) + self.MIN_STD",
        "th.nn.functional.softplus(std) + self.MIN_STD",
    ),
    _mutant(
        LATENTS,
        "normal latents swap mean and deviation",
        "mean, std = raw.chunk(2, dim=-1)",
        "std, mean = raw.chunk(2, dim=-1)",
    ),
    _mutant(
        DREAM,
        "what was frozen stays frozen",
        "            p.requires_grad_(True)",
        "            p.requires_grad_(False)",
    ),
    _mutant(
        DREAM,
        "freezing thaws what was frozen before",
        "for p in module.parameters() if p.requires_grad]",
        "for p in module.parameters()]",
    ),
    _mutant(
        DREAM,
        "parameters are thawed only if nothing fails",
        "    try:\n        yield\n    finally:\n        for p in parameters:",
        "    yield\n    if parameters:\n        for p in parameters:",
    ),
    _mutant(
        MODEL,
        "images are not moved",
        "lead, generator, mode=mode), -0.5)",
        "lead, generator, mode=mode), 0.0)",
    ),
    _mutant(MODEL, "images are not moved back", "self._move_images(values, 0.5)", "values"),
    _mutant(
        MODEL,
        "the critic learns from the actor's loss",
        "critic.twice(judged, learned=len(judged) - 1)",
        "(critic(judged), critic(judged.detach())[:-1])",
    ),
    _mutant(
        MODEL,
        "the model learns from the actor's loss",
        "with frozen(self):",
        "with frozen(critic):",
    ),
    _mutant(
        MODEL,
        "gamma is applied twice",
        "return th.sigmoid(at_least_float32(self.cont(feat)))[..., 0]",
        "return gamma * th.sigmoid(at_least_float32(self.cont(feat)))[..., 0]",
    ),
    _mutant(
        MODEL,
        "the discount is predicted from the rewards' features",
        "logit = self.cont(feat)[..., 0]",
        "logit = self.cont(reward_feat)[..., 0]",
    ),
    # ------------------------------------------------------------------ returns, optimizer, replay
    _mutant(
        RETURNS,
        "inclusive returns take the next reward",
        "returns.append(reward[k] + discount[k] * target)",
        "returns.append(reward[k + 1] + discount[k] * target)",
    ),
    _mutant(
        RETURNS,
        "inclusive returns take the next discount",
        "returns.append(reward[k] + discount[k] * target)",
        "returns.append(reward[k] + discount[k + 1] * target)",
    ),
    _mutant(
        RETURNS,
        "weights begin with the first discount",
        "th.cat([ones, discount[:-1].detach()]).cumprod(0)",
        "discount.detach().cumprod(0)",
    ),
    _mutant(
        RETURNS,
        "weights have a gradient",
        "th.cat([ones, discount[:-1].detach()]).cumprod(0)",
        "th.cat([ones, discount[:-1]]).cumprod(0)",
    ),
    _mutant(
        OPTIM,
        "the decay is multiplied by the rate",
        'th._foreach_mul_(group["params"], 1.0 - group["shrink"])',
        'th._foreach_mul_(group["params"], 1.0 - group["lr"] * group["shrink"])',
    ),
    _mutant(
        OPTIM,
        "a rate loaded from a file is ignored",
        'th._foreach_mul_(group["params"], 1.0 - group["shrink"])',
        'th._foreach_mul_(group["params"], 1.0 - self.defaults["shrink"])',
    ),
    # ------------------------------------------------------------------ Atari
    _mutant(
        ATARI,
        "record scores are clipped below, too",
        "fmean(min(x, 1.0) for x in record)",
        "fmean(min(max(x, 0.0), 1.0) for x in record)",
    ),
    _mutant(
        ATARI,
        "record scores are not clipped",
        "fmean(min(x, 1.0) for x in record)",
        "fmean(x for x in record)",
    ),
    _mutant(
        ATARI,
        "Surround and Defender count",
        '_LEFT_OUT = {"defender", "surround"}',
        '_LEFT_OUT = {"surround"}',
    ),
    _mutant(
        ATARI,
        "gamers are measured from zero",
        "(score - reference.random) / (reference.human - reference.random)",
        "(score - reference.random) / reference.human",
    ),
    _mutant(
        ATARI,
        "seeds are averaged once",
        "Summary(*(fmean(x) for x in zip(*each, strict=True)))",
        "summarize(means, of)",
    ),
]

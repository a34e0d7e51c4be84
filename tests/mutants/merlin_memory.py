"""Mistakes in the external memory, its readers, and MERLIN's predictor."""

from tests.mutants.mutant import Mutant

MEMORY, READER = "zoo/nn/memory/external.py", "zoo/nn/memory/reader.py"
LSTM, PREDICTOR = "zoo/nn/memory/deep_lstm.py", "zoo/nn/memory/predictor.py"
NETWORKS = "zoo/nn/networks/merlin.py"
TESTS = {
    MEMORY: ("tests/nn/memory/test_external.py",),
    READER: ("tests/nn/memory/test_reader.py",),
    LSTM: ("tests/nn/memory/test_reader.py",),
    PREDICTOR: ("tests/nn/memory/test_predictor.py",),
    NETWORKS: ("tests/nn/networks/test_merlin.py",),
}


def _mutant(file: str, what: str, old: str, new: str) -> Mutant:
    return Mutant(f"MERLIN's memory: {what}", file, old, new, TESTS[file])


MUTANTS = [
    _mutant(
        MEMORY,
        "writes are counted in the dtype of what is written",
        "th.promote_types(zeros.dtype, th.float32)",
        "zeros.dtype",
    ),
    _mutant(
        MEMORY,
        "a value of one number fills a row",
        '_check_shape("value", value, n, self.width)',
        '_check_shape("value", value, n, value.shape[-1])',
    ),
    _mutant(
        MEMORY,
        "weights without an axis of reads are taken",
        '_check_shape("reads", reads, n, *reads.shape[1:2], self.rows)',
        "pass",
    ),
    _mutant(
        MEMORY,
        "one strength is taken for all reads",
        '_check_shape("strengths", strengths, *keys.shape[:2])',
        "pass",
    ),
    _mutant(
        MEMORY,
        "keys of one memory are taken for all",
        '_check_shape("keys", keys, n, *keys.shape[1:2], self.row_width)',
        '_check_shape("keys", keys, *keys.shape[:2], self.row_width)',
    ),
    _mutant(
        MEMORY,
        "a discount of one is taken, which gathers nothing",
        "not 0.0 <= retro_gamma < 1.0",
        "not 0.0 <= retro_gamma <= 1.0",
    ),
    _mutant(
        MEMORY,
        "a value follows itself",
        "(1.0 - self.retro_gamma) * rows.newest",
        "(1.0 - self.retro_gamma) * newest",
    ),
    _mutant(
        MEMORY,
        "what follows is not scaled to one",
        "(1.0 - self.retro_gamma) * rows.newest",
        "rows.newest",
    ),
    _mutant(
        MEMORY,
        "only the next value follows",
        "trace = self.retro_gamma * trace + (1.0",
        "trace = 0.0 * trace + (1.0",
    ),
    _mutant(
        MEMORY,
        "an overwritten row goes on gathering for the old value",
        "            trace = trace * (1.0 - old)\n",
        "",
    ),
    _mutant(
        MEMORY,
        "a value is added to the row that it should replace",
        "content = rows.content * (1.0 - old)[..., None]",
        "content = rows.content",
    ),
    _mutant(
        MEMORY,
        "a new row has been read never, and is given up at once",
        "usage = th.lerp(usage, usage.mean(-1, keepdim=True), old)",
        "usage = usage * (1.0 - old)",
    ),
    _mutant(
        MEMORY,
        "a row's usage stays that of the value before",
        "        usage = th.lerp(usage, usage.mean(-1, keepdim=True), old)\n",
        "",
    ),
    _mutant(
        MEMORY,
        "all rows begin anew with the mean usage",
        "th.lerp(usage, usage.mean(-1, keepdim=True), old)",
        "th.lerp(usage, usage.mean(-1, keepdim=True), newest)",
    ),
    _mutant(
        MEMORY,
        "the row that was read most is given up",
        "least = usage.argmin(-1)",
        "least = usage.argmax(-1)",
    ),
    _mutant(
        MEMORY,
        "the last free row is not used",
        "is_full = (rows.written >= self.rows)[:, None]",
        "is_full = (rows.written >= self.rows - 1)[:, None]",
    ),
    _mutant(
        MEMORY,
        "rows are never taken in their order",
        "row = th.where(is_full[:, 0], least, rows.written.long())",
        "row = least",
    ),
    _mutant(
        MEMORY,
        "reads are not counted",
        "rows.usage if reads is None else rows.usage + reads.sum(1)",
        "rows.usage",
    ),
    _mutant(
        MEMORY,
        "only the first head's reads are counted",
        "rows.usage + reads.sum(1)",
        "rows.usage + reads[:, 0]",
    ),
    _mutant(
        MEMORY,
        "reads are forgotten at the next step",
        "rows.usage + reads.sum(1)",
        "reads.sum(1)",
    ),
    _mutant(
        MEMORY,
        "what was written is not counted",
        "return Rows(content, usage, newest, trace, rows.written + 1.0)",
        "return Rows(content, usage, newest, trace, rows.written)",
    ),
    _mutant(
        MEMORY,
        "rows are compared by length, too",
        "scores = strengths[..., None] * (along @ rows.content.mT) / norms",
        "scores = strengths[..., None] * (along @ rows.content.mT)",
    ),
    _mutant(
        MEMORY,
        "keys are compared by length, too",
        "along = F.normalize(keys, dim=-1, eps=NORM_EPS)",
        "along = keys",
    ),
    _mutant(
        MEMORY,
        "strengths have no effect",
        "scores = strengths[..., None] * (along",
        "scores = (along",
    ),
    _mutant(
        MEMORY,
        "rows without content are not a number",
        "rows.content.norm(dim=-1).clamp(min=NORM_EPS)[:, None]",
        "rows.content.norm(dim=-1)[:, None]",
    ),
    _mutant(
        MEMORY,
        "empty rows soak up weight",
        "if self.mask_unwritten:",
        "if False:",
    ),
    _mutant(
        MEMORY,
        "empty rows are left out even where the paper reads them",
        "if self.mask_unwritten:",
        "if True:",
    ),
    _mutant(
        MEMORY,
        "the newest row cannot be read",
        "known = (self._index < rows.written[:, None])[:, None]",
        "known = (self._index < rows.written[:, None] - 1)[:, None]",
    ),
    _mutant(
        MEMORY,
        "one empty row can be read",
        "known = (self._index < rows.written[:, None])[:, None]",
        "known = (self._index <= rows.written[:, None])[:, None]",
    ),
    _mutant(
        MEMORY,
        "an empty memory is read as if its rows were there",
        "weights = scores.softmax(-1) * known",
        "weights = scores.softmax(-1)",
    ),
    _mutant(
        MEMORY,
        "weights have no gradient",
        "return Reads(weights @ rows.content, weights)",
        "return Reads(weights.detach() @ rows.content, weights)",
    ),
    _mutant(
        MEMORY,
        "content never has a gradient",
        "return Reads(weights @ rows.content, weights)",
        "return Reads(weights @ rows.content.detach(), weights)",
    ),
    _mutant(
        MEMORY,
        "strengths may be negative",
        "F.softplus(keys[..., -1])",
        "keys[..., -1]",
    ),
    _mutant(
        MEMORY,
        "reading begins without strength: the more rows, the less any of them weighs",
        "strength + math.log(-math.expm1(-strength))",
        "0.0",
    ),
    _mutant(
        MEMORY,
        "memories are on the host and of one dtype",
        "content = self._zero.new_zeros(n, self.rows, self.row_width)",
        "content = th.zeros(n, self.rows, self.row_width)",
    ),
    _mutant(
        MEMORY,
        "the index of rows becomes part of what is saved",
        'self.register_buffer("_index", th.arange(rows), persistent=False)',
        'self.register_buffer("_index", th.arange(rows))',
    ),
    _mutant(
        MEMORY,
        "a full memory gives the order of its rows for their age",
        "return th.where(written <= self.rows, in_order, later)",
        "return in_order",
    ),
    _mutant(
        MEMORY,
        "the newest row is as old as the one before it",
        "th.where(rows.newest > 0, 0.0, 1.0 + faded.log() / math.log(self.retro_gamma))",
        "1.0 + faded.log() / math.log(self.retro_gamma)",
    ),
    _mutant(
        READER,
        "the age is that of a row that hardly weighs",
        "weights.argmax(-1)",
        "weights.argmin(-1)",
    ),
    _mutant(
        LSTM,
        "later layers do not see the input",
        "seen = th.cat([x, outputs[-1]], dim=-1) if outputs else x",
        "seen = th.cat([0.0 * x, outputs[-1]], dim=-1) if outputs else x",
    ),
    _mutant(
        LSTM,
        "layers see the layer before as it was a step ago",
        "seen = th.cat([x, outputs[-1]], dim=-1) if outputs else x",
        "seen = th.cat([x, state.output[:, : self.units]], dim=-1) if outputs else x",
    ),
    _mutant(
        LSTM,
        "layers of the state are mixed up",
        "return Hidden(th.cat(outputs, dim=-1), th.cat(cells, dim=-1))",
        "return Hidden(th.cat(outputs[::-1], dim=-1), th.cat(cells, dim=-1))",
    ),
    _mutant(
        READER,
        "what was read is not heard",
        "hidden = self.lstm(th.cat([x, state.read], dim=-1), state.hidden)",
        "hidden = self.lstm(th.cat([x, 0.0 * state.read], dim=-1), state.hidden)",
    ),
    _mutant(
        READER,
        "keys come from the state before",
        "reads = self.heads(hidden.output, rows)",
        "reads = self.heads(state.hidden.output, rows)",
    ),
    _mutant(
        READER,
        "the context has the read of the step before",
        "return Reading(hidden, reads.values.flatten(1)), reads.weights",
        "return Reading(hidden, state.read), reads.weights",
    ),
    _mutant(
        PREDICTOR,
        "the correction does not begin at zero",
        "        nn.init.zeros_(last.weight)\n",
        "",
    ),
    _mutant(
        PREDICTOR,
        "the posterior is not a correction of the prior",
        "post = self._belief(expected + self.correction(th.cat(seen, dim=-1)))",
        "post = self._belief(self.correction(th.cat(seen, dim=-1)))",
    ),
    _mutant(
        PREDICTOR,
        "log-deviations are added where log-variances are",
        "expected = th.cat([prior.mean, 2.0 * prior.std.log()], dim=-1)",
        "expected = th.cat([prior.mean, prior.std.log()], dim=-1)",
    ),
    _mutant(
        PREDICTOR,
        "variances are taken for deviations",
        "(0.5 * log_variance.clamp(*self.LOG_VARIANCES)).exp()",
        "log_variance.clamp(*self.LOG_VARIANCES).exp()",
    ),
    _mutant(
        PREDICTOR,
        "variances have no bounds",
        "(0.5 * log_variance.clamp(*self.LOG_VARIANCES)).exp()",
        "(0.5 * log_variance).exp()",
    ),
    _mutant(
        PREDICTOR,
        "the posterior does not see the reward",
        "went_on * reward[:, None], went_on * action",
        "0.0 * reward[:, None], went_on * action",
    ),
    _mutant(
        PREDICTOR,
        "the posterior does not see the action",
        "went_on * reward[:, None], went_on * action",
        "went_on * reward[:, None], 0.0 * action",
    ),
    _mutant(
        PREDICTOR,
        "the reward of another episode is seen",
        "went_on * reward[:, None], went_on * action",
        "reward[:, None], went_on * action",
    ),
    _mutant(
        PREDICTOR,
        "the action of another episode is seen",
        "went_on * reward[:, None], went_on * action",
        "went_on * reward[:, None], action",
    ),
    _mutant(
        PREDICTOR,
        "the predictor's LSTM does not know the action",
        "seen = th.cat([state.z, action], dim=-1)",
        "seen = th.cat([state.z, 0.0 * action], dim=-1)",
    ),
    _mutant(
        PREDICTOR,
        "z is written before it is read for",
        "        reading, weights = self.reader(seen, state.reading, state.rows)\n"
        "        rows = state.rows\n"
        "        if self.memory is not None:\n",
        "        rows = state.rows\n"
        "        if self.memory is not None:\n"
        "            rows = self.memory.write(state.rows, state.z.detach())\n"
        "        reading, weights = self.reader(seen, state.reading, rows)\n"
        "        rows = state.rows\n"
        "        if self.memory is not None:\n",
    ),
    _mutant(
        PREDICTOR,
        "the gradient flows through what is written",
        "z = state.z if self.write_grad else state.z.detach()",
        "z = state.z",
    ),
    _mutant(
        PREDICTOR,
        "the gradient never flows through what is written",
        "z = state.z if self.write_grad else state.z.detach()",
        "z = state.z.detach()",
    ),
    _mutant(
        PREDICTOR,
        "usage has a gradient",
        "rows = self.memory.write(rows, z, weights.detach())",
        "rows = self.memory.write(rows, z, weights)",
    ),
    _mutant(
        PREDICTOR,
        "reads are not told to the memory",
        "rows = self.memory.write(rows, z, weights.detach())",
        "rows = self.memory.write(rows, z)",
    ),
    _mutant(
        PREDICTOR,
        "an episode begins with the memory of the last",
        "moved = zeroed(state.fresh.bool(), state._replace(reading=reading, rows=rows))",
        "moved = zeroed(state.fresh.bool(), state._replace(reading=reading))._replace(rows=rows)",
    ),
    _mutant(
        PREDICTOR,
        "an episode begins with the LSTM of the last",
        "moved = zeroed(state.fresh.bool(), state._replace(reading=reading, rows=rows))",
        "moved = zeroed(state.fresh.bool(), state._replace(rows=rows))._replace(reading=reading)",
    ),
    _mutant(
        PREDICTOR,
        "first steps of episodes are not looked for",
        "fresh=th.maximum(state.fresh, is_first[at].to(state.fresh.dtype))",
        "fresh=state.fresh",
    ),
    _mutant(
        PREDICTOR,
        "a state stays fresh",
        "return state._replace(z=z, noise=noise, reward=zero, told=zero, fresh=zero)",
        "return state._replace(z=z, noise=noise, reward=zero, told=zero)",
    ),
    _mutant(
        PREDICTOR,
        "a reward that was told is believed for ever",
        "return state._replace(z=z, noise=noise, reward=zero, told=zero, fresh=zero)",
        "return state._replace(z=z, noise=noise, reward=zero, fresh=zero)",
    ),
    _mutant(
        PREDICTOR,
        "noise is not kept",
        "return state._replace(z=z, noise=noise, reward=zero",
        "return state._replace(z=z, reward=zero",
    ),
    _mutant(
        PREDICTOR,
        "z is drawn where it should be the mean",
        "z = belief.mean + belief.std * noise if self.sample else belief.mean",
        "z = belief.mean + belief.std * noise",
    ),
    _mutant(
        PREDICTOR,
        "the most likely z is drawn",
        "if mode or not self.sample:",
        "if not self.sample:",
    ),
    _mutant(
        PREDICTOR,
        "dreams remember nothing of what they have dreamt",
        "return self._drawn(expected, prior,",
        "return self._drawn(latent, prior,",
    ),
    _mutant(
        PREDICTOR,
        "a reward that nobody told is believed",
        "return state.told * state.reward",
        "return state.reward",
    ),
    _mutant(
        NETWORKS,
        "blocks add nothing to what they are given",
        "return F.relu(self.body(x) + self.shortcut(x))",
        "return F.relu(self.body(x))",
    ),
    _mutant(
        NETWORKS,
        "the code of images is not bounded",
        "nn.Flatten(), flat, nn.Tanh())",
        "nn.Flatten(), flat)",
    ),
    Mutant(
        "MERLIN's memory: the loss of pixels is a mean",
        "zoo/nn/networks/merlin.py",
        "resize_images(target, size)).flatten(1).sum(1)",
        "resize_images(target, size)).flatten(1).mean(1)",
        TESTS[NETWORKS],
    ),
    _mutant(
        NETWORKS,
        "the loss of vectors is twice as large",
        "losses[key.name] = 0.5 * (prediction - target).square().sum(-1)",
        "losses[key.name] = (prediction - target).square().sum(-1)",
    ),
    _mutant(
        NETWORKS,
        "layers of vectors have no ReLU",
        "layers += [nn.Linear(in_dim, width), nn.ReLU()]",
        "layers += [nn.Linear(in_dim, width), nn.Identity()]",
    ),
    _mutant(
        NETWORKS,
        "strides of the residual network come late",
        "_STRIDES = (2, 1, 2, 1, 2, 1)",
        "_STRIDES = (1, 2, 1, 2, 1, 2)",
    ),
    _mutant(
        NETWORKS,
        "images of other sizes are compared with what was seen as it is not",
        "values[key.name] = resize_images(th.sigmoid(values[key.name]), key.shape[1:])",
        "values[key.name] = th.sigmoid(values[key.name])",
    ),
]

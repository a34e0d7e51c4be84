"""Mistakes in what ranks of one agent tell each other."""

from tests.mutants.mutant import Mutant

RANKS, WATCH, RANKED = (
    "zoo/nn/fast/ranks.py",
    "zoo/nn/fast/rank_watch.py",
    "zoo/common/ranked.py",
)
SAVES, REPLAY_AGENT = "zoo/common/storage/saves.py", "zoo/common/replay_agent.py"
TESTS = ("tests/common/test_ranks.py",)


def _mutant(what: str, file: str, old: str, new: str) -> Mutant:
    return Mutant(f"ranks: {what}", file, old, new, TESTS)


MUTANTS = [
    _mutant("gradients are added up, not averaged", RANKS, "    flat /= team.count\n", ""),
    _mutant(
        "each finds free nats in its own batch",
        "zoo/nn/beliefs.py",
        "mean_of_all(nats.mean())",
        "nats.mean()",
    ),
    _mutant(
        "images begin at each one's own mean color",
        "zoo/nn/networks/world_models.py",
        "layer.bias.copy_(mean_of_all(mean))",
        "layer.bias.copy_(mean)",
    ),
    _mutant(
        "codes follow each one's own vectors",
        "zoo/nn/rssm/codebook.py",
        'mean_of_all(th.einsum("nsc,nsw->scw", found, vectors) / len(vectors))',
        'th.einsum("nsc,nsw->scw", found, vectors) / len(vectors)',
    ),
    _mutant(
        "codes begin anew where each one's own vectors are",
        "zoo/nn/rssm/codebook.py",
        "newest = of_first(vectors[rows, latent])",
        "newest = vectors[rows, latent]",
    ),
    _mutant(
        "returns are divided by percentiles of each one's own",
        "zoo/nn/returns.py",
        "flat = of_all(returns.detach().float().flatten())",
        "flat = returns.detach().float().flatten()",
    ),
    _mutant(
        "losses that somebody computes for himself wait for the others",
        RANKS,
        "    team = current() if _losses_are_joint else None\n",
        "    team = current()\n",
    ),
    _mutant("all have the same seed", RANKS, "    if index == 0:\n", "    if True:\n"),
    _mutant(
        "steps of others are not counted",
        REPLAY_AGENT,
        "        self.num_timesteps += self._others_steps()\n",
        "",
    ),
    _mutant(
        "windows are as long as each one's own replay allows",
        REPLAY_AGENT,
        "return ranks.least(self.replay_buffer.longest_window())",
        "return self.replay_buffer.longest_window()",
    ),
    _mutant(
        "each has a whole replay",
        REPLAY_AGENT,
        "                ranks.share(self.buffer_size),\n",
        "                self.buffer_size,\n",
    ),
    _mutant(
        "all call all callbacks",
        RANKED,
        'if getattr(x, "on_all_ranks", False)], False',
        "], False",
    ),
    _mutant(
        "parameters are those that each one has drawn",
        RANKED,
        "            ranks.spread([*self.policy.parameters(), *self.policy.buffers()])\n",
        "            pass\n",
    ),
    _mutant(
        "another number of them goes on",
        SAVES,
        "    if saved != count:\n",
        "    if False:\n",
    ),
    _mutant(
        "one that raises does not say so",
        WATCH,
        "            if own:\n",
        "            if False:\n",
    ),
    Mutant(
        "ranks: one that has not yet begun is taken for dead",
        WATCH,
        "not (has_begun or self._lost)",
        "False",
        ("tests/nn/fast/test_rank_watch.py",),
    ),
    Mutant(
        "ranks: one that ended before it began is waited for",
        WATCH,
        "not (has_begun or self._lost)",
        "not has_begun",
        ("tests/nn/fast/test_rank_watch.py",),
    ),
    _mutant(
        "one that is stopped by a callback leaves the others",
        RANKED,
        "return ranks.every(bool(super()._on_step()))",
        "return super()._on_step()",
    ),
    _mutant(
        "another team finds what the first one has said",
        RANKS,
        "watch_ranks(next(_sessions), ",
        "watch_ranks(0, ",
    ),
    _mutant(
        "one that is busy is not interrupted",
        WATCH,
        "                signal.pthread_kill(self._learner, signal.SIGINT)\n",
        "                pass\n",
    ),
]

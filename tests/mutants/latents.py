"""Mistakes in what models believe about latents, and in what they imagine."""

from tests.mutants.mutant import Mutant

BELIEFS, DYNAMICS, RSSM = (
    "zoo/nn/beliefs.py",
    "zoo/nn/rssm/dynamics.py",
    "zoo/nn/rssm/block.py",
)
PLANNER, OPEN_LOOP = "zoo/planning/planner.py", "zoo/analysis/open_loop.py"
OF_BELIEFS = ("tests/nn/test_beliefs.py", "tests/dreamer_v3/test_oracle.py")
STATE, MEMORY = "zoo/nn/state.py", "zoo/common/policies/memory_layout.py"
OF_MEMORY = ("tests/common/policies/test_memory_layout.py",)
OF_IMAGINATION = ("tests/nn/rssm/test_imagination.py",)

MUTANTS = [
    Mutant(
        "states: parts of the same name are not told apart",
        STATE,
        'field if count[field] == 1 else ".".join(path)',
        "field",
        ("tests/nn/test_state.py",),
    ),
    Mutant(
        "states: a tuple without names has none of its own in a path",
        STATE,
        "first = max(i for i, key in enumerate(path) if i == 0 or not key.isdigit())",
        "first = len(path) - 1",
        ("tests/nn/test_state.py",),
    ),
    Mutant(
        "memory: what is forgotten has lost its dtype",
        MEMORY,
        "np.zeros((n, size), dtype) for size, dtype",
        "np.zeros((n, size), np.float32) for size, dtype",
        OF_MEMORY,
    ),
    Mutant(
        "memory: arrays of any dtype are let in",
        MEMORY,
        "found = [(x.dtype, x.shape) for x in parts]",
        "found = [(d, x.shape) for d, x in zip(self.dtypes, parts, strict=False)]",
        OF_MEMORY,
    ),
    Mutant(
        "beliefs: logarithms of unmixed categoricals are those of rounded probabilities",
        BELIEFS,
        "return cls(log_probs.exp(), log_probs)",
        "return cls(log_probs.exp())",
        OF_BELIEFS,
    ),
    Mutant(
        "beliefs: detached categoricals keep a way back through their logarithms",
        BELIEFS,
        "None if self.log_probs is None else self.log_probs.detach()",
        "self.log_probs",
        OF_BELIEFS,
    ),
    Mutant(
        "beliefs: the entropies of prior and posterior are swapped",
        BELIEFS,
        "Divergences(dyn, rep, prior.entropy(), post.entropy())",
        "Divergences(dyn, rep, post.entropy(), prior.entropy())",
        OF_BELIEFS,
    ),
    Mutant(
        "beliefs: the prior is computed where nobody asks for it",
        BELIEFS,
        "        self._expect: Callable[[], D] = expect\n",
        "        expected = expect()\n        self._expect: Callable[[], D] = lambda: expected\n",
        OF_BELIEFS,
    ),
    Mutant(
        "beliefs: the entropy of one latent only",
        BELIEFS,
        "return -(self.probs * self.logs).sum((-2, -1))",
        "return -(self.probs * self.logs).sum(-1).mean(-1)",
        OF_BELIEFS,
    ),
    Mutant(
        "imagination: the actor's features are not cut off from the graph",
        DYNAMICS,
        "actor.evaluate(feats[-1].detach())",
        "actor.evaluate(feats[-1])",
        OF_IMAGINATION,
    ),
    Mutant(
        "imagination: actions are sampled where the most likely are asked for",
        DYNAMICS,
        "action = policy.mode() if mode else policy.sample(generator)",
        "action = policy.sample(generator)",
        OF_IMAGINATION,
    ),
    Mutant(
        "imagination: a graph where none is wanted",
        DYNAMICS,
        "th.set_grad_enabled(graph and th.is_grad_enabled())",
        "th.set_grad_enabled(th.is_grad_enabled())",
        OF_IMAGINATION,
    ),
    Mutant(
        "imagination: the actor's own evaluation has no gradient without a graph",
        DYNAMICS,
        "th.stack(chosen) if graph else actor.evaluate(feat[:-1])",
        "th.stack(chosen)",
        OF_IMAGINATION,
    ),
    Mutant(
        "imagination: DreamerV3's has no graph even where one is wanted",
        RSSM,
        "if not (graph and th.is_grad_enabled()):",
        "if not graph or isinstance(actor, Actor):",
        OF_IMAGINATION,
    ),
    Mutant(
        "imagination: every given action is taken in the start",
        RSSM,
        "imagination.step(feat[t], action, draws, out=feat[t + 1])",
        "imagination.step(feat[0], action, draws, out=feat[t + 1])",
        OF_IMAGINATION,
    ),
    Mutant(
        "planning: rewards of the state before",
        PLANNER,
        "self.world_model.predict(after)",
        "self.world_model.predict(state)",
        ("tests/planet/test_acting.py", "tests/planning"),
    ),
    Mutant(
        "open loop: predictions start in the first state",
        OPEN_LOOP,
        "last = select(states, (slice(None), context - 1))",
        "last = select(states, (slice(None), 0))",
        ("tests/analysis/test_open_loop.py",),
    ),
    Mutant(
        "imagination: the first two Dreamers reach back into the filter",
        "zoo/nn/dreamer_model.py",
        "self.dynamics.imagine(start.detach(), actor",
        "self.dynamics.imagine(start, actor",
        ("tests/nn/test_dreamer_model.py",),
    ),
]

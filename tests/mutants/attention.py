"""Mistakes in what is shown of an external memory."""

from tests.mutants.mutant import Mutant

ATTENTION, RL_POLICY = "zoo/analysis/attention.py", "zoo/merlin/rl_policies.py"
TESTS = ("tests/analysis/test_attention.py",)

MUTANTS = [
    Mutant(
        "attention: RL-MEM's reads are those of the memory that it has written to",
        RL_POLICY,
        "return self.reader.weights(after.reading, before.rows)",
        "return self.reader.weights(after.reading, after.rows)",
        TESTS,
    ),
    Mutant(
        "attention: rewards are not told",
        ATTENTION,
        "state = policy.told(state, th.as_tensor(np.float32(reward), device=policy.device))",
        "pass",
        TESTS,
    ),
    Mutant(
        "attention: the picture's axes are swapped",
        ATTENTION,
        "attention.weights[:, k, :shown].T",
        "attention.weights[:, k, :shown]",
        TESTS,
    ),
    Mutant(
        "attention: episodes go on without a reset",
        ATTENTION,
        "        if dones[0] or len(rewards) == steps:\n",
        "        if len(rewards) == (steps or 9):\n",
        TESTS,
    ),
    Mutant(
        "attention: an episode without an end is played for ever",
        "zoo/cli/attention.py",
        ", steps=args.steps)",
        ", steps=args.steps + 1)",
        TESTS,
    ),
    Mutant(
        "attention: the picture says of rows that were overwritten when they were written",
        ATTENTION,
        "if steps > rows else",
        "if steps < rows else",
        TESTS,
    ),
]

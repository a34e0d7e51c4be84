"""Mistakes in the environments: MinAtar's games, tasks that need a memory."""

from tests.mutants.mutant import Mutant

MINATAR = "envs/minatar.py"
MINATAR_TESTS = ("tests/envs/test_minatar.py",)

MUTANTS = [
    Mutant(
        "minatar: the last action of an episode is repeated in the next",
        MINATAR,
        "raw.game.last_action = 0",
        "pass",
        MINATAR_TESTS,
    ),
    Mutant(
        "minatar: all six actions are there by default",
        MINATAR,
        "use_minimal_action_set=not all_actions",
        "use_minimal_action_set=all_actions",
        MINATAR_TESTS,
    ),
    Mutant(
        "minatar: actions always stick with the default's probability",
        MINATAR,
        "        sticky_action_prob=sticky_action_prob,\n",
        "",
        MINATAR_TESTS,
    ),
    Mutant(
        "minatar: episodes have no limit of steps",
        MINATAR,
        "max_episode_steps=max_episode_steps",
        "max_episode_steps=None",
        MINATAR_TESTS,
    ),
    Mutant(
        "minatar: frames are almost black",
        MINATAR,
        "np.round(255 * np.asarray(frame))",
        "np.round(np.asarray(frame))",
        MINATAR_TESTS,
    ),
]

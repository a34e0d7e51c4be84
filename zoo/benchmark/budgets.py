"""How much a benchmark may cost: presets of frames, evaluations and settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dreamzoo.benchmark.results.table import markdown


@dataclass(frozen=True)
class Budget:
    """
    What every run of a benchmark gets.

    :param about: what it is for, and what it costs
    :param frames: of a training; None: as many as the suite has
    :param evaluations: on the way, evenly spaced
    :param episodes: of an evaluation
    :param saves: on the way, from which an interrupted run goes on
    :param settings: of the agents here: the ``smallest`` of their classes, those of
        :func:`~dreamzoo.hyperparams.laptop.laptop`, or the papers',
        :func:`~dreamzoo.hyperparams.published`. Those of SB3 have SB3's, but for ``baselines``
    :param baselines: arguments of SB3's agents that count instead of theirs, by their names
    """

    about: str
    frames: int | None
    evaluations: int
    episodes: int
    saves: int
    settings: Literal["smallest", "laptop", "published"]
    baselines: Mapping[str, Mapping[str, Any]]


#: Small enough that a smoke test of 1,000 steps makes updates.
_ROLLOUT = {"n_steps": 128, "batch_size": 64, "n_epochs": 2}
_REPLAY = {"learning_starts": 200, "buffer_size": 10_000, "train_freq": 8}

#: By the names that ``dreamzoo benchmark run --budget`` knows.
BUDGETS: dict[str, Budget] = {
    "smoke": Budget(
        "whether everything runs, in a minute or two a run; no agent learns from so little",
        frames=2_000,
        evaluations=2,
        episodes=2,
        saves=2,
        settings="smallest",
        baselines={
            **{"ppo": _ROLLOUT, "recurrent_ppo": _ROLLOUT},
            **{name: _REPLAY for name in ("sac", "dqn", "td3", "ddpg")},
        },
    ),
    "laptop": Budget(
        "one core: half an hour a run of a Dreamer on dm_control from numbers, from images hours",
        frames=50_000,
        evaluations=10,
        episodes=10,
        saves=10,
        settings="laptop",
        baselines={},
    ),
    "paper": Budget(
        "the papers' settings and frames: a GPU, and from a day to weeks a run",
        frames=None,
        evaluations=50,
        episodes=10,
        saves=20,
        settings="published",
        baselines={},
    ),
}

#: What stands in the table of budgets about the agents' settings: train ratio and size.
_SETTINGS = {
    "smallest": "4, the tests' smallest networks",
    "laptop": "256, from images 32, from boards 64, with discrete actions of DreamerV2 32; "
    "DreamerV3 has size 1m",
    "published": "the paper's",
}


def budgets_table() -> str:
    """
    Write the budgets as a table in Markdown.

    Example:
        >>> from dreamzoo.benchmark.budgets import budgets_table
        >>> budgets_table().splitlines()[0]
        '| budget | frames | evaluations | episodes of each | train ratio and size | for |'
    """
    heads = ["budget", "frames", "evaluations", "episodes of each", "train ratio and size", "for"]
    rows = []
    for name, budget in BUDGETS.items():
        frames = "the suite's" if budget.frames is None else f"{budget.frames:,}"
        counts = (str(budget.evaluations), str(budget.episodes))
        rows.append([f"`{name}`", frames, *counts, _SETTINGS[budget.settings], budget.about])
    return markdown(heads, rows)

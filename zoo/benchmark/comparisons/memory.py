"""MERLIN, what it is compared with, and RecurrentPPO on tasks that need a memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.run_config import Run

#: Steps of a window: none of the longer tasks fits into one.
WINDOW = 20


class Task(NamedTuple):
    """
    A task of the ladder.

    :param env: name for ``make_env``
    :param rows: of the external memory: the steps of an episode
    :param steps: of training
    """

    env: str
    rows: int
    steps: int


TASKS = (
    Task("popgym/RepeatFirstEasy", 52, 200_000),
    Task("bsuite/memory_len/9", 11, 200_000),  # 10 steps
    Task("memory/TMaze/10", 11, 200_000),
    Task("bsuite/memory_len/15", 31, 400_000),  # 30 steps
    Task("bsuite/memory_len/17", 51, 400_000),  # 50
    Task("bsuite/memory_len/22", 101, 800_000),  # 100
    Task("memory/TMaze/50", 51, 400_000),
    Task("memory/TMaze/100", 101, 800_000),
    Task("memory/CardGame/4", 6, 400_000),
    Task("memory/CardGame/8", 12, 1_200_000),
)
#: The entropy keeps its weight: a policy that has stopped trying anything cannot learn to read
#: again what the predictor, which goes on learning, has begun to write in another way.
_SHARED: dict[str, Any] = {"learning_rate": 2e-3, "gae_lambda": 0.95, "n_steps": WINDOW}
_OF_AGENT: dict[str, dict[str, Any]] = {
    "merlin": {**_SHARED, "actor_learning_rate": 1e-3},
    "rl_mem": _SHARED,
    "rl_lstm": _SHARED,
}
#: As in SB3's PPO. Once a task is solved, gradients are next to nothing, and with a smaller epsilon
#: Adam makes whole steps of them.
_CALM = ("optimizer_kwargs", {"eps": 1e-5})


def _runs() -> Iterator[Run]:
    for task in TASKS:
        common: dict[str, Any] = dict(
            env=task.env,
            out=Path(),
            n_envs=16,
            stagger=task.rows,
            steps=task.steps,
            eval_every=task.steps // 15,
            eval_episodes=50,
            deterministic_eval=True,
            save_every=task.steps // 5,
        )
        for agent, settings in _OF_AGENT.items():
            yield Run(
                agent,
                policy_kwargs=[_CALM] if agent == "rl_lstm" else [("rows", task.rows), _CALM],
                agent_kwargs=list(settings.items()),
                **common,
            )
        yield Run(
            "recurrent_ppo",
            env_kwargs=[("previous_action", True)],
            agent_kwargs=[("n_steps", WINDOW), ("batch_size", 16 * WINDOW)],
            **common,
        )


MEMORY = Comparison(
    "MERLIN, RL-MEM, RL-LSTM and RecurrentPPO on tasks that need a memory",
    {task.env: task.steps for task in TASKS},
    60_000,
    tuple(_runs()),
)

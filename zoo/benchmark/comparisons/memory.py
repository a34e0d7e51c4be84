"""MERLIN, its two baselines, RecurrentPPO and DreamerV3 on tasks that need a memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
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
    :param n_envs: environments
    :param merlin: settings of MERLIN for this task
    :param dreamer: whether DreamerV3 plays it, too
    """

    env: str
    rows: int
    steps: int
    n_envs: int = 16
    merlin: Mapping[str, Any] = MappingProxyType({})
    dreamer: bool = False


#: Where a card lies is known from the action alone.
_CARDS: dict[str, Any] = {"action_coef": 500.0}


TASKS = (
    Task("popgym/RepeatFirstEasy", 52, 400_000),
    Task("bsuite/memory_len/9", 11, 200_000),  # 10 steps
    Task("memory/TMaze/10", 11, 200_000),
    Task("bsuite/memory_len/15", 31, 400_000),  # 30 steps
    Task("bsuite/memory_len/17", 51, 400_000, dreamer=True),  # 50
    Task("bsuite/memory_len/22", 101, 800_000),  # 100
    Task("memory/TMaze/50", 51, 400_000, dreamer=True),
    Task("memory/TMaze/100", 101, 800_000),
    Task("memory/CardGame/4", 6, 500_000, 64, _CARDS),
    Task("memory/CardGame/8", 12, 3_000_000, 64, _CARDS),
)
#: The entropy keeps its weight: a policy that has stopped trying anything cannot learn to read
#: again what the predictor, which goes on learning, has begun to write in another way. Rates fall,
#: so that it seldom does: at constant ones chains of 100 steps were learned and lost again.
_SHARED: dict[str, Any] = {"learning_rate": "lin_2e-3", "gae_lambda": 0.95, "n_steps": WINDOW}
_OF_AGENT: dict[str, dict[str, Any]] = {
    "merlin": {**_SHARED, "actor_learning_rate": "lin_1e-3"},
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
            n_envs=task.n_envs,
            stagger=task.rows,
            steps=task.steps,
            eval_every=task.steps // 15,
            eval_episodes=50,
            deterministic_eval=True,
            save_every=task.steps // 5,
        )
        for agent, settings in _OF_AGENT.items():
            own = task.merlin if agent == "merlin" else {}
            yield Run(
                agent,
                policy_kwargs=[_CALM] if agent == "rl_lstm" else [("rows", task.rows), _CALM],
                agent_kwargs=list({**settings, **own}.items()),
                **common,
            )
        yield Run(
            "recurrent_ppo",
            policy="MultiInputPolicy",
            env_kwargs=[("previous_action", True)],
            agent_kwargs=[("n_steps", WINDOW), ("batch_size", task.n_envs * WINDOW)],
            **common,
        )
        if task.dreamer:
            # A batch holds whole episodes: 6,250 updates, as many as fit into ten minutes or so.
            yield Run(
                "dreamer_v3",
                policy_kwargs=[("size", "1m")],
                agent_kwargs=[("train_ratio", 16)],
                **common,
            )


MEMORY = Comparison(
    "MERLIN, RL-MEM, RL-LSTM, RecurrentPPO and DreamerV3 on tasks that need a memory",
    {task.env: task.steps for task in TASKS},
    60_000,
    tuple(_runs()),
)

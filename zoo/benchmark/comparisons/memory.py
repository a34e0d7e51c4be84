"""MERLIN, its two baselines, RecurrentPPO and DreamerV3 on tasks that need a memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.run_config import Run
from dreamzoo.hyperparams.dreamer_v3 import LAPTOP
from dreamzoo.hyperparams.merlin import CALM, MERLIN, SHARED, WINDOW


class Task(NamedTuple):
    """
    A task of the ladder.

    :param env: name for ``make_env``
    :param rows: of the external memory: the steps of an episode
    :param steps: of training
    :param n_envs: environments
    :param settings: of MERLIN, RL-MEM and RL-LSTM for this task
    :param merlin: of MERLIN alone
    :param dreamer: whether DreamerV3 plays it, too
    """

    env: str
    rows: int
    steps: int
    n_envs: int = 16
    settings: Mapping[str, Any] = MappingProxyType({})
    merlin: Mapping[str, Any] = MappingProxyType({})
    dreamer: bool = False


#: Where a card lies is known from the action alone.
_CARDS: dict[str, Any] = {"action_coef": 500.0}
#: Eight cards are learned to the last step: with rates that fall MERLIN found 3.0 pairs, not 3.8.
_STEADY: dict[str, Any] = {"learning_rate": 2e-3}
_STEADY_CARDS: dict[str, Any] = {"actor_learning_rate": 1e-3, **_CARDS}


#: None of the longer ones fits into one window.
TASKS = (
    Task("popgym/RepeatFirstEasy", 52, 400_000),
    Task("bsuite/memory_len/9", 11, 200_000),  # 10 steps
    Task("memory/TMaze/10", 11, 200_000),
    Task("bsuite/memory_len/15", 31, 400_000),  # 30 steps
    Task("bsuite/memory_len/17", 51, 400_000, dreamer=True),  # 50
    Task("bsuite/memory_len/22", 101, 800_000),  # 100
    Task("memory/TMaze/50", 51, 400_000, dreamer=True),
    Task("memory/TMaze/100", 101, 800_000),
    Task("memory/CardGame/4", 6, 500_000, 64, merlin=_CARDS),
    Task("memory/CardGame/8", 12, 3_000_000, 64, _STEADY, _STEADY_CARDS),
)
#: RecurrentPPO has as many units as the LSTMs of the others, for actor and critic together, too.
ONE_LSTM = [("lstm_hidden_size", 128), ("shared_lstm", True), ("enable_critic_lstm", False)]
#: Chosen in the maze of 10 steps: with sb3-contrib's own (advantages divided by their deviation,
#: 10 epochs, no bonus for entropy) it learns to walk on, there too where it should turn.
STEADY_PPO = [("n_epochs", 4), ("normalize_advantage", False), ("ent_coef", 0.01)]
#: DreamerV3 has a laptop's setting, but for windows as long as episodes; 6,250 updates.
_WHOLE_EPISODES: dict[str, Any] = {"batch_length": 64, "train_ratio": 16}
_OF_AGENT: dict[str, dict[str, Any]] = {"merlin": MERLIN, "rl_mem": SHARED, "rl_lstm": SHARED}
(_CALM,) = CALM.items()


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
            own = {**task.settings, **(task.merlin if agent == "merlin" else {})}
            yield Run(
                agent,
                policy_kwargs=[_CALM] if agent == "rl_lstm" else [("rows", task.rows), _CALM],
                agent_kwargs=list({**settings, **own}.items()),
                **common,
            )
        yield Run(
            "recurrent_ppo",
            policy="MultiInputPolicy",
            policy_kwargs=ONE_LSTM,
            env_kwargs=[("previous_action", True)],
            agent_kwargs=[
                ("n_steps", WINDOW),
                ("batch_size", task.n_envs * WINDOW),
                *STEADY_PPO,
            ],
            **common,
        )
        if task.dreamer:
            own = {**LAPTOP, **_WHOLE_EPISODES}
            yield Run(
                "dreamer_v3",
                policy_kwargs=list(own.pop("policy_kwargs").items()),
                agent_kwargs=list(own.items()),
                **common,
            )


MEMORY = Comparison(
    "MERLIN, RL-MEM, RL-LSTM, RecurrentPPO and DreamerV3 on tasks that need a memory",
    {task.env: task.steps for task in TASKS},
    60_000,
    tuple(_runs()),
)

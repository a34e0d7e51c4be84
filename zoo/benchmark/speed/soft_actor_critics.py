"""What an update of DiscreteSAC costs beside one of SB3's SAC, with networks of one size."""

import statistics
import time
from typing import Any, get_args

import numpy as np
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from dreamzoo.discrete_sac import DiscreteSAC
from dreamzoo.discrete_sac.discrete_sac import EstimatorName
from dreamzoo.testing.random_env import RandomEnv

#: Transitions in the replay, which updates sample from.
STORED = 500


def make_agents(
    observations: int, actions: int, widths: list[int], batch_size: int, device: str
) -> dict[str, OffPolicyAlgorithm]:
    """
    Make DiscreteSAC with every estimator, and SAC with as many numbers to an action.

    Example:
        >>> from dreamzoo.benchmark.speed.soft_actor_critics import make_agents
        >>> list(make_agents(4, 2, [8], batch_size=8, device="cpu"))[:3]
        ['SAC', 'gumbel', 'st_gumbel']

    :param observations: numbers of an observation
    :param actions: choices of DiscreteSAC, and dimensions of SAC's action: its critics then read
        equally many numbers
    :param widths: of the hidden layers
    :param batch_size: transitions of an update
    :param device: of all
    :return: by estimator, and SB3's as ``SAC``; with a full replay
    """
    seen = spaces.Box(-1.0, 1.0, (observations,), np.float32)
    box, discrete = spaces.Box(-1.0, 1.0, (actions,), np.float32), spaces.Discrete(actions)
    settings: dict[str, Any] = {"batch_size": batch_size, "device": device, "seed": 0}
    settings |= {"buffer_size": STORED, "learning_starts": STORED}

    def make(kind: Any, action_space: spaces.Space, **own: Any) -> OffPolicyAlgorithm:
        env, widths_of = RandomEnv(seen, action_space), {"net_arch": widths}  # SAC writes into it
        agent = kind("MlpPolicy", env, policy_kwargs=widths_of, **settings, **own)
        agent.set_logger(Logger(None, []))
        return agent.learn(STORED)

    agents = {"SAC": make(SAC, box)}
    return agents | {x: make(DiscreteSAC, discrete, estimator=x) for x in get_args(EstimatorName)}


def time_updates(
    agents: dict[str, OffPolicyAlgorithm], rounds: int, updates: int
) -> dict[str, dict[str, float]]:
    """
    Time the updates of agents in turns, so that whatever else the machine does falls on all.

    Example:
        >>> from dreamzoo.benchmark.speed.soft_actor_critics import make_agents, time_updates
        >>> agents = make_agents(4, 2, [8], batch_size=8, device="cpu")
        >>> sorted(time_updates(agents, rounds=1, updates=2)["gumbel"])
        ['cpu_milliseconds', 'wall_milliseconds']

    :param agents: by name
    :param rounds: in each of which every agent has its turn; the first one after a turn to warm up
    :param updates: in a turn
    :return: medians of one update, by name
    """
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in agents}
    for turn in range(rounds + 1):
        for name, agent in agents.items():
            before = time.process_time(), time.perf_counter()
            agent.train(updates, agent.batch_size)
            after = time.process_time(), time.perf_counter()  # train() has read losses out
            if turn:
                spent[name].append((after[0] - before[0], after[1] - before[1]))
    return {
        name: {
            kind: round(1e3 * statistics.median(values) / updates, 3)
            for kind, values in zip(
                ("cpu_milliseconds", "wall_milliseconds"), zip(*turns, strict=True), strict=True
            )
        }
        for name, turns in spent.items()
    }

"""Settings that make the code of documents run in seconds, put in place of the documents' own."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from dreamzoo import DiscreteSAC, DreamerV1, DreamerV2, DreamerV3, PlaNet
from dreamzoo.common.offline_learning import OfflineLearning
from dreamzoo.planning import CEM

#: Steps that one call of learn() makes at most, over all environments: a little more than an
#: episode of the environments here needs until the first update.
STEPS = 60

SMALLER: dict[type[BaseAlgorithm], dict[str, Any]] = {
    DreamerV3: dict(
        batch_size=2, batch_length=8, horizon=3, train_ratio=4, learning_starts=30, buffer_size=500
    ),
    PlaNet: dict(batch_size=2, batch_length=4, candidates=8, elites=2, planning_iterations=1)
    | dict(planning_horizon=2, seed_episodes=1, collect_interval=1, buffer_size=500),
    DreamerV1: {**DreamerV1.smallest, "learning_starts": 30, "buffer_size": 500},
    DreamerV2: {**DreamerV2.smallest, "learning_starts": 30, "buffer_size": 500},
    DiscreteSAC: dict(batch_size=8, learning_starts=30, buffer_size=500),
    PPO: dict(n_steps=4, batch_size=8, n_epochs=1),
    DQN: dict(learning_starts=10, buffer_size=500),
}
POLICY: dict[type[BaseAlgorithm], dict[str, Any]] = {
    DreamerV3: dict(size="debug"),
    PlaNet: dict(deter=8, stoch=4, units=8, reward_arch=[8]),
    **{agent: agent.smallest["policy_kwargs"] for agent in (DreamerV1, DreamerV2)},
    DiscreteSAC: dict(net_arch=[8]),
}


def shrink(agent: type[BaseAlgorithm], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Give an agent tiny settings whatever it is told, and short trainings.

    :param agent: class to patch
    :param monkeypatch: takes it back
    """
    init: Callable[..., None] = agent.__init__
    learn: Callable[..., Any] = agent.learn

    @functools.wraps(init)
    def small_init(self: BaseAlgorithm, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("_init_setup_model", True):  # load() builds an empty agent first
            given = kwargs.get("policy_kwargs", {})
            kwargs = kwargs | SMALLER[agent]
            if agent in POLICY:
                kwargs["policy_kwargs"] = given | POLICY[agent]
        init(self, *args, **kwargs)

    @functools.wraps(learn)
    def short_learn(self: BaseAlgorithm, total_timesteps: float, *args: Any, **kwargs: Any) -> Any:
        return learn(self, min(int(total_timesteps), STEPS), *args, **kwargs)

    monkeypatch.setattr(agent, "__init__", small_init)
    monkeypatch.setattr(agent, "learn", short_learn)
    if issubclass(agent, OfflineLearning):
        offline = agent.learn_offline
        monkeypatch.setattr(agent, "learn_offline", lambda self, _: offline(self, 2))


def shrink_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let planners draw few sequences, whatever they are told; these are as long as they are told.

    :param monkeypatch: takes it back
    """
    init: Callable[..., None] = CEM.__init__

    def small_init(self: CEM, horizon: int = 12, *_: int, **__: int) -> None:
        init(self, horizon, iterations=1, candidates=8, elites=2)

    monkeypatch.setattr(CEM, "__init__", small_init)

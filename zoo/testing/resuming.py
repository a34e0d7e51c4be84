"""The promise that a training which is interrupted goes on exactly."""

import tempfile
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from dreamzoo.testing.case import Case
from dreamzoo.testing.promises import DREAMZOO, difference, promise, require

#: What an agent may keep beside its own file, each with a method to save and one to load.
KEPT = ("replay_buffer", "training_state")


def _keeps_nothing(case: Case) -> str | None:
    kept = any(hasattr(case.agent_class, f"save_{name}") for name in KEPT)
    return None if kept else "saves neither a replay buffer nor a training state"


def _state(agent: BaseAlgorithm) -> dict[str, Any]:
    """Return what must not depend on an interruption."""
    replay = vars(getattr(agent, "replay_buffer", None) or object).items()
    return {
        "parameters": agent.get_parameters(),
        "steps": agent.num_timesteps,
        "updates": getattr(agent, "_n_updates", None),
        "last observation": agent._last_obs,
        "replay": {name: x for name, x in replay if isinstance(x, np.ndarray)},
    }


@promise(DREAMZOO, "docs/contract.md", _keeps_nothing)
def resuming_is_exact(case: Case) -> None:
    """
    A training that is saved, loaded elsewhere and continued equals the one that was not stopped.

    It goes on in the middle of episodes, with the same weights, optimizers, replay and draws. What
    is saved is the agent and whatever it keeps beside: ``save_replay_buffer`` or
    ``save_training_state``.
    """
    agent = case.make(n_envs=2)
    more = case.total(agent)
    case.learn(agent)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        agent.save(folder / "agent")
        kept = [part for part in KEPT if hasattr(agent, f"save_{part}")]
        for part in kept:
            getattr(agent, f"save_{part}")(folder / part)
        agent.learn(more, reset_num_timesteps=False)
        again = case.agent_class.load(folder / "agent", env=case.make_env(2, seed=5), device="cpu")
        for part in kept:
            load = getattr(again, f"load_{part}")
            trust = {"trusted": True} if "trusted" in signature(load).parameters else {}
            load(folder / part, **trust)
    again.learn(more, reset_num_timesteps=False)
    found = difference(_state(agent), _state(again), "the training")
    require(not found, f"of the whole and the interrupted training, {found}", "equal ones")

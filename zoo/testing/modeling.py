"""Promises of agents that learn a world model: their dreams, and latents in their replay."""

from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.testing.case import Case, alone
from dreamzoo.testing.promises import DREAMZOO, difference, promise, require

HORIZON = 4  # steps of a dream


def has_no_model(case: Case) -> str | None:
    """Return why an agent does not dream."""
    return None if hasattr(case.agent_class, "dream_env") else "learns no world model (dream_env)"


def _keeps_no_latents(case: Case) -> str | None:
    latents = getattr(getattr(case.trained, "replay_buffer", None), "latents", None)
    return None if latents else "keeps no latents in its replay"


def _dream(agent: Any, steps: int = HORIZON) -> list[Any]:
    """Return what some steps of two dreams show."""
    dream = agent.dream_env(2, horizon=HORIZON)
    require(isinstance(dream, VecEnv), f"dream_env() returned {dream!r}", "a VecEnv")
    shown = [dream.reset()]
    for _ in range(steps):
        actions = np.stack([dream.action_space.sample() for _ in range(2)])
        shown.append(dream.step(actions))
    return shown


@promise(DREAMZOO, "docs/dreams.md", has_no_model)
def dreams_are_environments(case: Case) -> None:
    """
    dream_env(n) is a VecEnv of the agent's own spaces.

    Its observations are members, its rewards finite, and its episodes end at the horizon.
    """
    agent: Any = case.trained
    dream = agent.dream_env(2, horizon=HORIZON)
    spaces = dream.observation_space, dream.action_space
    expected = agent.observation_space, agent.action_space
    require(spaces == expected, f"the spaces {spaces}", f"the agent's own, {expected}")
    first, *steps = _dream(agent)
    for obs in [first, *(step[0] for step in steps)]:
        for one in (alone(obs, i) for i in range(2)):
            require(one in dream.observation_space, f"{one!r} in a dream", f"in {expected[0]}")
    rewards = np.stack([step[1] for step in steps])
    require(np.isfinite(rewards).all(), f"the rewards {rewards}", "finite numbers")
    ended = np.any([step[2] for step in steps], axis=0)
    require(ended.all(), f"no end of {HORIZON} steps, horizon={HORIZON}", "an end of every dream")


class _Dreaming(BaseCallback):
    def _on_step(self) -> bool:
        if self.n_calls % 6 == 0:
            _dream(self.model)
        return True


@promise(DREAMZOO, "docs/contract.md", has_no_model)
def dreaming_leaves_training_unchanged(case: Case) -> None:
    """A training during which others step the agent's dreams is the same as without them."""
    dreamt = case.learn(case.make(), callback=_Dreaming()).get_parameters()
    found = difference(case.trained.get_parameters(), dreamt, "parameters")
    require(not found, f"after dreams {found}", "the same as without them")


@promise(DREAMZOO, "docs/contract.md", _keeps_no_latents)
def latents_in_the_replay_are_renewed(case: Case) -> None:
    """
    The latents that a replay keeps are those of the current model.

    They are finite, and an update writes new ones for what it has learned from.
    """
    agent: Any = case.learn(case.make())
    before = {name: np.array(x) for name, x in agent.replay_buffer.latents.items()}
    bad = [name for name, x in before.items() if not np.isfinite(x).all()]
    require(not bad, f"NaN or infinity in the latents {bad}", "finite numbers")
    agent.train(gradient_steps=4, batch_size=agent.batch_size)
    after = {name: np.array(x) for name, x in agent.replay_buffer.latents.items()}
    require(difference(before, after) != "", "the same latents after four updates", "new ones")

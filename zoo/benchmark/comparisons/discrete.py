"""DreamerV2 with discrete actions beside SB3's DQN and PPO, 100,000 steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.comparisons.discrete_sac import EVALUATION, baselines
from dreamzoo.benchmark.run_config import Run
from dreamzoo.hyperparams.dreamer_v2 import LAPTOP_DISCRETE

STEPS = 100_000
TASKS = ("CartPole-v1", "minatar/space_invaders")

AGENT_KWARGS: dict[str, Any] = dict(LAPTOP_DISCRETE)
POLICY_KWARGS: dict[str, Any] = AGENT_KWARGS.pop("policy_kwargs")


def _runs() -> Iterator[Run]:
    shared = EVALUATION | {"steps": STEPS, "eval_every": 10_000}
    for env in TASKS:
        yield Run(
            "dreamer_v2",
            env,
            Path(),
            policy_kwargs=list(POLICY_KWARGS.items()),
            agent_kwargs=list(AGENT_KWARGS.items()),
            n_envs=8,
            save_every=10_000,
            **shared,
        )
        yield from baselines(env, save_every=STEPS, **shared)


DISCRETE = Comparison(
    "DreamerV2 with settings found on CartPole beside SB3's DQN and PPO with RL Zoo's on "
    "CartPole and SB3's defaults on Space Invaders, 100,000 steps",
    dict.fromkeys(TASKS, STEPS),
    20_000,
    tuple(_runs()),
)

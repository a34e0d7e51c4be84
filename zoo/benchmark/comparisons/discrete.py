"""DreamerV2 with discrete actions beside SB3's DQN and PPO, 100,000 steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.run_config import Run

STEPS = 100_000
TASKS = ("CartPole-v1", "minatar/breakout")

#: Networks of 128 units and one update of 16 x 32 in 16 steps. The weight of the KL divergence and
#: the absence of free nats are those of Atari: with more of either, latents keep too little of
#: observations as small as these.
POLICY_KWARGS: dict[str, Any] = {
    **{"deter": 128, "units": 128, "stoch": 16, "classes": 16},
    **{"head_arch": (128, 128), "net_arch": (128, 128)},
}
AGENT_KWARGS: dict[str, Any] = {
    **{"batch_size": 16, "batch_length": 32, "train_ratio": 32},
    **{"learning_starts": 1_000, "pretrain": 50},
    **{"learning_rate": 6e-4, "actor_learning_rate": 3e-4, "critic_learning_rate": 5e-4},
    **{"gamma": 0.995, "kl_coef": 0.1, "free_nats": 0.0, "ent_coef": 3e-3},
}


def _runs() -> Iterator[Run]:
    for env in TASKS:
        yield Run(
            "dreamer_v2",
            env,
            Path(),
            policy_kwargs=list(POLICY_KWARGS.items()),
            agent_kwargs=list(AGENT_KWARGS.items()),
            n_envs=8,
            steps=STEPS,
            eval_every=10_000,
            eval_episodes=20,
            save_every=10_000,
        )
        for agent in ("dqn", "ppo"):
            yield Run(
                agent,
                env,
                Path(),
                steps=STEPS,
                eval_every=10_000,
                eval_episodes=20,
                deterministic_eval=True,
                save_every=STEPS,
            )


DISCRETE = Comparison(
    "DreamerV2 with discrete actions beside SB3's DQN and PPO, 100,000 steps",
    dict.fromkeys(TASKS, STEPS),
    20_000,
    tuple(_runs()),
)

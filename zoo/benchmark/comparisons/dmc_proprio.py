"""World-model agents and SB3's on dm_control, from numbers, 50,000 frames."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.run_config import Run

FRAMES = 50_000
_ALL = ("walker-walk", "cartpole-swingup", "reacher-easy")

#: By agent: tasks, policy_kwargs and agent_kwargs. Networks of about 100 units, batches of 16 x 32
#: and 12,500 updates, half an hour of one core; what is not set is as in the paper.
_DREAMERS: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]] = {
    "dreamer_v3": (
        _ALL,
        {"size": "1m", "optimizer_kwargs": {"warmup": 100}},
        {"learning_rate": 3e-4, "batch_length": 32, "train_ratio": 256, "imagination_last": 8},
    ),
    "dreamer_v2": (
        _ALL[:2],
        {
            **{"deter": 100, "units": 100, "stoch": 8, "classes": 8, "cont": False},
            **{"head_arch": (100, 100), "net_arch": (100, 100)},
        },
        {
            **{"batch_size": 16, "batch_length": 32, "train_ratio": 256},
            **{"learning_starts": 1_250, "pretrain": 100, "gamma": 0.99},
            **{"learning_rate": 6e-4, "actor_learning_rate": 8e-5, "critic_learning_rate": 2e-4},
            **{"kl_coef": 0.1, "free_nats": 0.0, "rho": 0.0, "ent_coef": 1e-3},
        },
    ),
    "dreamer_v1": (
        _ALL[:2],
        {
            **{"deter": 100, "stoch": 20, "units": 100},
            **{"reward_arch": (100, 100), "net_arch": (100, 100)},
        },
        {
            **{"batch_size": 16, "batch_length": 32, "train_ratio": 256},
            **{"critic_learning_rate": 2e-4, "kl_coef": 0.1, "free_nats": 1.0},
        },
    ),
}
#: The paper's action repeats for PlaNet; of 50,000 frames it makes fewer steps.
_PLANET_REPEAT = {"walker-walk": 2, "cartpole-swingup": 8}


def _runs() -> Iterator[Run]:
    common: dict[str, Any] = dict(out=Path(), env_kwargs=[("flatten", True)])
    for agent, (tasks, policy_kwargs, agent_kwargs) in _DREAMERS.items():
        for task in tasks:
            yield Run(
                agent,
                f"dmc/{task}",
                policy_kwargs=list(policy_kwargs.items()),
                agent_kwargs=list(agent_kwargs.items()),
                n_envs=4,
                steps=FRAMES // 2,
                eval_every=2_500,
                save_every=2_500,
                **common,
            )
    for task, repeat in _PLANET_REPEAT.items():
        yield Run(
            "planet",
            f"dmc/{task}",
            Path(),
            env_kwargs=[("flatten", True), ("action_repeat", repeat)],
            policy_kwargs=[
                *(("deter", 100), ("stoch", 20), ("units", 100), ("reward_arch", (100, 100)))
            ],
            agent_kwargs=[
                *(("candidates", 200), ("elites", 20), ("planning_iterations", 5)),
                ("kl_coef", 0.1),
            ],
            steps=FRAMES // repeat,
            eval_every=10_000 // repeat,
            save_every=10_000 // repeat,
        )
    for agent in ("sac", "ppo"):
        for task in _ALL:
            yield Run(
                agent,
                f"dmc/{task}",
                steps=FRAMES // 2,
                eval_every=2_500,
                deterministic_eval=True,
                save_every=FRAMES // 2,
                **common,
            )


DMC_PROPRIO = Comparison(
    "world-model agents and SB3's on dm_control, from numbers, 50,000 frames",
    dict.fromkeys((f"dmc/{task}" for task in _ALL), FRAMES),
    25_000,
    tuple(_runs()),
)

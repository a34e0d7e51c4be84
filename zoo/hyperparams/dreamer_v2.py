"""
DreamerV2's published settings: Atari, and the control suite.

Those of control are ``dmc_vision`` and ``dmc_proprio`` of the authors' newest code, which differ in
what they see; curves of vision were released up to 2M steps of the simulator.

Variants are named beside an environment, ``dreamzoo train --agent dreamer_v2 --env atari/pong
--published schedules no_kl_balancing``. ``schedules`` are Atari's in the code's first release: the
share of REINFORCE rises from 0.9 to 1 and the weight of the entropy falls from 3e-3 to 3e-4 over
the first 10M of 200M frames. The others are the rows of table 2, whose agent had the schedules.
"""

from typing import Any

from dreamzoo.benchmark.suites import suite
from dreamzoo.hyperparams.dreamer_v1 import TASKS
from dreamzoo.hyperparams.zoo_format import zoo_settings

ATARI_STEPS = 200_000_000 // 4
#: Decisions over which the schedules run.
SCHEDULED_STEPS = 2_500_000

_ATARI: dict[str, Any] = {
    "policy": "CnnPolicy",
    "n_timesteps": ATARI_STEPS,
    "learning_starts": 50_000,
    "reward_transform": "tanh",
}
_CONTROL: dict[str, Any] = {
    "n_timesteps": 2_000_000 // 2,
    "env_kwargs": {"action_repeat": 2},
    "policy_kwargs": {"deter": 200, "cont": False},
    "learning_starts": 1_000,
    "pretrain": 100,
    "batch_size": 16,
    "train_ratio": 16 * 50 / 5,
    "learning_rate": 3e-4,
    "actor_learning_rate": 8e-5,
    "critic_learning_rate": 8e-5,
    "gamma": 0.99,
    "rho": 0.0,
    "ent_coef": 1e-4,
    "free_nats": 1.0,
    "kl_coef": 1.0,
}
#: What the paper also did, by name, and what is then different.
variants: dict[str, dict[str, Any]] = {
    "schedules": {
        "rho": (0.9, 1.0, SCHEDULED_STEPS),
        "ent_coef": (3e-3, 3e-4, SCHEDULED_STEPS),
    },
    "no_layer_norm": {"policy_kwargs": {"layer_norm": False}},
    "no_reward_gradients": {"reward_gradients": False},
    "no_discrete_latents": {"policy_kwargs": {"latents": "gaussian", "stoch": 50}},
    "no_kl_balancing": {"kl_balance": None},
    "no_policy_reinforce": {"rho": 0.0},
    "no_image_gradients": {"image_gradients": False},
}

#: Atari's 55 games of the paper: all of the emulator's benchmark but Defender and Surround.
GAMES = tuple(task.name for task in suite("atari55").tasks)

published: dict[str, dict[str, Any]] = {
    **{f"atari/{game}": _ATARI for game in GAMES},
    **{f"dmc_pixels/{task}": {"policy": "CnnPolicy", **_CONTROL} for task in TASKS},
    **{f"dmc/{task}": {"policy": "MultiInputPolicy", **_CONTROL} for task in TASKS},
}

#: Found here, on walker-walk and cartpole-swingup from numbers. What is not set is as in the paper.
LAPTOP: dict[str, Any] = {
    "policy_kwargs": {
        **{"deter": 100, "units": 100, "stoch": 8, "classes": 8, "cont": False},
        **{"head_arch": (100, 100), "net_arch": (100, 100)},
    },
    **{"batch_size": 16, "batch_length": 32, "train_ratio": 256},
    **{"learning_starts": 1_250, "pretrain": 100, "gamma": 0.99},
    **{"learning_rate": 6e-4, "actor_learning_rate": 8e-5, "critic_learning_rate": 2e-4},
    **{"kl_coef": 0.1, "free_nats": 0.0, "rho": 0.0, "ent_coef": 1e-3},
}
#: Found here, on CartPole-v1, and good for MinAtar's Space Invaders; its Breakout, where reward is
#: rare, was not learned in 13,000 steps. Networks of 128 units and one update of 16 x 32 in 16
#: steps. The weight of the KL divergence and the absence of free nats are those of Atari: with more
#: of either, latents keep too little of observations as small as these.
LAPTOP_DISCRETE: dict[str, Any] = {
    "policy_kwargs": {
        **{"deter": 128, "units": 128, "stoch": 16, "classes": 16},
        **{"head_arch": (128, 128), "net_arch": (128, 128)},
    },
    **{"batch_size": 16, "batch_length": 32, "train_ratio": 32},
    **{"learning_starts": 1_000, "pretrain": 50},
    **{"learning_rate": 6e-4, "actor_learning_rate": 3e-4, "critic_learning_rate": 5e-4},
    **{"gamma": 0.995, "kl_coef": 0.1, "free_nats": 0.0, "ent_coef": 3e-3},
}
#: For RL Zoo; on Pendulum nothing was searched for.
hyperparams = zoo_settings(
    published,
    {
        "CartPole-v1": {
            **{"policy": "MlpPolicy", "n_timesteps": 100_000, "n_envs": 8},
            **LAPTOP_DISCRETE,
        },
        "Pendulum-v1": {"policy": "MlpPolicy", "n_timesteps": 25_000, "n_envs": 4, **LAPTOP},
    },
)

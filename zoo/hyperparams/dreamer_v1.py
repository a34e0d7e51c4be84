"""
Dreamer V1's published settings: the control suite from pixels, every action repeated once.

All but what follows is the agent's default (authors' code). Updates come 100 at a time, after every
500 decisions, for the first time after 2,500 random ones; curves were published up to 5M steps of
the simulator.

The variant ``discrete`` is what the paper's appendix says of discrete actions, on no environment in
particular, so it is for any: ``dreamzoo train --agent dreamer_v1 --env CartPole-v1 --published
discrete``. That a head predicts where episodes end is the default there.
"""

from typing import Any

from dreamzoo.benchmark.suites import suite
from dreamzoo.hyperparams.zoo_format import zoo_settings

#: Tasks of the paper's figure 6 whose curves were released: those of DreamerV3's vision benchmark.
TASKS = tuple(task.name for task in suite("dmc_vision").tasks)

published: dict[str, dict[str, Any]] = {
    f"dmc_pixels/{task}": {
        "policy": "CnnPolicy",
        "n_timesteps": 5_000_000 // 2,
        "env_kwargs": {"action_repeat": 2},
        "train_freq": 500,
        "learning_starts": 2_499,  # more steps than this: the first updates follow the 2,500th
    }
    for task in TASKS
}
#: What the paper also did, by name, and what is then different: with discrete actions, appendix A.
variants: dict[str, dict[str, Any]] = {
    "discrete": {"horizon": 10, "kl_coef": 0.1, "reward_transform": "tanh"}
}
#: Those that are for any environment.
anywhere = ("discrete",)

#: Found here, on walker-walk and cartpole-swingup from numbers, in trainings whose scores were not
#: kept. What is not set is as in the paper.
LAPTOP: dict[str, Any] = {
    "policy_kwargs": {
        **{"deter": 100, "stoch": 20, "units": 100},
        **{"reward_arch": (100, 100), "net_arch": (100, 100)},
    },
    **{"batch_size": 16, "batch_length": 32, "train_ratio": 256},
    **{"critic_learning_rate": 2e-4, "kl_coef": 0.1, "free_nats": 1.0},
}
_SMALL: dict[str, Any] = {"policy": "MlpPolicy", "n_timesteps": 25_000, "n_envs": 4, **LAPTOP}
#: For RL Zoo; on the small tasks nothing was searched for.
hyperparams = zoo_settings(
    published,
    {"CartPole-v1": {**_SMALL, **variants["discrete"]}, "Pendulum-v1": _SMALL},
)

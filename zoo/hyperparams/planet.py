"""
PlaNet's published settings: its six tasks from pixels.

Everything but the task's action repeat is the agent's default (appendix A of the paper and its
code). An episode has 1000 steps of the simulator; a run 1000 episodes (table 1), of which the
first 5 are random.
"""

from typing import Any

from dreamzoo.hyperparams.zoo_format import zoo_settings
from dreamzoo.planning.true_simulator import PLANET_ACTION_REPEAT

EPISODES = 1_000
EPISODE_STEPS = 1_000

published: dict[str, dict[str, Any]] = {
    f"dmc_pixels/{task}": {
        "policy": "CnnPolicy",
        "n_timesteps": EPISODES * EPISODE_STEPS // repeat,
        "env_kwargs": {"action_repeat": repeat},
    }
    for task, repeat in PLANET_ACTION_REPEAT.items()
}

#: Found here, on walker-walk and cartpole-swingup from numbers. What is not set is as in the paper.
LAPTOP: dict[str, Any] = {
    "policy_kwargs": {"deter": 100, "stoch": 20, "units": 100, "reward_arch": (100, 100)},
    **{"candidates": 200, "elites": 20, "planning_iterations": 5, "kl_coef": 0.1},
}
#: For RL Zoo; on Pendulum nothing was searched for, and plans are continuous actions.
hyperparams = zoo_settings(
    published, {"Pendulum-v1": {"policy": "MlpPolicy", "n_timesteps": 20_000, **LAPTOP}}
)

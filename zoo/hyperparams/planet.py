"""
PlaNet's published settings: its six tasks from pixels.

Everything but the task's action repeat is the agent's default (appendix A of the paper and its
code). An episode has 1000 steps of the simulator; a run 1000 episodes (table 1), of which the
first 5 are random.
"""

from typing import Any

from dreamzoo.planning.true_simulator import PLANET_ACTION_REPEAT

EPISODES = 1_000
EPISODE_STEPS = 1_000

hyperparams: dict[str, dict[str, Any]] = {
    f"dmc_pixels/{task}": {
        "policy": "CnnPolicy",
        "n_timesteps": EPISODES * EPISODE_STEPS // repeat,
        "env_kwargs": {"action_repeat": repeat},
    }
    for task, repeat in PLANET_ACTION_REPEAT.items()
}

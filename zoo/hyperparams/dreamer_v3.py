"""
DreamerV3's published settings: the protocols of its paper's table 2, and Crafter's.

They stand in :mod:`dreamzoo.benchmark.suites`; everything else is the agent's default.
"""

from typing import Any

from dreamzoo.benchmark.suites import Task, suite
from dreamzoo.hyperparams.zoo_format import zoo_settings

#: By suites: the policy that reads what its environments show.
_POLICIES = {
    "atari57": "CnnPolicy",
    "atari100k": "CnnPolicy",
    "dmc_proprio": "MultiInputPolicy",
    "dmc_vision": "CnnPolicy",
    "procgen": "CnnPolicy",
    "crafter": "CnnPolicy",
    "bsuite": "MlpPolicy",
    "minecraft": "MultiInputPolicy",
}


def _settings(task: Task) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "policy": _POLICIES[task.suite],
        "n_envs": task.n_envs,
        "train_ratio": task.train_ratio,
        "policy_kwargs": {"size": task.size},
    }
    if task.steps is not None:
        settings["n_timesteps"] = task.steps
    if task.suite.startswith("dmc"):  # elsewhere the environment has no other
        settings["env_kwargs"] = {"action_repeat": task.action_repeat}
    return settings


published: dict[str, dict[str, Any]] = {
    env: _settings(task) for name in _POLICIES for task in suite(name).tasks for env in task.envs
}

#: Found here, on three tasks of dm_control from numbers: half an hour of one core for 25,000 steps.
#: What is not set is as in the paper.
LAPTOP: dict[str, Any] = {
    "policy_kwargs": {"size": "1m", "optimizer_kwargs": {"warmup": 100}},
    **{"learning_rate": 3e-4, "batch_length": 32, "train_ratio": 256, "imagination_last": 8},
}
_SMALL: dict[str, Any] = {"policy": "MlpPolicy", "n_timesteps": 25_000, "n_envs": 4, **LAPTOP}
#: For RL Zoo; on the small tasks nothing was searched for.
hyperparams = zoo_settings(published, {"CartPole-v1": _SMALL, "Pendulum-v1": _SMALL})

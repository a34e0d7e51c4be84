"""
DreamerV3's published settings: the protocols of its paper's table 2, and Crafter's.

They stand in :mod:`dreamzoo.benchmark.suites`; everything else is the agent's default.
"""

from typing import Any

from dreamzoo.benchmark.suites import Task, suite

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


hyperparams: dict[str, dict[str, Any]] = {
    env: _settings(task) for name in _POLICIES for task in suite(name).tasks for env in task.envs
}

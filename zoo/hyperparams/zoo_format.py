"""Settings in RL Zoo's format: its modules of settings have a dictionary ``hyperparams``."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from stable_baselines3.common.utils import LinearSchedule


class ZooSettings(dict[str, dict[str, Any]]):
    """
    Settings by environment, looked up by RL Zoo.

    The Zoo takes out of a setting what is no argument of the agent and makes schedules of learning
    rates. It gets copies, so that a second run in the process finds what the first has found.

    Example:
        >>> from dreamzoo.hyperparams.dreamer_v3 import hyperparams
        >>> hyperparams["CartPole-v1"].pop("n_timesteps")
        25000
        >>> "n_timesteps" in hyperparams["CartPole-v1"]
        True
    """

    def __getitem__(self, env: str) -> dict[str, Any]:
        return deepcopy(super().__getitem__(env))


def zoo_settings(*known: Mapping[str, Mapping[str, Any]]) -> ZooSettings:
    """
    Collect settings for RL Zoo, and the agent's defaults for any other environment.

    Those without ``n_timesteps``, of experiments that last so many episodes, are left out: the Zoo
    has no other end of a training.

    :param known: settings by environment
    """
    settings = ZooSettings({"default": {"policy": "MlpPolicy", "n_timesteps": 1_000_000}})
    for by_env in known:
        settings |= {
            env: {name: _falling(name, value) for name, value in given.items()}
            for env, given in by_env.items()
            if "n_timesteps" in given
        }
    return settings


def _falling(name: str, value: Any) -> Any:
    """Read what falls to 0, "lin_0.001", where the Zoo does not: it reads one rate alone."""
    if name == "learning_rate" or not isinstance(value, str) or not value.startswith("lin_"):
        return value
    return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)

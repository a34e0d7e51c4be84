"""What ``-optimize`` searches: a few arguments of every agent, those that decide most."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Between(NamedTuple):
    """
    Any number between two, each power of ten as likely as the next.

    :param low: least
    :param high: greatest
    """

    low: float
    high: float


#: The values of an argument: a range, or one of some.
Space = Mapping[str, Between | tuple[Any, ...]]

_DREAMER: dict[str, Any] = {
    "learning_rate": Between(1e-4, 1e-3),
    "actor_learning_rate": Between(2e-5, 5e-4),
    "critic_learning_rate": Between(5e-5, 1e-3),
    "kl_coef": (0.1, 0.3, 1.0),
    "gamma": (0.99, 0.995, 0.999),
}
_POLICY: dict[str, Any] = {
    "learning_rate": Between(1e-4, 5e-3),
    "ent_coef": Between(1e-3, 1e-1),
    "n_steps": (10, 20, 40),
    "gamma": (0.96, 0.98, 0.99),
    "gae_lambda": (0.9, 0.95, 1.0),
}

#: By agent: arguments of its constructor and what may become of them. Sizes of networks and the
#: train ratio, which decide how long a trial takes, stay as the settings say.
SEARCHES: dict[str, Space] = {
    "dreamer_v3": {
        "learning_rate": Between(4e-5, 1e-3),
        "ent_coef": Between(1e-4, 1e-2),
        "horizon": (10, 15, 20),
        "gae_lambda": (0.9, 0.95, 0.98),
        "free_nats": (0.3, 1.0, 3.0),
    },
    "dreamer_v2": {**_DREAMER, "ent_coef": Between(1e-4, 1e-2)},
    "dreamer_v1": {**_DREAMER, "free_nats": (0.3, 1.0, 3.0)},
    "planet": {
        "learning_rate": Between(1e-4, 2e-3),
        "kl_coef": (0.1, 0.3, 1.0),
        "free_nats": (0.3, 1.0, 3.0),
        "planning_horizon": (8, 12, 16),
        "exploration_noise": (0.1, 0.3, 0.5),
    },
    "merlin": {**_POLICY, "actor_learning_rate": Between(1e-4, 5e-3)},
    "rl_mem": _POLICY,
    "rl_lstm": _POLICY,
    "discrete_sac": {
        "learning_rate": Between(1e-4, 2e-3),
        "tau": (0.005, 0.01, 0.02),
        "batch_size": (64, 128, 256),
        "n_steps": (1, 3, 5),
        "gamma": (0.98, 0.99, 0.995),
    },
}


def sample(space: Space, trial: Any, *_of_the_zoo: Any) -> dict[str, Any]:
    """
    Let a trial choose, under the names of the arguments.

    Nothing is left to convert then, and what the settings say of the policy stays.

    :param space: what may be chosen
    :param trial: Optuna's
    :param _of_the_zoo: numbers of actions and environments and the replay's arguments, which no
        search here depends on
    """
    return {
        name: trial.suggest_float(name, *values, log=True)
        if isinstance(values, Between)
        else trial.suggest_categorical(name, values)
        for name, values in space.items()
    }


def as_chosen(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    Make arguments of an agent of what a trial chose, which the Zoo takes up by ``--trial-id``.

    :param sampled_params: by :func:`sample`
    """
    return dict(sampled_params)

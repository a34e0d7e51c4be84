"""
DiscreteSAC's settings on three small tasks of Gymnasium, found here: no paper has any.

The same for every estimator: the entropy in the actor's loss alone, and a policy that is let decide
little by little. With less entropy from the start (a tenth, and ``ent_coef="auto_0.2"``), gumbel
and st_gumbel chose one action everywhere after some hundred updates on CartPole-v1. There the
policy stays undecided: one that decides leans to one side and stays so, because its critics rightly
say that a single push the other way gains nothing, and drives off the track in the end. The most
likely actions of an undecided one balance for good.
"""

from typing import Any

from dreamzoo.hyperparams.zoo_format import zoo_settings

LAPTOP: dict[str, Any] = {
    "buffer_size": 50_000,
    "learning_starts": 1_000,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "gamma": 0.99,
    "tau": 0.01,
    "gradient_steps": 4,
    "n_steps": 3,
    "backup_entropy": False,
    "target_entropy_scale": (0.9, 0.1, 10_000),
    "policy_kwargs": {"net_arch": [128, 128]},
}
_SMALL: dict[str, Any] = {"policy": "MlpPolicy", "n_envs": 4, "n_timesteps": 50_000, **LAPTOP}

published: dict[str, dict[str, Any]] = {
    "CartPole-v1": {**_SMALL, "target_entropy_scale": 0.7},
    "Acrobot-v1": _SMALL,
    "LunarLander-v3": {
        **_SMALL,
        "n_timesteps": 150_000,
        "buffer_size": 150_000,
        "learning_rate": 5e-4,
        "gradient_steps": 2,
        "target_entropy_scale": (0.9, 0.1, 30_000),
    },
}
#: For RL Zoo.
hyperparams = zoo_settings(published)

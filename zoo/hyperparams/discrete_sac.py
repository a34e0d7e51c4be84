"""
DiscreteSAC's settings on three small tasks of Gymnasium, found here: no paper has any.

One update in two steps, whatever the estimator.
"""

from typing import Any

#: Steps between updates, targets that follow fast, and a policy that is let decide.
_SMALL: dict[str, Any] = {
    "policy": "MlpPolicy",
    "buffer_size": 50_000,
    "learning_starts": 1_000,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "tau": 0.02,
    "train_freq": 2,
    "target_entropy_scale": 0.3,
    "policy_kwargs": {"net_arch": [64, 64]},
}

hyperparams: dict[str, dict[str, Any]] = {
    "CartPole-v1": {**_SMALL, "n_timesteps": 50_000, "gamma": 0.98},
    "Acrobot-v1": {**_SMALL, "n_timesteps": 50_000, "gamma": 0.99},
    "LunarLander-v3": {
        **_SMALL,
        "n_timesteps": 150_000,
        "buffer_size": 150_000,
        "batch_size": 128,
        "learning_rate": 5e-4,
        "gamma": 0.99,
        "tau": 0.01,
        "policy_kwargs": {"net_arch": [128, 128]},
    },
}

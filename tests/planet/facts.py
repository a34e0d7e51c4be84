"""What the shared tests want to know of PlaNet."""

import numpy as np

from tests.facts import Facts

NAN, INF = float("nan"), float("inf")

FACTS = Facts(
    wrong=[
        ("seed_episodes", -1), ("collect_interval", 1.5), ("planning_horizon", 0),
        ("planning_iterations", None), ("candidates", "many"), ("elites", 0), ("elites", 7),
        ("exploration_noise", -0.1), ("random_collection", "no"), ("kl_coef", NAN),
        ("reward_coef", -1), ("overshooting_distance", 2.5), ("overshooting_coef", INF),
        ("max_grad_norm", 0.0),
    ],
    wrong_policy=[
        ("deter", 0), ("stoch", 2.5), ("dynamics", "lstm"), ("activation", None),
        ("reward_arch", [0]), ("reward_arch", 8),
    ],
    losses={"train/recon_loss", "train/reward_loss", "train/kl_loss"},
    large={"deter": 10**6},
    numbers={"kl_coef": np.float32(0.5), "candidates": np.int64(6)},
    usual={"deter": 32, "stoch": 8, "units": 32},
)  # fmt: skip

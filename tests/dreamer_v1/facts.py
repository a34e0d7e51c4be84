"""What the shared tests want to know of Dreamer V1."""

import numpy as np

from tests.facts import Facts

NAN, INF = float("nan"), float("inf")

FACTS = Facts(
    wrong=[
        ("horizon", 1), ("horizon", 15.0), ("gamma", 1.01), ("gae_lambda", NAN), ("pretrain", -1),
        ("reward_transform", "symlog"),
        ("actor_learning_rate", -8e-5), ("actor_learning_rate", "8e-5"),
        ("critic_learning_rate", INF), ("exploration_noise", -0.1),
        ("exploration_initial_eps", 1.5), ("exploration_final_eps", NAN),
        ("exploration_updates", 0), ("kl_coef", NAN), ("cont_coef", "10"), ("max_grad_norm", 0.0),
    ],
    wrong_policy=[
        ("deter", 0), ("stoch", 2.5), ("stoch", None), ("units", "400"), ("cnn_depth", 0),
        ("cont", "yes"), ("cont", 1), ("reward_arch", 8), ("cont_arch", [0]),
    ],
    losses={"train/actor_loss", "train/critic_loss", "train/kl_loss", "train/reward_loss"},
    large={"deter": 10**6},
    numbers={"kl_coef": np.float32(0.5), "horizon": np.int64(2)},
    usual={"deter": 32, "stoch": 8, "units": 32, "net_arch": [32]},
)  # fmt: skip

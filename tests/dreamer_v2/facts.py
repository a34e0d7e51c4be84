"""What the shared tests want to know of DreamerV2."""

import numpy as np

from tests.facts import Facts

NAN, INF = float("nan"), float("inf")

FACTS = Facts(
    wrong=[
        ("horizon", 1), ("gamma", -0.1), ("gae_lambda", "0.95"), ("pretrain", -1),
        ("pretrain", 1.0), ("actor_learning_rate", NAN), ("critic_learning_rate", -1e-4),
        ("rho", 1.5), ("rho", None), ("rho", True), ("rho", "both"), ("rho", (0.1, 0.0)),
        ("rho", (0.1, 2.0, 100)), ("rho", (0.1, 0.0, 0)), ("rho", (0.1, 0.0, 2.5)),
        ("rho", (0.1, NAN, 100)), ("ent_coef", "auto"), ("ent_coef", -1e-3),
        ("ent_coef", (3e-3, -1.0, 10)), ("kl_coef", -1), ("kl_balance", 1.5), ("kl_balance", "no"),
        ("kl_balance", False), ("cont_coef", INF), ("reward_transform", None),
        ("reward_transform", "symlog"), ("image_gradients", 1), ("reward_gradients", "no"),
        ("target_update_interval", 0), ("tau", 1.5), ("max_grad_norm", 0.0),
    ],
    wrong_policy=[
        ("deter", 0), ("stoch", 0), ("classes", 1), ("latents", "vae"), ("latents", None),
        ("latents_kwargs", 5),
        ("layer_norm", None), ("cont", "yes"), ("cont", None), ("head_arch", 400), ("units", 2.5),
    ],
    losses={"train/actor_loss", "train/critic_loss", "train/kl_loss", "train/reward_loss"},
    large={"deter": 10**6},
    numbers={"ent_coef": np.float32(3e-4), "horizon": np.int64(2)},
    usual={"deter": 32, "stoch": 8, "classes": 8, "units": 32, "head_arch": [32]},
)  # fmt: skip

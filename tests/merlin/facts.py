"""What the shared tests want to know of MERLIN, and of the agents that it is compared with."""

import numpy as np

from tests.facts import Facts

NAN, INF = float("nan"), float("inf")

WRONG = [
    ("gamma", 1.01), ("gae_lambda", NAN), ("ent_coef", "auto"), ("ent_coef", -0.01),
    ("max_grad_norm", 0.0),
]  # fmt: skip
WRONG_POLICY = [
    ("rows", -1), ("rows", 2.5), ("retroactive", "yes"), ("retro_gamma", 1.5),
    ("retro_gamma", NAN), ("mask_unwritten", None), ("memory_write_grad", "no"),
]  # fmt: skip
LOSSES = {"train/policy_loss", "train/entropy_loss", "train/value_loss"}

OTHERS = Facts(
    wrong=[*WRONG],
    wrong_policy=[*WRONG_POLICY],
    losses=LOSSES,
    large={"size": "paper"},
    numbers={"vf_coef": np.float32(0.5), "n_steps": np.int64(4)},
    usual={"size": "small"},
)
FACTS = {
    "merlin": Facts(
        wrong=[
            *WRONG,
            ("actor_learning_rate", -1e-4), ("actor_learning_rate", "1e-4"), ("image_coef", NAN),
            ("vector_coef", -1), ("action_coef", None), ("reward_coef", "1"), ("kl_coef", INF),
            ("cont_coef", True), ("return_gradients", 1), ("return_gradients", None),
            ("actor_max_grad_norm", NAN), ("actor_max_grad_norm", 0.0),
        ],
        wrong_policy=[*WRONG_POLICY, ("stochastic", 1)],
        losses=LOSSES | {
            "train/advantage_loss", "train/kl_loss", "train/reward_loss", "train/action_loss",
            "train/cont_loss", "train/recon_loss",
        },
        large={"rows": 10**7},
        numbers={"kl_coef": np.float32(0.5), "n_steps": np.int64(4)},
        usual={"size": "small"},
    ),
    "rl_mem": OTHERS,
    "rl_lstm": OTHERS,
}  # fmt: skip

"""What the shared tests want to know of DreamerV3."""

import numpy as np

from tests.facts import Facts

NAN, INF = float("nan"), float("inf")

FACTS = Facts(
    wrong=[
        ("horizon", 0), ("gamma", "banana"), ("gamma", 7), ("gae_lambda", NAN), ("tau", None),
        ("ent_coef", "auto"), ("ent_coef", False), ("dyn_coef", -1.0), ("rep_coef", INF),
        ("replay_vf_coef", NAN), ("slow_coef", "1"), ("replay_context", 1), ("start_cont", "both"),
        ("imagination_last", 0),
    ],
    wrong_policy=[("unimix", 1.5), ("actor_unimix", NAN), ("cnn", "big"), ("images", "no")],
    losses={"train/actor_loss", "train/critic_loss"},
    large={"size": "400m"},
    numbers={"ent_coef": np.float32(3e-4), "horizon": np.int64(2)},
    usual={"size": "1m"},
    projections=("features_dim", "cnn_output_dim"),
)  # fmt: skip

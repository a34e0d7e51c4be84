"""Defaults of agents and policies are the numbers of the papers and of their authors' code."""

import inspect
from typing import Any

import pytest

from dreamzoo.dreamer_v1 import DreamerV1, DreamerV1Policy
from dreamzoo.dreamer_v2 import DreamerV2, DreamerV2Policy
from dreamzoo.hyperparams import published
from dreamzoo.planet import PlaNet
from dreamzoo.planet.policies import PlaNetPolicy

#: arXiv 1811.04551, and its repository where that has other numbers.
PLANET: dict[str, Any] = {
    **{"learning_rate": 1e-3, "batch_size": 50, "batch_length": 50, "max_grad_norm": 1000.0},
    **{"seed_episodes": 5, "collect_interval": 100, "exploration_noise": 0.3},
    **{"planning_horizon": 12, "planning_iterations": 10, "candidates": 1_000, "elites": 100},
    **{"free_nats": 3.0, "kl_coef": 1.0, "reward_coef": 10.0, "overshooting_distance": 0},
}
PLANET_POLICY: dict[str, Any] = {
    **{"deter": 200, "stoch": 30, "units": 200, "reward_arch": (300, 300, 300), "cnn_depth": 32},
    **{"dynamics": "rssm", "activation": "relu"},
}
#: arXiv 1912.01603 and the authors' second code.
DREAMER_V1: dict[str, Any] = {
    **{"learning_rate": 6e-4, "actor_learning_rate": 8e-5, "critic_learning_rate": 8e-5},
    **{"learning_starts": 2_500, "pretrain": 100, "train_ratio": 50 * 50 * 100 / 500},
    **{"batch_size": 50, "batch_length": 50, "horizon": 15, "gamma": 0.99, "gae_lambda": 0.95},
    **{"free_nats": 3.0, "kl_coef": 1.0, "cont_coef": 10.0, "max_grad_norm": 100.0},
    **{"exploration_noise": 0.3, "exploration_initial_eps": 0.4, "exploration_final_eps": 0.1},
    **{"exploration_updates": 200_000, "reward_transform": "identity"},
}
DREAMER_V1_POLICY: dict[str, Any] = {
    **{"deter": 200, "stoch": 30, "units": 200, "cnn_depth": 32, "gamma": 0.99},
    **{"reward_arch": (400, 400), "cont_arch": (400, 400, 400), "cont": None},
}
#: arXiv 2010.02193: Atari, table D.1; gamma and the weight of ends are the code's.
DREAMER_V2: dict[str, Any] = {
    **{"learning_rate": 2e-4, "actor_learning_rate": 4e-5, "critic_learning_rate": 1e-4},
    **{"buffer_size": 2_000_000, "batch_size": 50, "batch_length": 50, "horizon": 15},
    **{"train_ratio": 50 * 50 / 4, "pretrain": 1, "gamma": 0.999, "gae_lambda": 0.95},
    **{"rho": 1.0, "ent_coef": 1e-3, "kl_coef": 0.1, "kl_balance": 0.8, "free_nats": 0.0},
    **{"cont_coef": 5.0, "target_update_interval": 100, "tau": 1.0, "max_grad_norm": 100.0},
    **{"image_gradients": True, "reward_gradients": True},
}
DREAMER_V2_POLICY: dict[str, Any] = {
    **{"latents": "categorical", "stoch": 32, "classes": 32, "deter": 600, "layer_norm": True},
    **{"units": 400, "head_arch": (400,) * 4, "cnn_depth": 48, "cont": True, "gamma": 0.999},
}
#: The control suite, of the authors' newest code.
CONTROL: dict[str, Any] = {
    **{"learning_starts": 1_000, "pretrain": 100, "batch_size": 16, "train_ratio": 16 * 50 / 5},
    **{"learning_rate": 3e-4, "actor_learning_rate": 8e-5, "critic_learning_rate": 8e-5},
    **{"gamma": 0.99, "rho": 0.0, "ent_coef": 1e-4, "free_nats": 1.0, "kl_coef": 1.0},
}


@pytest.mark.parametrize(
    ("owner", "paper"),
    [
        (PlaNet, PLANET),
        (PlaNetPolicy, PLANET_POLICY),
        (DreamerV1, DREAMER_V1),
        (DreamerV1Policy, DREAMER_V1_POLICY),
        (DreamerV2, DREAMER_V2),
        (DreamerV2Policy, DREAMER_V2_POLICY),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_defaults_are_the_papers(owner: type, paper: dict[str, Any]) -> None:
    parameters = inspect.signature(owner).parameters
    assert {name: parameters[name].default for name in paper} == paper


def test_control_has_settings_of_its_own() -> None:
    for kind in ("dmc", "dmc_pixels"):
        settings = published("dreamer_v2", f"{kind}/walker-walk")
        assert dict(settings["agent_kwargs"]) == CONTROL
        assert dict(settings["policy_kwargs"]) == {"deter": 200, "cont": False}
        assert dict(settings["env_kwargs"])["action_repeat"] == 2
        assert settings["steps"] == 1_000_000

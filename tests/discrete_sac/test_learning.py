"""The last test: returns rise."""

import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from dreamzoo import DiscreteSAC
from dreamzoo.hyperparams import published


@pytest.mark.learning
@pytest.mark.parametrize("estimator", ["gumbel", "st_gumbel", "score", "exact"])
def test_cartpole_is_five_times_better_than_random(estimator: str) -> None:
    """A random policy earns about 22."""
    settings = published("discrete_sac", "CartPole-v1")
    model = DiscreteSAC(
        "MlpPolicy",
        make_vec_env("CartPole-v1", n_envs=settings["n_envs"], seed=0),
        policy_kwargs=dict(settings["policy_kwargs"]),
        seed=0,
        **{**dict(settings["agent_kwargs"]), "estimator": estimator},
    ).learn(4_000)
    eval_env = make_vec_env("CartPole-v1", n_envs=20, seed=1_000)
    mean, _ = evaluate_policy(model, eval_env, 20, deterministic=True)
    assert isinstance(mean, float)
    assert mean > 110.0

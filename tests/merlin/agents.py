"""Agents for tests: tiny, with weights that are not those of a beginner."""

import dataclasses
from typing import Any

import torch as th
from gymnasium import spaces

from dreamzoo.merlin import MERLIN, SIZES
from tests.dreamers import ACTIONS, VECTOR
from tests.merlin.lives import PLANS, Plan, Windows, make_env

#: No default, no two alike: whoever forgets or confuses one of them is found.
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-2,
    "actor_learning_rate": 3e-3,
    "gamma": 0.87,
    "gae_lambda": 0.79,
    "ent_coef": 0.23,
    "vf_coef": 1.9,
    "image_coef": 0.31,
    "vector_coef": 0.83,
    "action_coef": 1.31,
    "reward_coef": 0.57,
    "kl_coef": 0.71,
    "cont_coef": 1.13,
    "return_gradients": True,
    "max_grad_norm": 1e6,
    "actor_max_grad_norm": 2e6,
}
#: Of the policy. Episodes of up to eight steps do not fit into three rows.
POLICY: dict[str, Any] = {
    "rows": 3,
    "retroactive": True,
    "stochastic": True,
    "mask_unwritten": True,
    "memory_write_grad": False,
}
TWO = spaces.Dict(vector=VECTOR, integer=spaces.Discrete(4, start=2))
T, NOISE, UNIFORM, EPS = 6, -0.6, 0.37, 1e-3


def make_agent(
    observations: spaces.Space,
    actions: spaces.Space,
    settings: dict[str, Any],
    plans: list[list[Plan]] = PLANS,
    weights: int = 1,
    **policy: Any,
) -> MERLIN:
    """Make an agent with weights that are not those of a beginner, but of a seed."""
    size = dataclasses.replace(SIZES["debug"], widths=(5, 4), vector_widths=(6, 3))
    kwargs = {"size": size, "optimizer_kwargs": {"eps": EPS}, **policy}
    alias = "MultiInputPolicy" if isinstance(observations, spaces.Dict) else "MlpPolicy"
    env = make_env(observations, actions, plans)
    agent = MERLIN(alias, env, n_steps=T, seed=3, device="cpu", policy_kwargs=kwargs, **settings)
    generator = th.Generator().manual_seed(weights)
    with th.no_grad():
        for name, p in agent.policy.named_parameters():
            share = 0.1 if "cnn" in name else 0.3  # many pixels
            p.add_(share * th.randn(p.shape, generator=generator))
    return agent


def collect(actions: str = "discrete", windows: int = 2, **policy: Any) -> tuple[Any, Windows]:
    """Make an agent and let it collect windows, without learning from any."""
    agent = make_agent(VECTOR, ACTIONS[actions], SETTINGS, **policy)
    kept = Windows(trains=False)
    agent.learn(2 * T * windows, callback=kept)
    return agent, kept

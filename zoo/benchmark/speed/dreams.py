"""How many steps a second a dream makes, beside the real environment."""

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import DreamerV3
from dreamzoo.benchmark.synthetic import Synthetic
from dreamzoo.envs import DreamVecEnv, DreamVectorEnv, make_env
from dreamzoo.nn.fast.graphs import WARMUP
from dreamzoo.nn.fast.precision import Precision
from dreamzoo.wrappers import vector

#: Turns of every two that are compared.
ROUNDS = 5


def rate(step: Callable[[], Any], steps: int, seconds: float) -> float:
    """
    Count steps per second.

    :param step: makes ``steps`` steps
    :param seconds: how long to look, after one call that does not count
    """
    step()
    calls, spent, start = 0, 0.0, time.perf_counter()
    while not calls or spent < seconds:
        step()
        calls, spent = calls + 1, time.perf_counter() - start
    return calls * steps / spent


def extra_cost(plain: Callable[[], Any], other: Callable[[], Any], seconds: float) -> float:
    """
    Measure how much longer one kind of step takes than another, as a share of the other.

    Both take turns, so that a machine that slows down slows both.
    """
    ratios = []
    for _ in range(ROUNDS):
        rates = [rate(step, 1, seconds / ROUNDS) for step in (plain, other)]
        ratios.append(rates[0] / rates[1] - 1)
    return round(float(np.median(ratios)), 3)


def real_rate(name: str, seconds: float) -> float:
    """Measure one real environment under random actions, resets included."""
    env = make(name)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(100)]

    def step() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    measured = rate(step, len(actions), seconds)
    env.close()
    return measured


def stepper(env: VectorEnv, device: th.device) -> Callable[[], Any]:
    """Prepare to step a vector environment in torch with the same random actions every time."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = th.as_tensor(env.action_space.sample(), device=device)

    def step() -> None:
        env.step(actions)
        if device.type == "cuda":
            th.cuda.synchronize(device)

    if device.type == "cuda":  # recorded before anyone looks at the clock
        for _ in range(WARMUP + 1):
            step()
    return step


def sb3_stepper(env: DreamVecEnv) -> Callable[[], Any]:
    """Prepare to step the face for Stable-Baselines3."""
    env.reset()
    actions = np.stack([env.action_space.sample() for _ in range(env.num_envs)])
    return lambda: env.step(actions)


def wrappers_for(dream: DreamVectorEnv) -> dict[str, Callable[[VectorEnv], VectorEnv]]:
    """List the wrappers that fit the spaces of a dream."""
    listed: dict[str, Callable[[VectorEnv], VectorEnv]] = {
        "SymlogReward": vector.SymlogReward,
        "TanhReward": vector.TanhReward,
        "EpisodeDiscount": vector.EpisodeDiscount,
        "PreviousActionReward": vector.PreviousActionReward,
    }
    if isinstance(dream.single_action_space, spaces.Discrete):
        listed["OneHotAction"] = vector.OneHotAction
    else:
        listed["NormalizeAction"] = vector.NormalizeAction
    if "uint8" not in str(dream.single_observation_space):
        listed["SymlogObservation"] = vector.SymlogObservation
    return listed


def make(name: str) -> gym.Env:
    """Make an environment by its name."""
    suite, _, obs = name.partition("/")
    return Synthetic(obs) if suite == "synthetic" else make_env(name)


def make_dreamer(
    name: str, size: str | None, *, device: str, precision: Precision, graph: bool
) -> DreamerV3:
    """
    Make an untrained agent for an environment: a step of its dream costs what it costs later.

    :param name: of the environment, see :func:`make`
    :param size: of the model; None: the agent's own for the environment
    :param device: of the agent
    :param precision: of matrix products
    :param graph: record steps as CUDA graphs
    """
    env = make_vec_env(lambda: make(name), 1, seed=0)
    is_dict = isinstance(env.observation_space, spaces.Dict)
    is_image = len(env.observation_space.shape or ()) == 3
    policy = "MultiInputPolicy" if is_dict else "CnnPolicy" if is_image else "MlpPolicy"
    return DreamerV3(
        policy,
        env,
        policy_kwargs=dict(size=size),
        device=device,
        precision=precision,
        cuda_graph=graph,
        buffer_size=10,
    )


def dream_rates(model: DreamerV3, numbers: list[int], seconds: float) -> dict[int, int]:
    """
    Measure steps per second of ``DreamVectorEnv``.

    :param model: dreams
    :param numbers: of dreams side by side
    :param seconds: for each number
    """
    rates = {}
    for n in numbers:
        dream = DreamVectorEnv(model, n, details=False)
        rates[n] = round(rate(stepper(dream, model.device), n, seconds))
    return rates


def extra_costs(model: DreamerV3, n: int, seconds: float) -> dict[str, float]:
    """
    Measure what wrappers, details and the face for Stable-Baselines3 cost.

    :param model: dreams
    :param n: dreams side by side
    :param seconds: for each figure
    :return: shares of a step
    """
    device = model.device

    def dream(n: int, **kwargs: Any) -> DreamVectorEnv:
        return DreamVectorEnv(model, n, details=False, **kwargs)

    others = {
        title: stepper(wrap(dream(n)), device) for title, wrap in wrappers_for(dream(1)).items()
    }
    repeated = vector.RepeatAction(dream(n, autoreset_mode=AutoresetMode.DISABLED), 1)
    others |= {
        "RepeatAction(1)": stepper(repeated, device),
        "details=True": stepper(DreamVectorEnv(model, n), device),
        "DreamVecEnv": sb3_stepper(model.dream_env(n)),
    }
    plain = stepper(dream(n), device)
    return {title: extra_cost(plain, other, seconds) for title, other in others.items()}

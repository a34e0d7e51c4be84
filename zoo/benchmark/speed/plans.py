"""What it costs to plan one action with PlaNet."""

import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from torch.utils.flop_counter import FlopCounterMode

from dreamzoo import PlaNet
from dreamzoo.benchmark import measure_peak
from dreamzoo.planning import CEM, ModelRollout, random_shooting

ACTIONS = 6


class Still(gym.Env):
    """Has the spaces of dm_control's walker; nobody steps it."""

    observation_space = spaces.Box(-np.inf, np.inf, (24,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)


def time_plan(model: PlaNet, cem: CEM, repeat: int) -> float:
    """Time plans for one environment: median seconds, the first of all left out."""
    world_model, seconds = model.policy.world_model, []
    rollout = ModelRollout(world_model, world_model.initial(1))
    for _ in range(repeat + 1):
        start = time.perf_counter()
        first = cem.plan(rollout, ACTIONS, device=model.device).mean[0, 0]
        first.cpu()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


def make_planning_agent(units: int | None = None, device: str = "cpu") -> PlaNet:
    """
    Make an agent; observations do not matter, because planning never looks at them.

    :param units: of memory, hidden layers and reward head; default: the paper's
    :param device: of the agent
    """
    kwargs = dict(deter=units, units=units, reward_arch=(units, units)) if units else {}
    return PlaNet("MlpPolicy", Still(), policy_kwargs=kwargs, device=device, seed=0)


def measure_plans(model: PlaNet, cem: CEM, repeat: int) -> dict[str, Any]:
    """
    Time plans, and random shooting with as many candidates at once.

    :param model: plans
    :param cem: how
    :param repeat: plans
    """
    steps = cem.candidates * cem.horizon * cem.iterations
    shooting = random_shooting(cem.horizon, cem.candidates * cem.iterations)
    seconds = time_plan(model, cem, repeat)
    peak = measure_peak(model.device)
    with FlopCounterMode(display=False) as counter:
        time_plan(model, cem, 1)
    gflop = counter.get_total_flops() / 2 / 1e9  # two plans
    return {
        "seconds": round(seconds, 4),
        "steps_per_second": round(steps / seconds),
        "gflop": round(gflop, 4),
        "peak_gflops": round(peak, 1),
        "fraction_of_limit": round(gflop / peak / seconds, 3),
        "random_shooting_seconds": round(time_plan(model, shooting, repeat), 4),
    }

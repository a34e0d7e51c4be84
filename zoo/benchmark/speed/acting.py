"""What acting costs, alone and between updates."""

import time
from typing import Any

import numpy as np
import torch as th

from dreamzoo.benchmark.hardware import profile_kernels
from dreamzoo.benchmark.speed.work import Mode, Work, make_model
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm


def time_acting(model: WorldModelAlgorithm, n_envs: int, steps: int = 200) -> float:
    """
    Time calls of ``predict`` with its state carried on.

    :param model: acts
    :param n_envs: environments, rows of the observations
    :param steps: calls
    :return: milliseconds of one call
    """
    space = model.observation_space
    obs = np.stack([space.sample() for _ in range(n_envs)])
    state, start = None, np.ones(n_envs, bool)
    times = []
    for step in range(steps + 20):
        begun = time.perf_counter()
        _, state = model.predict(obs, state, start)
        if step >= 20:
            times.append(time.perf_counter() - begun)
        start = np.zeros(n_envs, bool)
    return float(np.median(times)) * 1e3


def watch_learning(work: Work, mode: Mode, updates: int, n_envs: int = 1) -> dict[str, Any]:
    """
    Measure in which share of ``learn()`` the GPU computes.

    Watching slows down, so that the time of its kernels is set against that of as many steps that
    nobody watches.

    :param work: what is computed
    :param mode: how
    :param updates: that are watched
    :param n_envs: environments
    """
    model = make_model(work, mode, n_envs)
    if not model.train_ratio:
        raise ValueError(f"{work.agent} has no train ratio that says how often it learns.")
    model.learning_starts = 0
    steps = -(-updates * model.batch_size * model.batch_length // int(model.train_ratio))

    def learn() -> None:
        model.learn(steps, reset_num_timesteps=False)
        if model.device.type == "cuda":
            th.cuda.synchronize(model.device)

    learn()
    before, start = model._n_updates, time.perf_counter()
    learn()
    seconds = time.perf_counter() - start
    result = {
        "n_envs": n_envs,
        "train_ratio": model.train_ratio,
        "updates": model._n_updates - before,
        "updates_per_second": round((model._n_updates - before) / seconds, 2),
        "env_steps_per_second": round(steps / seconds, 1),
    }
    if model.device.type == "cuda":
        launches, busy = profile_kernels(learn)
        result |= {"launches": launches, "gpu_busy_share": round(busy / seconds, 3)}
    return result

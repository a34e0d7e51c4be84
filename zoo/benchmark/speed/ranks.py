"""What an update costs that several ranks make together, and their talking in it."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th

from dreamzoo.benchmark.speed.work import Mode, Work, make_model
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.nn.fast import ranks


def measure_ranks(work: Work, mode: Mode, repeat: int = 10) -> dict[str, Any]:
    """
    Time updates of all ranks, and the part in which they add up their gradients.

    :param work: what all of them compute together
    :param mode: how
    :param repeat: measurements
    :return: for one line; the first rank's
    """
    model = make_model(work, mode)
    model.train(5)  # compiled, recorded, and in step with the others
    here = ranks.place()
    with ranks.together(model, model.device):
        update = _median(model, repeat, lambda: model.train(1))
        adding = _median(model, repeat, lambda: _add_up(model)) if here.count > 1 else 0.0
    parameters = sum(p.numel() for p in model.policy.trained_parameters())
    return {
        "ranks": here.count,
        "batch": model.batch_size,
        "rows_of_a_rank": model.batch_size // here.count,
        "parameters": parameters,
        "updates_per_second": round(1.0 / update, 3),
        "wall_seconds": round(update, 5),
        "all_reduce_seconds": round(adding, 5),
        "share_in_all_reduce": round(adding / update, 4),
    }


def _add_up(model: WorldModelAlgorithm) -> None:
    ranks.average_gradients(model.policy.trained_parameters())


def _median(model: WorldModelAlgorithm, repeat: int, function: Callable[[], None]) -> float:
    """Time something that all ranks begin at the same moment, in seconds."""
    seconds = []
    for _ in range(repeat):
        _finish(model.device)
        ranks.every(True)
        start = time.perf_counter()
        function()
        _finish(model.device)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _finish(device: th.device) -> None:
    if device.type == "cuda":
        th.cuda.synchronize(device)

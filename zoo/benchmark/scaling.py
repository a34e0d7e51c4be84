"""
What a larger training needs, computed from counts and from a few measured times.

Nothing here is measured: the arithmetic of an update is counted, bytes are those of the layouts
that training uses, and times follow from the few that are given.
"""

import math
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from dreamzoo.benchmark.speed.updates import count_gflop
from dreamzoo.benchmark.speed.work import PLAIN, Work, make_model
from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.dreamer_v3 import get_size

#: Sequences of an update and their steps.
BATCH, LENGTH = 16, 64
#: Observations of Atari.
IMAGE = spaces.Box(0, 255, (3, 64, 64), np.uint8)
#: Gradients are summed as float32.
BYTES = 4
#: GB/s in one direction: what NVLink of an H100 is built for, and 100 Gb Ethernet.
LINKS = {"NVLink": 450.0, "100 Gb Ethernet": 12.5}


class Measured(NamedTuple):
    """
    Times of one GPU, from which the others are estimated.

    :param size: of the model
    :param update: milliseconds of an update with sampling
    :param acting: milliseconds of a step of acting with 1 and with 16 environments
    """

    size: str = "12m"
    update: float = 18.7
    acting: tuple[float, float] = (0.46, 1.1)


class UpdateCost(NamedTuple):
    """
    An update of DreamerV3 on images of 64x64x3.

    :param size: of the model
    :param parameters: that are trained
    :param gflop: arithmetic of an update of all sequences
    """

    size: str
    parameters: int
    gflop: float


class Exchange(NamedTuple):
    """
    Adding up gradients by a ring of ranks.

    :param megabytes: that each rank sends, and receives
    :param milliseconds: that it takes at least
    :param split: how many times as fast an update is whose batch is split among the ranks
    :param each: share of one rank's speed that is left where every rank has a whole batch
    """

    megabytes: float
    milliseconds: float
    split: float
    each: float


class WindowCost(NamedTuple):
    """
    What a window of Atari costs the memory that the replay lies in.

    :param read: bytes of its images, and of the latent that it begins with
    :param written: bytes of the latents that are written back
    """

    read: int
    written: int


def update_cost(size: str) -> UpdateCost:
    """
    Count parameters and arithmetic of an update.

    The arithmetic grows with the steps of a batch, so that a small batch is counted.

    :param size: of the model

    Example:
        >>> from dreamzoo.benchmark.scaling import update_cost
        >>> update_cost("debug").parameters
        11785
    """
    batch, length = 2, 16
    model = make_model(Work(obs="image", size=size, batch=batch, length=length), PLAIN)
    gflop = count_gflop(model) * BATCH * LENGTH / (batch * length)
    parameters = sum(p.numel() for p in model.policy.trained_parameters())
    return UpdateCost(size, parameters, gflop)


def exchange(parameters: int, update: float, ranks: int, bandwidth: float) -> Exchange:
    """
    Estimate what adding up gradients adds to an update, in which nothing else runs meanwhile.

    In a ring each rank sends every number twice but for the share that it adds up itself.

    :param parameters: that have gradients
    :param update: milliseconds of one rank's update of the whole batch
    :param ranks: N, at least 2
    :param bandwidth: GB/s between two ranks, in one direction

    Example:
        >>> from dreamzoo.benchmark.scaling import exchange
        >>> exchange(10**9, update=1_200.0, ranks=2, bandwidth=10.0)
        Exchange(megabytes=4000.0, milliseconds=400.0, split=1.2, each=0.75)
    """
    megabytes = 2 * (ranks - 1) / ranks * parameters * BYTES / 1e6
    milliseconds = megabytes / bandwidth
    split = update / (update / ranks + milliseconds)
    return Exchange(megabytes, milliseconds, split, update / (update + milliseconds))


def learned_steps(update: float, train_ratio: float) -> float:
    """
    Compute how many steps of environments a second keep a GPU busy with updates.

    :param update: milliseconds
    :param train_ratio: steps that are learned from for every step of an environment

    Example:
        >>> from dreamzoo.benchmark.scaling import learned_steps
        >>> round(learned_steps(update=20.0, train_ratio=512.0))
        100
    """
    return 1e3 / update * BATCH * LENGTH / train_ratio


def busy_environments(
    update: float, acting: tuple[float, float], step: float, train_ratio: float, busy: float = 0.9
) -> int:
    """
    Compute how many environments keep a GPU busy that waits while they step.

    All step at once, each on a core of its own; the GPU acts, they step, the GPU learns.

    :param update: milliseconds
    :param acting: milliseconds with 1 and with 16 environments; it grows evenly
    :param step: milliseconds that a step of an environment takes
    :param train_ratio: steps that are learned from for every step of an environment
    :param busy: share of the time in which the GPU learns
    :return: 0 if no number does, because acting takes too large a part of a step

    Example:
        >>> from dreamzoo.benchmark.scaling import busy_environments
        >>> busy_environments(update=20.0, acting=(0.5, 0.5), step=9.5, train_ratio=512.0, busy=0.5)
        1
    """
    slope = (acting[1] - acting[0]) / 15
    learning = update * train_ratio / (BATCH * LENGTH)  # milliseconds for a step of one environment
    # learning * n >= busy / (1 - busy) * (step + acting of n)
    factor = busy / (1 - busy)
    gain = learning - factor * slope
    if gain <= 0:
        return 0
    return max(1, math.ceil(factor * (step + acting[0] - slope) / gain - 1e-9))


def record_bytes(size: str | None) -> int:
    """
    Count the bytes that a step of Atari takes in the replay.

    These are an image of 64x64x3, the action, the reward, flags, and the latent of a DreamerV3.

    :param size: of the model; None: without latents, as of DreamerV2

    Example:
        >>> from dreamzoo.benchmark.scaling import record_bytes
        >>> record_bytes(None), record_bytes("12m")
        (12303, 20527)
    """
    latents = None
    if size is not None:
        widths = get_size(size)
        latents = {"deter": ((widths.deter,), np.float32), "stoch": ((widths.stoch,), np.uint8)}
    replay = SequenceReplayBuffer(
        LENGTH + 2, IMAGE, spaces.Discrete(18), "cpu", batch_length=LENGTH, latents=latents
    )
    return replay.nbytes(1)


def window_cost(size: str) -> WindowCost:
    """
    Count the bytes that a window reads and writes.

    Actions, rewards and flags are left out: they are a thousandth of it.

    :param size: of the model

    Example:
        >>> from dreamzoo.benchmark.scaling import window_cost
        >>> window_cost("12m")
        WindowCost(read=794656, written=526336)
    """
    latent = record_bytes(size) - record_bytes(None)
    return WindowCost(LENGTH * math.prod(IMAGE.shape) + latent, LENGTH * latent)

"""What a batch of environments is told when it resets: seeds and rows."""

from typing import Any

import torch as th
from gymnasium.error import ResetNeeded
from torch import Tensor

from dreamzoo.nn.checks import to_host


def first_seed(seeds: list[int | None], num_envs: int, rows: str) -> int | None:
    """
    Read the one seed of a batch from a list of one for every row.

    :param seeds: of the rows
    :param num_envs: rows there are
    :param rows: what the error calls them
    :return: the first, which counts, as all rows share one random stream
    :raises ValueError: for another number of seeds, or none in the first place but elsewhere
    """
    if len(seeds) != num_envs or (seeds[0] is None and any(s is not None for s in seeds)):
        raise ValueError(
            f"seed={seeds}: expected one for each of the {num_envs} {rows}, the first not "
            "None: all rows share one random stream, which begins at the first."
        )
    return seeds[0]


def read_reset_mask(
    mask: Any, num_envs: int, rows: str, device: th.device, *, has_begun: bool
) -> Tensor | None:
    """
    Read which rows are to be reset.

    :param mask: bool (N,), tensor, array or list; None: all
    :param num_envs: rows N there are
    :param rows: what the error calls them
    :param device: where to put the mask
    :param has_begun: all rows were reset before
    :return: bool (N,) on the device, or None
    :raises ValueError: for another dtype or shape
    :raises ResetNeeded: if rows are to be kept that have never begun
    """
    if mask is None:
        return None
    expected = f"bool ({num_envs},)"
    given = mask if isinstance(mask, Tensor) else to_host(mask, "reset_mask", expected)
    chosen = th.as_tensor(given, device=device)
    if chosen.dtype != th.bool or tuple(chosen.shape) != (num_envs,):
        raise ValueError(
            f"reset_mask is {chosen.dtype} of the shape {tuple(chosen.shape)}; expected {expected}."
        )
    if not has_begun:
        raise ResetNeeded(f"Reset all {rows} once before some of them.")
    return chosen

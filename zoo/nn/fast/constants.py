"""Numbers of the host that computations elsewhere read: copied there once."""

import weakref

import numpy as np
import torch as th
from torch import Tensor

from dreamzoo.nn.fast.switch import is_traced

_kept: dict[tuple[int, th.dtype | None, th.device], Tensor] = {}


def constant(array: np.ndarray, device: th.device, dtype: th.dtype | None = None) -> Tensor:
    """
    Return an array as a tensor; on other devices than the CPU a kept one.

    A copy from the host would make the host wait, and cannot be recorded.

    :param array: one that lives on and that nobody changes, such as the bounds of a space
    :param device: where it is needed
    :param dtype: default: the array's
    """
    # What a trace makes is for the trace alone.
    if device.type == "cpu" or is_traced():
        return th.as_tensor(array, dtype=dtype, device=device)
    key = id(array), dtype, device
    if key not in _kept:
        with th.inference_mode(False):  # of use outside of it
            _kept[key] = th.as_tensor(array, dtype=dtype, device=device)
        weakref.finalize(array, _kept.pop, key, None).atexit = False
    return _kept[key]

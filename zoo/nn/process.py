"""What PyTorch keeps for the whole process comes back, however a call ends."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch as th

from dreamzoo.nn.fast import precision

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def restores_process(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """
    Put back autograd's switch, the number of threads and the precision when a function ends.

    An interrupt (Ctrl-C) may come when ``torch.no_grad()`` has been entered and its block has not:
    nothing would leave it again, and nothing in the whole process would learn any more. So the
    outermost calls remember themselves what they found.

    :param function: what users call, not what it calls in turn
    """

    @wraps(function)
    def restoring(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        gradient, threads = th.is_grad_enabled(), th.get_num_threads()
        depth = len(precision.entered())
        try:
            return function(*args, **kwargs)
        finally:
            precision.leave(depth)
            th.set_grad_enabled(gradient)
            if th.get_num_threads() != threads:
                th.set_num_threads(threads)

    return restoring

"""What PyTorch keeps for the whole process comes back, however a call ends."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch as th

from dreamzoo.nn.fast import precision
from dreamzoo.nn.fast.switch import is_traced

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


class Computes(Protocol):
    """Whatever has networks on a device and says how precisely their products are computed."""

    @property
    def precision(self) -> str: ...

    @property
    def device(self) -> th.device: ...


Owner = TypeVar("Owner", bound=Computes)


def in_own_precision(
    method: Callable[Concatenate[Owner, Arguments], Result],
) -> Callable[Concatenate[Owner, Arguments], Result]:
    """
    Let a method compute products in its owner's precision, and leave torch's switches alone.

    What is recorded, to be exported, is recorded as it stands: files have no such switches.

    :param method: of an object with ``precision`` and ``device``
    """

    @wraps(method)
    def computing(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        device = self.device
        if precision.holds(self.precision, device.type) or is_traced():
            return method(self, *args, **kwargs)
        with precision.using(self.precision, device):
            return method(self, *args, **kwargs)

    return computing

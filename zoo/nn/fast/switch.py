"""
One switch between what is written for speed and the equations that it equals.

Whatever is fast has a plain form in torch's own functions, with autograd's gradient: layer by
layer, step by step, all rows at once. ``with use("plain"):`` computes in that form everywhere, so
that a test compares both and a reader can follow the equations in a debugger. The numbers are the
same up to rounding, and the random numbers the same.

Beside the two ends there are halfway houses: with ``"torch"`` passes over many steps and layers
stay written by hand, and what they do element by element is computed by torch's own functions, as
it is for dtypes and devices that no kernel handles; with ``"triton"`` kernels in Triton are used on
a CPU, too, which its interpreter must be on for.

The precision of products is a setting and no form: it holds in all of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch as th

#: How things are computed; ``fast`` is the fastest that a device and a dtype have.
Form = Literal["fast", "torch", "triton", "plain"]

_form: Form = "fast"


@contextmanager
def use(form: Form) -> Iterator[None]:
    """
    Compute in one form, in the whole process, as long as the block lasts.

    :param form: ``fast``, ``torch``, ``triton`` or ``plain``, see above
    """
    global _form
    before, _form = _form, form
    try:
        yield
    finally:
        _form = before


def in_use() -> Form:
    """Return the form that things are computed in."""
    return _form


def is_traced() -> bool:
    """
    Return whether torch records what is computed, to export or to compile it.

    It sees nothing of compiled loops, threads and gradients written by hand.
    """
    return th.compiler.is_compiling() or th.jit.is_tracing()


def computes_plainly() -> bool:
    """Return whether the readable equations are computed: they are asked for, or recorded."""
    return _form == "plain" or is_traced()


def needs_graph() -> bool:
    """Return whether torch must see every operation: for autograd, or in the plain form."""
    # Every layer asks: one call less where the answer is yes.
    return th.is_grad_enabled() or _form == "plain" or is_traced()

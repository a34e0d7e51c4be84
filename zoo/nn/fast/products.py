"""
Products of numbers rounded to bf16, where :mod:`dreamzoo.nn.fast.precision` asks for that.

torch's own switches do not reach far enough: on CUDA they know no bf16, on a CPU only processors
with matrix tiles heed them. So factors are rounded here. Sums are float32 within every product;
what a convolution returns stays bf16, and whatever follows it widens that.
"""

import torch as th
from torch import Tensor

from dreamzoo.nn.fast.precision import current


def narrow(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Round what a convolution reads, with a gradient, if its products shall be of bf16."""
    if current() != "bf16":
        return tensors
    return tuple(x if x is None else x.to(th.bfloat16) for x in tensors)


def wide(x: Tensor) -> Tensor:
    """Make bf16 float32 again, with a gradient; anything else stays as it is."""
    return x.float() if x.dtype is th.bfloat16 else x

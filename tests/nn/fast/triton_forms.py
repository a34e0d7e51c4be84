"""Computing the same in Triton and in torch; without a GPU, in Triton's interpreter."""

from collections.abc import Callable

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.fast.switch import use

DEVICES = [
    pytest.param(
        "cpu", marks=pytest.mark.skipif(th.cuda.is_available(), reason="the interpreter is off")
    ),
    pytest.param("cuda", marks=pytest.mark.gpu),
]
#: Takes tensors of random numbers and the dtype to compute in.
Case = Callable[["Random"], list[Tensor]]


class Random:
    """
    The same numbers for every device and dtype.

    :param device: of the tensors
    :param dtype: of the tensors
    """

    def __init__(self, device: str, dtype: th.dtype) -> None:
        self.generator = th.Generator().manual_seed(0)
        self.device, self.dtype = device, dtype

    def normal(self, *shape: int, scale: float = 2.0) -> Tensor:
        return (scale * th.randn(*shape, generator=self.generator)).to(self.device, self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        return th.rand(*shape, generator=self.generator).to(self.device, self.dtype)

    def ones(self, *shape: int) -> Tensor:
        return th.ones(*shape, device=self.device, dtype=self.dtype)


def both(case: Case, device: str) -> tuple[list[Tensor], list[Tensor]]:
    """Compute a case in Triton, in float32, and in torch, in float64."""
    with use("triton"):
        fast = case(Random(device, th.float32))
    with use("torch"):
        return fast, case(Random(device, th.float64))


def assert_equal_forms(case: Case, device: str, tolerance: float = 5e-6) -> None:
    for one, other in zip(*both(case, device), strict=True):
        assert other.any()
        assert one.dtype is th.float32
        close = tolerance * max(float(other.detach().abs().max()), 1.0)
        one, other = one.detach().double(), other.detach().double()
        th.testing.assert_close(one, other, rtol=tolerance, atol=close)

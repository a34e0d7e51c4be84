"""LaProp's step in Triton against its plain form in float64."""

from collections.abc import Sequence

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn import optim
from dreamzoo.nn.fast.switch import use
from dreamzoo.nn.optim import LaProp
from tests.nn.fast.triton_forms import DEVICES

pytest.importorskip("triton")

#: Of several chunks, of a part of one, of none; sizes that leave the next one's gradient unaligned.
SHAPES = [(100, 130), (3,), (0,), (5, 7), (4096,), (2, 2, 2)]


@pytest.fixture(params=DEVICES)
def where(request: pytest.FixtureRequest) -> str:
    """Where Triton computes."""
    return request.param


def _train(params: Sequence[Tensor], together: bool, agc: float) -> LaProp:
    """Step ten times with large and small gradients."""
    generator = th.Generator().manual_seed(1)
    optimizer = LaProp(params, lr=1e-2, warmup=5, agc=agc)
    for n in range(10):
        grads = [10 ** (n % 3 - 1) * th.randn(p.shape, generator=generator) for p in params]
        flat = th.cat([grad.flatten() for grad in grads]).to(params[0])
        parts = flat.split([p.numel() for p in params])
        for p, part in zip(params, parts, strict=True):
            grad = part.view(p.shape)
            p.grad = grad if together else grad.clone()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("agc", [0.3, 0.0])
@pytest.mark.parametrize("together", [True, False])
def test_laprop(where: str, together: bool, agc: float, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = th.Generator().manual_seed(0)
    begin = [th.randn(shape, generator=generator) for shape in SHAPES]
    begin.append(th.zeros(4))
    plain = [th.nn.Parameter(p.double()) for p in begin]
    expected = _train(plain, together, agc)
    fast = [th.nn.Parameter(p.to(where)) for p in begin]
    if where == "cpu":
        monkeypatch.setattr(optim, "_hand_over", lambda numbers, *_: th.tensor(numbers))
    versions = [p._version for p in fast]
    with use("triton"):
        optimizer = _train(fast, together, agc)
    assert optimizer._tables[0] is not None
    for p, q, version in zip(fast, plain, versions, strict=True):
        assert p._version >= version + 10  # who keeps what follows from it sees that it changed
        th.testing.assert_close(p.detach().cpu().double(), q.detach(), rtol=1e-5, atol=1e-6)
        for name in ("square", "momentum"):
            one, other = optimizer.state[p][name], expected.state[q][name]
            th.testing.assert_close(one.cpu().double(), other, rtol=1e-5, atol=1e-6)


def test_a_parameter_without_gradient_stays(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if where == "cpu":
        monkeypatch.setattr(optim, "_hand_over", lambda numbers, *_: th.tensor(numbers))
    one, other = (th.nn.Parameter(th.ones(5, device=where)) for _ in range(2))
    optimizer = LaProp([one, other], lr=0.1, warmup=0)
    with use("triton"):
        for _ in range(3):
            one.grad = th.ones_like(one)
            optimizer.step()
    assert (one < 1).all()
    assert (other == 1).all()

"""Products of rounded factors: within bf16's error of the exact ones, and exact elsewhere."""

from collections.abc import Callable

import pytest
import torch as th
from torch import Tensor, nn

from dreamzoo.dreamer_v3.sizes import get_size
from dreamzoo.nn.fast import products
from dreamzoo.nn.fast.precision import has_bf16, using
from dreamzoo.nn.fast.unroll import CoreTape
from dreamzoo.nn.networks import layers
from dreamzoo.nn.networks.decoders import UpConv
from dreamzoo.nn.networks.encoders import Conv, StridedConv
from dreamzoo.nn.rssm.block import BlockRSSM
from tests.nn.widths import of_dynamics

CPU, CUDA = th.device("cpu"), th.device("cuda")
needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this processor multiplies no bf16")


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float(((found - exact).norm() / exact.norm()).detach())


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "same": lambda: Conv(8, 12),
    "strided": lambda: StridedConv(8, 12),
    "up": lambda: UpConv(8, 12, (32, 32), "maxpool"),
    "up cropped": lambda: UpConv(8, 12, (31, 31), "maxpool"),
    "up transposed": lambda: UpConv(8, 12, (32, 32), "strided"),
    "plain": lambda: layers.Conv2d(8, 12, 4, stride=2),
    "plain transposed": lambda: layers.ConvTranspose2d(8, 12, 6, stride=2),
}


@needs_bf16
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_round_what_they_read(kind: str) -> None:
    th.manual_seed(0)
    layer, x = CONVOLUTIONS[kind](), th.randn(4, 8, 16, 16, requires_grad=True)
    sources = [x, *layer.parameters()]
    exact = layer(x)
    grads = th.autograd.grad(exact.square().sum(), sources)
    with using("fp32", CPU):
        assert th.equal(layer(x), exact)
    with using("bf16", CPU):
        rounded = layer(x)
        found = th.autograd.grad(rounded.float().square().sum(), sources)
    assert rounded.dtype is th.bfloat16
    assert 1e-4 < relative_error(rounded.float(), exact) < 1e-2
    for grad, other in zip(found, grads, strict=True):
        assert grad.dtype is th.float32
        assert relative_error(grad, other) < 2e-2


@needs_bf16
def test_transposed_convolutions_are_torchs() -> None:
    layer = layers.ConvTranspose2d(3, 5, 5, stride=2, padding=2, output_padding=1)
    x = th.randn(2, 3, 8, 8)
    assert th.equal(layer(x), nn.ConvTranspose2d.forward(layer, x))


@needs_bf16
def test_norms_are_computed_in_float32() -> None:
    norm, x = layers.ChannelRMSNorm(16), th.randn(2, 16, 4, 4)
    with using("bf16", CPU):
        normed = norm(x.bfloat16())
    assert th.equal(normed, norm(x.bfloat16().float()))


def factors(kind: str, n: int = 64) -> tuple[Tensor, Tensor]:
    th.manual_seed(0)
    lead = (3,) if kind == "bmm" else ()
    return th.randn(*lead, n, 40), th.randn(*lead, 48, 40).transpose(-1, -2)


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mm": products.mm,
    "mm out": lambda x, y: products.mm(x, y, out=th.empty(len(x), 2 * y.shape[1])[:, ::2]),
    "bmm": products.bmm,
    "bmm out": lambda x, y: products.bmm(x, y, out=th.empty(*x.shape[:2], y.shape[2])),
    "addmm": lambda x, y: products.addmm(th.ones(y.shape[1]), x, y),
    "addmm out": lambda x, y: products.addmm(
        th.ones(y.shape[1]), x, y, out=th.empty(len(x), y.shape[1])
    ),
    "addmm_": lambda x, y: products.addmm_(th.ones(len(x), y.shape[1]), x, y),
}
EXACT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mm": th.mm,
    "bmm": th.bmm,
    "addmm": lambda x, y: th.addmm(th.ones(y.shape[1]), x, y),
    "addmm_": lambda x, y: th.ones(len(x), y.shape[1]).addmm_(x, y),
}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_products_are_torchs_own_outside_of_bf16(kind: str) -> None:
    x, y = factors(kind.split()[0])
    exact = EXACT[kind.split()[0]](x, y)
    assert th.equal(PRODUCTS[kind](x, y), exact)
    with using("fp32", CPU):
        assert th.equal(PRODUCTS[kind](x, y), exact)


@needs_bf16
@pytest.mark.parametrize("given", ["rounded by the product", "rounded before"])
@pytest.mark.parametrize("kind", PRODUCTS)
def test_products_round_their_factors_and_return_float32(kind: str, given: str) -> None:
    x, y = factors(kind.split()[0], n=64 if given == "rounded by the product" else 2)
    exact = EXACT[kind.split()[0]](x, y)
    with using("bf16", CPU):
        weight = products.prepared(y, 2, times=32) if x.shape[-2] == 2 else y
        rounded = PRODUCTS[kind](x, weight)
    assert rounded.dtype is th.float32
    assert 1e-4 < relative_error(rounded, exact) < 1e-2


@needs_bf16
def test_small_products_are_not_rounded() -> None:
    x, y = factors("mm", n=31)
    with using("bf16", CPU):
        assert relative_error(products.mm(x, y), x @ y) < 1e-6
        assert products.prepared(y, rows=31) is y
        assert products.prepared(y, rows=16, times=2).dtype is th.bfloat16
    assert products.prepared(y, rows=1000) is y


@needs_bf16
def test_the_tapes_weights_are_rounded_and_their_gradients_are_not() -> None:
    size = get_size("1m")
    core = BlockRSSM(5, 2, **of_dynamics(size)).core
    with th.no_grad(), using("bf16", CPU):
        tape = CoreTape(core.weights(), 4, 16)
    names = {name for name, x in tape.weights._asdict().items() if x.dtype is th.bfloat16}
    assert names == {"deter_in", "stoch_in", "own", "shared", "gates"}
    assert tape.pre.dtype is tape.hidden.dtype is tape.total.dtype is th.float32
    mlp, x = layers.MLP(64, [64, 64]), th.randn(40, 64)
    with th.no_grad(), using("bf16", CPU):
        stack = mlp.tape(40)
        hidden = stack.forward(x)
        _, grads = stack.backward(th.ones_like(hidden), into_x=False)
    assert {weight.dtype for weight, _, _ in stack.layers} == {th.bfloat16}
    assert {part.dtype for part in (hidden, *grads)} == {th.float32}


@needs_bf16
@pytest.mark.parametrize("network", ["stack", "filter"])
def test_gradients_in_bf16_are_nearly_those_in_fp32(network: str) -> None:
    th.manual_seed(0)
    size = get_size("1m")
    model = layers.MLP(96, [64, 64]) if network == "stack" else BlockRSSM(5, 2, **of_dynamics(size))
    x = th.randn(64, 96, requires_grad=True)
    steps = th.randn(16, 6, 2), th.randn(16, 6, 5), th.zeros(16, 6, dtype=th.bool)

    def loss() -> Tensor:
        if isinstance(model, layers.MLP):
            return model(x).square().sum()
        states, belief = model.observe(model.initial(16), *steps, mode=True)
        return states.deter.square().sum() + belief.post.probs.square().sum()

    sources = [x, *model.parameters()]
    exact = th.autograd.grad(loss(), sources, allow_unused=True)
    with using("bf16", CPU):
        rounded = th.autograd.grad(loss(), sources, allow_unused=True)
    differences = []
    for grad, other in zip(rounded, exact, strict=True):
        assert (grad is None) == (other is None)
        if grad is not None and other is not None:
            assert grad.dtype is th.float32
            differences.append(relative_error(grad, other))
    assert max(differences) < 0.1
    assert max(differences) > 1e-4


@pytest.mark.gpu
@pytest.mark.parametrize("kind", PRODUCTS)
def test_products_on_cuda_round_their_factors_and_return_float32(kind: str) -> None:
    side, lead = products.SMALLEST_SIDE["cuda"], (2,) if kind.startswith("bmm") else ()
    with th.device("cuda"):
        x, y = th.randn(*lead, side, side), th.randn(*lead, side, side).transpose(-1, -2)
        with using("fp32", CUDA):
            exact = PRODUCTS[kind](x, y)
        with using("bf16", CUDA):
            rounded = PRODUCTS[kind](x, y)
            prepared = PRODUCTS[kind](x[..., :16, :], products.prepared(y, side))
    assert rounded.dtype is th.float32
    assert 1e-4 < relative_error(rounded, exact) < 1e-2
    assert 1e-4 < relative_error(prepared, exact[..., :16, :]) < 1e-2

"""CNNs with all between their convolutions fused, against torch's own functions in float64."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch as th
from torch import Tensor, nn

from dreamzoo.dreamer_v3.sizes import Size
from dreamzoo.nn.fast import images, precision
from dreamzoo.nn.networks.decoders import ImageDecoder, reconstruction_loss
from dreamzoo.nn.networks.encoders import CnnKind, ImageEncoder
from dreamzoo.nn.observations import Key
from tests.nn.fast.triton_forms import DEVICES, Random, both
from tests.nn.widths import of_image_decoder

triton_pixels: Any = pytest.importorskip("dreamzoo.nn.fast.triton.pixels")

SIZE = Size(units=8, deter=8, classes=4, cnn_depth=2, hidden=3, stoch=2, blocks=4)


@pytest.fixture(params=DEVICES)
def where(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where Triton computes; on a GPU convolutions are rounded to TF32 unless told otherwise."""
    with precision.using("fp32", th.device(request.param)):
        yield request.param


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each program that leaves partial sums behind several tiles, the last one fewer."""
    monkeypatch.setattr("dreamzoo.nn.fast.triton.kernels.FEW_PARTS", 3)


def _spread_out(net: nn.Module) -> nn.Module:
    """Let no bias be zero and no scale one."""
    generator = th.Generator().manual_seed(1)
    for parameter in net.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * th.randn(parameter.shape, generator=generator)
    return net


def _with_gradients(net: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """Evaluate a network and go back from its weighted sum."""
    out = net(*inputs)
    weights = th.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device)
    wanted = [*net.parameters(), *(x for x in inputs if x.requires_grad)]
    return [out.detach(), *th.autograd.grad((weights.view_as(out) * out).sum(), wanted)]


def assert_close(fast: list[Tensor], plain: list[Tensor], tolerance: float) -> None:
    """Errors and what they are measured by are lengths of a tensor."""
    for one, other in zip(fast, plain, strict=True):
        assert one.dtype is th.float32
        assert other.any()
        error = float((one.double() - other).norm() / other.norm())
        assert error < tolerance, f"{tuple(other.shape)}: {error:.1e}"


#: Channels, height and width: one even all the way down, one odd, one with many channels.
IMAGES = [(3, 16, 16), (1, 13, 22), (13, 12, 12)]


@pytest.mark.parametrize("kind", ["maxpool", "strided"])
@pytest.mark.parametrize("shape", IMAGES)
def test_encoder(where: str, shape: tuple[int, int, int], kind: CnnKind) -> None:
    _check_encoder(where, shape, 2, kind, 2e-5)


@pytest.mark.parametrize(("shape", "depth"), [*((shape, 2) for shape in IMAGES), ((7, 6, 6), 10)])
def test_encoder_whose_first_stage_is_one_kernel(
    where: str, shape: tuple[int, int, int], depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter does not round to TF32."""
    monkeypatch.setattr(images, "current", lambda: "tf32")
    _check_encoder(where, shape, depth, "maxpool", 2e-5 if where == "cpu" else 1e-2)


def _check_encoder(
    where: str, shape: tuple[int, int, int], depth: int, kind: CnnKind, tolerance: float
) -> None:
    def case(random: Random) -> list[Tensor]:
        th.manual_seed(0)
        net = _spread_out(ImageEncoder(*shape, depth, kind)).to(where, random.dtype)
        return _with_gradients(net, random.uniform(2, *shape))

    assert_close(*both(case, where), tolerance)


@pytest.mark.parametrize("kind", ["maxpool", "strided"])
@pytest.mark.parametrize("shape", IMAGES[:2])
def test_decoder(where: str, shape: tuple[int, int, int], kind: CnnKind) -> None:
    def case(random: Random) -> list[Tensor]:
        th.manual_seed(0)
        net = _spread_out(ImageDecoder(*shape, **of_image_decoder(SIZE), kind=kind)).to(
            where, random.dtype
        )
        deter, stoch = (random.normal(3, 8).requires_grad_() for _ in range(2))
        return _with_gradients(net, deter, stoch)

    assert_close(*both(case, where), 2e-5)


def test_activations_are_bfloat16_where_products_are(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "current", lambda: "bf16")
    if where == "cpu":  # the interpreter multiplies the bits of bfloat16 as if they were integers
        monkeypatch.setattr(triton_pixels, "CHANNELS", 0)

    def case(random: Random) -> list[Tensor]:
        th.manual_seed(0)
        encoder = _spread_out(ImageEncoder(3, 16, 16, 4)).to(where, random.dtype)
        decoder = _spread_out(ImageDecoder(3, 16, 16, **of_image_decoder(SIZE))).to(
            where, random.dtype
        )
        deter, stoch = (random.normal(3, 8).requires_grad_() for _ in range(2))
        encoded = _with_gradients(encoder, random.uniform(2, 3, 16, 16))
        return encoded + _with_gradients(decoder, deter, stoch)

    fast, plain = both(case, where)
    assert_close(fast, plain, 0.3)  # of nearly equal pixels another is the largest now and then
    with pytest.raises(AssertionError):
        assert_close(fast, plain, 1e-3)


def test_pooling_takes_the_first_of_equal_pixels_and_lets_nan_through(where: str) -> None:
    def case(random: Random) -> list[Tensor]:
        x = th.zeros(1, 2, 4, 4, device=where, dtype=random.dtype)
        x[0, 0, 1, 1] = float("nan")
        x.requires_grad_()
        one = random.ones(2)
        if random.dtype is th.float32:
            out = images.pool_norm_silu(x, one, one)
        else:
            out = nn.functional.max_pool2d(x, 2) + 1
        (grad,) = th.autograd.grad(out[..., 1].sum(), x)
        return [out, grad]

    (out, grad), (_, expected) = both(case, where)
    assert out[0, :, 0, 0].isnan().all()
    assert out[0, :, 1, 1].isfinite().all()
    assert th.equal(grad[..., 2:] != 0, expected[..., 2:] != 0)


def test_image_loss(where: str) -> None:
    def case(random: Random) -> list[Tensor]:
        key = Key("image", "image", None, (3, 20, 20))  # type: ignore[arg-type]
        prediction = random.uniform(3, 3, 20, 20).requires_grad_()
        loss = reconstruction_loss(key, prediction, random.uniform(3, 3, 20, 20))
        weights = random.normal(3)
        return [loss.detach(), *th.autograd.grad((weights * loss).sum(), prediction)]

    assert_close(*both(case, where), 1e-5)

"""The filter's Triton kernels against its plain loop; without a GPU in an interpreter."""

import pytest
import torch as th
from torch import Tensor

from dreamzoo.dreamer_v3.sizes import SIZES, Size
from dreamzoo.nn.fast import unroll
from dreamzoo.nn.fast.precision import using
from dreamzoo.nn.rssm.block import BlockRSSM
from dreamzoo.nn.rssm.dynamics import Latent
from tests.nn.fast.triton_forms import DEVICES
from tests.nn.widths import of_dynamics

pytest.importorskip("triton")

ACTION_DIM, TOKEN_DIM = 3, 5
#: No width is a power of two, and no product fits one tile.
ODD = Size(units=8, deter=72, classes=6, cnn_depth=2, hidden=36, stoch=7, blocks=3)
SMALL = Size(units=16, deter=64, classes=4, cnn_depth=2, hidden=16, stoch=8, blocks=2)


@pytest.fixture(params=DEVICES)
def where(request: pytest.FixtureRequest) -> str:
    """Where Triton computes."""
    return request.param


def _observe(
    where: str, dtype: th.dtype, size: Size, rows: int, steps: int, mode: bool = False
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Filter random numbers; return the results and the gradients of all that they depend on."""
    generator = th.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        x = th.randn(shape, generator=generator).to(where, dtype)
        return x.requires_grad_()

    model = BlockRSSM(TOKEN_DIM, ACTION_DIM, **of_dynamics(size)).to(where, dtype)
    for p in model.parameters():
        noise = 0.5 * th.randn(p.shape, generator=generator) + (1.0 if p.dim() == 1 else 0.0)
        p.data.copy_(noise)
    deter, stoch = random(rows, size.deter), random(rows, size.stoch, size.classes)
    actions, tokens = random(rows, steps, ACTION_DIM), random(rows, steps, TOKEN_DIM)
    first = (th.rand(rows, steps, generator=generator) < 0.3).to(where)
    draws = th.Generator(where).manual_seed(1)
    latent, belief = model.observe(Latent(deter, stoch), actions, tokens, first, draws, mode=mode)
    results = [*latent, belief.post.probs]
    th.stack([(x * random(*x.shape)).sum() for x in results]).sum().backward()
    leaves: dict[str, Tensor] = dict(model.named_parameters())
    leaves |= {"deter": deter, "stoch": stoch, "actions": actions, "tokens": tokens}
    grads = {name: x.grad for name, x in leaves.items() if x.grad is not None}
    assert len(grads) > 20
    return [x.detach() for x in results], grads


@pytest.mark.parametrize(
    ("size", "rows", "steps", "mode"),
    [
        (SIZES["debug"], 5, 3, False),
        (SIZES["debug"], 1, 1, False),
        (SMALL, 16, 3, True),
        (ODD, 17, 2, False),
        (ODD, 33, 1, False),  # one row more than fits a tile
        pytest.param(ODD, 65, 1, False, marks=pytest.mark.slow),
    ],
)
def test_filter_and_its_gradient(
    where: str,
    size: Size,
    rows: int,
    steps: int,
    mode: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unroll, "is_fused", lambda actions: actions.dtype is th.float32)
    results, grads = _observe(where, th.float32, size, rows, steps, mode)
    expected, expected_grads = _observe(where, th.float64, size, rows, steps, mode)
    assert th.equal(results[1].double(), expected[1])  # the same classes
    for x, y in zip(results, expected, strict=True):
        th.testing.assert_close(x, y, atol=1e-5, rtol=1e-5, check_dtype=False)
    assert grads.keys() == expected_grads.keys()
    for name, x in grads.items():
        error = (x - expected_grads[name]).norm() / expected_grads[name].norm()
        assert error < 2e-5, name


@pytest.mark.parametrize("size", ["1m", "25m"])
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.gpu
def test_filter_rounds_products_only(size: str, precision: str) -> None:
    expected, expected_grads = _observe("cuda", th.float64, SIZES[size], 16, 1)
    with pytest.MonkeyPatch.context() as patch, using(precision, th.device("cuda")):
        patch.setattr(unroll, "is_fused", lambda actions: True)
        results, grads = _observe("cuda", th.float32, SIZES[size], 16, 1)
    bound = {"tf32": 1e-2, "bf16": 1e-1}[precision]
    name = "core.gates.weight"
    pairs = (
        (results[0], expected[0]),
        (results[2], expected[2]),
        (grads[name], expected_grads[name]),
    )
    for x, y in pairs:
        assert 1e-5 < (x - y).norm() / y.norm() < bound

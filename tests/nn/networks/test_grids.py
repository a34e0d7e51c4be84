"""The CNN of small images: every size, every cell's place, the same values as its slow form."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch as th
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo.nn.networks.decoders import Decoder
from dreamzoo.nn.networks.encoders import Encoder
from dreamzoo.nn.networks.grids import (
    GridDecoder,
    GridEncoder,
    Grow,
    Style,
    grid_resolutions,
)
from dreamzoo.nn.networks.merlin import MerlinDecoder, MerlinEncoder
from dreamzoo.nn.networks.world_models import WorldModelsDecoder, WorldModelsEncoder
from dreamzoo.nn.observations import ObservationCodec

STYLE = Style(lambda _: None, lambda _: nn.ReLU())
N, F_DIM = 2, 6
SIZES = [(3, 3), (3, 5), (5, 9), (7, 7), (10, 10), (35, 35), (4, 35), (35, 3), (5, 100)]


def _decoder(shape: tuple[int, int, int], depth: int = 2) -> GridDecoder:
    return GridDecoder(shape, depth, STYLE, lambda code: nn.Linear(F_DIM, code))


@pytest.mark.parametrize("size", [*product(range(1, 13), repeat=2), *SIZES])
def test_sides_are_halved_until_they_are_short(size: tuple[int, int]) -> None:
    first, *others = grid_resolutions(*size)
    assert first == size
    assert others
    assert max(others[-1]) <= 5
    for before, after in zip([first, *others], others, strict=False):
        for n, m in zip(before, after, strict=True):
            assert m == (n if n <= 5 else (n + 1) // 2)
    assert len(others) == 1 or max(others[-2]) > 5


def test_how_boards_of_suites_are_reduced() -> None:
    assert grid_resolutions(10, 10) == [(10, 10), (5, 5)]
    assert grid_resolutions(7, 7) == [(7, 7), (4, 4)]
    assert grid_resolutions(35, 20) == [(35, 20), (18, 10), (9, 5), (5, 5)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 4, 20])
def test_images_of_any_size_pass_both_ways(channels: int, size: tuple[int, int]) -> None:
    shape = (channels, *size)
    encoder, decoder = GridEncoder(shape, 2, STYLE), _decoder(shape)
    assert encoder(th.rand(N, *shape)).shape == (N, encoder.out_dim)
    height, width = grid_resolutions(*size)[-1]
    assert encoder.out_dim == 4 * height * width
    assert decoder(th.rand(N, F_DIM)).shape == (N, *shape)


def _slow_conv(x: Tensor, conv: nn.Conv2d, stride: tuple[int, int]) -> Tensor:
    """Sum the products around every kept pixel, one after the other."""
    n, _, height, width = x.shape
    rows, columns = range(0, height, stride[0]), range(0, width, stride[1])
    out = conv.bias.expand(n, len(rows), len(columns), -1).clone()  # type: ignore[union-attr]
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        for a, b in product((-1, 0, 1), repeat=2):
            if 0 <= row + a < height and 0 <= column + b < width:
                kernel = conv.weight[:, :, 1 + a, 1 + b]
                out[:, i, j] = out[:, i, j] + x[:, :, row + a, column + b] @ kernel.T
    return out.movedim(-1, 1)


@pytest.mark.parametrize("size", [(3, 3), (5, 9), (7, 12)])
def test_the_encoder_equals_loops_over_pixels(size: tuple[int, int]) -> None:
    encoder = GridEncoder((2, *size), 3, STYLE)
    x = th.rand(N, 2, *size)
    expected, sizes = x, grid_resolutions(*size)
    convs = [m for m in encoder.layers if isinstance(m, nn.Conv2d)]
    for conv, before, after in zip(convs, [size, *sizes], sizes, strict=False):
        stride = 1 if before[0] == after[0] else 2, 1 if before[1] == after[1] else 2
        expected = _slow_conv(expected, conv, stride).relu()
        assert expected.shape[-2:] == after
    assert len(convs) == len(sizes)
    th.testing.assert_close(encoder(x), expected.flatten(1))


@pytest.mark.parametrize("size", [(3, 3), (5, 9), (7, 12)])
def test_the_decoder_equals_loops_over_pixels(size: tuple[int, int]) -> None:
    decoder = _decoder((2, *size), 3)
    feat = th.rand(N, F_DIM)
    sizes = grid_resolutions(*size)[::-1]
    linear, *convs = (m for m in decoder.layers if isinstance(m, nn.Linear | nn.Conv2d))
    x = linear(feat).view(N, 6, *sizes[0]).relu()
    for conv, before, after in zip(convs, sizes, sizes[1:], strict=False):
        rows, columns = (
            [i if n == m else i // 2 for i in range(m)] for n, m in zip(before, after, strict=True)
        )
        x = _slow_conv(x[:, :, rows][:, :, :, columns], conv, (1, 1)).relu()  # type: ignore[arg-type]
    th.testing.assert_close(decoder(feat), _slow_conv(x, convs[-1], (1, 1)))  # type: ignore[arg-type]


def test_odd_sides_grow_back_to_what_they_were() -> None:
    x = th.arange(6.0).view(1, 1, 2, 3)
    grown = Grow((2, 3), (3, 3))(x)
    assert grown[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]


def _families(codec: ObservationCodec) -> dict[str, tuple[Any, Any]]:
    """Make encoder and decoder of every kind, small."""
    blocks = dict(deter=4, stoch_dim=2, units=8, blocks=2, cnn_depth=4, layers=1)
    return {
        "dreamer_v3": (
            Encoder(codec, units=8, cnn_depth=4, layers=1),
            Decoder(codec, **blocks),  # type: ignore[arg-type]
        ),
        "world_models": (
            WorldModelsEncoder(codec, depth=4, units=8, cnn_activation="elu"),
            WorldModelsDecoder(codec, F_DIM, depth=4, units=8, cnn_activation="elu"),
        ),
        "merlin": (
            MerlinEncoder(codec, image_features=32),
            MerlinDecoder(codec, F_DIM, image_features=32),
        ),
    }


FAMILIES = ("dreamer_v3", "world_models", "merlin")
BOOL: Any = bool  # gymnasium annotates no space of these
BOTH = spaces.Dict(
    board=spaces.Box(0, 1, (10, 10, 4), BOOL),
    camera=spaces.Box(0, 255, (3, 64, 64), np.uint8),
    marks=spaces.Box(0, 1, (10, 10, 2), BOOL),
    place=spaces.Box(-1, 1, (2,)),
    view=spaces.Box(0, 1, (7, 7, 20), BOOL),
)


def _inputs(codec: ObservationCodec) -> dict[str, Tensor]:
    codec.space.seed(0)
    rows: Any = [codec.space.sample() for _ in range(N)]
    return codec.encode({k: th.as_tensor(np.stack([row[k] for row in rows])) for k in rows[0]})


@pytest.mark.parametrize("family", FAMILIES)
def test_small_and_large_images_and_vectors_are_read_and_predicted_together(family: str) -> None:
    codec = ObservationCodec(BOTH)
    encoder, decoder = _families(codec)[family]
    inputs = _inputs(codec)
    tokens = encoder(inputs)
    assert tokens.shape == (N, encoder.features_dim)
    for name in inputs:  # every one of them counts
        changed = encoder({**inputs, name: 1.0 - inputs[name]})
        assert not th.allclose(changed, tokens)
    predictions = decoder(th.randn(N, F_DIM))
    assert predictions.keys() == inputs.keys()
    for name in ("board", "marks", "view"):
        assert predictions[name].shape == inputs[name].shape
    loss = sum(decoder.loss(predictions, inputs).values(), th.zeros(N)).sum()
    for gradient in th.autograd.grad(loss, list(decoder.parameters())):
        assert gradient.any()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("family_size", [36, 64])
def test_pictures_have_the_networks_that_they_had(family: str, family_size: int) -> None:
    """Not a parameter more, and none with another name: their files stay readable."""
    space = spaces.Box(0, 255, (3, family_size, family_size), np.uint8)
    for network in _families(ObservationCodec(space))[family]:
        assert not [name for name in network.state_dict() if "grid" in name]
        assert [name for name in network.state_dict() if "cnn" in name]
    small = spaces.Box(0, 255, (3, family_size, 35), np.uint8)
    for network in _families(ObservationCodec(small))[family]:
        assert [name for name in network.state_dict() if "grid" in name]
        assert not [name for name in network.state_dict() if "cnn" in name]


def test_to_merlin_a_board_weighs_as_the_image_of_64_pixels_that_it_would_be_enlarged_to() -> None:
    codec = ObservationCodec(spaces.Box(0, 1, (8, 16, 3), BOOL))
    decoder = _families(codec)["merlin"][1]
    prediction, target = th.randn(N, 3, 8, 16), th.rand(N, 3, 8, 16).round()
    large, wanted = (F.interpolate(x, (64, 64)) for x in (prediction, target))
    pixels = F.binary_cross_entropy_with_logits(large, wanted, reduction="none")
    loss = decoder.loss({"observation": prediction}, {"observation": target})["observation"]
    th.testing.assert_close(loss, pixels.flatten(1).sum(1))


def test_to_planet_and_its_dreamers_a_board_weighs_as_its_pixels_do() -> None:
    codec = ObservationCodec(spaces.Box(0, 1, (8, 16, 3), BOOL))
    decoder = _families(codec)["world_models"][1]
    prediction, target = th.randn(N, 3, 8, 16), th.rand(N, 3, 8, 16).round()
    loss = decoder.loss({"observation": prediction}, {"observation": target})["observation"]
    th.testing.assert_close(loss, 0.5 * (prediction - target).square().flatten(1).sum(1))


def test_dreamer_v3_sums_the_squared_error_of_a_board() -> None:
    codec = ObservationCodec(spaces.Box(0, 1, (8, 16, 3), BOOL))
    decoder = _families(codec)["dreamer_v3"][1]
    prediction = decoder(th.randn(N, F_DIM))
    assert ((prediction["observation"] > 0) & (prediction["observation"] < 1)).all()
    target = {"observation": th.rand(N, 3, 8, 16).round()}
    expected = (prediction["observation"] - target["observation"]).square().flatten(1).sum(1)
    th.testing.assert_close(decoder.loss(prediction, target)["observation"], expected)


@pytest.mark.parametrize(
    ("family", "given", "expected"),
    [("dreamer_v3", [0.0, 1.0], [-0.5, 0.5]), ("world_models", [-0.5, 0.5], [0.0, 1.0])],
)
def test_how_cells_are_read(family: str, given: list[float], expected: list[float]) -> None:
    """Of DreamerV3 around zero, as all images; of the others so that what pads is empty."""
    codec = ObservationCodec(spaces.Box(0, 1, (3, 3, 1), BOOL))
    encoder = _families(codec)[family][0]
    seen: list[Tensor] = []
    encoder.grids.nets[0].layers[0].register_forward_hook(lambda _m, x, _out: seen.append(x[0]))
    encoder({"observation": th.tensor(given).repeat(N, 9)[:, :9].view(N, 1, 3, 3)})
    assert seen[0].unique().tolist() == expected


def test_layers_as_those_of_vectors_lie_between_a_board_and_latents() -> None:
    codec = ObservationCodec(spaces.Box(0, 1, (10, 10, 2), BOOL))
    shared: Any = dict(depth=4, units=7, activation="elu", mlp_layers=3)
    encoder = WorldModelsEncoder(codec, **shared)
    decoder = WorldModelsDecoder(codec, F_DIM, **shared)
    assert encoder.features_dim == 7
    board: Any = decoder.grids.nets[0]
    stacks: Any = [
        (encoder.grid_mlp, [(8 * 5 * 5, 7), (7, 7), (7, 7)]),
        (board.layers[0], [(F_DIM, 7), (7, 7), (7, 7), (7, 8 * 5 * 5)]),
    ]
    for stack, expected in stacks:
        layers = list(stack.modules())
        dense = [layer for layer in layers if isinstance(layer, nn.Linear)]
        assert [(layer.in_features, layer.out_features) for layer in dense] == expected
        assert sum(isinstance(layer, nn.ELU) for layer in layers) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_board_can_be_learned_by_heart(family: str) -> None:
    """Every cell has a place of its own: after some updates all are right."""
    th.manual_seed(0)
    codec = ObservationCodec(spaces.Box(0, 1, (5, 9, 2), BOOL))
    encoder, decoder = _families(codec)[family]
    middle = nn.Sequential(nn.Linear(encoder.features_dim, 32), nn.Tanh(), nn.Linear(32, F_DIM))
    boards = th.rand(4, 5, 9, 2) > 0.7
    parameters = [p for m in (encoder, decoder, middle) for p in m.parameters()]
    optimizer = th.optim.Adam(parameters, 2e-3)
    inputs = codec.encode(boards)
    shift = 0.5 if family == "world_models" else 0.0  # what its models do, see DreamerWorldModel
    moved = {name: x - shift for name, x in inputs.items()}
    for _ in range(400):
        loss = sum(decoder.loss(decoder(middle(encoder(moved))), moved).values()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    likely = decoder.most_likely(decoder(middle(encoder(moved))))
    decoded = codec.decode({name: x + shift for name, x in likely.items()})
    assert isinstance(decoded, Tensor)
    assert th.equal(decoded, boards)

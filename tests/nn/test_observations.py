"""Observation spaces through codec, encoder, decoder and losses."""

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from dreamzoo.dreamer_v3.sizes import SIZES
from dreamzoo.nn.distributions import symlog
from dreamzoo.nn.networks.decoders import Decoder, ImageDecoder
from dreamzoo.nn.networks.encoders import Encoder, ImageEncoder, cnn_resolutions
from dreamzoo.nn.observations import SINGLE, ObservationCodec, is_image
from tests.nn.widths import of_decoder, of_encoder, of_image_decoder

DEBUG = SIZES["debug"]
BOOL: Any = bool  # gymnasium annotates no space of these

SPACES: dict[str, spaces.Space] = {
    "vector": spaces.Box(-np.inf, np.inf, (3, 2), np.float32),
    "double": spaces.Box(-0.1, 0.1, (4,), np.float64),  # bounds that float32 rounds outwards
    "scalar": spaces.Box(-1.0, 1.0, (), np.float32),
    "bytes": spaces.Box(0, 255, (5,), np.uint8),
    "integers": spaces.Box(-3, 9, (4,), np.int32),
    "all_integers": spaces.Box(-(2**31), 2**31 - 1, (4,), np.int32),
    "discrete": spaces.Discrete(4),
    "discrete_start": spaces.Discrete(4, start=-2),
    "discrete_int32": spaces.Discrete(4, start=-2, dtype=np.int32),
    "discrete_bytes": spaces.Discrete(4, start=3, dtype=np.uint8),
    "largest_integers": spaces.Box(-(2**63), 2**63 - 1, (4,), np.int64),
    "multi_discrete": spaces.MultiDiscrete([3, 2, 4]),
    "multi_discrete_bytes": spaces.MultiDiscrete([3, 2], dtype=np.uint8),
    "multi_discrete_start": spaces.MultiDiscrete([3, 2], start=[1, -5]),
    "multi_binary": spaces.MultiBinary(3),
    "multi_binary_2d": spaces.MultiBinary((2, 3)),
    "image": spaces.Box(0, 255, (3, 36, 40), np.uint8),
    "dict": spaces.Dict(
        {
            "z_speed": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            "a_front": spaces.Box(0, 255, (3, 40, 40), np.uint8),
            "m_back": spaces.Box(0, 255, (1, 40, 40), np.uint8),
            "b_wide": spaces.Box(0, 255, (1, 36, 64), np.uint8),
            "k_item": spaces.Discrete(3, start=1),
        }
    ),
}


def _batch(space: spaces.Space, n: int) -> th.Tensor | dict[str, th.Tensor]:
    space.seed(0)
    samples = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {k: th.as_tensor(np.stack([s[k] for s in samples])) for k in space.spaces}
    return th.as_tensor(np.stack(samples))


def _rows(obs: th.Tensor | dict[str, th.Tensor], space: spaces.Space) -> list[object]:
    """Split a batch into single observations of the space's own form."""
    if isinstance(obs, dict):
        assert isinstance(space, spaces.Dict)
        parts = {k: _rows(v, space[k]) for k, v in obs.items()}
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
    if isinstance(space, spaces.Discrete):
        return list(obs.numpy())
    return [np.asarray(x) for x in obs.numpy()]


@pytest.mark.parametrize("name", SPACES)
def test_decoding_what_was_encoded_gives_the_observation(name: str) -> None:
    space = SPACES[name]
    codec, obs = ObservationCodec(space), _batch(space, 5)
    decoded = codec.decode(codec.encode(obs))
    pairs = [(decoded, obs)]
    if isinstance(obs, dict) and isinstance(decoded, dict):
        pairs = [(decoded[k], obs[k]) for k in obs]
    for one, other in pairs:
        assert isinstance(one, th.Tensor)
        assert isinstance(other, th.Tensor)
        assert one.dtype == other.dtype
        th.testing.assert_close(one, other, rtol=1e-6, atol=256 if name == "all_integers" else 1e-6)
    assert all(space.contains(row) for row in _rows(decoded, space))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_decoded_predictions_lie_in_the_space(name: str, scale: float) -> None:
    """Whatever a model predicts, a wrapper or an agent must get a member of the space."""
    space = SPACES[name]
    codec = ObservationCodec(space)
    decoder = Decoder(codec, **of_decoder(DEBUG))
    for p in decoder.parameters():
        p.data.normal_()
    with th.no_grad():
        predictions = {k: scale * v for k, v in decoder(th.randn(6, DEBUG.feat)).items()}
    if scale > 1.0:  # symexp of such numbers would only test infinity
        predictions = {k: v.clamp(-40, 40) for k, v in predictions.items()}
    decoded = codec.decode(decoder.most_likely(predictions))
    assert all(space.contains(row) for row in _rows(decoded, space))


def test_decoded_integers_saturate_at_their_bounds() -> None:
    """float32 rounds 2^31 - 1 up to 2^31, which wraps to the lower bound as an int32."""
    codec = ObservationCodec(SPACES["all_integers"])
    decoded = codec.decode({SINGLE: th.tensor([[1e12, -1e12, 7.4, -7.6]])})
    assert isinstance(decoded, th.Tensor)
    assert decoded[0, 0] > 2**31 - 200
    assert decoded[0, 1:].tolist() == [-(2**31), 7, -8]


@pytest.mark.parametrize("name", SPACES)
def test_encoding_two_batch_axes_equals_encoding_one(name: str) -> None:
    codec, obs = ObservationCodec(SPACES[name]), _batch(SPACES[name], 6)
    flat = codec.encode(obs)
    if isinstance(obs, dict):
        nested = codec.encode({k: v.unflatten(0, (2, 3)) for k, v in obs.items()}, lead=2)
    else:
        nested = codec.encode(obs.unflatten(0, (2, 3)), lead=2)
    for key in codec.keys:
        assert flat[key.name].shape == (6, *key.shape)
        assert th.equal(nested[key.name].flatten(0, 1), flat[key.name])


def test_one_hot_counts_from_start() -> None:
    codec = ObservationCodec(spaces.Discrete(3, start=5))
    assert codec.encode(th.tensor([[5], [7]]))[SINGLE].tolist() == [[1, 0, 0], [0, 0, 1]]
    multi = ObservationCodec(spaces.MultiDiscrete([2, 3], start=[1, -1]))
    assert multi.encode(th.tensor([[2, -1]]))[SINGLE].tolist() == [[0, 1, 1, 0, 0]]


def test_images_are_scaled_once() -> None:
    """Pitfall 13: encoder input -0.5 to 0.5, decoder target 0 to 1."""
    codec = ObservationCodec(spaces.Box(0, 255, (1, 40, 40), np.uint8))
    obs = th.tensor([0, 51, 255], dtype=th.uint8)[:, None, None, None].expand(3, 1, 40, 40)
    target = codec.encode(obs)[SINGLE]
    assert target[:, 0, 0, 0].tolist() == pytest.approx([0.0, 0.2, 1.0])
    encoder = ImageEncoder(1, 40, 40, 2)
    seen: list[th.Tensor] = []
    encoder.layers[0].register_forward_hook(lambda _m, inputs, _out: seen.append(inputs[0]))
    encoder(target)
    assert seen[0][:, 0, 0, 0].tolist() == pytest.approx([-0.5, -0.3, 0.5])


def test_images_in_unit_range_are_not_divided_again() -> None:
    space = spaces.Box(0.0, 1.0, (3, 40, 40), np.float32)
    codec = ObservationCodec(space, normalize_images=False)
    obs = th.rand(2, 3, 40, 40)
    assert codec.keys[0].kind == "image"
    assert th.equal(codec.encode(obs)[SINGLE], obs)
    assert ObservationCodec(space).keys[0].kind == "vector"


def _uneven() -> spaces.Box:
    """Make bounds of their own for every pixel, one of which never changes."""
    low = np.linspace(-3, 5, 3 * 40 * 40, dtype=np.float32).reshape(3, 40, 40)
    high = low + np.linspace(0.0, 9.0, low.size, dtype=np.float32).reshape(low.shape)
    return spaces.Box(low, high, dtype=np.float32)


BOUNDED: dict[str, spaces.Box] = {
    "signed": spaces.Box(-1.0, 1.0, (3, 40, 40), np.float32),
    "bytes_as_floats": spaces.Box(0.0, 255.0, (3, 40, 40), np.float32),
    "half": spaces.Box(-2.0, 6.0, (3, 40, 40), np.float16),
    "far_double": spaces.Box(1e9, 1e9 + 1, (3, 40, 40), np.float64),
    "bytes": spaces.Box(0, 255, (3, 40, 40), np.uint8),
    "some_bytes": spaces.Box(50, 70, (3, 40, 40), np.uint8),
    "far_integers": spaces.Box(2**31 - 300, 2**31 - 1, (3, 40, 40), np.int32),
    "far_long": spaces.Box(2**50, 2**50 + 9, (3, 40, 40), np.int64),
    "uneven": _uneven(),
    "boolean": spaces.Box(0, 1, (3, 40, 40), BOOL),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_images_with_any_bounds_are_scaled_to_one_and_back(name: str) -> None:
    """A decoder that ends in a sigmoid, and PlaNet's bits, know nothing but [0, 1]."""
    space = BOUNDED[name]
    codec = ObservationCodec(space, normalize_images=False)
    assert codec.keys[0].kind == "image"
    ends = th.as_tensor(np.stack([space.low, space.high]))
    scaled = codec.encode(ends)[SINGLE]
    assert scaled.dtype == th.float32
    moving = th.as_tensor(space.low < space.high)
    assert (scaled[0] == 0).all()
    assert th.equal(scaled[1], moving.float())
    assert th.equal(codec.decode({SINGLE: scaled}), ends)  # type: ignore[arg-type]
    obs = _batch(space, 4)
    assert isinstance(obs, th.Tensor)
    between = codec.encode(obs)[SINGLE]
    expected = (obs.numpy().astype(np.longdouble) - space.low) / np.where(
        moving, space.high.astype(np.longdouble) - space.low, 1
    )
    # One step of float32, or of the space's own dtype, is all that may be lost.
    np.testing.assert_allclose(between, expected.astype(np.float32), atol=3e-7)
    decoded = codec.decode({SINGLE: between})
    assert isinstance(decoded, th.Tensor)
    assert decoded.dtype == obs.dtype
    exact = not obs.is_floating_point() or name == "half"
    span = float((space.high.astype(np.float64) - space.low).max())
    th.testing.assert_close(decoded, obs, rtol=0, atol=0 if exact else 3e-7 * span)


def test_images_between_zero_and_one_stay_as_they_are_bit_for_bit() -> None:
    codec = ObservationCodec(spaces.Box(0.0, 1.0, (3, 40, 40)), normalize_images=False)
    obs = th.rand(2, 3, 40, 40)
    assert th.equal(codec.encode(obs)[SINGLE], obs)
    assert th.equal(codec.decode({SINGLE: obs}), obs)  # type: ignore[arg-type]
    pixels = th.arange(256, dtype=th.uint8).view(1, 1, 16, 16)
    codec = ObservationCodec(spaces.Box(0, 255, (1, 16, 16), np.uint8))
    assert th.equal(codec.encode(pixels)[SINGLE], pixels.float() / 255.0)


@pytest.mark.parametrize("name", BOUNDED)
def test_images_with_any_bounds_are_shown_from_black_to_white(name: str) -> None:
    space = BOUNDED[name]
    key = ObservationCodec(space, normalize_images=False).keys[0]
    shades = key.to_shades(th.as_tensor(np.stack([space.low, space.high])))
    assert (shades[0] == 0).all()
    assert (shades[1][th.as_tensor(space.low < space.high)] == 255).all()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-np.inf, np.inf, (3, 40, 40), np.float32),
        spaces.Box(0.0, np.inf, (3, 40, 40), np.float32),
        spaces.Box(-1e300, 1e300, (3, 40, 40), np.float64),
        spaces.Box(-3e38, 3e38, (3, 40, 40), np.float32),
    ],
)
def test_images_without_bounds_are_refused(space: spaces.Box) -> None:
    both = spaces.Dict({"camera": space})
    with pytest.raises(ValueError, match=r"'camera' is an image .* not finite.*images=False"):
        ObservationCodec(both, normalize_images=False)
    assert ObservationCodec(both, images=False, normalize_images=False).keys[0].kind == "vector"


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_channels_of_what_sb3_does_not_move_are_moved(dtype: type) -> None:
    """64 rows were read as 64 channels. SB3 moves those of bytes from 0 to 255 only."""
    space = spaces.Box(0, 100, (64, 60, 3), dtype)
    codec = ObservationCodec(space, normalize_images=False)
    assert codec.keys[0].shape == (3, 64, 60)
    obs = _batch(space, 2)
    assert isinstance(obs, th.Tensor)
    read = codec.encode(obs)[SINGLE]
    th.testing.assert_close(read, obs.permute(0, 3, 1, 2) / 100.0)
    th.testing.assert_close(codec.decode({SINGLE: read}), obs)
    first = spaces.Box(0, 100, (3, 64, 60), dtype)
    assert ObservationCodec(first, normalize_images=False).keys[0].shape == (3, 64, 60)
    assert ObservationCodec(space).keys[0].kind == "vector"


def test_pictures_of_bytes_whose_channels_nobody_has_moved_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels last, where nobody moves them.*VecTranspose"):
        ObservationCodec(spaces.Box(0, 255, (64, 60, 3), np.uint8))


DTYPES: tuple[Any, ...] = (BOOL, np.float32)
#: Shapes of boards, and which axis holds the channels; None: it cannot be said.
BOARDS: dict[tuple[int, int, int], tuple[int | None, int | None]] = {
    # of booleans, of floats
    (10, 10, 4): (2, 2),
    (4, 10, 10): (0, 0),
    (7, 7, 20): (2, 2),  # MiniGrid's, with more channels than cells on a side
    (20, 7, 7): (0, 0),
    (10, 10, 10): (2, 0),  # MinAtar's seaquest
    (3, 3, 3): (2, 0),
    (5, 9, 2): (2, 2),
    (2, 5, 9): (0, 0),
    (3, 9, 3): (2, 0),
    (9, 2, 5): (None, None),
    (9, 3, 9): (None, None),
}


@pytest.mark.parametrize("shape", BOARDS)
def test_the_axis_of_channels_is_found(shape: tuple[int, int, int]) -> None:
    for dtype, axis in zip(DTYPES, BOARDS[shape], strict=True):
        space = spaces.Box(0, 1, shape, dtype)
        if axis is None:
            with pytest.raises(ValueError, match=r"channels in the middle.*np\.moveaxis"):
                ObservationCodec(space, normalize_images=False)
            continue
        codec = ObservationCodec(space, normalize_images=False)
        (key,) = codec.keys
        board = tuple(n for i, n in enumerate(shape) if i != axis)
        assert key.shape == (shape[axis], *board)
        obs = th.as_tensor(np.stack([space.sample() for _ in range(3)]))
        read = codec.encode(obs)[SINGLE]
        assert th.equal(read, obs.float().movedim(1 + axis, 1))
        assert th.equal(key.to_shades(obs), 255.0 * read)
        assert th.equal(codec.decode({SINGLE: read}), obs)  # type: ignore[arg-type]
        assert codec.seen_space == spaces.Box(0, 1, key.shape, dtype)


def test_boards_of_booleans_are_images_without_being_asked_for() -> None:
    board = spaces.Box(0, 1, (10, 10, 4), BOOL)
    assert ObservationCodec(board).keys[0].kind == "image"
    assert ObservationCodec(spaces.Dict(board=board)).keys[0].kind == "image"
    assert ObservationCodec(board, images=False).keys[0].kind == "vector"
    assert ObservationCodec(spaces.Box(0, 1, (10, 10), BOOL)).keys[0].kind == "vector"


@pytest.mark.parametrize("normalized", [True, False])
def test_images_are_recognized_as_sb3_does_and_booleans_too(normalized: bool) -> None:
    for space in [*SPACES.values(), *BOUNDED.values(), *_single_spaces()]:
        theirs = is_image_space(space, normalized_image=not normalized)
        is_board = isinstance(space, spaces.Box) and space.dtype == bool and len(space.shape) == 3
        assert is_image(space, normalized) == (theirs or is_board)


def _single_spaces() -> list[spaces.Space]:
    return [
        spaces.Box(0, 1, (10, 10, 4), BOOL),
        spaces.Box(0, 1, (10, 4), BOOL),
        spaces.Box(0, 255, (7, 7, 3), np.uint8),
        spaces.Box(0, 254, (7, 7, 3), np.uint8),
        spaces.Box(0, 255, (7, 7, 3), np.float32),
    ]


def test_boards_are_decoded_as_booleans() -> None:
    codec = ObservationCodec(spaces.Box(0, 1, (3, 3, 2), BOOL))
    read = th.tensor([0.0, 0.2, 0.49, 0.51, 0.9, 1.0, -0.3, 1.4, 0.7]).repeat(2).view(1, 2, 3, 3)
    board = codec.decode({SINGLE: read})
    assert isinstance(board, th.Tensor)
    assert board.dtype == th.bool
    assert th.equal(board, (read > 0.5).movedim(1, -1))


def test_an_image_is_a_vector_where_no_images_are_wanted() -> None:
    codec = ObservationCodec(SPACES["image"], images=False)
    assert codec.keys[0].kind == "vector"
    assert codec.encode(_batch(SPACES["image"], 2))[SINGLE].shape == (2, 3 * 36 * 40)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.Text(4),
        spaces.Dict({"inner": spaces.Dict({"x": spaces.Discrete(2)})}),
    ],
)
def test_unsupported_spaces_are_named(space: spaces.Space) -> None:
    with pytest.raises(ValueError, match="Supported: Box, Discrete"):
        ObservationCodec(space)


# ---------------------------------------------------------------- encoder and decoder

RESOLUTIONS = [
    ((8, 8), [(8, 8), (4, 4)]),
    ((36, 36), [(36, 36), (18, 18), (9, 9), (5, 5), (3, 3)]),
    ((40, 40), [(40, 40), (20, 20), (10, 10), (5, 5), (3, 3)]),
    ((64, 64), [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]),
    ((84, 84), [(84, 84), (42, 42), (21, 21), (11, 11), (6, 6)]),
    ((96, 96), [(96, 96), (48, 48), (24, 24), (12, 12), (6, 6)]),
    ((210, 160), [(210, 160), (105, 80), (53, 40), (27, 20), (14, 10)]),
    ((300, 40), [(300, 40), (150, 20), (75, 10), (38, 5), (19, 3), (10, 2)]),
]


@pytest.mark.parametrize(("image", "expected"), RESOLUTIONS)
def test_resolutions_of_images_of_any_size(
    image: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    assert cnn_resolutions(*image) == expected
    sizes: list[tuple[int, ...]] = []

    def note(_module: th.nn.Module, _inputs: object, out: th.Tensor) -> None:
        if out.shape[-2:] not in sizes[-1:]:
            sizes.append(tuple(out.shape[-2:]))

    encoder = ImageEncoder(3, *image, DEBUG.cnn_depth)
    for layer in encoder.layers.children():
        if not isinstance(layer, th.nn.Flatten):
            layer.register_forward_hook(note)
    assert encoder(th.rand(1, 3, *image)).shape == (1, encoder.out_dim)
    assert sizes == expected

    decoder = ImageDecoder(3, *image, **of_image_decoder(DEBUG))
    sizes.clear()
    for layer in decoder.layers:
        layer.register_forward_hook(note)
    deter, stoch = th.randn(2, DEBUG.deter), th.randn(2, DEBUG.stoch * DEBUG.classes)
    assert decoder(deter, stoch).shape == (2, 3, *image)
    assert sizes == expected[-2::-1]


def test_decoded_image_lies_between_zero_and_one() -> None:
    decoder = ImageDecoder(1, 40, 40, **of_image_decoder(DEBUG))
    for p in decoder.parameters():
        p.data.normal_(0, 3)
    with th.no_grad():
        image = decoder(th.randn(3, DEBUG.deter), th.randn(3, DEBUG.stoch * DEBUG.classes))
    assert float(image.min()) >= 0.0
    assert float(image.max()) <= 1.0


def test_each_block_of_deter_reaches_its_own_channels_of_the_seed() -> None:
    decoder = ImageDecoder(1, 64, 64, **of_image_decoder(DEBUG))
    base = decoder.from_deter(th.zeros(1, DEBUG.deter))
    width, share = DEBUG.deter // DEBUG.blocks, decoder.seed_channels // DEBUG.blocks
    for block in range(DEBUG.blocks):
        deter = th.zeros(1, DEBUG.deter)
        deter[:, width * block : width * (block + 1)] = 1.0
        change = (decoder.from_deter(deter) - base).view(decoder.seed_channels, -1)
        changed = change.abs().sum(1) > 0
        assert changed.nonzero().flatten().tolist() == list(
            range(share * block, share * (block + 1))
        )


def test_encoder_reads_every_key_in_sorted_order() -> None:
    space = SPACES["dict"]
    codec = ObservationCodec(space)
    assert [k.name for k in codec.keys] == sorted(space.spaces)  # type: ignore[attr-defined]
    encoder = Encoder(codec, **of_encoder(DEBUG))
    obs = _batch(space, 4)
    assert isinstance(obs, dict)
    tokens = encoder(codec.encode(obs))
    assert tokens.shape == (4, encoder.features_dim)
    # One MLP for all that is flat, one CNN for each resolution (3 + 1 channels share one).
    assert [group[0].shape[1:] for group in encoder.image_groups] == [(40, 40), (36, 64)]
    assert encoder.cnns.get_submodule("0.layers.0").in_channels == 4
    pixels = [(3, 3), (3, 4)]
    expected = DEBUG.units + sum(8 * h * w for h, w in pixels)
    assert encoder.features_dim == expected
    for key in codec.keys:
        inputs = codec.encode(obs)
        inputs[key.name] = inputs[key.name].flip(0) + 0.1
        assert not th.allclose(encoder(inputs), tokens), key.name


def test_encoder_symlogs_vectors_but_not_one_hot_ones() -> None:
    space = spaces.Dict({"d": spaces.Discrete(3), "v": spaces.Box(-np.inf, np.inf, (2,))})
    codec = ObservationCodec(space)
    encoder = Encoder(codec, **of_encoder(DEBUG))
    obs = {"d": th.tensor([[2]]), "v": th.tensor([[-50.0, 3.0]])}
    assert encoder.mlp is not None
    plain = th.tensor([[0.0, 0.0, 1.0, -math.log(51.0), math.log(4.0)]])
    th.testing.assert_close(encoder(codec.encode(obs)), encoder.mlp(plain))


def test_encoder_projects_image_tokens_where_asked() -> None:
    codec = ObservationCodec(SPACES["image"])
    encoder = Encoder(codec, **of_encoder(DEBUG), cnn_output_dim=11)
    assert encoder.features_dim == 11
    assert encoder(codec.encode(_batch(SPACES["image"], 2))).shape == (2, 11)


# ---------------------------------------------------------------- losses


def _slow_loss(space: spaces.Space, raw: list[float], obs: np.ndarray) -> float:
    """Sum the loss of one observation in plain floats."""
    values = np.asarray(obs).flatten().tolist()
    if isinstance(space, spaces.Box):
        if space.dtype == np.uint8 and len(space.shape) == 3:
            return sum((p - v / 255) ** 2 for p, v in zip(raw, values, strict=True))
        signed = [math.copysign(math.log1p(abs(v)), v) for v in values]
        return sum((p - s) ** 2 for p, s in zip(raw, signed, strict=True))
    if isinstance(space, spaces.MultiBinary):
        probs = [1 / (1 + math.exp(-p)) for p in raw]
        return -sum(math.log(q if v else 1 - q) for q, v in zip(probs, values, strict=True))
    if isinstance(space, spaces.Discrete):
        sizes, starts = [int(space.n)], [int(space.start)]
    else:
        assert isinstance(space, spaces.MultiDiscrete)
        sizes, starts = space.nvec.flatten().tolist(), space.start.flatten().tolist()
    total, offset = 0.0, 0
    for size, start, value in zip(sizes, starts, values, strict=True):
        logits = raw[offset : offset + size]
        total += math.log(sum(math.exp(x) for x in logits)) - logits[int(value) - start]
        offset += size
    return total


@pytest.mark.parametrize("name", [n for n in SPACES if n != "dict"])
def test_reconstruction_loss_sums_over_dimensions(name: str) -> None:
    """Pitfall 12: means, or a factor 1/2, shrink reconstruction 10^3 to 10^4 times."""
    space = SPACES[name]
    codec, obs = ObservationCodec(space), _batch(space, 3)
    assert isinstance(obs, th.Tensor)
    decoder = Decoder(codec, **of_decoder(DEBUG))
    predictions = decoder(th.randn(3, DEBUG.feat))
    loss = decoder.loss(predictions, codec.encode(obs))[SINGLE]
    assert loss.shape == (3,)
    raw = predictions[SINGLE].detach().double().flatten(1).tolist()
    expected = [_slow_loss(space, r, o) for r, o in zip(raw, obs.numpy(), strict=True)]
    assert loss.tolist() == pytest.approx(expected, rel=1e-4)


def test_loss_of_a_dict_keeps_keys_apart() -> None:
    codec = ObservationCodec(SPACES["dict"])
    decoder = Decoder(codec, **of_decoder(DEBUG))
    obs = _batch(SPACES["dict"], 3)
    predictions = decoder(th.randn(3, DEBUG.feat))
    losses = decoder.loss(predictions, codec.encode(obs))
    assert list(losses) == [k.name for k in codec.keys]
    assert isinstance(obs, dict)
    for key in codec.keys:
        raw = predictions[key.name].detach().double().flatten(1).tolist()
        rows = obs[key.name].numpy()
        expected = [_slow_loss(key.space, r, o) for r, o in zip(raw, rows, strict=True)]
        assert losses[key.name].tolist() == pytest.approx(expected, rel=1e-4)


def test_vector_prediction_is_read_out_with_symexp() -> None:
    codec = ObservationCodec(spaces.Box(-np.inf, np.inf, (2,)))
    decoder = Decoder(codec, **of_decoder(DEBUG))
    obs = th.tensor([[-300.0, 0.02]])
    decoded = codec.decode(decoder.most_likely({SINGLE: symlog(obs)}))
    assert isinstance(decoded, th.Tensor)
    th.testing.assert_close(decoded, obs)


def test_vector_output_scale() -> None:
    """V2 started the vector decoder at 0.1; the last code at 1.0."""
    codec = ObservationCodec(spaces.Box(-1, 1, (200,)))
    decoders = [
        Decoder(codec, **of_decoder(SIZES["1m"]), vector_outscale=scale) for scale in (0.1, 1.0)
    ]
    small, large = (d.outputs.get_parameter("0.weight").detach() for d in decoders)
    assert float(small.std()) == pytest.approx(0.1 / 8, rel=0.05)
    assert float(large.std()) == pytest.approx(1 / 8, rel=0.05)


def test_an_image_of_bytes_that_is_read_as_a_vector_is_divided_by_255() -> None:
    """As SB3's ``MlpPolicy`` does; raw, it would drown every other loss of most agents."""
    shapes = {"image": (3, 40, 40), "ram": (4,)}
    space = spaces.Dict({name: spaces.Box(0, 255, shapes[name], np.uint8) for name in shapes})
    codec = ObservationCodec(space, images=False)
    sample = {name: th.as_tensor(part)[None] for name, part in space.sample().items()}
    inputs = codec.encode(sample)
    th.testing.assert_close(inputs["image"], sample["image"].flatten(1) / 255)
    th.testing.assert_close(inputs["ram"], sample["ram"].float())  # not an image
    decoded = codec.decode(inputs)
    assert isinstance(decoded, dict)
    assert all(th.equal(decoded[name], sample[name]) for name in sample)
    raw = ObservationCodec(space, images=False, normalize_images=False)
    th.testing.assert_close(raw.encode(sample)["image"], sample["image"].flatten(1).float())
    codec.normalized = {"image": 10.0}  # by a VecNormalize
    th.testing.assert_close(codec.encode(sample)["image"], sample["image"].flatten(1).float())

"""Actions between environment, replay and dynamics: exact, and inside the space."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.nn.actions import ActionCodec

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
LARGEST = float(np.finfo(np.float32).max) / 2


def whole(dtype: str) -> spaces.Box:
    """Give the widest Box of a type that can be scaled to."""
    info: Any = np.finfo(dtype) if dtype in FLOATS else np.iinfo(dtype)
    low, high = info.min, info.max
    if dtype in FLOATS:
        low, high = max(float(low), -LARGEST), min(float(high), LARGEST)
    return spaces.Box(np.full(3, low, dtype), np.full(3, high, dtype), dtype=np.dtype(dtype).type)


def box(low: Any, high: Any, dtype: str) -> spaces.Box:
    low, high = np.array([low] * 3, dtype), np.array([high] * 3, dtype)
    return spaces.Box(low, high, dtype=np.dtype(dtype).type)


BOXES = [
    *(whole(dtype) for dtype in INTEGERS + FLOATS),
    box(-100, 100, "int8"),
    box(-30_000, 30_000, "int16"),
    box(-40_000, 40_000, "float16"),
    box(0.1, 0.3, "float32"),
    box(-1e30, 1e-5, "float32"),
    box(-0.1, 0.3, "float64"),
    box(2**62, 2**62 + 10, "int64"),
    box(2**64 - 11, 2**64 - 1, "uint64"),
    box(-(2**63), -(2**63) + 2**52, "int64"),
    box(2**53 - 1, 2**53 + 9, "int64"),
    box(7, 7, "int8"),
    box(0, 1, "bool"),
]


def units(n: int = 300) -> np.ndarray:
    """Give numbers of [-1, 1] and beyond as agents choose them, with all corners, (n, 3)."""
    corners = [-1, 1, 0, -0.0, 0.5, -0.5, 5, -5, 1e30, -1e30, 1e-30, 2**-24, -(2**-24)]
    corners += [np.nextafter(np.float32(x), np.float32(0)) for x in (-1, 1)]
    rng = np.random.default_rng(0)
    random = rng.uniform(-1, 1, 3 * n - len(corners))
    return np.append(corners, random).astype(np.float32).reshape(n, 3)


def exact(bound: Any) -> Fraction:
    return Fraction(bound.item())


def spacing(space: spaces.Box) -> Fraction:
    """Say how coarse the numbers of a Box, and float64 over its width, are."""
    low, high = exact(space.low[0]), exact(space.high[0])
    in_float64 = (high - low) * Fraction(2) ** -52
    if space.dtype.kind != "f":
        return in_float64
    eps = Fraction(float(np.finfo(str(space.dtype)).eps))
    return in_float64 + eps * max(abs(low), abs(high))


@pytest.mark.parametrize("space", BOXES, ids=str)
def test_scaling_equals_fractions_and_stays_in_the_space(space: spaces.Box) -> None:
    unit = units()
    action = ActionCodec(space).to_env(unit)
    assert action.dtype == space.dtype
    assert all(row in space for row in action)
    low, high = exact(space.low[0]), exact(space.high[0])
    rounding = Fraction(0 if space.dtype.kind == "f" else 1) / 2 + spacing(space)
    for x, value in zip(unit.flat, action.flat, strict=True):
        share = (Fraction(float(np.clip(x, -1, 1))) + 1) / 2
        assert abs(exact(value) - (low + share * (high - low))) <= rounding
        if abs(x) >= 1:
            assert value == (space.high if x > 0 else space.low)[0]


@pytest.mark.parametrize("space", BOXES, ids=str)
def test_units_equal_fractions(space: spaces.Box) -> None:
    codec = ActionCodec(space)
    action = np.stack([space.low, space.high, *codec.to_env(units(100))])
    unit = codec.from_env(action)
    low, width = exact(space.low[0]), exact(space.high[0]) - exact(space.low[0])
    for x, value in zip(action.flat, unit.flat, strict=True):
        expected = 2 * (exact(x) - low) / width - 1 if width else Fraction(-1)
        assert abs(exact(value) - expected) <= Fraction(2) ** -52
    assert (unit[0] == -1).all()
    assert (unit[1] == 1).all() or not width


@pytest.mark.parametrize("xp", [np, th])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_survive_both_directions(dtype: str, xp: Any) -> None:
    """All of 8 and 16 bits; of wider ones the ends, the middle and some between."""
    info, rng = np.iinfo(dtype), np.random.default_rng(0)
    widths = [info.max - info.min] if info.bits < 64 else [2**52, 2**40 + 1, 10]
    for width in widths:
        for low in {info.min, info.max - width, (info.min + info.max - width) // 2}:
            if width < 2**16:
                offsets = np.arange(width + 1, dtype=np.uint64)
            else:
                offsets = rng.integers(width, size=500, endpoint=True, dtype=np.uint64)
                offsets[:4] = 0, 1, width - 1, width
            action = np.array([low + int(offset) for offset in offsets], dtype)[:, None]
            codec = ActionCodec(spaces.Box(low, low + width, (1,), np.dtype(dtype).type))
            unit = codec.from_env(xp.asarray(action))
            back = codec.to_env(unit)
            assert str(back.dtype).removeprefix("torch.") == dtype
            np.testing.assert_array_equal(np.asarray(back), action)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_survive_the_replay(dtype: str) -> None:
    """It holds float32, which tells 2^23 numbers apart."""
    info = np.iinfo(dtype)
    width = min(info.max - info.min, 2**23)
    low = info.max - width
    offsets = np.unique(np.linspace(0, width, 5_000).astype(np.uint64))
    action = np.array([low + int(offset) for offset in offsets], dtype)[:, None]
    codec = ActionCodec(spaces.Box(low, info.max, (1,), np.dtype(dtype).type))
    stored = codec.from_env(action).astype(np.float32)
    np.testing.assert_array_equal(codec.to_env(stored), action)


@pytest.mark.parametrize("space", BOXES, ids=str)
def test_tensors_and_arrays_get_the_same_numbers(space: spaces.Box) -> None:
    codec, unit = ActionCodec(space), units()
    action = codec.to_env(unit)
    in_torch = codec.to_env(th.as_tensor(unit))
    assert in_torch.numpy().dtype == action.dtype
    np.testing.assert_array_equal(in_torch.numpy(), action)
    np.testing.assert_array_equal(codec.from_env(in_torch).numpy(), codec.from_env(action))


def test_float32_boxes_scale_as_before() -> None:
    """The unit box changes nothing at all; others differ from float32's own result in rounding."""
    unit, one = units(), np.float32(1)
    inside = np.clip(unit, -1, 1)
    large = inside[np.abs(inside) >= 2**-28].reshape(-1, 1)
    codec = ActionCodec(spaces.Box(-1, 1, (1,), np.float32))
    np.testing.assert_array_equal(codec.to_env(large), large)
    np.testing.assert_array_equal(codec.from_env(large), large)
    np.testing.assert_allclose(
        codec.to_env(inside.reshape(-1, 1)), inside.reshape(-1, 1), atol=2**-53
    )
    space = spaces.Box(np.array([-2, 0, 0.1], np.float32), np.array([2, 7, 0.3], np.float32))
    before = space.low + (inside + one) / 2 * (space.high - space.low)
    ulp = np.spacing(np.abs(space.high))
    codec = ActionCodec(space)
    assert (np.abs(codec.to_env(unit) - before) <= 2 * ulp).all()
    back = 2 * (before - space.low) / (space.high - space.low) - one
    assert (
        np.abs(codec.from_env(before) - back) <= 2**-22 * space.high / (space.high - space.low)
    ).all()


def test_numbers_of_other_types_are_scaled_to_integers() -> None:
    """Agents of Stable-Baselines3 send floats, clipped to the bounds, whatever the space holds."""
    codec = ActionCodec(spaces.Box(-128, 127, (1,), np.int8))
    expected = [[-1.0], [1.0], [2 * 128 / 255 - 1], [2 * 131.5 / 255 - 1], [1.0]]
    action = np.array([[-128], [127], [0], [3.5], [1e9]])
    np.testing.assert_allclose(codec.from_env(action), expected, rtol=1e-14)
    for given in (
        np.array([[300]]),
        np.array([[2**64 - 1]], np.uint64),
        np.array([[300]], np.uint16),
    ):
        assert codec.from_env(given) == codec.from_env(th.as_tensor(given)) == 1.0
    unsigned = ActionCodec(whole("uint64"))
    assert (unsigned.from_env(np.array([[-5, 0, 1.0]])) == -1.0 + np.array([0, 0, 2**-63])).all()
    assert (unsigned.from_env(np.array([[-5, 0, -1]])) == -1.0).all()
    # Floats are too coarse for these bounds, but never leave the unit box.
    narrow = ActionCodec(box(2**62 - 257, 2**62 + 1, "int64"))
    assert np.abs(narrow.from_env(np.linspace(0, 2**63, 3_000).reshape(-1, 3))).max() <= 1.0
    swapped = np.array([[-3]], np.dtype(np.int16).newbyteorder())
    assert codec.from_env(swapped) == codec.from_env(swapped.astype(np.int8))


# -------------------------------------------------------------------- discrete


@pytest.mark.parametrize(
    ("space", "action", "expected"),
    [
        (spaces.Discrete(3, start=4), [2], [0, 0, 1]),
        (spaces.MultiDiscrete([2, 3]), [1, 0], [0, 1, 1, 0, 0]),
        (spaces.MultiBinary(2), [0, 1], [1, 0, 0, 1]),
        (spaces.Box(-2.0, 6.0, (2,)), [0.5, -1.7], [0.5, -1.7]),
    ],
)
def test_actions_are_read_one_hot_or_as_they_are(
    space: spaces.Space, action: list[float], expected: list[float]
) -> None:
    codec = ActionCodec(space)
    assert codec.encode(th.tensor([action]))[0].tolist() == pytest.approx(expected)
    assert codec.dim == len(expected)
    assert codec.replay_dim == len(action)


DISCRETE: list[spaces.Space] = [
    spaces.Discrete(3),
    spaces.Discrete(100, start=-100, dtype=np.int8),
    spaces.MultiDiscrete([3, 2], start=[4, -1]),
    spaces.MultiDiscrete([100, 100], dtype=np.int8, start=[-128, 27]),
    spaces.MultiBinary(4),
]


@pytest.mark.parametrize("xp", [np, th])
@pytest.mark.parametrize("space", DISCRETE, ids=str)
def test_choices_survive_both_directions(space: spaces.Space, xp: Any) -> None:
    space.seed(0)
    codec = ActionCodec(space)
    action = np.stack([space.sample() for _ in range(200)])
    chosen = codec.from_env(xp.asarray(action))
    start = getattr(space, "start", 0)
    np.testing.assert_array_equal(
        np.asarray(chosen), (action.astype(int) - start).reshape(200, codec.replay_dim)
    )
    back = np.asarray(codec.to_env(chosen))
    assert back.dtype == space.dtype
    np.testing.assert_array_equal(back, action)


TYPES = [*INTEGERS, *FLOATS, "bool"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("space", DISCRETE, ids=str)
def test_actions_are_what_gymnasium_contains(space: spaces.Space, dtype: str) -> None:
    """Only wider, narrower or unsigned integers than the space's own are not refused for that."""
    rng = np.random.default_rng(0)
    codec, kind = ActionCodec(space), np.dtype(dtype).kind
    for value in [
        0,
        1,
        2,
        3,
        0.5,
        -1,
        4,
        5,
        126,
        127,
        128,
        255,
        2**64 - 3,
        *rng.integers(9, size=9),
    ]:
        with np.errstate(invalid="ignore", over="ignore"):
            row = np.full(space.shape or (), value).astype(dtype)
        fair = row.astype(space.dtype) if kind in "iub" else row
        expected = fair in space and (fair == row).all()
        for given in (row, th.as_tensor(row)):
            if expected:
                codec.from_env(given)
            else:
                with pytest.raises(ValueError, match="not all in"):
                    codec.from_env(given)


# -------------------------------------------------------------------- refusals


@pytest.mark.parametrize("xp", [np, th])
def test_the_first_wrong_row_is_named(xp: Any) -> None:
    action = np.zeros((1_000, 2))
    action[600:, 1] = np.nan, *[np.inf] * 399
    message = r"actions are not all in Box\(.*\): row 600 is \[0.0, nan\]"
    with pytest.raises(ValueError, match=message):
        ActionCodec(spaces.Box(-1, 1, (2,))).from_env(xp.asarray(action))
    steps = np.zeros((2, 5), int)
    steps[1, 4:] = 9
    with pytest.raises(ValueError, match=r"steps are not all in .*: row \(1, 4\) is \[9\]"):
        ActionCodec(spaces.Discrete(3)).from_env(xp.asarray(steps), "steps")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.array(["a", "b"]), "<U1 are not all in"),
        (np.array([1, None]), "object are not all in"),
        (np.array([1j, 2]), "complex128 are not all in"),
        (th.tensor([1j, 2]), "complex64 are not all in"),
        (np.array([np.nan, 0]), "not all in"),
        (th.tensor([np.inf, 0]), "not all in"),
        (np.zeros(3), r"shape \(3,\); expected \(2,\)"),
        (np.zeros(()), r"shape \(\); expected \(2,\)"),
        (np.zeros((2, 1)), r"shape \(2, 1\); expected \(2,\)"),
    ],
)
def test_what_is_no_action_gets_a_clear_error(given: Any, message: str) -> None:
    codec = ActionCodec(spaces.Box(-1, 1, (2,)))
    for direction in (codec.from_env, codec.to_env):
        with pytest.raises(ValueError, match="shape" if "shape" in message else message):
            direction(given)
    with pytest.raises(ValueError, match=message):
        codec.from_env(given)


def test_choices_that_do_not_exist_never_reach_the_environment() -> None:
    codec = ActionCodec(spaces.MultiDiscrete([3, 2]))
    with pytest.raises(ValueError, match=r"row 1 is \[0, 2\]"):
        codec.to_env(np.array([[2, 1], [0, 2]]))
    with pytest.raises(ValueError, match="expected integers"):
        codec.to_env(np.zeros((1, 2)))


def test_no_actions_are_no_error() -> None:
    everything: list[spaces.Space] = [*DISCRETE, *BOXES]
    for space in everything:
        codec = ActionCodec(space)
        assert codec.from_env(np.zeros((2, 0, *(space.shape or ())))).shape == (
            2,
            0,
            codec.replay_dim,
        )


def test_lists_become_arrays_where_they_can() -> None:
    codec = ActionCodec(spaces.Box(-1, 1, (2,)))
    assert codec.as_array([[1, 2], np.ones(2)]).shape == (2, 2)
    with pytest.raises(ValueError, match=r"Value of actions that is no array.*expected Box"):
        codec.as_array([[1], [1, 2]])


def test_bounds_too_far_apart_for_a_scale_are_refused() -> None:
    largest = float(np.finfo(np.float32).max)
    for bound, dtype in [(largest, np.float32), (largest, np.float64), (1.7e308, np.float64)]:
        with pytest.raises(ValueError, match="too far apart"):
            ActionCodec(spaces.Box(-bound, bound, (2,), dtype))


def test_unsupported_action_spaces_are_named() -> None:
    with pytest.raises(ValueError, match="Unsupported action space"):
        ActionCodec(spaces.Text(3))
    with pytest.raises(ValueError, match="no action"):
        ActionCodec(spaces.Box(-1, 1, (0,)))
    with pytest.raises(AssertionError, match="flatten it"):
        ActionCodec(spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])))
    with pytest.raises(AssertionError, match="flatten it"):
        ActionCodec(spaces.MultiBinary([2, 3]))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4, start=2),
        spaces.MultiDiscrete([3, 2, 5]),
        spaces.MultiBinary(3),
        spaces.Box(-2, 3, (2,)),
    ],
)
def test_decode_inverts_encode(space: spaces.Space) -> None:
    space.seed(0)
    codec = ActionCodec(space)
    sampled = np.stack([space.sample() for _ in range(6)]).reshape(2, 3, *(space.shape or ()))
    action = th.as_tensor(codec.from_env(sampled))
    decoded = codec.decode(codec.encode(action))
    assert th.equal(decoded, action.to(decoded.dtype))
    assert decoded.shape == (2, 3, codec.replay_dim)

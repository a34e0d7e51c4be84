"""Boards as pictures: which channels are colors, and which color a kind of object has."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from dreamzoo.envs.dreams.rendering import draw_images, shows_kinds, to_colors, to_frame
from dreamzoo.nn.observations import Key, ObservationCodec

BOOL: Any = bool  # gymnasium annotates no space of these


def _key(shape: tuple[int, ...], dtype: Any) -> Key:
    high = 255 if dtype == np.uint8 else 1
    space = spaces.Box(0, high, shape, dtype)
    return ObservationCodec(space, normalize_images=False).keys[0]


#: Images, and whether their channels are kinds of objects.
KINDS = [
    ((10, 10, 4), BOOL, True),
    ((10, 10, 3), BOOL, True),
    ((10, 10, 1), BOOL, True),
    ((64, 64, 6), BOOL, True),
    ((5, 9, 2), np.float32, True),
    ((5, 9, 3), np.float32, False),
    ((1, 7, 7), np.uint8, False),
    ((3, 7, 7), np.uint8, False),
    ((3, 64, 64), np.uint8, False),
    ((4, 64, 64), np.uint8, False),  # a stack of gray frames
]


@pytest.mark.parametrize(("shape", "dtype", "expected"), KINDS)
def test_channels_are_kinds_or_colors(shape: tuple[int, ...], dtype: Any, expected: bool) -> None:
    assert shows_kinds(_key(shape, dtype)) == expected


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 10, 20])
def test_every_kind_has_a_bright_color_of_its_own(channels: int) -> None:
    board = 255.0 * np.eye(channels, dtype=np.float32)[:, None]  # one kind in every cell of a row
    colors = to_colors(board)
    assert colors.shape == (3, 1, channels)
    assert colors.dtype == np.float32
    assert (colors.max(0) == 255.0).all()
    assert len({tuple(column) for column in colors[:, 0].T.round()}) == channels
    assert colors[:, 0, 0].tolist() == [255.0, 0.0, 0.0]
    np.testing.assert_allclose(to_colors(board / 2), colors / 2)


def test_nothing_is_black_and_several_kinds_are_mixed() -> None:
    board = np.zeros((3, 1, 2))
    board[:2, 0, 1] = 255.0, 100.0
    assert to_colors(board)[:, 0].T.tolist() == [[0, 0, 0], [255, 100, 0]]


@pytest.mark.parametrize(
    ("shape", "dtype", "drawn"),
    [
        ((10, 10, 4), BOOL, (3, 60, 60)),
        ((5, 9, 2), np.float32, (3, 35, 63)),
        ((1, 3, 3), np.uint8, (1, 63, 63)),
        ((3, 33, 20), np.uint8, (3, 33, 20)),
        ((6, 64, 64), np.uint8, (3, 64, 64)),
        ((4, 64, 64), np.uint8, (1, 64, 64)),
    ],
)
def test_small_images_get_large(shape: tuple[int, ...], dtype: Any, drawn: tuple[int, ...]) -> None:
    key = _key(shape, dtype)
    shades = np.random.default_rng(0).uniform(0, 255, (2, *key.shape)).astype(np.float32)
    frames = draw_images(key, shades)
    assert frames.shape == (2, *drawn)
    side = drawn[1] // key.shape[1]
    small = frames[..., ::side, ::side]
    expected = to_colors(shades) if shows_kinds(key) else shades[:, -drawn[0] :]
    np.testing.assert_array_equal(small, expected)
    np.testing.assert_array_equal(small.repeat(side, -1).repeat(side, -2), frames)
    frame = to_frame(frames[0])
    assert (frame.shape, frame.dtype) == ((*drawn[1:], 3), np.uint8)

"""Pictures of dreams."""

import colorsys

import numpy as np

from dreamzoo.envs.errors import requires_extra
from dreamzoo.nn.observations import Key

#: Smaller images are drawn with whole squares for pixels, as far as that keeps them within so many.
_DRAWN_SIDE = 64


def shows_kinds(key: Key) -> bool:
    """
    Return whether the channels of an image are kinds of objects rather than colors.

    So they are where a channel says yes or no, and in boards that are neither gray nor RGB.

    Example:
        >>> from dreamzoo.envs.dreams.rendering import shows_kinds
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> shows_kinds(ObservationCodec(spaces.Box(0, 1, (10, 10, 4), bool)).keys[0])
        True
    """
    return key.space.dtype == bool or (key.is_small and key.shape[0] not in (1, 3))


def to_colors(images: np.ndarray) -> np.ndarray:
    """
    Give every channel a color of its own: hues evenly around the circle, the first one red.

    Where several meet in a cell, the brightest red, green and blue of them count.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.envs.dreams.rendering import to_colors
        >>> board = np.zeros((3, 1, 4))
        >>> board[0, 0, 1] = board[1, 0, 2] = board[2, 0, 2] = 255
        >>> to_colors(board)[:, 0].T.tolist()  # nothing, the first, two at one place, nothing
        [[0.0, 0.0, 0.0], [255.0, 0.0, 0.0], [0.0, 255.0, 255.0], [0.0, 0.0, 0.0]]

    :param images: (..., C, H, W)
    :return: (..., 3, H, W)
    """
    channels = images.shape[-3]
    hues = np.array([colorsys.hsv_to_rgb(i / channels, 1.0, 1.0) for i in range(channels)])
    lit = images[..., :, None, :, :] * hues[:, :, None, None]  # (..., C, 3, H, W)
    return lit.max(axis=-4).astype(images.dtype)


def draw_images(key: Key, shades: np.ndarray) -> np.ndarray:
    """
    Turn images into what can be looked at.

    Of a stack of frames it is the last one; kinds of objects get colors; small images get large.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.envs.dreams.rendering import draw_images
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> (key,) = ObservationCodec(spaces.Box(0, 1, (10, 10, 4), bool)).keys
        >>> draw_images(key, np.zeros((2, 4, 10, 10), np.float32)).shape
        (2, 3, 60, 60)

    :param key: an image
    :param shades: from 0 to 255, (..., C, H, W), see :meth:`Key.to_shades`
    :return: RGB or gray, (..., 3 or 1, pixels, pixels)
    """
    if shows_kinds(key):
        shades = to_colors(shades)
    else:
        shades = shades[..., -3 if key.shape[0] % 3 == 0 else -1 :, :, :]
    square = max(_DRAWN_SIDE // max(key.shape[1:]), 1)
    return shades.repeat(square, axis=-1).repeat(square, axis=-2)


def to_frame(image: np.ndarray) -> np.ndarray:
    """Turn (1 or 3, H, W) from 0 to 255 into an RGB frame."""
    image = image.round().clip(0, 255).astype(np.uint8)
    image = np.ascontiguousarray(image.transpose(1, 2, 0))
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def draw_numbers(parts: dict[str, np.ndarray], reward: float) -> np.ndarray:
    """Draw every number of an observation as a bar."""
    with requires_extra("video"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(len(parts), 1))
    for axis, (name, part) in zip(axes, parts.items(), strict=True):
        values = np.asarray(part, np.float64).reshape(-1)
        axis.bar(np.arange(len(values)), np.sign(values) * np.log1p(np.abs(values)))
        axis.set_ylim(-3, 3)
        axis.set_ylabel(f"symlog {name}")
        axis.set_xticks([])
    axes[0].set_title(f"reward {reward:.3f}")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

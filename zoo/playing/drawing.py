"""Observations of reality and dream as pictures that can be compared."""

from typing import Any, NamedTuple

import numpy as np
import torch as th

from dreamzoo.envs.dreams.rendering import to_frame
from dreamzoo.nn.observations import SINGLE, ObservationCodec
from dreamzoo.playing.painters import Painter, numbers_of

#: Height of pictures at most, in pixels: larger ones are made smaller by whole numbers.
MAX_HEIGHT = 260
#: Height and width of a picture of bars.
_BARS = (160, 240)
_BLUE, _RED, _LINE = (86, 156, 214), (224, 108, 92), (90, 96, 110)


class Pictures(NamedTuple):
    """
    What is seen at one moment: RGB frames, (H, W, 3) bytes.

    :param real: None without an environment, or where it has ended
    :param dreams: one for each dream
    :param difference: gray where reality and the first dream agree; None without reality
    """

    real: np.ndarray | None
    dreams: list[np.ndarray]
    difference: np.ndarray | None


class Drawer:
    """
    Draws observations of one space: images as they are, numbers by a painter or as bars.

    :param codec: of the observations
    :param painter: draws what is no image, if anyone can
    """

    def __init__(self, codec: ObservationCodec, painter: Painter | None = None) -> None:
        self.codec, self.painter = codec, painter
        self._images = codec.image_keys

    def draw(self, observation: Any) -> np.ndarray:
        """
        Draw one observation.

        :param observation: as the agent sees it, without batch axes, but with the numbers that the
            environment itself has given
        """
        if self._images:
            return _beside([self._image(key, observation) for key in self._images])
        if self.painter is not None:
            return smaller(self.painter(observation))
        return bars(numbers_of(self.codec.space, observation))

    def _image(self, key: Any, observation: Any) -> np.ndarray:
        image = observation if key.name == SINGLE else observation[key.name]
        return smaller(to_frame(key.to_shades(th.as_tensor(image)).numpy()))

    def difference(self, real: Any, dream: Any, pictures: tuple[np.ndarray, np.ndarray]) -> Any:
        """
        Draw in what two observations differ.

        :param real: an observation
        :param dream: another
        :param pictures: of both
        """
        if self._images or self.painter is not None:
            a, b = (picture.astype(np.int16) for picture in pictures)
            return ((b - a + 255) // 2).astype(np.uint8)  # gray where there is none
        return bars(numbers_of(self.codec.space, dream) - numbers_of(self.codec.space, real))

    def error(self, real: Any, dream: Any) -> float:
        """Return how far two observations are apart: mean distance of all their numbers."""
        a, b = (numbers_of(self.codec.space, obs) for obs in (real, dream))
        return float(np.abs(a - b).mean())

    def spread(self, dreams: list[Any]) -> float | None:
        """Return how far several observations lie apart; None of a single one."""
        if len(dreams) < 2:
            return None
        numbers = [numbers_of(self.codec.space, dream) for dream in dreams]
        return float(np.std(numbers, axis=0).mean())


def bars(numbers: np.ndarray) -> np.ndarray:
    """
    Draw numbers as bars around a line, those above zero up, with a logarithm's height.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.playing.drawing import bars
        >>> bars(np.array([1.0, -2.0])).shape
        (160, 240, 3)

    :param numbers: (K,)
    """
    height, width = _BARS
    frame = np.full((height, width, 3), 24, np.uint8)
    middle = height // 2
    lengths = np.sign(numbers) * np.log1p(np.abs(numbers)) / 3.0 * (middle - 4)
    lengths = lengths.clip(4 - middle, middle - 4).round().astype(int)
    edges = np.linspace(4, width - 4, len(numbers) + 1).round().astype(int)
    for left, right, length in zip(edges, edges[1:], lengths, strict=False):
        gap = 1 if right - left > 2 else 0
        top, bottom = middle - max(length, 0), middle - min(length, 0)
        frame[top:bottom, left : right - gap] = _BLUE if length > 0 else _RED
    frame[middle : middle + 1] = _LINE
    return frame


def smaller(frame: np.ndarray) -> np.ndarray:
    """Halve a frame, or take a third and so on, until it is small enough to be sent often."""
    by = -(-len(frame) // MAX_HEIGHT)
    if by == 1:
        return frame
    height, width = len(frame) // by, frame.shape[1] // by
    cut = frame[: height * by, : width * by].reshape(height, by, width, by, 3)
    return cut.mean((1, 3)).astype(np.uint8)


def _beside(frames: list[np.ndarray]) -> np.ndarray:
    """Put frames of any size side by side."""
    if len(frames) == 1:
        return frames[0]
    height = max(map(len, frames))
    padded = [np.pad(x, ((0, height - len(x)), (0, 0), (0, 0))) for x in frames]
    return np.concatenate(padded, axis=1)


def strip(pictures: Pictures) -> np.ndarray:
    """
    Put all pictures of a moment into one frame: reality, dreams, difference.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.playing.drawing import Pictures, strip
        >>> frame = np.zeros((64, 64, 3), np.uint8)
        >>> strip(Pictures(frame, [frame, frame], frame)).shape
        (64, 256, 3)
    """
    shown = [pictures.real, *pictures.dreams, pictures.difference]
    return _beside([picture for picture in shown if picture is not None])

"""Between an observation space and the numbers that encoders and decoders see."""

from copy import deepcopy
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor

from dreamzoo.nn.distributions import one_hot
from dreamzoo.nn.fast.constants import constant

#: An observation batch: one tensor, or one for every key of a Dict space.
Observation: TypeAlias = Tensor | dict[str, Tensor]

Kind = Literal["image", "vector", "discrete", "binary"]

#: Smallest height and width of a picture; below, the CNNs of pictures (the Dreamers' four halvings,
#: SB3's ``NatureCNN``) are left with no place at all.
PICTURE = 36
#: Name of the only key of a space that is not a Dict.
SINGLE = "observation"


class Key(NamedTuple):
    """
    One part of an observation.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> (key,) = ObservationCodec(spaces.Box(0, 255, (3, 64, 64), np.uint8)).keys
        >>> key.name, key.kind, key.width
        ('observation', 'image', 12288)
        >>> key.to_unit(torch.tensor([0, 51, 255]))
        tensor([0.0000, 0.2000, 1.0000])

    :param name: key in the Dict space
    :param kind: how it is encoded and reconstructed
    :param space: its own space
    :param shape: shape of the float tensor that networks see, without batch axes; images (C, H, W)
    :param low: of an image: the value that networks see as 0, of all pixels or of every one
    :param span: of an image: what has to be added to it to become 1
    :param channels_last: of an image: its space has (H, W, C)
    """

    name: str
    kind: Kind
    space: spaces.Space
    shape: tuple[int, ...]
    low: float | np.ndarray = 0.0
    span: float | np.ndarray = 1.0
    channels_last: bool = False

    @property
    def width(self) -> int:
        """Number of floats."""
        return int(np.prod(self.shape))

    @property
    def is_small(self) -> bool:
        """Whether it is an image too small for the CNNs of pictures, in height or width."""
        return self.kind == "image" and min(self.shape[1:]) < PICTURE

    def to_unit(self, image: Tensor) -> Tensor:
        """Turn images of the space into float32 in [0, 1], (..., C, H, W)."""
        x = image.double() if _is_wide(image.dtype) else image.float()
        if not _equals(self.low, 0.0):
            x = x - _constant(self.low, x)
        if not _equals(self.span, 1.0):
            x = x / _constant(self.span, x)
        return self._channels_first(x.float())

    def from_unit(self, image: Tensor) -> Tensor:
        """Turn images in [0, 1] into those of the space: the inverse of :meth:`to_unit`."""
        x = image.movedim(-3, -1) if self.channels_last else image
        x = x.double() if _is_wide(_torch_dtype(self.space)) else x
        if not _equals(self.span, 1.0):
            x = x * _constant(self.span, x)
        return x if _equals(self.low, 0.0) else x + _constant(self.low, x)

    def to_shades(self, image: Tensor) -> Tensor:
        """Turn images of the space into float32 from 0 to 255, (..., C, H, W), to be looked at."""
        if _equals(self.low, 0.0) and _equals(self.span, 255.0):
            return self._channels_first(image.float())  # not divided first: bytes stay as they are
        return 255.0 * self.to_unit(image)

    def _channels_first(self, image: Tensor) -> Tensor:
        return image.movedim(-1, -3) if self.channels_last else image


def _is_wide(dtype: th.dtype) -> bool:
    """Return whether float32 cannot hold what a dtype can: large integers, small steps far out."""
    return dtype.itemsize > 2 and dtype != th.float32


def _equals(value: float | np.ndarray, number: float) -> bool:
    return isinstance(value, float) and value == number


def _constant(value: float | np.ndarray, like: Tensor) -> float | Tensor:
    if isinstance(value, float):
        return value
    return constant(value, like.device, like.dtype)


def is_byte_image(space: spaces.Space) -> bool:
    """
    Return whether a space holds images of bytes, as Stable-Baselines3 recognizes them.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.nn.observations import is_byte_image
        >>> from gymnasium import spaces
        >>> is_byte_image(spaces.Box(0, 255, (64, 64, 3), np.uint8))
        True
        >>> is_byte_image(spaces.Box(0, 1, (3, 64, 64)))
        False
    """
    if not isinstance(space, spaces.Box) or len(space.shape) != 3 or space.dtype != np.uint8:
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


def is_image(space: spaces.Space, normalize_images: bool = True) -> bool:
    """
    Return whether a space holds images.

    Images are bytes, as Stable-Baselines3 recognizes them, and boards of booleans, of which there
    is nothing to normalize. What else has three axes is one if the user says that nothing has to be
    divided by 255, SB3's ``normalize_images=False``.

    Example:
        >>> from dreamzoo.nn.observations import is_image
        >>> from gymnasium import spaces
        >>> is_image(spaces.Box(0, 1, (10, 10, 4), bool))
        True
        >>> numbers = spaces.Box(-1, 1, (5, 9, 2))
        >>> is_image(numbers), is_image(numbers, normalize_images=False)
        (False, True)

    :param space: of one observation
    :param normalize_images: as policies have it
    """
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return False
    return not normalize_images or space.dtype == bool or is_byte_image(space)


def has_channels_last(space: spaces.Box) -> bool:
    """
    Return whether images are (H, W, C) rather than (C, H, W).

    Bytes are (C, H, W): Stable-Baselines3 has moved their channels. Of others the axis of channels
    is the one that differs from two equal ones, the first or the last; else the shorter of these.
    Where that does not say it, boards of booleans have them last, as environments make them, and
    all else first, as SB3 expects.

    Example:
        >>> from dreamzoo.nn.observations import has_channels_last
        >>> from gymnasium import spaces
        >>> shapes = (10, 10, 4), (7, 7, 20), (4, 10, 10), (5, 9, 2), (10, 10, 10)
        >>> [has_channels_last(spaces.Box(0, 1, shape, bool)) for shape in shapes]
        [True, True, False, True, True]

    :param space: of an image
    :raises ValueError: for pictures of bytes that nobody has moved the channels of, and if the
        axis in the middle is the shortest
    """
    first, middle, last = space.shape
    if is_byte_image(space):
        if last < PICTURE <= min(first, middle):
            raise ValueError(
                f"An image with the space {space} seems to have its channels last, where nobody "
                "moves them; expected (channels, height, width). Agents that are given an "
                "environment do it as Stable-Baselines3 does, with VecTransposeImage."
            )
        return False
    if first == middle != last or first != middle == last:
        return first == middle
    if middle < min(first, last):
        raise ValueError(
            f"An image with the space {space} seems to have its channels in the middle; expected "
            "(height, width, channels) or (channels, height, width). Move the axis: "
            "gymnasium.wrappers.TransformObservation with np.moveaxis(image, 1, -1), or read it as "
            "a vector: policy_kwargs=dict(images=False)."
        )
    return bool(last < first or (last == first and space.dtype == bool))


class ObservationCodec:
    """
    Turn observations into float tensors for networks, and predictions back into observations.

    Images of bytes are (C, H, W), as Stable-Baselines3 hands them to a policy; others stay as their
    environment has them, see :func:`has_channels_last`. What networks see: images (C, H, W), scaled
    from the bounds of their space to [0, 1], vectors flat and raw (the encoder applies symlog), but
    images of bytes that are read as vectors divided by 255, as SB3's ``MlpPolicy`` does; integers
    as one-hot vectors, binaries as 0 or 1.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> space = spaces.Dict(color=spaces.Discrete(3), place=spaces.Box(-1, 1, (2,)))
        >>> codec = ObservationCodec(space)
        >>> inputs = codec.encode(dict(color=torch.tensor([2]), place=torch.tensor([[0.5, -0.5]])))
        >>> inputs["color"]
        tensor([[0., 0., 1.]])
        >>> codec.decode(inputs)["color"]
        tensor([2])

    :param space: observation space, possibly a Dict
    :param images: treat images as images; otherwise every Box is a flat vector
    :param normalize_images: images are bytes or booleans; False: every Box of three axes and finite
        bounds is one, of whatever dtype
    :raises ValueError: for a space that no network here can read
    """

    def __init__(
        self, space: spaces.Space, *, images: bool = True, normalize_images: bool = True
    ) -> None:
        self.space = space
        self.is_dict = isinstance(space, spaces.Dict)
        self.normalize_images = normalize_images
        parts = space.spaces if isinstance(space, spaces.Dict) else {SINGLE: space}
        if not parts or not all(isinstance(name, str) for name in parts):
            raise ValueError(
                f"The keys of an observation must be strings, at least one; got {list(parts)}."
            )
        # Sorted, as the reference concatenates keys.
        self.keys = [_make_key(k, parts[k], images, normalize_images) for k in sorted(parts)]
        #: Keys whose values are normalized, and where those are clipped: the bounds and the dtype
        #: of the space are not theirs.
        self.normalized: dict[str, float] = {}
        self._bounds: dict[tuple[str, type], tuple[np.ndarray, np.ndarray]] = {}

    @property
    def image_keys(self) -> list[Key]:
        return [key for key in self.keys if key.kind == "image"]

    @property
    def flat_keys(self) -> list[Key]:
        return [key for key in self.keys if key.kind != "image"]

    @property
    def decoded_space(self) -> spaces.Space:
        """The space of what :meth:`decode` gives, as an object of its own."""
        space = deepcopy(self.space)
        parts = space.spaces if isinstance(space, spaces.Dict) else {SINGLE: space}
        for name, limit in self.normalized.items():
            parts[name] = spaces.Box(-limit, limit, parts[name].shape, np.float32)
        return space if self.is_dict else parts[SINGLE]

    @property
    def seen_space(self) -> spaces.Space:
        """The space of observations whose images are all (C, H, W), for extractors of features."""
        parts = {key.name: key.space for key in self.keys}
        for key in (key for key in self.image_keys if key.channels_last):
            low, high = (np.moveaxis(bound, -1, 0) for bound in (key.space.low, key.space.high))  # type: ignore[attr-defined]
            parts[key.name] = spaces.Box(low, high, dtype=key.space.dtype)  # type: ignore[arg-type]
        return spaces.Dict(parts) if self.is_dict else parts[SINGLE]

    def encode(self, observation: Observation, lead: int = 1) -> dict[str, Tensor]:
        """
        Turn a batch of observations into network inputs.

        :param observation: tensors with ``lead`` batch axes in front of the space's own
        :param lead: number of batch axes
        :return: float32 tensors, ``(batch axes, *key.shape)``
        """
        parts = observation if isinstance(observation, dict) else {SINGLE: observation}
        return {key.name: self._encode_key(key, parts[key.name], lead) for key in self.keys}

    def _encode_key(self, key: Key, x: Tensor, lead: int) -> Tensor:
        batch = x.shape[:lead]
        if isinstance(key.space, spaces.Discrete):
            return one_hot(x.reshape(batch).long() - int(key.space.start), key.width)
        if isinstance(key.space, spaces.MultiDiscrete):
            index = x.reshape(*batch, -1).long() - _column(key.space.start, x)
            return multi_one_hot(index, key.space.nvec.flatten().tolist())
        if key.kind == "image":
            return key.to_unit(x)
        x = x.reshape(*batch, -1).float()
        return x / 255.0 if self._holds_bytes(key) else x

    def _holds_bytes(self, key: Key) -> bool:
        """Return whether a vector is an image of bytes, which networks see as numbers up to 1."""
        is_raw = key.kind == "vector" and key.name not in self.normalized
        return is_raw and self.normalize_images and is_byte_image(key.space)

    def decode(self, predictions: dict[str, Tensor]) -> Observation:
        """
        Turn the decoder's predictions into observations, members of :attr:`decoded_space`.

        :param predictions: most likely value of every key in network form
        :return: tensors, ``(N, *space.shape)``
        """
        parts = {key.name: self._decode_key(key, predictions[key.name]) for key in self.keys}
        return parts if self.is_dict else parts[SINGLE]

    def _decode_key(self, key: Key, x: Tensor) -> Tensor:
        space = key.space
        if isinstance(space, spaces.Discrete):
            return (x.argmax(-1) + int(space.start)).to(_torch_dtype(space))
        if isinstance(space, spaces.MultiDiscrete):
            index = [part.argmax(-1) for part in x.split(space.nvec.flatten().tolist(), dim=-1)]
            value = th.stack(index, dim=-1) + _column(space.start, x)
            return value.reshape(-1, *space.shape).to(_torch_dtype(space))
        if isinstance(space, spaces.MultiBinary):
            return (x > 0.5).to(th.int8).reshape(-1, *space.shape)
        assert isinstance(space, spaces.Box)
        if key.kind == "image":
            x = key.from_unit(x)
        elif self._holds_bytes(key):
            x = 255.0 * x
        x = x.reshape(-1, *space.shape)
        if key.name in self.normalized:
            return x.float().clamp(-self.normalized[key.name], self.normalized[key.name])
        bounds = self._bounds_of(key, np.float64 if x.dtype == th.float64 else np.float32)
        low, high = (constant(bound, x.device) for bound in bounds)
        x = th.minimum(th.maximum(x, low), high)
        dtype = _torch_dtype(space)
        return x.to(dtype) if dtype.is_floating_point else x.round().to(dtype)

    def _bounds_of(self, key: Key, dtype: type[np.floating]) -> tuple[np.ndarray, np.ndarray]:
        if (key.name, dtype) not in self._bounds:
            assert isinstance(key.space, spaces.Box)
            self._bounds[key.name, dtype] = _bounds(key.space, dtype)
        return self._bounds[key.name, dtype]


def multi_one_hot(index: Tensor, sizes: list[int]) -> Tensor:
    """
    Encode several integers as one-hot vectors side by side.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.observations import multi_one_hot
        >>> multi_one_hot(torch.tensor([1, 0]), sizes=[2, 3])
        tensor([0., 1., 1., 0., 0.])

    :param index: (..., len(sizes)), int64
    :param sizes: number of values of every integer
    :return: (..., sum(sizes))
    """
    offset = constant(_offsets(tuple(sizes)), index.device)
    out = th.zeros(*index.shape[:-1], sum(sizes), device=index.device)
    return out.scatter_(-1, index + offset, 1.0)


@cache
def _offsets(sizes: tuple[int, ...]) -> np.ndarray:
    """Return where each of several one-hot vectors begins."""
    return np.cumsum([0, *sizes[:-1]])


def _torch_dtype(space: spaces.Space) -> th.dtype:
    return th.as_tensor(np.zeros((), space.dtype)).dtype


def _bounds(space: spaces.Box, dtype: type[np.floating]) -> tuple[np.ndarray, np.ndarray]:
    """Round bounds inwards: the nearest float32 of 0.1, or of 2^31 - 1, lies outside."""
    low, high = space.low.astype(dtype), space.high.astype(dtype)
    low = np.where(low < space.low, np.nextafter(low, dtype(np.inf)), low)
    high = np.where(high > space.high, np.nextafter(high, dtype(-np.inf)), high)
    if space.dtype.kind in "iu":  # 2^63 - 1 is compared as the float 2^63
        largest = np.iinfo(space.dtype).max  # type: ignore[type-var]
        limit = dtype(largest)
        high = np.minimum(high, limit if int(limit) <= largest else np.nextafter(limit, dtype(0)))
    return low, high


def _column(start: np.ndarray, like: Tensor) -> Tensor:
    return constant(_int64(start.tobytes(), start.dtype), like.device)


@cache
def _int64(values: bytes, dtype: np.dtype) -> np.ndarray:
    return np.frombuffer(values, dtype).astype(np.int64)


def _image_scale(name: str, space: spaces.Box) -> tuple[float | np.ndarray, float | np.ndarray]:
    """
    Return what images of a space have to be scaled by to lie in [0, 1].

    :raises ValueError: if there are no bounds, or none that float32 can hold
    """
    low = space.low.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        span = space.high.astype(np.float64) - low
        finite = np.isfinite(np.stack([low, span]).astype(np.float32)).all()
    if not finite:
        raise ValueError(
            f"Observation {name!r} is an image with the space {space}, whose bounds are not finite "
            "numbers of float32; a decoder reproduces images between their bounds. Give the space "
            "those that its values keep, or read it as a vector: policy_kwargs=dict(images=False)."
        )
    span[span == 0.0] = 1.0  # a pixel that never changes: 0, and back to its only value
    same = (low == low.flat[0]).all() and (span == span.flat[0]).all()
    return (float(low.flat[0]), float(span.flat[0])) if same else (low, span)


def _make_key(name: str, space: spaces.Space, images: bool, normalize_images: bool) -> Key:
    if isinstance(space, spaces.Discrete):
        return Key(name, "discrete", space, (int(space.n),))
    if space.shape is not None and 0 in space.shape:
        raise ValueError(f"Observation {name!r} is empty: its space is {space}. Leave it out.")
    if isinstance(space, spaces.MultiDiscrete):
        if len(space.shape) != 1:  # SB3 takes the length of nvec for the whole shape
            raise ValueError(
                f"Observation {name!r} has the space {space}; Stable-Baselines3 reads "
                "MultiDiscrete of one dimension only. Flatten it: "
                "gymnasium.wrappers.TransformObservation with MultiDiscrete(nvec.flatten())."
            )
        return Key(name, "discrete", space, (int(space.nvec.sum()),))
    if isinstance(space, spaces.MultiBinary):
        return Key(name, "binary", space, (int(np.prod(space.shape)),))
    if isinstance(space, spaces.Box):
        if images and is_image(space, normalize_images):
            last = has_channels_last(space)
            shape = (space.shape[2], *space.shape[:2]) if last else space.shape
            return Key(name, "image", space, shape, *_image_scale(name, space), last)
        return Key(name, "vector", space, (int(np.prod(space.shape)),))
    raise ValueError(
        f"Observation {name!r} has the space {space}, which a world model cannot read. Supported: "
        "Box, Discrete, MultiDiscrete, MultiBinary, and a Dict of these."
    )

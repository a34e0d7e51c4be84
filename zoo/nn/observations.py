"""Between an observation space and the numbers that encoders and decoders see."""

from copy import deepcopy
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor

from dreamzoo.nn.distributions import one_hot

#: An observation batch: one tensor, or one for every key of a Dict space.
Observation: TypeAlias = Tensor | dict[str, Tensor]

Kind = Literal["image", "vector", "discrete", "binary"]

#: Name of the only key of a space that is not a Dict.
SINGLE = "observation"


class Key(NamedTuple):
    """
    One part of an observation.

    :param name: key in the Dict space
    :param kind: how it is encoded and reconstructed
    :param space: its own space
    :param shape: shape of the float tensor that networks see, without batch axes
    """

    name: str
    kind: Kind
    space: spaces.Space
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of floats."""
        return int(np.prod(self.shape))


def _is_image(space: spaces.Space, normalize_images: bool) -> bool:
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return False
    if not normalize_images:  # the user promises floats in [0, 1], any three-dimensional Box
        return True
    return space.dtype == np.uint8 and bool((space.low == 0).all() and (space.high == 255).all())


class ObservationCodec:
    """
    Turn observations into float tensors for networks, and predictions back into observations.

    Images are (C, H, W), as Stable-Baselines3 hands them to a policy. What networks see: images
    in [0, 1], vectors flat and raw (the encoder applies symlog), integers as one-hot vectors,
    binaries as 0 or 1.

    :param space: observation space, possibly a Dict
    :param images: treat uint8 images as images; otherwise every Box is a flat vector
    :param normalize_images: divide images by 255; False when they come in [0, 1] already
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
        #: Keys whose values are normalised, and where those are clipped: the bounds and the dtype
        #: of the space are not theirs.
        self.unbounded: dict[str, float] = {}

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
        for name, limit in self.unbounded.items():
            parts[name] = spaces.Box(-limit, limit, parts[name].shape, np.float32)
        return space if self.is_dict else parts[SINGLE]

    def encode(self, observation: Observation, lead: int = 1) -> dict[str, Tensor]:
        """
        Turn a batch of observations into network inputs.

        :param observation: tensors with ``lead`` batch axes in front of the space's own
        :param lead: number of batch axes
        :return: float32 tensors (batch axes, *key.shape)
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
            return x.float() / 255.0 if self.normalize_images else x.float()
        return x.reshape(*batch, -1).float()

    def decode(self, predictions: dict[str, Tensor]) -> Observation:
        """
        Turn the decoder's predictions into observations, members of :attr:`decoded_space`.

        :param predictions: most likely value of every key in network form
        :return: tensors (N, *space.shape)
        """
        parts = {key.name: self._decode_key(key, predictions[key.name]) for key in self.keys}
        return parts if self.is_dict else parts[SINGLE]

    def _decode_key(self, key: Key, x: Tensor) -> Tensor:
        space = key.space
        if isinstance(space, spaces.Discrete):
            return x.argmax(-1) + int(space.start)
        if isinstance(space, spaces.MultiDiscrete):
            index = [part.argmax(-1) for part in x.split(space.nvec.flatten().tolist(), dim=-1)]
            value = th.stack(index, dim=-1) + _column(space.start, x)
            return value.reshape(-1, *space.shape).to(_torch_dtype(space))
        if isinstance(space, spaces.MultiBinary):
            return (x > 0.5).to(th.int8).reshape(-1, *space.shape)
        assert isinstance(space, spaces.Box)
        if key.kind == "image" and self.normalize_images:
            x = x * 255.0
        x = x.reshape(-1, *space.shape)
        if key.name in self.unbounded:
            return x.float().clamp(-self.unbounded[key.name], self.unbounded[key.name])
        low, high = (th.as_tensor(bound, device=x.device) for bound in _float32_bounds(space))
        x = th.minimum(th.maximum(x, low), high)
        dtype = _torch_dtype(space)
        return x.to(dtype) if dtype.is_floating_point else x.round().to(dtype)


def multi_one_hot(index: Tensor, sizes: list[int]) -> Tensor:
    """
    Encode several integers as one-hot vectors side by side.

    :param index: (..., len(sizes)), int64
    :param sizes: number of values of every integer
    :return: (..., sum(sizes))
    """
    offset = th.as_tensor(np.cumsum([0, *sizes[:-1]]), device=index.device)
    out = th.zeros(*index.shape[:-1], sum(sizes), device=index.device)
    return out.scatter_(-1, index + offset, 1.0)


def _torch_dtype(space: spaces.Space) -> th.dtype:
    return th.as_tensor(np.zeros((), space.dtype)).dtype


def _float32_bounds(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """Round bounds inwards: the nearest float32 of 0.1, or of 2^31 - 1, lies outside."""
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    low = np.where(low < space.low, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high > space.high, np.nextafter(high, np.float32(-np.inf)), high)
    return low, high


def _column(start: np.ndarray, like: Tensor) -> Tensor:
    return th.as_tensor(np.asarray(start).flatten().astype(np.int64), device=like.device)


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
        if images and _is_image(space, normalize_images):
            return Key(name, "image", space, space.shape)
        return Key(name, "vector", space, (int(np.prod(space.shape)),))
    raise ValueError(
        f"Observation {name!r} has the space {space}, which a world model cannot read. Supported: "
        "Box, Discrete, MultiDiscrete, MultiBinary, and a Dict of these."
    )

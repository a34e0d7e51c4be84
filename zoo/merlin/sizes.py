"""Sizes of MERLIN as data: one frozen dataclass, one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

from dreamzoo.nn.networks.merlin import ImageNet
from dreamzoo.nn.settings import Choice, Setting, Whole, Widths, read_settings


@dataclass(frozen=True)
class Size:
    """
    Widths of MERLIN's networks.

    Example:
        >>> import dataclasses
        >>> from dreamzoo import MERLIN
        >>> from dreamzoo.merlin import SIZES
        >>> SIZES["paper"].latents, SIZES["paper"].rows
        (200, 1350)
        >>> narrow = dataclasses.replace(SIZES["small"], units=16, rows=64)
        >>> model = MERLIN("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size=narrow))

    :param latents: number Z of latents, and half the width of a row of the memory
    :param units: width of a layer of either LSTM
    :param layers: of either LSTM, at most 100
    :param heads: reads of the predictor at every step
    :param policy_heads: reads of the policy
    :param rows: of the memory
    :param widths: hidden layers of prior and posterior
    :param vector_widths: layers for vectors, integers and binaries
    :param policy_width: hidden layer of the policy
    :param value_width: hidden layer of the value V
    :param advantage_width: hidden layer of the advantage A
    :param image_net: of images, see :class:`MerlinEncoder`
    :param image_features: width of their code
    :raises ValueError: for a width that is none
    """

    latents: int
    units: int
    rows: int
    widths: tuple[int, ...]
    policy_width: int
    value_width: int
    advantage_width: int
    image_net: ImageNet
    image_features: int
    layers: int = 2
    heads: int = 3
    policy_heads: int = 1
    vector_widths: tuple[int, ...] = (64, 64)
    _settings: ClassVar[Mapping[str, Setting]] = {
        **dict.fromkeys(("latents", "units", "heads", "policy_heads"), Whole(1)),
        **dict.fromkeys(("policy_width", "value_width", "advantage_width"), Whole(1)),
        **dict.fromkeys(("widths", "vector_widths"), Widths()),
        "layers": Whole(1, 100),
        "rows": Whole(0),
        "image_net": Choice(get_args(ImageNet)),
        "image_features": Whole(1),
    }

    def __post_init__(self) -> None:
        read_settings(type(self).__name__, self._settings, vars(self))


#: ``paper``: Wayne et al., Methods, as re-implementations of them agree; the number of rows is that
#: of one of these. ``small``: for laptops, and tasks of less than 512 steps.
SIZES: dict[str, Size] = {
    "debug": Size(
        latents=4,
        units=6,
        rows=8,
        widths=(5,),
        policy_width=6,
        value_width=5,
        advantage_width=3,
        image_net="plain",
        image_features=7,
        heads=2,
        vector_widths=(6,),
    ),
    "paper": Size(
        latents=200,
        units=256,
        rows=1350,
        widths=(400, 400),
        policy_width=200,
        value_width=200,
        advantage_width=50,
        image_net="residual",
        image_features=500,
    ),
    "small": Size(
        latents=32,
        units=64,
        rows=512,
        widths=(64, 64),
        policy_width=64,
        value_width=64,
        advantage_width=32,
        image_net="plain",
        image_features=128,
    ),
}


def get_size(size: str | Size) -> Size:
    """
    Return the widths that a name stands for.

    Example:
        >>> from dreamzoo.merlin import get_size
        >>> get_size("small").latents
        32

    :param size: name in :data:`SIZES`; a :class:`Size` is returned as it is
    :raises ValueError: for any other name
    """
    found = size if isinstance(size, Size) else SIZES.get(size)
    if found is None:
        known = ", ".join(SIZES)
        raise ValueError(f"Unknown size {size!r}; known are {known}, or a dreamzoo.merlin.Size.")
    return found

"""Model sizes of DreamerV3 as data: one frozen dataclass, one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dreamzoo.nn.settings import Setting, Whole, read_settings


@dataclass(frozen=True)
class Size:
    """
    Widths of a DreamerV3 model (reference ``configs.yaml``, size presets).

    Every published preset follows from the width d: ``deter = 8 d``, ``classes = d / 16``,
    ``cnn_depth = d / 16``; the numbers of layers and of latents stay the same at all sizes.

    Example:
        >>> import dataclasses
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.dreamer_v3 import SIZES
        >>> SIZES["1m"].deter, SIZES["1m"].feat
        (512, 640)
        >>> narrow = dataclasses.replace(SIZES["1m"], units=16, deter=64)
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size=narrow))

    :param units: width d of all hidden layers
    :param deter: width D of the deterministic state h
    :param classes: classes C of each categorical latent
    :param cnn_depth: channel multiplier of the image encoder and decoder
    :param hidden: width of the hidden layers inside the dynamics; None means ``units``
    :param stoch: number S of categorical latents
    :param blocks: number g of blocks of the block-diagonal recurrent layers
    :param observation_layers: hidden layers of the vector encoder and decoder, at most 100
    :param head_layers: hidden layers of actor and critic, at most 100
    :param bins: bins of the two-hot heads, odd
    :raises ValueError: for a width or a number that is none; what does not go together, such as a
        ``deter`` that is no multiple of ``blocks``, the policy refuses
    """

    units: int
    deter: int
    classes: int
    cnn_depth: int
    hidden: int | None = None
    stoch: int = 32
    blocks: int = 8
    observation_layers: int = 3
    head_layers: int = 3
    bins: int = 255
    _settings: ClassVar[Mapping[str, Setting]] = {
        **dict.fromkeys(("units", "deter", "classes", "cnn_depth"), Whole(1)),
        "hidden": Whole(1, none=True),
        **dict.fromkeys(("stoch", "blocks", "bins"), Whole(1)),
        **dict.fromkeys(("observation_layers", "head_layers"), Whole(0, 100)),
    }

    def __post_init__(self) -> None:
        read_settings(type(self).__name__, self._settings, vars(self))

    @property
    def dynamics_hidden(self) -> int:
        """Width of the hidden layers inside the dynamics."""
        return self.units if self.hidden is None else self.hidden

    @property
    def feat(self) -> int:
        """Width F of the model state that all heads read."""
        return self.deter + self.stoch * self.classes


def _published(units: int) -> Size:
    return Size(units=units, deter=8 * units, classes=units // 16, cnn_depth=units // 16)


#: Reference presets (DreamerV3 ``configs.yaml``; paper, table "Model sizes").
SIZES: dict[str, Size] = {
    "debug": Size(
        units=8,
        deter=8,
        classes=4,
        cnn_depth=2,
        hidden=3,
        stoch=2,
        blocks=4,
        observation_layers=1,
        head_layers=1,
        bins=5,
    ),
    "1m": _published(64),
    "12m": _published(256),
    "25m": _published(384),
    "50m": _published(512),
    "100m": _published(768),
    "200m": _published(1024),
    "400m": _published(1536),
}


def get_size(size: "str | Size") -> Size:
    """
    Look up a preset by name; a :class:`Size` passes through.

    Example:
        >>> from dreamzoo.dreamer_v3 import get_size
        >>> get_size("12m").units
        256
        >>> get_size(get_size("12m")).units
        256

    :param size: name of a preset or widths of the user's own
    :raises ValueError: for an unknown name
    """
    if isinstance(size, Size):
        return size
    if size not in SIZES:
        raise ValueError(
            f"Unknown model size {size!r}. Use one of {', '.join(SIZES)}, or pass a "
            "dreamzoo.dreamer_v3.Size with widths of your own."
        )
    return SIZES[size]

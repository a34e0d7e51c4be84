"""Kinds of latents by the names that settings have for them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from dreamzoo.nn.rssm.codebook import CodebookLatents
from dreamzoo.nn.rssm.latents import Latents, NormalLatents, OneHotLatents
from dreamzoo.nn.rssm.relaxed import GumbelLatents
from dreamzoo.nn.settings import Setting, read_settings

#: What the stochastic part of a state is drawn from.
LatentsKind = Literal["categorical", "gaussian", "gumbel", "st_gumbel", "vq"]

#: By these names: what makes them, and the settings that they have of their own.
_KINDS: dict[LatentsKind, tuple[Callable[..., Latents[Any]], Mapping[str, Setting]]] = {
    "categorical": (OneHotLatents, {}),
    "gaussian": (lambda stoch, classes: NormalLatents(stoch), {}),
    "gumbel": (GumbelLatents, GumbelLatents.settings),
    "st_gumbel": (partial(GumbelLatents, hard=True), GumbelLatents.settings),
    "vq": (CodebookLatents, CodebookLatents.settings),
}


def make_latents(kind: LatentsKind, stoch: int, classes: int, **kwargs: Any) -> Latents[Any]:
    """
    Make latents of a kind.

    Example:
        >>> from dreamzoo.nn.rssm.kinds import make_latents
        >>> make_latents("vq", stoch=3, classes=4, code_dim=5).stoch
        3

    :param kind: of the latents
    :param stoch: number S of latents
    :param classes: classes, or codes, of each; normal ones have none
    :param kwargs: settings that this kind has of its own
    :raises ValueError: for a setting that it has not, or that makes no sense
    """
    make, settings = _KINDS[kind]
    if unknown := sorted(kwargs.keys() - settings.keys()):
        raise ValueError(
            f"latents_kwargs has {', '.join(unknown)}, and latents={kind!r} takes "
            f"{', '.join(settings) or 'none'}."
        )
    given = {name: settings[name] for name in kwargs}
    return make(stoch, classes, **read_settings(f"latents={kind!r}", given, kwargs))

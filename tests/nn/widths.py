"""A size of DreamerV3 as the arguments of the networks, which know no agent's sizes."""

from typing import Any

from dreamzoo.dreamer_v3.sizes import Size


def of_dynamics(size: Size) -> dict[str, Any]:
    """Return the widths of :class:`BlockRSSM`."""
    hidden = size.dynamics_hidden
    widths = {"deter": size.deter, "stoch": size.stoch, "classes": size.classes}
    return {**widths, "hidden": hidden, "blocks": size.blocks}


def of_encoder(size: Size) -> dict[str, Any]:
    """Return the widths of :class:`Encoder`."""
    return {"units": size.units, "cnn_depth": size.cnn_depth, "layers": size.observation_layers}


def of_image_decoder(size: Size) -> dict[str, Any]:
    """Return the widths of :class:`ImageDecoder`."""
    state = {"deter": size.deter, "stoch_dim": size.stoch * size.classes}
    return {**state, "units": size.units, "blocks": size.blocks, "depth": size.cnn_depth}


def of_decoder(size: Size) -> dict[str, Any]:
    """Return the widths of :class:`Decoder`."""
    state = {"deter": size.deter, "stoch_dim": size.stoch * size.classes, "blocks": size.blocks}
    return {**state, **of_encoder(size)}

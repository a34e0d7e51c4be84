"""Pass a batch through a network in pieces that a CPU's caches hold."""

from collections.abc import Callable, Sequence

import torch as th
from torch import Tensor

from dreamzoo.nn.fast.switch import computes_plainly, needs_graph
from dreamzoo.nn.fast.threads import map_pieces

#: Rows that pass through a stack of layers together: few enough for the outer caches of a CPU, many
#: enough that Python does not slow it down (measured on two cores).
CACHED_ROWS = 2048
#: Numbers of the largest activation of the images that pass through a CNN together.
CACHED_ACTIVATION = 2**23


def cached_pieces(x: Tensor, rows: int = CACHED_ROWS) -> Sequence[Tensor]:
    """
    Split rows into pieces that a CPU's cache holds; other devices take all of them at once.

    :param x: (N, ...)
    :param rows: of a piece
    """
    return x.split(rows) if x.device.type == "cpu" else (x,)


def by_rows(function: Callable[[Tensor], Tensor], x: Tensor, rows: int = CACHED_ROWS) -> Tensor:
    """
    Apply a function of rows piece by piece, so that what it computes stays in the CPU's cache.

    Where gradients are enabled it is applied to all rows at once, with its gradient.

    :param function: (N, in) to (N, ...)
    :param x: (..., in)
    :param rows: rows of a piece
    :return: (..., ...)
    """
    flat = x.flatten(0, -2)
    if needs_graph():
        out = function(flat)
    else:
        first, *others = map_pieces(function, cached_pieces(flat, rows), x.device)
        out = th.cat([first, *others]) if others else first
    return out.view(*x.shape[:-1], *out.shape[1:])


def by_images(function: Callable[..., Tensor], largest: int, *inputs: Tensor) -> Tensor:
    """
    Apply a CNN to some images after the others, with gradient.

    On a CPU a whole batch would pass every layer by way of memory, forward and back: with all 1024
    images of an update at once, the CNNs of size 12m take twice as long.

    :param function: (N, ...) each to (N, ...)
    :param largest: numbers in the largest activation of one image
    :param inputs: (N, ...) each
    """
    images = max(CACHED_ACTIVATION // largest, 1)
    if inputs[0].device.type != "cpu" or computes_plainly() or len(inputs[0]) <= images:
        return function(*inputs)
    pieces = zip(*(x.split(images) for x in inputs), strict=True)
    return th.cat([function(*piece) for piece in pieces])

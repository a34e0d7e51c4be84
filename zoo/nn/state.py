"""
States of models: tensors, batch axes first, in a NamedTuple, whose parts are all treated alike.

A part is a tensor of any dtype, or again a tuple of parts, with names or without: the cells of an
LSTM, a counter, an external memory. A part that a model does not have is an empty tuple. Whoever
handles states knows no names of parts. That is left to the model that computes them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import torch as th
from torch import Tensor

#: A NamedTuple of tensors, also of tuples of tensors. Every kind of model has a class of its own,
#: which whoever needs its parts names.
State: TypeAlias = Any
S = TypeVar("S")


def map_parts(function: Callable[..., Tensor], *states: S) -> S:
    """
    Apply a function to every tensor of a state, also of states within it.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import map_parts
        >>> latent = Latent(deter=torch.ones(4, 2), stoch=torch.ones(4, 3, 5))
        >>> doubled = map_parts(lambda part: 2 * part, latent)
        >>> doubled.deter[0], doubled.stoch.shape
        (tensor([2., 2.]), torch.Size([4, 3, 5]))

    :param function: of one part of each state
    :param states: of the same model
    :return: a state of what it returns
    """
    parts: Any = zip(*states, strict=True)
    made = (
        function(*alike) if isinstance(alike[0], Tensor) else map_parts(function, *alike)
        for alike in parts
    )
    return _tuple_like(states[0], made)


def _tuple_like(like: Any, parts: Iterable[Any]) -> Any:
    """Make a tuple of the same kind, with names or without."""
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)


def select(state: S, index: Any) -> S:
    """
    Index every part alike.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import select
        >>> latent = Latent(deter=torch.zeros(4, 7, 2), stoch=torch.zeros(4, 7, 3, 5))
        >>> last = select(latent, (slice(None), -1))  # of 7 steps
        >>> last.deter.shape, last.stoch.shape
        (torch.Size([4, 2]), torch.Size([4, 3, 5]))

    :param state: parts (N, ...), or with more batch axes
    :param index: of the batch axes: anything that indexes a tensor
    """
    return map_parts(lambda part: part[index], state)


def stack(states: Sequence[S], dim: int) -> S:
    """
    Stack states along a new axis.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import stack
        >>> latent = Latent(deter=torch.zeros(4, 2), stoch=torch.zeros(4, 3, 5))
        >>> stack([latent] * 7, dim=1).deter.shape
        torch.Size([4, 7, 2])

    :param states: parts of the same shapes
    :param dim: where the new axis comes
    """
    return map_parts(lambda *parts: th.stack(parts, dim=dim), *states)


def concatenate(states: Sequence[S]) -> S:
    """
    Put the rows of states one behind the other.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import concatenate
        >>> latent = Latent(deter=torch.zeros(4, 2), stoch=torch.zeros(4, 3, 5))
        >>> concatenate([latent, latent]).stoch.shape
        torch.Size([8, 3, 5])

    :param states: parts (n, ...), whose n may differ
    """
    return map_parts(lambda *parts: th.cat(parts), *states)


def flatten(state: S, first: int, last: int) -> S:
    """
    Make one of several batch axes.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import flatten
        >>> latent = Latent(deter=torch.zeros(4, 7, 2), stoch=torch.zeros(4, 7, 3, 5))
        >>> flatten(latent, 0, 1).stoch.shape  # rows and steps become one axis
        torch.Size([28, 3, 5])

    :param state: parts with these axes
    :param first: axis
    :param last: axis, included
    """
    return map_parts(lambda part: part.flatten(first, last), state)


def where(rows: Tensor, new: S, old: S) -> S:
    """
    Take rows of one state or of another.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import where
        >>> old = Latent(deter=torch.zeros(2, 1), stoch=torch.zeros(2, 3, 5))
        >>> new = Latent(deter=torch.ones(2, 1), stoch=torch.ones(2, 3, 5))
        >>> where(torch.tensor([True, False]), new, old).deter.flatten()
        tensor([1., 0.])

    :param rows: bool, where to take those of ``new``, (N,)
    :param new: parts (N, ...)
    :param old: the same
    """
    return map_parts(lambda a, b: th.where(rows.view(-1, *[1] * (a.dim() - 1)), a, b), new, old)


def zeroed(rows: Tensor, state: S) -> S:
    """
    Set rows of a state to zero.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import zeroed
        >>> latent = Latent(deter=torch.ones(2, 1), stoch=torch.ones(2, 3, 5))
        >>> zeroed(torch.tensor([True, False]), latent).deter.flatten()
        tensor([0., 1.])

    :param rows: bool, which ones, (N,)
    :param state: parts (N, ...)
    """
    return map_parts(lambda x: x.masked_fill(rows.view(-1, *[1] * (x.dim() - 1)), 0), state)


def first_part(state: State) -> Tensor:
    """
    Return one of the parts: all have the same batch axes and lie on the same device.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import first_part
        >>> latent = Latent(deter=torch.zeros(4, 2), stoch=torch.zeros(4, 3, 5))
        >>> len(first_part(latent))  # rows
        4
    """
    part = next(iter(state))
    return part if isinstance(part, Tensor) else leaves(state)[0]


def leaves(state: State) -> list[Tensor]:
    """
    List all tensors of a state, also of states within it, in the order of their names.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import leaves
        >>> latent = Latent(deter=torch.zeros(4, 2), stoch=torch.zeros(4, 3, 5))
        >>> [tuple(part.shape) for part in leaves(latent)]
        [(4, 2), (4, 3, 5)]
    """
    return [
        leaf for part in state for leaf in ((part,) if isinstance(part, Tensor) else leaves(part))
    ]


def leaf_names(state: State) -> list[str]:
    """
    Name what :func:`leaves` lists: by its field, or where several have that name by its whole path.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import leaf_names
        >>> leaf_names(Latent(deter=torch.zeros(4, 2), stoch=torch.zeros(4, 3, 5)))
        ['deter', 'stoch']
    """
    paths = _paths(state)
    fields = [_field(path) for path in paths]
    count = Counter(fields)
    named = zip(paths, fields, strict=True)
    return [field if count[field] == 1 else ".".join(path) for path, field in named]


def _paths(state: State) -> list[tuple[str, ...]]:
    """List where tensors are: fields of tuples with names, numbers in tuples without."""
    keys = getattr(state, "_fields", None) or [*map(str, range(len(state)))]
    return [
        (key, *rest)
        for key, part in zip(keys, state, strict=True)
        for rest in ([()] if isinstance(part, Tensor) else _paths(part))
    ]


def _field(path: tuple[str, ...]) -> str:
    """Return the innermost field, with the numbers that follow it."""
    first = max(i for i, key in enumerate(path) if i == 0 or not key.isdigit())
    return ".".join(path[first:])


def rebuild(like: S, parts: Iterable[Tensor]) -> S:
    """
    Make a state of what :func:`leaves` lists.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.state import leaves, rebuild
        >>> latent = Latent(deter=torch.zeros(4, 2), stoch=torch.zeros(4, 3, 5))
        >>> rebuild(latent, [part + 1.0 for part in leaves(latent)]).deter[0]
        tensor([1., 1.])

    :param like: of the same kind
    :param parts: as many tensors as it has
    """
    return _take(like, iter(parts))


def _take(like: Any, parts: Iterator[Tensor]) -> Any:
    taken = (next(parts) if isinstance(x, Tensor) else _take(x, parts) for x in like)
    return _tuple_like(like, taken)

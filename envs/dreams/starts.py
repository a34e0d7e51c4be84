"""Where dreams begin."""

from collections.abc import Callable
from typing import Any, Protocol

import torch as th

from dreamzoo.nn.state import State, first_part, leaves, map_parts, select


class Starts(Protocol):
    """Where dreams begin."""

    def __call__(self, n: int, generator: th.Generator) -> State:
        """Draw n latents."""


class Initial:
    """What the model believes before the first observation of an episode."""

    def __init__(self, first_state: Callable[[int, th.Generator], State]) -> None:
        self.first_state = first_state

    def __call__(self, n: int, generator: th.Generator) -> State:
        return self.first_state(n, generator)


class Pool:
    """Some of many states, drawn with replacement."""

    def __init__(self, latents: State) -> None:
        self.latents = latents

    def __call__(self, n: int, generator: th.Generator) -> State:
        part = first_part(self.latents)
        rows = th.randint(len(part), (n,), generator=generator, device=part.device)
        return select(self.latents, rows)


class Fixed:
    """The same state for a row at every reset."""

    def __init__(self, latents: State, n: int) -> None:
        self.latents = map_parts(lambda part: part.expand(n, *part.shape[1:]).clone(), latents)

    def __call__(self, n: int, generator: th.Generator) -> State:
        return map_parts(th.Tensor.clone, self.latents)


def check_state(state: Any, like: State, n: int) -> State:
    """
    Refuse what is no state of a model.

    :param state: to begin in
    :param like: a state of the model, of any number of rows
    :param n: dreams
    :return: the state, of 1 or n rows
    :raises ValueError: for another kind, layout or number of rows
    """
    parts = leaves(state) if type(state) is type(like) else []
    layout = [(part.dtype, part.shape[1:]) for part in parts]
    rows = {len(part) for part in parts}
    if layout != [(x.dtype, x.shape[1:]) for x in leaves(like)] or rows not in ({1}, {n}):
        raise ValueError(
            f"state is no state of this model with 1 or {n} rows; expected what the attribute "
            "latent of one of its dreams holds."
        )
    return state

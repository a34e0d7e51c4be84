"""Where dreams begin."""

from collections.abc import Callable
from typing import Protocol

import torch as th

from dreamzoo.nn.state import State, first_part, map_parts, select


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

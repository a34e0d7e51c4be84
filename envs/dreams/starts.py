"""Where dreams begin."""

from collections.abc import Callable
from typing import Protocol

import torch as th

from dreamzoo.nn.rssm.dynamics import Latent


class Starts(Protocol):
    """Where dreams begin."""

    def __call__(self, n: int, generator: th.Generator) -> Latent:
        """Draw n latents."""


class Initial:
    """What the model believes before the first observation of an episode."""

    def __init__(self, first_state: Callable[[int, th.Generator], Latent]) -> None:
        self.first_state = first_state

    def __call__(self, n: int, generator: th.Generator) -> Latent:
        return self.first_state(n, generator)


class Pool:
    """Some of many states, drawn with replacement."""

    def __init__(self, latents: Latent) -> None:
        self.latents = latents

    def __call__(self, n: int, generator: th.Generator) -> Latent:
        deter = self.latents.deter
        rows = th.randint(len(deter), (n,), generator=generator, device=deter.device)
        return Latent(*(part[rows] for part in self.latents))


class Fixed:
    """The same state for a row at every reset."""

    def __init__(self, latents: Latent, n: int) -> None:
        self.latents = Latent(*(part.expand(n, *part.shape[1:]).clone() for part in latents))

    def __call__(self, n: int, generator: th.Generator) -> Latent:
        return Latent(*(part.clone() for part in self.latents))

"""Temperatures and slopes as functions of the number of updates so far."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dreamzoo.nn.settings import Number, Setting, Whole, read_settings

_TEMPERATURES: Mapping[str, Setting] = dict.fromkeys(
    ("start", "floor", "end"), Number(0, above=True)
)


def check_schedule(schedule: Any, settings: Mapping[str, Setting]) -> None:
    """
    Refuse a schedule that makes no sense.

    :param schedule: whose fields these are
    :param settings: what they may be; those that it does not have do not count
    :raises ValueError: names the field
    """
    own = {name: setting for name, setting in settings.items() if name in vars(schedule)}
    read_settings(type(schedule).__name__, own, vars(schedule))


@dataclass(frozen=True)
class ExponentialSteps:
    """
    Fall exponentially, in steps, to a floor (Jang et al. 2017, section 4.2).

    Example:
        >>> from dreamzoo.nn.estimators import ExponentialSteps, GumbelSoftmax
        >>> schedule, estimator = ExponentialSteps(rate=1e-4, every=500), GumbelSoftmax()
        >>> estimator.temperature = schedule(1_200)
        >>> round(estimator.temperature, 4)  # exp(-0.1), since update 1,000
        0.9048
        >>> schedule(100_000)
        0.5

    :param rate: r of exp(-r t) (the paper tries 1e-5 and 1e-4)
    :param every: updates N between changes (the paper tries 500 and 1,000)
    :param start: at update 0
    :param floor: nothing lower
    """

    rate: float = 1e-4
    every: int = 500
    start: float = 1.0
    floor: float = 0.5

    def __post_init__(self) -> None:
        check_schedule(self, {"rate": Number(0), "every": Whole(1), **_TEMPERATURES})

    def __call__(self, update: int) -> float:
        changed = update // self.every * self.every
        return max(self.floor, self.start * math.exp(-self.rate * changed))


@dataclass(frozen=True)
class Cosine:
    """
    Fall along half a cosine, then stay (DALL-E, Ramesh et al. 2021, appendix A.2).

    Example:
        >>> from dreamzoo.nn.estimators import Cosine
        >>> schedule = Cosine()
        >>> schedule(0), schedule(75_000), schedule(150_000) == schedule(1_000_000) == 1 / 16
        (1.0, 0.53125, True)

    :param updates: until the end is reached
    :param start: at update 0
    :param end: afterwards
    """

    updates: int = 150_000
    start: float = 1.0
    end: float = 1 / 16

    def __post_init__(self) -> None:
        check_schedule(self, {"updates": Whole(1), **_TEMPERATURES})

    def __call__(self, update: int) -> float:
        share = (1 + math.cos(math.pi * min(update / self.updates, 1.0))) / 2
        return self.end + (self.start - self.end) * share


@dataclass(frozen=True)
class GrowingSlope:
    """
    Grow linearly in steps, one an epoch, to a ceiling (Chung et al. 2017, section 4.1).

    Example:
        >>> from dreamzoo.nn.estimators import GrowingSlope, SlopeAnnealed
        >>> schedule, estimator = GrowingSlope(every=500), SlopeAnnealed()
        >>> estimator.slope = schedule(1_200)
        >>> estimator.slope
        1.08
        >>> schedule(1_000_000)
        5.0

    :param every: updates in an epoch
    :param growth: of the slope in an epoch (0.04, as the paper's)
    :param start: at update 0
    :param ceiling: nothing steeper
    """

    every: int
    growth: float = 0.04
    start: float = 1.0
    ceiling: float = 5.0

    def __post_init__(self) -> None:
        slopes = dict.fromkeys(("start", "ceiling"), Number(0, above=True))
        check_schedule(self, {"every": Whole(1), "growth": Number(0), **slopes})

    def __call__(self, update: int) -> float:
        return min(self.ceiling, self.start + self.growth * (update // self.every))

"""What the settings may be that agents share with those of SB3."""

import os
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.type_aliases import Schedule, TrainFreq, TrainFrequencyUnit

from dreamzoo.nn.settings import Number, Whole


class Folder:
    """The path of a folder, or None."""

    def read(self, value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, str | os.PathLike):
            return os.fspath(value)
        raise ValueError("must be the path of a folder, or None")


class EntropyWeight:
    """SB3's ``ent_coef``: a number, or "auto", which learns it; "auto_0.1" begins at 0.1."""

    def read(self, value: Any) -> str | float:
        try:
            if not isinstance(value, str):
                return float(Number(0).read(value) or 0)
            word, _, start = value.partition("_")
            if word == "auto" and (not start or Number(0, above=True).read(float(start))):
                return value
            raise ValueError
        except ValueError:
            raise ValueError(
                'must be at least 0, a finite number, or "auto", or such as "auto_0.1", which '
                "begins at 0.1"
            ) from None


class Frequency:
    """SB3's ``train_freq``: a number of steps, or a pair such as ``(1, "episode")``."""

    def read(self, value: Any) -> TrainFreq:
        frequency, unit = value if isinstance(value, tuple) and len(value) == 2 else (value, "step")
        try:
            return TrainFreq(int(Whole(1).read(frequency) or 0), TrainFrequencyUnit(unit))
        except ValueError:
            raise ValueError(
                "must be at least 1, a whole number of steps, or a pair with the unit: "
                '(4, "step") or (1, "episode")'
            ) from None


@dataclass(frozen=True)
class Rate:
    """
    A learning rate: a number, or a schedule that gives one for the remaining progress.

    :param none: whether None is allowed, too
    """

    none: bool = False

    def read(self, value: Any) -> float | Schedule | None:
        if callable(value):
            return value
        rate = Number(0, none=self.none).read(value)
        return None if rate is None else float(rate)


def check_rate(owner: str, rate: float, progress: float) -> None:
    """
    Refuse what a schedule of the learning rate gave.

    :param owner: whose it is
    :param rate: what it gave
    :param progress: what for: 1 at the start, 0 at the end
    :raises ValueError: if that is no learning rate
    """
    try:
        Number(0).read(rate)
    except ValueError as error:
        raise ValueError(
            f"{owner}: the learning rate {rate} that the schedule gives for the remaining progress "
            f"{progress:.3g} {error}. Nothing was learned with it."
        ) from None

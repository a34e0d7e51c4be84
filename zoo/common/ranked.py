"""One agent on several devices: what its ranks agree on, and what the first one does for all."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import MaybeCallback, TrainFreq, TrainFrequencyUnit

from dreamzoo.nn.fast import ranks

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
SelfRanked = TypeVar("SelfRanked", bound="Ranked")

#: Settings that may differ: every rank has random numbers of its own, and the first alone logs.
_OWN = ("seed", "_stats_window_size", "verbose", "tensorboard_log")


def on_all_ranks(
    method: Callable[Concatenate[SelfRanked, Arguments], Result],
) -> Callable[Concatenate[SelfRanked, Arguments], Result]:
    """
    Let a method of an agent work with the other ranks, if there are any.

    :param method: that learns
    """

    @wraps(method)
    def joined(self: SelfRanked, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        inside = ranks.is_learning(self)
        with ranks.together(self, self.device):
            if not inside:
                self._agree()
            return method(self, *args, **kwargs)

    return joined


class Ranked(BaseAlgorithm):
    """
    Algorithm that several processes train together, each with environments of its own.

    Parameters are the first rank's, and only that one has a log and calls callbacks, except those
    with an attribute ``on_all_ranks`` that is true. Whatever is counted, is counted over all ranks.

    :param args: of SB3's algorithm
    :param kwargs: of SB3's algorithm
    """

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Seed everything random, on every rank with another seed.

        :param seed: None leaves everything as it is
        """
        super().set_random_seed(None if seed is None else ranks.own_seed(seed))

    def _agree(self) -> None:
        """
        Begin to work together from the same parameters.

        :raises ValueError: on all ranks, if they are not alike
        """
        if (team := ranks.current()) is None:
            return
        if self._vec_normalize_env is not None:
            raise ValueError(
                "VecNormalize gathers statistics of one process, and each of the "
                f"{team.count} ranks would see other observations. Normalize in the environment, "
                "with numbers that stay."
            )
        if isinstance(freq := getattr(self, "train_freq", None), TrainFreq) and (
            freq.unit is TrainFrequencyUnit.EPISODE
        ):
            raise ValueError(
                f"train_freq={(freq.frequency, freq.unit.value)}: episodes of {team.count} ranks "
                "end at different steps, and their updates are made together. Count steps."
            )
        settings = {name: getattr(self, name, None) for name in getattr(self, "settings", {})}
        plain = {k: v for k, v in settings.items() if k not in _OWN and _is_plain(v)}
        counted = {"num_timesteps": self.num_timesteps, "n_updates": getattr(self, "_n_updates", 0)}
        optimizers = getattr(self.policy, "optimizers", {})
        states = {f"{name}'s state": _checksum(x) for name, x in optimizers.items()}
        self._refuse_unlike({"class": type(self).__qualname__, "n_envs": self.n_envs})
        self._refuse_unlike(plain | counted | states)
        with th.no_grad():
            ranks.spread([*self.policy.parameters(), *self.policy.buffers()])
        if team.index:
            self.set_logger(Logger(None, []))

    def _refuse_unlike(self, facts: dict[str, Any]) -> None:
        """Raise on all ranks if something differs between them."""
        said = ranks.told({name: repr(value) for name, value in facts.items()})
        for name in said[0]:
            if any(one.get(name) != said[0][name] for one in said):
                values = ", ".join(f"rank {i}: {one.get(name)}" for i, one in enumerate(said))
                raise ValueError(
                    f"The ranks have to be alike, and {name} differs ({values}). Give all of them "
                    "the same arguments, and load the same file on all of them."
                )

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if ranks.current():
            asked = {"total_timesteps": total_timesteps, "reset_num_timesteps": reset_num_timesteps}
            self._refuse_unlike(asked)
        return super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        if (team := ranks.current()) is None:
            return super()._init_callback(callback, progress_bar)
        if team.index:
            if isinstance(callback, CallbackList):
                callback = callback.callbacks
            given: list[Any] = callback if isinstance(callback, list) else [callback]
            callback, progress_bar = [x for x in given if getattr(x, "on_all_ranks", False)], False
        agreed = _StopsAllRanks([super()._init_callback(callback, progress_bar)])
        agreed.model = self
        return agreed

    def _all_ranks(self, number: int) -> int:
        """Add up what every rank has counted; all of them have to ask."""
        return ranks.total(number)

    def _others_steps(self) -> int:
        """Return how many steps the other ranks make while this one makes one."""
        return (ranks.count() - 1) * self.n_envs


class _StopsAllRanks(CallbackList):
    """Callbacks of one rank that stop training on all of them, at the same step."""

    def _on_step(self) -> bool:
        return ranks.every(bool(super()._on_step()))


def rows_of_rank(batch_size: int, count: int) -> int:
    """
    Return how many rows of a batch are one rank's.

    Example:
        >>> from dreamzoo.common.ranked import rows_of_rank
        >>> rows_of_rank(16, 2)
        8

    :param batch_size: rows of all ranks together
    :param count: of ranks
    :raises ValueError: if they cannot be split
    """
    if batch_size % count:
        nearest = [n for n in (batch_size // count * count, -(-batch_size // count) * count) if n]
        raise ValueError(
            f"batch_size={batch_size} counts the rows of all {count} ranks together, and cannot be "
            f"split among them. Use {' or '.join(map(str, nearest))}."
        )
    return batch_size // count


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _checksum(optimizer: th.optim.Optimizer) -> int:
    states = [x for state in optimizer.state.values() for x in state.values()]
    return ranks.checksum(x for x in states if isinstance(x, th.Tensor))
